"""Synthetic finetuning of a known dose: what it is, what is read of it, and the inverse."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from empirical.calibration.bounds import gamma
from empirical.core.undefined import Undefined
from empirical.inference.batches import Part
from empirical.metrics import similarity as metrics
from empirical.metrics.dose import (
    DOSES,
    METRICS,
    NOTE,
    Captures,
    curves,
    dose,
    equivalent,
    ranked,
    tallied,
)
from empirical.metrics.mixing import mixed, mixed_answers, mixed_scores
from empirical.metrics.null_bands import null_bands, unrelated

N, LAYERS, HEADS, WIDTH = 60, 2, 2, 24
LENGTHS = (3, 5, 4, 6, 2, 7)


def setting(g, index, right, base=None, size=1.0):
    """A made-up capture of some examples; `base`: what it moves away from."""
    h = size * g.normal(size=(len(index), LAYERS, WIDTH))
    m = [size * g.normal(size=(LAYERS, HEADS, 3 + i % 4)) for i in index]
    if base is not None:
        h, m = h + base.h, [a + b for a, b in zip(m, base.m, strict=True)]
    labels = np.zeros(len(index), dtype=np.int64)
    scores = np.where(right, 1.0, -1.0)[:, None] * np.array([1.0, -1.0])
    return Part(index=tuple(index), labels=labels, scores=scores, h=h, m=m)


def settings_of(seed=0, n=N):
    g = np.random.default_rng(seed)
    zsl = setting(g, range(n), g.random(n) < 0.4)
    icl = setting(g, range(n), g.random(n) < 0.8, zsl, 1.5)
    return zsl, icl, setting(g, range(n), g.random(n) < 0.6, zsl, 0.7)


def cut(part, places):
    return replace(
        part,
        index=tuple(part.index[i] for i in places),
        labels=part.labels[places],
        scores=part.scores[places],
        h=part.h[places],
        m=[part.m[i] for i in places],
    )


def captures(parts, c=None, groups=None):
    groups = [np.arange(len(parts[0].labels))] if groups is None else groups
    if c is None:
        c = np.random.default_rng(9).normal(size=(8, LAYERS, sum(LENGTHS)))
    batches = [tuple(cut(p, g) for p in parts) for g in groups]
    return Captures(batches=lambda: batches, c=c, lengths=LENGTHS)


@pytest.fixture(scope="module")
def made():
    return captures(settings_of())


@pytest.fixture(scope="module")
def found(made):
    return curves(made, np.random.default_rng(1))


def slowly(z, a, f, alpha, drawn):
    """One vector mixed, with sums written out."""
    d = len(z)
    u = [a[i] - z[i] for i in range(d)]
    size = sum(x * x for x in u) ** 0.5
    u = [x / size for x in u]
    along = sum(u[i] * drawn[i] for i in range(d))
    r = [drawn[i] - along * u[i] for i in range(d)]
    size = sum(x * x for x in r) ** 0.5
    r = [x / size for x in r]
    far = sum((f[i] - z[i]) ** 2 for i in range(d)) ** 0.5
    return [z[i] + far * (alpha * u[i] + (1 - alpha * alpha) ** 0.5 * r[i]) for i in range(d)]


def test_a_mixture_is_what_it_says_entry_by_entry():
    z, a, f = np.random.default_rng(2).normal(size=(3, 4, WIDTH))
    got = mixed(z, a, f, DOSES, np.random.default_rng(3))
    drawn = np.random.default_rng(3).normal(size=z.shape)
    away = np.linalg.norm(f - z, axis=-1).max()
    for k, alpha in enumerate(DOSES):
        for i in range(4):
            slow = np.array(slowly(z[i], a[i], f[i], alpha, drawn[i]))
            # Two orders of sums of d terms in each of four steps, and the last sum.
            assert np.abs(got[k][i] - slow).max() <= gamma(20 * WIDTH) * (away + np.abs(z).max())


def test_a_mixture_has_the_measured_norm_and_the_dose_for_its_cosine():
    z, a, f = np.random.default_rng(4).normal(size=(3, 50, WIDTH))
    size = np.linalg.norm(f - z, axis=-1)
    scale = (size + np.linalg.norm(z, axis=-1)) / size  # z is added, and subtracted here
    for alpha, h in zip(DOSES, mixed(z, a, f, DOSES, np.random.default_rng(5)), strict=True):
        away = np.linalg.norm(h - z, axis=-1)
        assert (np.abs(away / size - 1) <= gamma(20 * WIDTH) * scale).all()
        cos, _ = metrics.cosines(h - z, a - z)
        assert (np.abs(cos - alpha) <= gamma(20 * WIDTH) * scale).all()


def test_one_entry_has_no_orthogonal_direction_and_gets_no_update():
    z, a, f = np.random.default_rng(6).normal(size=(3, 5, 1))
    assert all((h == z).all() for h in mixed(z, a, f, DOSES, np.random.default_rng(7)))


def test_mixed_scores_are_on_the_scale_of_the_context_and_equal_it_at_dose_one():
    g = np.random.default_rng(8)
    c, drawn = 5 + 3 * g.normal(size=(6, LAYERS, 40)), g.normal(size=(6, LAYERS, 40))
    assert np.abs(mixed_scores(c, 1.0, drawn) - c).max() <= gamma(200) * np.abs(c).max()
    low = mixed_scores(c, 0.0, drawn)
    for x, y in ((low.mean(-1), c.mean(-1)), (low.std(-1), c.std(-1))):
        assert np.abs(x - y).max() <= gamma(200) * np.abs(c).max()
    order = [stats.kendalltau(a, b).statistic for a, b in zip(low[0], drawn[0], strict=True)]
    assert (np.abs(np.array(order) - 1) <= gamma(10)).all()
    same = np.ones((1, 1, 5))
    assert (mixed_scores(same, 0.5, g.normal(size=same.shape))[0, 0] == 1.0 + 0 * same).all()


def test_dose_one_is_the_context_and_dose_nought_is_not(found):
    n = N * LAYERS * WIDTH
    for name in ("sim_aou_unnormalised", "sim_am_delta"):
        assert abs(found[name][-1].value - 1) <= gamma(n)
        assert abs(found[name][0].value) <= gamma(n) * 10
    assert found["kendall"][-1].value > 1 - gamma(100)
    assert found["kendall_examples"][-1].value > 1 - gamma(100)
    assert found["rec2ftp"][-1].value == 100.0
    assert found["sim_aou"][-1].value < 1, "of other sizes, the same direction is not all"


def test_every_metric_rises_with_the_dose(found):
    for name in METRICS:
        values = [r.value for r in found[name]]
        rises = sum(b > a for a, b in zip(values[:-1], values[1:], strict=True))
        # Ten rises of ten have probability 1 / 2^10 where there is no trend; Rec2FTP counts few.
        assert rises == 10 or (name == "rec2ftp" and stats.spearmanr(DOSES, values).pvalue < 1e-3)
        for r in found[name]:
            assert r.low <= r.value <= r.high


def test_dose_nought_reads_what_a_matched_random_update_reads():
    zsl, icl, ft = settings_of(10, 200)
    whole = captures((zsl, icl, ft))
    tally = tallied(whole, (0.0,), np.random.default_rng(11))
    other = metrics.matched_sim_aou(icl.h, zsl.h, ft.h, np.random.default_rng(12))
    gap = metrics.mean_difference(
        tally.similarity("sim_aou", 0).per_example(),
        other.per_example(),
        np.random.default_rng(13),
        level=0.999,
    )
    assert gap.low <= 0 <= gap.high, "probability of a false alarm 0.1 %"
    half = tallied(whole, (0.3,), np.random.default_rng(11))
    gap = metrics.mean_difference(
        half.similarity("sim_aou", 0).per_example(),
        other.per_example(),
        np.random.default_rng(13),
        level=0.999,
    )
    assert gap.low > 0


def test_batches_do_not_matter(made):
    parts = settings_of()
    order = np.random.default_rng(14).permutation(N)
    other = captures(parts, groups=[order[:7], order[7:30], order[30:]])
    one, two = (curves(x, np.random.default_rng(15), (0.0, 0.5)) for x in (made, other))
    assert one == two
    three = curves(made, np.random.default_rng(16), (0.0, 0.5))
    assert one != three, "other draws"


def test_answers_copy_the_context_as_often_as_the_dose_says():
    g = np.random.default_rng(17)
    zsl, icl = g.random(4000) < 0.5, g.random(4000) < 0.7
    ft = np.where(zsl, g.random(4000) < 0.9, g.random(4000) < 0.2)
    none, half, all_of = mixed_answers(zsl, icl, ft, (0.0, 0.5, 1.0), g)
    assert (all_of == icl).all()
    for stratum in (zsl, ~zsl):
        share = ft[stratum].mean()
        drawn = stats.binomtest(int(none[stratum].sum()), int(stratum.sum()), share)
        assert drawn.pvalue > 1e-4
        table = [
            [
                int(
                    (none & stratum & (icl == i) & (none == a)).sum()
                    + (~none & stratum & (icl == i) & (none == a)).sum()
                )
                for i in (True, False)
            ]
            for a in (True, False)
        ]
        assert stats.fisher_exact(table).pvalue > 1e-4, "independent of the context"
        expected = 0.5 * (1 + (share * icl + (1 - share) * ~icl)[stratum].mean())
        agree = int((half == icl)[stratum].sum())
        assert stats.binomtest(agree, int(stratum.sum()), expected).pvalue > 1e-4


def test_a_finding_holds_values_and_ends_of_every_metric(made, found):
    got = dose(made, np.random.default_rng(1))
    assert got.note == NOTE and got.tables["dose"] == list(DOSES)
    for name in METRICS:
        assert got.tables[name] == [r.value for r in found[name]]
        assert got.tables[f"{name}_low"] == [r.low for r in found[name]]
        assert got.tables[f"{name}_high"] == [r.high for r in found[name]]


def test_without_scores_of_the_context_ranks_are_undefined_with_the_reason(made):
    none = Undefined("not recorded")
    got = list(ranked(replace(made, c=none), (0.0, 1.0), np.random.default_rng(0)))
    assert got == [(name, k, none) for name in ("kendall", "kendall_examples") for k in (0, 1)]
    table = curves(replace(made, c=none), np.random.default_rng(0), (0.0,))
    assert table["kendall"][0].value == none


def test_captures_of_different_examples_and_none_are_refused(made):
    zsl, icl, ft = settings_of()
    shifted = replace(icl, index=tuple(i + 1 for i in icl.index))
    with pytest.raises(ValueError, match="same examples"):
        tallied(Captures(batches=lambda: [(zsl, shifted, ft)], c=made.c), DOSES, _draws())
    with pytest.raises(ValueError, match="at least one batch"):
        tallied(Captures(batches=lambda: [], c=made.c), DOSES, _draws())


def _draws():
    return np.random.default_rng(0)


# The inverse.


def test_the_equivalent_dose_of_a_reading_on_the_curve_is_its_dose(found):
    for name in ("sim_aou", "sim_am_after", "kendall"):
        curve = [r.value for r in found[name]]
        for alpha, value in zip(DOSES, curve, strict=True):
            # The interpolant goes through every point: one cubic is evaluated.
            assert abs(equivalent(DOSES, curve, value) - alpha) <= gamma(20)
        between = equivalent(DOSES, curve, (curve[3] + curve[4]) / 2)
        assert DOSES[3] < between < DOSES[4]


def test_a_straight_curve_is_inverted_exactly_and_a_dent_is_levelled():
    line = equivalent((0.0, 0.5, 1.0), (0.2, 0.4, 0.6), 0.3)
    assert abs(line - 0.25) <= gamma(100)
    dented = equivalent((0.0, 0.3, 0.6, 1.0), (0.0, 0.5, 0.3, 1.0), 0.7)
    assert 0.6 < dented < 1.0
    level = equivalent((0.0, 0.3, 0.6, 1.0), (0.0, 0.5, 0.3, 1.0), 0.4)
    assert level == 0.3, "of a level stretch, its lowest dose"


def test_outside_of_the_curve_there_is_no_dose():
    curve = (0.2, 0.4, 0.9)
    axis = (0.0, 0.5, 1.0)
    assert equivalent(axis, curve, 0.1) == Undefined("below what an unrelated update scores")
    above = Undefined("above what the in-context update itself scores")
    assert equivalent(axis, curve, 0.95) == above
    assert equivalent(axis, (0.3, 0.3, 0.3), 0.3) == Undefined(
        "the metric does not rise with the dose"
    )
    hole = equivalent(axis, (0.1, Undefined("none"), 0.5), 0.3)
    assert hole == Undefined("the dose curve has points without a value")
    assert equivalent(axis, curve, Undefined("why")) == Undefined("why")
    with pytest.raises(ValueError, match="a reading for each of ascending doses, got 2"):
        equivalent(axis, (0.1, 0.2), 0.15)


# The null of the same captures.


def test_an_unrelated_update_has_the_measured_norm_and_no_side_that_it_leans_to():
    z, a, f = np.random.default_rng(18).normal(size=(3, 400, 8))
    (h,) = unrelated(z, a, f, (0.0,), np.random.default_rng(19))
    size = np.linalg.norm(f - z, axis=-1)
    scale = (size + np.linalg.norm(z, axis=-1)) / size
    assert (np.abs(np.linalg.norm(h - z, axis=-1) / size - 1) <= gamma(200) * scale).all()
    cos, _ = metrics.cosines(h - z, a - z)
    law = stats.beta(3.5, 3.5, loc=-1, scale=2)  # of a coordinate of a uniform point, d = 8
    assert stats.kstest(cos, law.cdf).pvalue > 1e-3


def test_the_null_holds_a_matched_draw_and_refuses_a_dose_of_one_half(made, found):
    bands = null_bands(made, np.random.default_rng(20), draws=39)
    assert set(bands) == set(METRICS)
    for name in METRICS:
        if name != "rec2ftp":
            assert found[name][5].value > bands[name].high > bands[name].low
    zsl, icl, ft = settings_of()
    inside = [
        bands["sim_aou"].holds(
            metrics.matched_sim_aou(icl.h, zsl.h, ft.h, np.random.default_rng((21, k))).mean
        )
        for k in range(40)
    ]
    # 39 + 40 exchangeable readings: the count inside is beta-binomial.
    assert stats.betabinom(40, 38, 2).cdf(sum(inside)) > 1e-3
