"""Every metric of the study against its twin in `_metric_twins`, and a near miss that is refused.

Inputs are float32, as models give them, with vectors that are zero, tied or constant among them.
"""

import ast
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from empirical.core.undefined import Undefined
from empirical.metrics import accumulate, kendall
from empirical.metrics import similarity as metrics
from empirical.metrics.similarity import Interval, Proportion, Similarity
from tests.support.twins import metric_twins as twins

# Both sides work in float64 on sums of at most some hundred terms of size 1: rounding stays below
# 1e-13, percentages below 1e-12. Differences of unit vectors and of scores magnify it by one over
# their size, here at most 1e3. 1e-9 leaves room for that; each near miss is 1000 times further off.
CLOSE = 1e-9
SEEDS = range(4)
TOP = 8  # tokens; the study's 100 is for contexts of thousands


def rng(seed):
    return np.random.default_rng(seed)


def predictions_of(g, n, noisy):
    labels = g.choice(3, n, p=(0.6, 0.3, 0.1))
    noise = [g.random(n) < p for p in noisy]
    return labels, [np.where(x, g.integers(0, 3, n), labels) for x in noise]


def states_of(g, n, layers, width):
    zsl = g.normal(size=(n, layers, width)) + 1
    icl, ft = (zsl + g.normal(size=zsl.shape) for _ in range(2))
    icl[0, 1] = 0
    zsl[2, 2] = 0
    ft[1, 0] = zsl[1, 0]
    ft[3, 0] = zsl[3, 0]
    return [x.astype(np.float32) for x in (zsl, icl, ft)]


def scores_of(g, n, layers, heads):
    runs = []
    lengths = g.integers(2, 7, n)
    first = [g.normal(size=(layers, heads, t)) + 1 for t in lengths]
    for _ in range(3):
        runs.append([(x + g.normal(size=x.shape)).astype(np.float32) for x in first])
    runs[0][0][1, 0] = 0
    runs[1][1][0] = 0
    runs[2][2][0, 1] = runs[0][2][0, 1]
    return runs


def context_of(g, n, layers, width):
    """lengths [k], Q' [L,N,d], q_p [n,L,d], scores to all of the context [n,L,T_c] in steps."""
    lengths = g.integers(2, 6, 8).tolist()
    queries = g.normal(size=(layers, sum(lengths), width)).astype(np.float32)
    q = g.normal(size=(n, layers, width)).astype(np.float32)
    context = g.normal(size=(n, layers, sum(lengths) + len(lengths) + 1))
    context[..., 1:-1] += np.repeat(g.normal(size=len(lengths)), np.add(lengths, 1))[:-1]
    context = np.round(context * 2) / 2  # ties, as float16 has them
    context[1, 0] = 0.5  # constant
    context[2, 0] = context[0, 0]
    return lengths, queries, q, context.astype(np.float32)


class Case:
    """Random inputs: 40 examples (6 for Kendall), 3 layers, 2 heads, width 5."""

    def __init__(self, seed):
        g = rng(seed)
        self.seed = seed
        # Either of in-context learning and finetuning is the better one, in turn.
        noisy = (0.7, 0.55, 0.35) if seed % 2 else (0.7, 0.35, 0.55)
        self.labels, self.predicted = predictions_of(g, 40, noisy)
        self.zsl, self.icl, self.ft = states_of(g, 40, 3, 5)
        self.m_zsl, self.m_icl, self.m_ft = scores_of(g, 40, 3, 2)
        self.lengths, self.queries, self.q, self.context = context_of(g, 6, 3, 5)
        self.c = self.context[..., kendall.demonstration_tokens(self.lengths)]
        self.f = kendall.attended(self.queries, self.q)
        # The twins' own, of the same inputs.
        kept = [[twins.without_bos_and_eos(v, self.lengths) for v in x] for x in self.context]
        self.slow_c, self.slow_f = kept, twins.attended(self.queries, self.q)

    @property
    def right(self):
        zsl, icl, ft = (p == self.labels for p in self.predicted)
        return {"zsl_correct": zsl, "icl_correct": icl, "ft_correct": ft}

    @property
    def outcomes(self):
        h, m = (self.zsl, self.icl, self.ft), (self.m_zsl, self.m_icl, self.m_ft)
        return [
            SimpleNamespace(labels=self.labels, predictions=p, h=a, m=b)
            for p, a, b in zip(self.predicted, h, m, strict=True)
        ]

    def drawn(self, shape, how="random"):
        return (
            rng(self.seed).random(shape) if how == "random" else rng(self.seed).normal(size=shape)
        )


