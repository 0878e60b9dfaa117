"""Tables 6 and 7 of made-up models, against sums in exact fractions and bootstraps in loops."""

import dataclasses
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from empirical.analysis.intervals import LEVEL, ONE_SEED, mean_over_tasks, nothing
from empirical.analysis.momentum import compare as public
from empirical.analysis.momentum.compare import MEAN, compare
from empirical.analysis.momentum.control_comparisons import KIND_OF, NO_LEARNING
from empirical.analysis.momentum.tables import ITSELF, NO_PLAIN
from empirical.analysis.momentum.task_means import OTHER_SEEDS, STREAM, mean_of_tasks
from empirical.analysis.ratio_estimators import RESAMPLES
from empirical.core.errors import UserError
from empirical.core.undefined import Undefined
from empirical.results.attention_kinds import KINDS, Layer
from empirical.results.language_models import Scores
from tests.support.results.momentum import LENGTH, PLAIN, World, equal, layers, sweep, trained

EPS = float(np.finfo(np.float64).eps)
SEEDS = (1, 2, 3)
M3, M9 = (Layer(kind="momentum", eta=e) for e in (0.3, 0.9))
LEARNED = Layer(kind="momentum", eta=0.5, learned=True)
R3 = Layer(kind="recency_bias", eta=0.3)
ORDER = tuple(
    x for kind in KINDS for x in layers() if x.kind == kind
)  # of a kind, etas as they rise, then learned ones
WORLD = World(
    gain=lambda x: {"momentum": 0.02, "recency_bias": 0.01}.get(x.kind, 0.0) * (x.eta or 0.0),
    right=lambda x: 0.1 if x.kind == "momentum" else 0.0,
)


@pytest.fixture(scope="module")
def runs():
    return sweep(SEEDS, WORLD)


@pytest.fixture(scope="module")
def at(runs):
    return compare(runs).of("nano")


def run_of(runs, layer, seed):
    (one,) = [r for r in runs if (r.layer, r.seed) == (layer, seed)]
    return one


def replaced(runs, layer, seed, **changed):
    """The runs, with fields of one of them replaced."""
    return tuple(
        dataclasses.replace(r, **changed) if (r.layer, r.seed) == (layer, seed) else r for r in runs
    )


# -- slow twins -----------------------------------------------------------------------------------


def exact(table):
    """Mean over examples, then seeds, of the numbers as they are."""
    rows = [sum(map(Fraction, row), Fraction(0)) / len(row) for row in table]
    return sum(rows, Fraction(0)) / len(rows)


def slow(table):
    """Value and interval [S,n]: loops over scipy's own draws, and Student's quantiles."""
    n, seeds = len(table[0]), len(table)

    def statistic(index):
        return float(np.mean([np.mean([row[int(i)] for i in index]) for row in table]))

    drawn = stats.bootstrap(
        (np.arange(n),), statistic, n_resamples=RESAMPLES, vectorized=False, method="percentile",
        rng=np.random.default_rng((STREAM, n)),
    ).bootstrap_distribution  # fmt: skip
    width = stats.t.ppf((1 + LEVEL) / 2, n - 1) ** 2 * drawn.var() * n / (n - 1)
    if seeds > 1:
        between = stats.sem([np.mean(row) for row in table]) ** 2
        width += stats.t.ppf((1 + LEVEL) / 2, seeds - 1) ** 2 * between
    value = float(exact(table))
    return value, value - width**0.5, value + width**0.5


def close(found, twin, size):
    """Within the roundings of sums over some 5000 numbers of `size` at most, and of a root.

    Variances are sums of squares of 2000 means of up to 1000 numbers; the root and the quantile
    multiply their relative error by no more than the quotient of `size` and the half-width.
    """
    value, low, high = twin
    half = high - value
    assert half > 0
    limit = 5000 * EPS * size * (1 + size / half)
    for a, b in ((found.value, value), (found.low, low), (found.high, high)):
        assert abs(a - b) <= limit
    assert limit < half / 100


def loss_table(runs, layer, text, seeds=SEEDS, less=None):
    """Losses [S][n] as fractions, less those of another layer."""
    found = []
    for seed in seeds:
        mine = list(map(Fraction, run_of(runs, layer, seed).losses[text]))
        if less is not None:
            other = run_of(runs, less, seed).losses[text]
            mine = [a - Fraction(b) for a, b in zip(mine, other, strict=True)]
        found.append(list(map(float, mine)))
    return found


def right_table(runs, layer, task, seeds=SEEDS, zero_shot=False):
    """100 where a row is answered rightly, [S][n]."""
    found = []
    for seed in seeds:
        one = run_of(runs, layer, seed).scores[task]
        chosen = one.zero_shot if zero_shot else one.in_context
        found.append([100.0 if a == b else 0.0 for a, b in zip(chosen, one.gold, strict=True)])
    return found


def minus(a, b):
    return [[x - y for x, y in zip(p, q, strict=True)] for p, q in zip(a, b, strict=True)]


# -- table 6 --------------------------------------------------------------------------------------


def test_perplexities_and_their_differences_are_those_of_the_slow_twin(runs, at):
    assert at.texts == ("training-64", "validation-16", "validation-32", "validation-64")
    for layer in (M9, LEARNED, R3):
        for text in ("training-64", "validation-16", "validation-64"):
            (cell,) = [x for x in at.on_text(text) if x.layer == layer]
            close(cell.loss, slow(loss_table(runs, layer, text)), 5.0)
            gap = slow(loss_table(runs, layer, text, less=PLAIN))
            close(cell.difference, gap, 1.0)
            assert cell.windows == len(runs[0].losses[text]) and cell.difference.seeds == 3
            for name in ("value", "low", "high"):
                assert getattr(cell.perplexity, name) == np.exp(getattr(cell.loss, name))
                percent = 100 * (np.exp(getattr(cell.difference, name)) - 1)
                # expm1 and a difference of two numbers near 1.
                assert abs(getattr(cell.percent, name) - percent) <= 100 * 8 * EPS


def test_pairing_takes_out_what_windows_and_seeds_share(runs, at):
    """Near miss: the interval of a difference of two means that are not paired is far wider."""
    (cell,) = [x for x in at.on_text("validation-64") if x.layer == M9]
    (plain,) = [x for x in at.on_text("validation-64") if x.layer == PLAIN]
    apart = np.hypot(cell.loss.standard_error, plain.loss.standard_error)
    assert cell.difference.standard_error < apart / 10
    assert cell.difference.high < 0 < cell.difference.high + 5 * apart


def test_plain_attention_has_no_difference_from_itself(at):
    for text in at.texts:
        (plain,) = [x for x in at.on_text(text) if x.layer == PLAIN]
        assert plain.difference.value == plain.percent.low == Undefined(ITSELF)
    assert {x.difference.value for x in at.learning if x.layer == PLAIN} == {Undefined(ITSELF)}


def test_every_layer_has_every_text_and_effects_are_listed_by_eta(at):
    assert [(x.text, x.layer) for x in at.language] == [(t, x) for t in at.texts for x in ORDER]
    found = at.against_eta("momentum")
    assert [x.layer for x in found] == [M3, M9] and found[0].text == "validation-64"
    assert found[1].difference.value < found[0].difference.value < 0


# -- table 7 --------------------------------------------------------------------------------------