CASES = [Case(seed) for seed in SEEDS]


def number(found):
    """The number of a result of the project or of a twin; None where it is undefined."""
    if isinstance(found, Undefined):
        return None
    if isinstance(found, Similarity | twins.Table):
        return number(found.mean)
    return found.value if isinstance(found, Proportion | Interval) else found


def same(a, b):
    assert (a is None) == (b is None), f"{a} against {b}"
    assert a is None or abs(a - b) <= CLOSE, f"{a} against {b}"


def agree(found, twin):
    """Refuses a result that is not the twin's, in any cell, mean or count that both have."""
    same(number(found), number(twin))
    if not isinstance(twin, twins.Table):
        return
    for a, b in zip(found.per_layer, twin.per_layer, strict=True):
        same(number(a), b)
    assert (found.excluded, found.total) == (twin.excluded, twin.total)
    for i, row in enumerate(twin.cells):
        for l, b in enumerate(row):
            same(float(found.values[i, l]) if found.defined[i, l] else None, b)


def layers_first(table):
    """Near miss: the mean over layers of each example, then over examples."""
    return twins.mean([twins.mean(row) for row in table.cells])


def zeros_counted(table):
    """Near miss: a cell without a value counts as 0, as with an epsilon in the denominator."""
    n, layers = len(table.cells), len(table.cells[0])
    return sum(v or 0.0 for row in table.cells for v in row) / (n * layers)


def tau_a(x, y):
    p, q, t, u, both = twins.pairs_of(x, y)
    return (p - q) / (p + q + t + u + both)


def goodman_gamma(x, y):
    p, q, *_ = twins.pairs_of(x, y)
    return (p - q) / (p + q) if p + q else None


def ratio(c, numerator, denominator):
    """Near misses of Rec2FTP: percent of the counts of two conditions on (zsl, icl, ft) right."""
    rows = list(twins.right_or_wrong(*c.predicted, c.labels))
    return twins.percent(sum(numerator(*r) for r in rows), sum(denominator(*r) for r in rows))


def both(z, i, f):
    return not z and i and f


def flattened(run):
    """Scores [L][1][H T_i]: one vector for all heads."""
    return [[[np.concatenate(list(heads))] for heads in m] for m in run]


def summed(run):
    """Scores [L][1][T_i]: summed over heads."""
    return [[[sum(heads)] for heads in m] for m in run]


def softened(run):
    return [[[twins.softmax(v) for v in heads] for heads in m] for m in run]


def shortened(run):
    return [[[v[:-1] for v in heads] for heads in m] for m in run]


def bos_in(c):
    """[n][L][N + 1] of both sides, BOS with finetuning's mean score in front."""
    f = [[[sum(v) / len(v), *v] for v in x] for x in c.slow_f]
    full = [[[x[0], *v] for x, v in zip(a, b, strict=True)] for a, b in per_example(c)]
    return full, f


def per_example(c):
    return zip(c.context, c.slow_c, strict=True)


def misplaced(c):
    """The scores [N] of the first N tokens of the context: BOS and EOS not skipped."""
    return [[v[: sum(c.lengths)] for v in x] for x in c.context]


def by_demonstration(c, measure_of):
    """Table of tau-b over demonstrations of measure_of(scores of one demonstration)."""
    ends = np.cumsum(c.lengths)

    def values(v):
        return [measure_of(v[b - t : b]) for b, t in zip(ends, c.lengths, strict=True)]

    return twins.each(lambda x, y: twins.tau_b(values(x), values(y)), c.slow_c, c.slow_f)


def slow_masses(c, side):
    return [[twins.masses(v, c.lengths) for v in x] for x in side]


def overlap(x, y, k):
    """Near miss: the two sets over their union."""
    a, b = twins.highest(x, k), twins.highest(y, k)
    return len(a & b) / len(a | b)