def test_accuracies_gains_and_differences_are_those_of_the_slow_twin(runs, at):
    for task in ("sst5", "cb"):
        for layer in (M9, LEARNED):
            (cell,) = [x for x in at.on_task(task) if x.layer == layer]
            shown, shot = (right_table(runs, layer, task, zero_shot=z) for z in (False, True))
            plain = right_table(runs, PLAIN, task)
            close(cell.accuracy, slow(shown), 100.0)
            close(cell.zero_shot, slow(shot), 100.0)
            close(cell.gain, slow(minus(shown, shot)), 100.0)
            close(cell.difference, slow(minus(shown, plain)), 100.0)
            # Without demonstrations these models answer alike, row by row: 0 exactly.
            assert (cell.zero_shot_difference.low, cell.zero_shot_difference.high) == (0.0, 0.0)
            one = runs[0].scores[task]
            assert cell.k == dict.fromkeys(SEEDS, one.k) and cell.rows == 60
            assert (cell.classes, cell.tasks, cell.absent) == (one.classes, (task,), None)


def test_tasks_are_asked_of_chosen_and_learned_layers_in_the_order_of_entries(at):
    a9 = at.chosen["averaged_values"]
    for task in ("sst5", "cb", "imdb"):
        assert [x.layer for x in at.on_task(task)] == [PLAIN, M9, LEARNED, a9,
                                                       at.chosen["recency_bias"]]  # fmt: skip


def test_a_task_that_was_not_asked_says_why_and_is_in_no_mean(at):
    reason = "no demonstration fits beside a question into 64 tokens"
    for cell in at.on_task("imdb"):
        assert cell.absent == reason and cell.rows == 0 and cell.k == {}
        assert cell.accuracy.value == cell.gain.low == Undefined(reason)
    assert at.left_out == {"imdb": reason}
    assert {x.tasks for x in at.on_task(MEAN)} == {("sst5", "cb")}


def test_a_layer_without_answers_in_one_seed_is_left_out_of_that_task(runs):
    scores = {**run_of(runs, R3, 2).scores, "cb": Scores(task="cb", absent="diverged")}
    changed = replaced(runs, R3, 2, scores=scores)
    changed = [r for r in changed if r.layer != Layer(kind="recency_bias", eta=0.9)]
    at = compare(changed).scales[0]
    (cell,) = [x for x in at.on_task("cb") if x.layer == R3]
    assert cell.absent == "seed 2: diverged"
    assert {x.tasks for x in at.on_task(MEAN)} == {("sst5",)} and "cb" not in at.left_out
    lost = {t: s for t, s in run_of(runs, R3, 2).scores.items() if t != "cb"}
    changed = replaced(changed, R3, 2, scores=lost)
    (cell,) = [x for x in compare(changed).scales[0].on_task("cb") if x.layer == R3]
    assert cell.absent == "seed 2: the model was not asked"


# -- the mean over tasks --------------------------------------------------------------------------


def test_the_mean_over_tasks_moves_with_the_seeds_that_its_tasks_share(runs, at):
    tables = [minus(right_table(runs, M9, t), right_table(runs, PLAIN, t)) for t in ("sst5", "cb")]
    (cell,) = [x for x in at.on_task(MEAN) if x.layer == M9]
    twins = [slow(t) for t in tables]
    draws = stats.t.ppf(0.975, 59)
    examples = []
    for table, (value, _, high) in zip(tables, twins, strict=True):
        between = stats.t.ppf(0.975, 2) ** 2 * stats.sem([np.mean(r) for r in table]) ** 2
        examples.append(((high - value) ** 2 - between) / draws**2)
    df = sum(examples) ** 2 / sum(v**2 / 59 for v in examples)
    by_seed = [np.mean([np.mean(t[s]) for t in tables]) for s in range(3)]
    half = np.sqrt(
        stats.t.ppf(0.975, df) ** 2 * sum(examples) / 4
        + stats.t.ppf(0.975, 2) ** 2 * stats.sem(by_seed) ** 2
    )
    value = float(sum(map(exact, tables), Fraction(0)) / 2)
    close(cell.difference, (value, value - half, value + half), 100.0)
    added = mean_over_tasks([x.difference for t in ("sst5", "cb") for x in at.on_task(t)
                             if x.layer == M9])  # fmt: skip
    assert abs(added.high - value - half) > half / 100  # near miss: as if seeds were drawn apart


def test_seeds_that_move_all_tasks_together_are_not_averaged_away():
    world = World(questions=200, noise=1e-4)
    found = []
    for shift in ((0.0, 0.0, 0.0), (-5.0, 0.0, 5.0)):
        one = next(x for x in compare(sweep(SEEDS, world)).scales[0].on_task("sst5")
                   if x.layer == PLAIN).gain  # fmt: skip
        moved = tuple(float(np.mean(one.per_seed)) + s for s in shift)
        parts = tuple(
            dataclasses.replace(p, variance=stats.sem(moved) ** 2) if p.source == "seeds" else p
            for p in one.parts
        )
        found.append(dataclasses.replace(one, per_seed=moved, parts=parts))
    same = mean_of_tasks([found[1]] * 4)
    (between,) = [p.variance for p in same.parts if p.source == "seeds"]
    assert abs(between - stats.sem(moved) ** 2) <= 50 * EPS * between
    assert [p.variance for p in mean_of_tasks([found[0]] * 4).parts if p.source == "seeds"] == [0.0]
    added = mean_over_tasks([found[1]] * 4)
    assert added.high - added.value < (same.high - same.value) * 0.6


def test_a_mean_needs_every_task_and_the_same_seeds(at):
    one = at.on_task("sst5")[1].difference
    assert mean_of_tasks([one]) == one
    assert mean_of_tasks([one, nothing("gone")]).value == Undefined("gone")
    other = dataclasses.replace(one, per_seed=one.per_seed[:2])
    assert mean_of_tasks([one, other]).value == Undefined(OTHER_SEEDS)
    assert mean_of_tasks([]).value == Undefined("there is no task")


# -- the choice of eta ----------------------------------------------------------------------------


def test_the_lowest_loss_on_the_choosing_windows_is_chosen_whatever_validation_says(runs):
    flipped = []
    for r in runs:
        low = 0.5 if r.layer == M3 else 0.0
        losses = {
            text: tuple(x - low for x in values) if text.startswith("choosing") else values
            for text, values in r.losses.items()
        }
        flipped.append(dataclasses.replace(r, losses=losses))
    before, after = compare(runs).scales[0], compare(flipped).scales[0]
    assert before.chosen["momentum"] == M9 and after.chosen["momentum"] == M3
    assert [x.percent for x in before.language] == [x.percent for x in after.language]
    (entry,) = [e for e in after.entries if e.layer == M3]
    table = [run_of(flipped, M3, s).losses["choosing-64"] for s in SEEDS]
    assert abs(entry.choosing - float(exact(table))) <= 48 * EPS * 5
    assert [e.layer for e in after.entries if e.chosen and e.layer.kind == "momentum"] == [M3]


def test_learned_etas_take_no_part_and_equals_go_to_the_smaller(runs):
    best = {
        t: tuple(x - 1 for x in v) for t, v in run_of(runs, LEARNED, 1).losses.items()
    }  # fmt: skip
    changed = replaced(runs, LEARNED, 1, losses=best)
    assert compare(changed).scales[0].chosen["momentum"] == M9
    for s in SEEDS:
        changed = replaced(changed, M9, s, losses=run_of(runs, M3, s).losses)
    assert compare(changed).scales[0].chosen["momentum"] == M3
    only = [r for r in runs if r.layer in (PLAIN, LEARNED)]
    at = compare(only).scales[0]
    assert list(at.chosen) == ["plain"] and "learned" in at.unchosen["momentum"]
    assert at.comparisons == ()