def first_of_equals_last(x, y, k):
    """Near miss: among equal entries the later ones are taken."""
    a, b = (twins.highest(v[::-1], k) for v in (x, y))
    return len(a & b) / k


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A metric of the project, its twin, and near misses, each a function of a Case."""

    project: object
    twin: object
    wrong: dict = field(default_factory=dict)


def accuracy_entry(which):
    return Entry(
        project=lambda c: metrics.accuracy(c.predicted[which] == c.labels),
        twin=lambda c: twins.accuracy(c.predicted[which], c.labels),
        wrong={
            "mean over classes": lambda c: twins.mean(
                [
                    twins.accuracy(c.predicted[which][c.labels == y], c.labels[c.labels == y])
                    for y in set(c.labels.tolist())
                ]
            )
        },
    )


def recall_entry(name, twin, **wrong):
    return Entry(
        project=lambda c: getattr(metrics.rec2ftp(**c.right), name),
        twin=lambda c: twin(*c.predicted, c.labels),
        wrong=wrong,
    )


def random_of(c, x):
    return c.drawn((len(x), len(x[0]), len(x[0][0])))


ENTRIES = {
    "zsl_accuracy": accuracy_entry(0),
    "icl_accuracy": accuracy_entry(1),
    "ft_accuracy": accuracy_entry(2),
    "rec2ftp": recall_entry(
        "recall",
        twins.rec2ftp,
        over_icl_corrections=lambda c: ratio(c, both, lambda z, i, f: not z and i),
        over_zsl_errors=lambda c: ratio(c, both, lambda z, i, f: not z),
        over_all=lambda c: ratio(c, both, lambda z, i, f: True),
        zsl_not_asked=lambda c: ratio(c, lambda z, i, f: i and f, lambda z, i, f: f),
    ),
    "rec2ftp_base_rate": recall_entry(
        "base_rate",
        twins.rec2ftp_base_rate,
        over_all=lambda c: ratio(c, lambda z, i, f: not z and i, lambda z, i, f: True),
        accuracy=lambda c: ratio(c, lambda z, i, f: i, lambda z, i, f: True),
    ),
    "rec2ftp_reverse": recall_entry(
        "reverse",
        twins.rec2ftp_reverse,
        over_ft_corrections=lambda c: ratio(c, both, lambda z, i, f: not z and f),
    ),
    "sim_aou": Entry(
        project=lambda c: metrics.sim_aou(c.icl, c.zsl, c.ft),
        twin=lambda c: twins.sim_aou(c.icl, c.zsl, c.ft),
        wrong={
            "layers first": lambda c: layers_first(twins.sim_aou(c.icl, c.zsl, c.ft)),
            "zeros counted": lambda c: zeros_counted(twins.sim_aou(c.icl, c.zsl, c.ft)),
            "not normalised": lambda c: twins.sim_aou_unnormalised(c.icl, c.zsl, c.ft),
            "states, not updates": lambda c: twins.each(twins.cosine, c.icl, c.ft),
        },
    ),
    "sim_aou_unnormalised": Entry(
        project=lambda c: metrics.sim_aou(c.icl, c.zsl, c.ft, normalise=False),
        twin=lambda c: twins.sim_aou_unnormalised(c.icl, c.zsl, c.ft),
        wrong={"normalised": lambda c: twins.sim_aou(c.icl, c.zsl, c.ft)},
    ),
    "sim_aou_random": Entry(
        project=lambda c: metrics.random_sim_aou(c.icl, c.zsl, rng(c.seed)),
        twin=lambda c: twins.random_sim_aou(c.icl, c.zsl, c.drawn(c.icl.shape)),
        wrong={
            "centred draw": lambda c: twins.random_sim_aou(
                c.icl, c.zsl, c.drawn(c.icl.shape) - 0.5
            ),
            "one draw for all layers": lambda c: twins.random_sim_aou(
                c.icl, c.zsl, np.repeat(c.drawn(c.icl.shape)[:, :1], 3, 1)
            ),
        },
    ),
    "sim_aou_matched": Entry(
        project=lambda c: metrics.matched_sim_aou(c.icl, c.zsl, c.ft, rng(c.seed)),
        twin=lambda c: twins.matched_sim_aou(c.icl, c.zsl, c.ft, c.drawn(c.ft.shape, "normal")),
        wrong={
            "norm of the in-context update": lambda c: twins.each(
                lambda a, z, r: twins.matched_sim_aou([[a]], [[z]], [[a]], [[r]]).mean,
                c.icl, c.zsl, c.drawn(c.ft.shape, "normal"),
            ),
            "norm not matched": lambda c: twins.sim_aou(
                c.icl, c.zsl, c.zsl + c.drawn(c.ft.shape, "normal")
            ),
        },
    ),
    "sim_aou_floor": Entry(
        project=lambda c: metrics.noise_floor(c.icl, c.zsl, c.ft),
        twin=lambda c: twins.noise_floor(c.icl, c.zsl, c.ft),
        wrong={
            "rho not squared": lambda c: twins.each(rho_not_squared, c.icl, c.zsl, c.ft),
            "at the mean rho": lambda c: floor_at_mean_rho(c),
        },
    ),
    "sim_am_before": Entry(
        project=lambda c: metrics.sim_am(c.m_icl, c.m_zsl),
        twin=lambda c: twins.sim_am(c.m_icl, c.m_zsl),
        wrong={
            "after": lambda c: twins.sim_am(c.m_icl, c.m_ft),
            "heads in one vector": lambda c: twins.sim_am(flattened(c.m_icl), flattened(c.m_zsl)),
            "heads summed": lambda c: twins.sim_am(summed(c.m_icl), summed(c.m_zsl)),
            "after the softmax": lambda c: twins.sim_am(softened(c.m_icl), softened(c.m_zsl)),
            "layers first": lambda c: layers_first(twins.sim_am(c.m_icl, c.m_zsl)),
        },
    ),
    "sim_am_after": Entry(
        project=lambda c: metrics.sim_am(c.m_icl, c.m_ft),
        twin=lambda c: twins.sim_am(c.m_icl, c.m_ft),
        wrong={
            "ZSL with FT": lambda c: twins.sim_am(c.m_zsl, c.m_ft),
            "without the own token": lambda c: twins.sim_am(shortened(c.m_icl), shortened(c.m_ft)),
        },
    ),
    "sim_am_delta": Entry(
        project=lambda c: metrics.sim_am_delta(c.m_icl, c.m_zsl, c.m_ft),
        twin=lambda c: twins.sim_am_delta(c.m_icl, c.m_zsl, c.m_ft),
        wrong={
            "from finetuning": lambda c: twins.sim_am_delta(c.m_icl, c.m_ft, c.m_zsl),
            "difference of the similarities": lambda c: twins.sim_am_difference(
                c.m_icl, c.m_zsl, c.m_ft
            ),
        },
    ),
    "sim_am_difference": Entry(
        project=lambda c: number(
            accumulate.measure(*c.outcomes, rng(0))["sim_am_difference"].value
        ),
        twin=lambda c: twins.sim_am_difference(c.m_icl, c.m_zsl, c.m_ft),
        wrong={
            "reversed": lambda c: -twins.sim_am_difference(c.m_icl, c.m_zsl, c.m_ft),
            "not paired": lambda c: (
                twins.sim_am(c.m_icl, c.m_ft).mean - twins.sim_am(c.m_icl, c.m_zsl).mean
            ),
        },
    ),
    "kendall": Entry(
        project=lambda c: kendall.token_kendall(c.c, c.f),
        twin=lambda c: twins.kendall(c.slow_c, c.slow_f),
        wrong={
            "tau-a": lambda c: twins.each(tau_a, c.slow_c, c.slow_f),
            "gamma": lambda c: twins.each(goodman_gamma, c.slow_c, c.slow_f),
            "BOS counted in": lambda c: twins.kendall(*bos_in(c)),
            "BOS and EOS not skipped": lambda c: twins.kendall(misplaced(c), c.slow_f),
            "layers first": lambda c: layers_first(twins.kendall(c.slow_c, c.slow_f)),
            "zeros counted": lambda c: zeros_counted(twins.kendall(c.slow_c, c.slow_f)),
            "mean of the scores over examples": lambda c: twins.kendall(
                [np.mean(c.slow_c, axis=0)], [np.mean(c.slow_f, axis=0)]
            ),
        },
    ),
    "kendall_random": Entry(
        project=lambda c: kendall.random_kendall(c.c, rng(c.seed)),
        twin=lambda c: twins.kendall(c.slow_c, random_of(c, c.slow_c)),
        wrong={
            "against f": lambda c: twins.kendall(c.slow_f, random_of(c, c.slow_c)),
            "tau-a": lambda c: twins.each(tau_a, c.slow_c, random_of(c, c.slow_c)),
        },
    ),
    "kendall_examples": Entry(
        project=lambda c: kendall.example_kendall(c.c, c.f, c.lengths),
        twin=lambda c: twins.example_kendall(c.slow_c, c.slow_f, c.lengths),
        wrong={
            "summed scores": lambda c: by_demonstration(c, sum),
            "mean score": lambda c: by_demonstration(c, twins.mean),
            "highest score": lambda c: by_demonstration(c, max),
            "mean mass per token": lambda c: by_demonstration(
                c, lambda v: twins.mean([np.exp(x) for x in v])
            ),
        },
    ),
    "kendall_examples_random": Entry(
        project=lambda c: kendall.random_kendall(
            kendall.example_masses(c.c, c.lengths), rng(c.seed)
        ),
        twin=lambda c: twins.kendall(
            slow_masses(c, c.slow_c), random_of(c, slow_masses(c, c.slow_c))
        ),
        wrong={
            "against f": lambda c: twins.kendall(
                slow_masses(c, c.slow_f), random_of(c, slow_masses(c, c.slow_c))
            )
        },
    ),
    "top_tokens": Entry(
        project=lambda c: kendall.top_k_recall(c.c, c.f, TOP),
        twin=lambda c: twins.top_k_recall(c.slow_c, c.slow_f, TOP),
        wrong={
            "over the union": lambda c: recalls(overlap, c.slow_c, c.slow_f, TOP),
            "lowest": lambda c: twins.top_k_recall(-c.c, np.negative(c.slow_f), TOP),
            "one more": lambda c: twins.top_k_recall(c.slow_c, c.slow_f, TOP + 1),
            "later of equals": lambda c: recalls(first_of_equals_last, c.slow_c, c.slow_f, TOP),
            "zeros counted": lambda c: zeros_counted(twins.top_k_recall(c.slow_c, c.slow_f, TOP)),
        },
    ),
    "top_examples": Entry(
        project=lambda c: kendall.top_k_recall(
            *(kendall.example_masses(x, c.lengths) for x in (c.c, c.f)), 5
        ),
        twin=lambda c: twins.top_k_recall(*(slow_masses(c, x) for x in (c.slow_c, c.slow_f)), 5),
        wrong={
            "over the union": lambda c: recalls(
                overlap, *(slow_masses(c, x) for x in (c.slow_c, c.slow_f)), 5
            ),
            "over N": lambda c: (
                twins.top_k_recall(*(slow_masses(c, x) for x in (c.slow_c, c.slow_f)), 5).mean
                * 5 / len(c.lengths)
            ),
        },
    ),
}  # fmt: skip


def recalls(of, x, y, k):
    """Table of another recall; undefined where the right one is."""
    return twins.each(lambda a, b: None if twins.recall(a, b, k) is None else of(a, b, k), x, y)


def rho_not_squared(a, z, f):
    if twins.norm(z) == 0:
        return None
    rho = [twins.norm(twins.minus(x, z)) / twins.norm(z) for x in (a, f)]
    s = [(1 + r) ** -0.5 for r in rho]
    return None if 0 in rho else 0.5 * ((1 - s[0]) * (1 - s[1])) ** 0.5


def floor_at_mean_rho(c):
    """Near miss: the floor of the mean relative squared norms, not the mean of the floors."""
    rho = [
        twins.each(
            lambda a, z: (twins.norm(twins.minus(a, z)) / twins.norm(z)) ** 2 if any(z) else None,
            x, c.zsl,
        ).mean
        for x in (c.icl, c.ft)
    ]  # fmt: skip
    s = [(1 + r) ** -0.5 for r in rho]
    return 0.5 * ((1 - s[0]) * (1 - s[1])) ** 0.5


NEAR_MISSES = [(name, miss) for name, entry in ENTRIES.items() for miss in entry.wrong]


@pytest.mark.parametrize("name", ENTRIES)
def test_a_metric_agrees_with_its_twin(name):
    for case in CASES:
        agree(ENTRIES[name].project(case), ENTRIES[name].twin(case))


@pytest.mark.parametrize(("name", "miss"), NEAR_MISSES)
def test_a_near_miss_is_refused(name, miss):
    for case in CASES:
        found, wrong = ENTRIES[name].project(case), ENTRIES[name].wrong[miss](case)
        with pytest.raises(AssertionError, match="against"):
            agree(found, wrong)
        assert abs(number(found) - number(wrong)) > 1000 * CLOSE, case.seed


def test_the_inputs_hold_what_is_easily_handled_wrongly():
    for case in CASES:
        assert len({len(m[0][0]) for m in case.m_icl}) > 1  # ragged
        twin_of = {name: entry.twin(case) for name, entry in ENTRIES.items()}
        for name in ("sim_aou", "sim_aou_floor", "sim_am_before", "sim_am_delta", "kendall"):
            assert twin_of[name].excluded > 0, name
        gaps = [v is None for row in twin_of["sim_am_before"].cells for v in row]
        assert any(gaps) and twin_of["sim_am_before"].excluded > sum(gaps)  # also single heads
        x = case.slow_c[0][1]
        assert len(set(x)) < len(x)  # ties


def test_measure_gives_each_name_its_own_metric():
    drawn = {"sim_aou_random", "sim_aou_matched"}  # their draws follow others: only tested above
    for case in CASES:
        found = accumulate.measure(*case.outcomes, rng(case.seed))
        for name in (found.keys() & ENTRIES.keys()) - drawn:
            recorded_as(found[name], ENTRIES[name].twin(case))


def recorded_as(measurement, twin):
    same(number(measurement.value), number(twin))
    if isinstance(twin, twins.Table):
        assert measurement.excluded == twin.excluded
        for a, b in zip(measurement.per_layer, twin.per_layer, strict=True):
            same(number(a), b)


def test_every_metric_of_a_record_has_a_twin_and_a_near_miss():
    chances = {"top_tokens_chance", "top_examples_chance"}  # K over N and k, tested below
    assert ENTRIES.keys() == (accumulate.METRICS | accumulate.KENDALL) - chances
    assert all(entry.wrong for entry in ENTRIES.values())


def test_measure_kendall_gives_each_field_its_own_metric():
    g = rng(5)
    lengths = [17, 19, 23, 16, 18, 21]
    c, f = (np.round(g.normal(size=(2, 2, sum(lengths))), 1) for _ in range(2))
    found = kendall.measure_kendall(c, f, lengths, rng(6))
    draws = rng(6)
    token, example = draws.random(c.shape), draws.random((2, 2, len(lengths)))
    mass_c, mass_f = ([[twins.masses(v, lengths) for v in x] for x in side] for side in (c, f))
    want = {
        ("token", "kendall"): twins.kendall(c, f),
        ("token_random", "kendall_random"): twins.kendall(c, token),
        ("token_recall", "top_tokens"): twins.top_k_recall(c, f, 100),
        ("token_chance", "top_tokens_chance"): 100 / sum(lengths),
        ("example", "kendall_examples"): twins.example_kendall(c, f, lengths),
        ("example_random", "kendall_examples_random"): twins.kendall(mass_c, example),
        ("example_recall", "top_examples"): twins.top_k_recall(mass_c, mass_f, 5),
        ("example_chance", "top_examples_chance"): 5 / len(lengths),
    }
    recorded = accumulate.kendall_measurements(found, rng)
    assert recorded.keys() == {name for _, name in want}
    for (attribute, name), twin in want.items():
        agree(getattr(found, attribute), twin)
        recorded_as(recorded[name], twin)


def test_the_twins_know_nothing_of_the_project():
    tree = ast.parse(Path(twins.__file__).read_text())
    imported = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    imported |= {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    assert imported == {"math", "dataclasses"}


def test_known_answers_of_the_twins_themselves():
    assert twins.tau_b([1, 2, 3], [1, 3, 2]) == pytest.approx(1 / 3)
    assert twins.tau_b([12, 2, 1, 12, 2], [1, 4, 7, 1, 0]) == pytest.approx(-4 / 72**0.5)
    assert twins.masses([0.0, 0.0, np.log(2)], [2, 1]) == pytest.approx([0.5, 0.5])
    assert twins.recall([3, 2, 1, 0], [3, 0, 2, 1], 2) == 0.5
    assert twins.highest([1, 5, 5, 5], 2) == {1, 2}
    assert twins.without_bos_and_eos("^ab$c$", [2, 1]) == ["a", "b", "c"]