def test_etas_are_chosen_over_the_seeds_that_all_of_them_have(runs):
    some = [r for r in runs if not (r.layer == M3 and r.seed == 3)]
    at = compare(some).scales[0]
    entries = {e.layer: e for e in at.entries}
    assert entries[M3].lacks == (3,) and entries[M3].seeds == (1, 2) and at.seeds == SEEDS
    assert all(e.lacks == () for x, e in entries.items() if x != M3)
    table = [run_of(runs, M9, s).losses["choosing-64"] for s in (1, 2)]
    assert abs(entries[M9].choosing - float(exact(table))) <= 48 * EPS * 5
    apart = [r for r in runs if r.layer not in (M3, M9)]
    apart += [run_of(runs, M3, 1), run_of(runs, M9, 2)]
    at = compare(apart).scales[0]
    assert "momentum" not in at.chosen and "no seed in common" in at.unchosen["momentum"]


def test_differences_are_over_common_seeds_and_one_seed_says_so(runs):
    some = [r for r in runs if r.layer != PLAIN or r.seed == 2]
    (cell,) = [x for x in compare(some).scales[0].on_text("validation-64") if x.layer == M9]
    assert (cell.loss.seeds, cell.difference.seeds, cell.difference.note) == (3, 1, ONE_SEED)
    assert abs(cell.difference.value - exact(loss_table(runs, M9, "validation-64", (2,), PLAIN))) \
        <= 16 * EPS  # fmt: skip
    none = [r for r in runs if r.layer != PLAIN]
    at = compare(none).scales[0]
    assert {x.difference.value for x in at.language} == {Undefined(NO_PLAIN)}
    assert "plain" not in at.chosen


def test_rates_are_kept_by_seed(at):
    (entry,) = [e for e in at.entries if e.layer == LEARNED]
    assert entry.rates == dict.fromkeys(SEEDS, ((0.25, 0.5), (0.75, 0.125)))
    assert all(e.rates == {} for e in at.entries if e.layer != LEARNED)
    assert tuple(e.layer for e in at.entries) == ORDER


# -- comparisons ----------------------------------------------------------------------------------


def test_comparisons_are_of_the_chosen_layers_in_points_and_percent(runs, at):
    found = {(c.metric, c.task, c.control): c for c in at.comparisons}
    assert {c.control for c in at.comparisons} == set(KIND_OF) and len(found) == 3 * 4
    for control, kind in KIND_OF.items():
        other = at.chosen[kind]
        gap = [[-100 * x for x in row]
               for row in loss_table(runs, M9, "validation-64", less=other)]  # fmt: skip
        one = found["momentum_language", "validation-64", control]
        close(one.difference, slow(gap), 100.0)
        assert one.required
        gap = one.ours.value - one.theirs.value - one.difference.value
        assert abs(gap) <= 2 * 48 * EPS * 500  # sums of 48 numbers below 500
        points = minus(right_table(runs, M9, "cb"), right_table(runs, other, "cb"))
        close(found["momentum", "cb", control].difference, slow(points), 100.0)
    assert found["momentum_language", "validation-64", "plain_attention"].difference.value > 0


def test_other_kinds_are_shown_but_not_required(runs):
    heavy = Layer(kind="heavy_ball", eta=0.3)
    at = compare([*runs, *(trained(heavy, s, WORLD) for s in SEEDS)]).scales[0]
    marked = {c.control: c.required for c in at.comparisons}
    assert marked == {**dict.fromkeys(KIND_OF, True), "heavy_ball": False}


def test_a_task_that_neither_model_learns_is_left_out(runs):
    at = compare(sweep(SEEDS, World(in_context=0.3))).scales[0]
    assert at.left_out["sst5"] == at.left_out["cb"] == NO_LEARNING
    one = World(in_context=0.3, right=lambda x: 0.3 if x.kind == "momentum" else 0.0)
    assert set(compare(sweep(SEEDS, one)).scales[0].left_out) == {"imdb"}
    two = World(in_context=0.6, right=lambda x: 0.0 if x.kind == "plain" else -0.3)
    assert set(compare(sweep(SEEDS, two)).scales[0].left_out) == {"imdb"}
    control = World(in_context=0.3, right=lambda x: 0.3 if x.kind == "recency_bias" else 0.0)
    assert compare(sweep(SEEDS, control)).scales[0].left_out["cb"] == NO_LEARNING


# -- what cannot be compared ----------------------------------------------------------------------


@pytest.mark.parametrize("name, value", [
    ("parameters", 1), ("steps", 1), ("tokens", 1), ("initial_sha256", "0"), ("order_sha256", "0"),
    ("settings", {"width": "17", "peak_rate": "0.001"}),
])  # fmt: skip
def test_models_of_one_seed_that_are_not_equal_are_refused(runs, name, value):
    changed = replaced(runs, M9, 2, equal=equal(2, **{name: value}))
    with pytest.raises(UserError, match=rf"expected runs that differ .* alone, got .*{name}"):
        compare(changed)


def test_seeds_may_differ_in_weights_and_order_alone(runs):
    changed = tuple(
        dataclasses.replace(r, equal=equal(3, tokens=1)) if r.seed == 3 else r for r in runs
    )
    with pytest.raises(UserError, match=r"differ in layer and seed alone, .* different tokens"):
        compare(changed)
    copies = tuple(
        dataclasses.replace(r, equal=equal(1)) if r.seed == 3 else r for r in runs
    )  # fmt: skip
    with pytest.raises(UserError, match="expected seeds with first weights or a data order of"):
        compare(copies)


def test_other_text_arithmetic_length_or_windows_are_refused(runs):
    one = run_of(runs, M9, 2)
    losses = {t: v[:-1] if t == "validation-32" else v for t, v in one.losses.items()}
    for changed, what in (
        ({"origin": dataclasses.replace(one.origin, text_sha256="8" * 64)}, "text or tokenizer"),
        ({"origin": dataclasses.replace(one.origin, dtype="bfloat16")}, "arithmetic"),
        ({"length": LENGTH + 1}, "training length"),
        ({"losses": losses}, "windows"),
        ({"losses": {**one.losses, "books-64": (1.0,)}}, "windows"),
    ):
        with pytest.raises(UserError, match=f"different {what}"):
            compare(replaced(runs, M9, 2, **changed))


def test_other_questions_or_demonstrations_are_refused(runs):
    one = run_of(runs, M9, 2)
    for changed, what in (
        ({"gold": one.scores["cb"].gold[::-1]}, "questions of cb"),
        ({"rows_sha256": "7" * 64}, "rows of cb"),
        ({"k": 9}, "demonstrations of cb"),
        ({"classes": 9}, "classes of cb"),
    ):
        scores = {**one.scores, "cb": dataclasses.replace(one.scores["cb"], **changed)}
        with pytest.raises(UserError, match=f"different {what}"):
            compare(replaced(runs, M9, 2, scores=scores))


def test_a_model_that_is_there_twice_is_refused(runs):
    with pytest.raises(UserError, match="got 2 of momentum-nano-plain-s1"):
        compare([*runs, runs[0]])


def test_losses_of_an_unknown_place_are_refused(runs):
    odd = [dataclasses.replace(r, losses={**r.losses, "books-64": (1.0, 2.0)}) for r in runs]
    with pytest.raises(UserError, match="expected losses by place and length .* got 'books-64'"):
        compare(odd)


# -- the whole ------------------------------------------------------------------------------------


def test_scales_stand_apart_the_smallest_first_and_order_of_files_is_nothing(runs):
    larger = tuple(
        dataclasses.replace(trained(x, s, WORLD, "a-larger"), equal=equal(s, parameters=10**6))
        for x in (PLAIN, M3) for s in SEEDS
    )  # fmt: skip
    both = compare([*larger, *runs])
    assert [x.scale for x in both.scales] == ["nano", "a-larger"]
    assert both.of("nano") == compare(runs).of("nano") == compare(runs[::-1]).of("nano")
    assert both.of("a-larger").chosen["momentum"] == M3
    assert compare([]).scales == ()
    with pytest.raises(KeyError):
        both.of("paper")


def test_comparing_needs_no_torch():
    code = f"import sys, {public.__name__}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603 # our own interpreter
