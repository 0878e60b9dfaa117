"""Means, differences and intervals against slow twins; what they refuse; how often they hold."""

import itertools
import json
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from empirical.analysis.interval_coverage import Design, designs, main, simulated
from empirical.analysis.intervals import (
    NO_SPREAD,
    ONE_SEED,
    RARE,
    TOO_FEW,
    Part,
    adjusted,
    d_z,
    dose_of,
    estimates,
    mean_over_tasks,
    nothing,
    t_interval,
)
from empirical.analysis.ratio_estimators import RESAMPLES, mean_of, quotients_of, resampled
from empirical.core.command_line import single
from empirical.core.json_files import plain
from empirical.core.undefined import Undefined
from empirical.metrics.dose import equivalent
from tests.support.paths import ROOT

FILE = ROOT / "docs" / "results" / "coverage" / "coverage.json"
EPS = float(np.finfo(np.float64).eps)


def draws(seed=0):
    return np.random.default_rng(seed)


def one(table, seed=0):
    (found,) = estimates([table], draws(seed))
    return found


def counts(seed, shape=(3, 40)):
    """Zero-shot wrong, finetuning right, in-context right."""
    g = draws(seed)
    wrong = np.broadcast_to(g.random(shape[1]) < 0.6, shape)
    return wrong, g.random(shape) < 0.6, g.random(shape) < 0.7


# -- the value ----------------------------------------------------------------------------------


def test_the_value_is_the_mean_over_examples_then_seeds_of_what_is_defined():
    x = np.array([[1.0, 2.0, np.nan, 6.0], [np.nan, 4.0, np.nan, 8.0]])
    found = one(mean_of(x))
    assert found.per_seed == (3.0, 6.0) and found.value == 4.5
    assert (found.seeds, found.examples) == (2, 3)
    assert found.value != np.nanmean(x)  # the near miss, which weighs seeds by their examples


def test_a_recall_less_its_base_rate_is_counted_by_hand():
    wrong, ft, icl = counts(1)
    found = one(quotients_of([(wrong & ft & icl, wrong & ft, 100.0), (wrong & icl, wrong, -100.0)]))
    by_seed = []
    for s in range(3):
        both = among = right = errors = 0
        for i in range(40):
            if wrong[s, i]:
                errors += 1
                right += icl[s, i]
                among += ft[s, i]
                both += ft[s, i] and icl[s, i]
        by_seed.append(100 * Fraction(int(both), int(among)) - 100 * Fraction(int(right), errors))
    exact = float(sum(by_seed, Fraction(0)) / 3)
    assert abs(found.value - exact) <= 20 * EPS * 100  # twenty roundings of numbers up to 100


def test_numerators_outside_their_denominators_are_refused():
    with pytest.raises(ValueError, match="inside their denominators"):
        quotients_of([(np.ones((1, 2), bool), np.array([[True, False]]), 1.0)])
    with pytest.raises(ValueError, match="without infinities"):
        mean_of([[np.inf, 1.0]])
    with pytest.raises(ValueError, match=r"values \[S,n\]"):
        mean_of([1.0, 2.0])


# -- the bootstrap ------------------------------------------------------------------------------


def test_resamples_are_those_of_a_loop_over_the_drawn_examples():
    wrong, ft, icl = counts(2, (2, 9))
    table = quotients_of([(wrong & ft & icl, wrong & ft, 1.0)])

    def slow(index):
        by_seed = []
        for s in range(2):
            top = sum(int(wrong[s, i] and ft[s, i] and icl[s, i]) for i in index)
            bottom = sum(int(wrong[s, i] and ft[s, i]) for i in index)
            if bottom:
                by_seed.append(top / bottom)
        return sum(by_seed) / len(by_seed) if by_seed else -1.0

    twin = stats.bootstrap(
        (np.arange(9),),
        slow,
        n_resamples=RESAMPLES,
        vectorized=False,
        method="percentile",
        rng=draws(3),
    ).bootstrap_distribution
    (fast,) = resampled([table], draws(3))
    assert np.array_equal(np.where(np.isnan(fast), -1.0, fast), twin)
    assert len(set(twin)) > 20


def test_tables_of_one_call_share_their_draws():
    g = draws(4)
    a, b = g.normal(size=(2, 3, 30))
    one_, two, gap = resampled([mean_of(a), mean_of(b), mean_of(a - b)], draws(5))
    # A mean of 30 numbers, three seeds, one difference: some 50 roundings of numbers below 10.
    assert np.abs(one_ - two - gap).max() <= 50 * EPS * 10
    assert one_.std() > 0.01


def test_tables_over_other_examples_are_refused():
    with pytest.raises(ValueError, match="the same two or more examples"):
        resampled([mean_of(np.ones((1, 3))), mean_of(np.ones((1, 4)))], draws())
    with pytest.raises(ValueError, match="the same two or more examples"):
        resampled([mean_of(np.ones((2, 1)))], draws())


def test_the_variance_from_seeds_is_that_of_all_resamples_of_seeds():
    x = np.array([[3.0, 5.0], [10.0, 12.0], [1.0, -5.0]])
    means = [Fraction(4), Fraction(11), Fraction(-2)]
    every = [sum(c, Fraction(0)) / 3 for c in itertools.product(means, repeat=3)]
    centre = sum(every, Fraction(0)) / 27
    exact = sum(((m - centre) ** 2 for m in every), Fraction(0)) / 27 * Fraction(3, 2)
    examples, seeds = one(mean_of(x)).parts
    assert (seeds.source, seeds.df) == ("seeds", 2.0)
    assert abs(seeds.variance - float(exact)) <= 10 * EPS * float(exact)
    assert examples.df == 1.0


def test_the_variance_from_examples_is_that_of_the_seeds_mean():
    x = draws(6).normal(size=(3, 80)) + draws(7).normal(size=80)
    (examples, _) = one(mean_of(x)).parts
    exact = float(stats.sem(x.mean(0))) ** 2
    # The variance of B draws of a nearly normal mean: five standard errors, 6e-7.
    assert abs(examples.variance / exact - 1) <= 5 * np.sqrt(2 / RESAMPLES)
    naive = float(stats.sem(x.ravel())) ** 2  # as if seeds answered other examples
    assert abs(naive / exact - 1) > 5 * np.sqrt(2 / RESAMPLES)


def test_the_bootstrap_of_few_examples_is_not_too_narrow():
    (examples,) = one(mean_of(np.array([[-1.0, 1.0]]))).parts
    # The bootstrap's own variance of this mean is 1/2; the unbiased one is 1.
    assert abs(examples.variance - 1) <= 5 / np.sqrt(RESAMPLES)  # of draws -1, 0, 1: 6e-7


# -- the interval -------------------------------------------------------------------------------


def test_one_source_gives_the_t_test_of_scipy():
    x = draws(8).normal(0.3, 1.0, size=25)
    part = Part(source="examples", variance=float(stats.sem(x)) ** 2, df=24.0)
    low, high, p = t_interval(float(x.mean()), (part,))
    known = stats.ttest_1samp(x, 0.0)
    ends = known.confidence_interval(0.95)
    # Quantiles of two routines; the root is found to 1e-9 of the logarithm.
    assert (low, high) == pytest.approx((ends.low, ends.high), rel=1e-9)
    assert p == pytest.approx(known.pvalue, rel=1e-8)


@pytest.mark.parametrize("value", [0.1, 0.4, 3.0, 400.0])
def test_the_p_value_is_the_error_at_which_the_interval_reaches_zero(value):
    parts = (
        Part(source="examples", variance=0.02, df=99.0),
        Part(source="seeds", variance=0.01, df=2.0),
    )
    _, _, p = t_interval(value, parts)
    quantiles = [stats.t.isf(p / 2, part.df) for part in parts]
    half = np.sqrt(sum(q * q * part.variance for q, part in zip(quantiles, parts, strict=True)))
    assert half == pytest.approx(value, rel=1e-7)
    assert t_interval(-value, parts)[2] == p


def test_two_sources_are_wider_than_their_sum_under_one_quantile():
    parts = (
        Part(source="examples", variance=0.02, df=99.0),
        Part(source="seeds", variance=0.01, df=2.0),
    )
    low, high, _ = t_interval(1.0, parts)
    normal = 2 * 1.959964 * np.sqrt(0.03)
    assert high - low > normal
    exact = 2 * np.sqrt(stats.t.isf(0.025, 99) ** 2 * 0.02 + stats.t.isf(0.025, 2) ** 2 * 0.01)
    assert high - low == pytest.approx(exact, rel=1e-9)


def test_parts_of_one_source_share_satterthwaites_freedom():
    parts = tuple(Part(source="seeds", variance=v, df=2.0) for v in (1.0, 1.0, 2.0))
    low, high, _ = t_interval(0.0, parts)
    df = 16 / (1 / 2 + 1 / 2 + 4 / 2)
    assert high == pytest.approx(stats.t.isf(0.025, df) * 2, rel=1e-9) and low == -high


def test_one_seed_has_no_spread_of_seeds_and_says_so():
    found = one(mean_of(draws(9).normal(size=(1, 30))))
    assert found.note == ONE_SEED and [p.source for p in found.parts] == ["examples"]
    assert one(mean_of(draws(9).normal(size=(2, 30)))).note == ""


def test_one_seed_of_counts_has_a_wilson_interval_too():
    wrong, ft, icl = counts(10, (1, 60))
    found = one(quotients_of([(wrong & ft & icl, wrong & ft, 100.0)]))
    k, n = int((wrong & ft & icl).sum()), int((wrong & ft).sum())
    ends = stats.binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert found.wilson == (100 * ends.low, 100 * ends.high)
    wrong, ft, icl = counts(10)
    assert one(quotients_of([(wrong & ft & icl, wrong & ft, 100.0)])).wilson is None
    assert one(mean_of(draws().normal(size=(1, 9)))).wilson is None


# -- what is undefined says why -----------------------------------------------------------------


def test_the_interval_of_a_share_stays_among_possible_shares():
    bottom = np.ones((3, 12), bool)
    top = bottom.copy()
    top[0, 0] = top[1, 5] = top[1, 7] = False
    found = one(quotients_of([(top, bottom, 100.0)]))
    assert found.value == 100 * 33 / 36 and found.high == 100.0 and found.low < found.value
    none = one(quotients_of([(~top, bottom, 100.0)]))
    assert none.low == 0.0 and none.high > none.value
    # a difference of two shares may pass either end
    gap = one(quotients_of([(top, bottom, 100.0), (bottom & False, bottom, -100.0)]))
    assert gap.high > 100.0


def test_no_value_anywhere_is_undefined_with_the_reason():
    found = one(mean_of(np.full((2, 5), np.nan), "the vectors are zero"))
    assert found == nothing("the vectors are zero")
    assert found.value == Undefined("the vectors are zero")


def test_a_seed_without_a_value_is_left_out_and_shown():
    found = one(mean_of(np.array([[1.0, 2.0, 3.0], [np.nan] * 3]), "why"))
    assert (found.value, found.seeds, found.note) == (2.0, 1, ONE_SEED)
    assert found.per_seed == (2.0, Undefined("why"))


def test_one_example_has_a_value_and_no_interval():
    x = np.array([[1.0, np.nan], [2.0, np.nan]])
    found = one(mean_of(x))
    assert found.value == 1.5 and found.low == Undefined(TOO_FEW) == found.d_z


def test_no_difference_at_all_is_zero_exactly():
    found = one(mean_of(np.zeros((3, 8))))
    assert (found.value, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)


def test_a_constant_difference_has_no_interval():
    found = one(mean_of(np.full((3, 8), 0.1)))
    assert found.low == found.p == found.d_z == Undefined(NO_SPREAD)


def test_a_quotient_of_few_counts_has_no_interval():
    bottom = np.zeros((1, 50), dtype=bool)
    bottom[0, :2] = True
    found = one(quotients_of([(bottom & False, bottom, 1.0)]))
    assert found.value == 0.0 and found.low == Undefined(RARE)


# -- over tasks ---------------------------------------------------------------------------------


def test_variances_of_tasks_add_and_the_tasks_are_fixed():
    g = draws(11)
    found = [one(mean_of(g.normal(m, 1.0, size=(3, 30)))) for m in (0.0, 5.0)]
    both = mean_over_tasks(found)
    assert both.value == (found[0].value + found[1].value) / 2
    assert both.standard_error == pytest.approx(
        np.sqrt(found[0].standard_error ** 2 + found[1].standard_error ** 2) / 2, rel=1e-12
    )
    # Resampling the two tasks would give a standard error of about 2.5.
    assert both.standard_error < 1 and (both.seeds, both.examples) == (3, 60)


def test_a_task_without_a_value_makes_the_mean_undefined():
    fine = one(mean_of(draws(12).normal(size=(3, 30))))
    assert mean_over_tasks([fine, nothing("not run")]).value == Undefined("not run")
    assert mean_over_tasks([]).value == Undefined("there is no task")


# -- sizes and families -------------------------------------------------------------------------


def test_d_z_is_the_mean_over_the_spread_across_examples():
    x = np.array([[1.0, 2.0, 3.0, 6.0], [3.0, np.nan, 5.0, 6.0]])
    rows = [2.0, 2.0, 4.0, 6.0]
    spread = (sum((r - 3.5) ** 2 for r in rows) / 3) ** 0.5
    assert d_z(x) == pytest.approx(3.5 / spread, rel=1e-14)
    assert isinstance(d_z(np.ones((2, 3))), Undefined)


def test_adjusted_p_values_are_those_of_benjamini_and_yekutieli():
    p = (0.01, 0.02, Undefined("gone"), 0.5)
    harmonic = 1 + 1 / 2 + 1 / 3
    last = min(1.0, 0.5 * harmonic)
    middle = min(last, 0.02 * harmonic * 3 / 2)
    first = min(middle, 0.01 * harmonic * 3)
    found = adjusted(p)
    assert found[2] == Undefined("gone")
    assert [found[i] for i in (0, 1, 3)] == pytest.approx([first, middle, last], rel=1e-14)
    assert adjusted([]) == ()


def test_the_dose_of_a_difference_is_read_off_the_curve():
    doses, line = [0.0, 0.5, 1.0], [0.2, 0.4, 0.6]
    assert dose_of(0.1, doses, line) == pytest.approx(0.25, rel=1e-9)
    assert dose_of(0.3, doses, line) == pytest.approx(0.75, rel=1e-9)
    assert (dose_of(-0.1, doses, line), dose_of(9.0, doses, line)) == (0.0, 1.0)
    # Where a curve falls, it is the mean of what it passes: here 0.15 at the first two doses.
    fitted = equivalent(doses, [0.15, 0.15, 0.3], 0.2)
    assert dose_of(0.05, doses, [0.2, 0.1, 0.3]) == pytest.approx(fitted, rel=1e-9)


@pytest.mark.parametrize(
    ("curve", "reason"),
    [
        ([0.3, 0.3], "does not rise"),
        ([0.3, 0.1], "does not rise"),
        ([0.3, Undefined("gone")], "without a value"),
        ([], "without a value"),
    ],
)
def test_a_curve_that_says_nothing_gives_no_dose(curve, reason):
    assert reason in dose_of(0.1, [0.0, 1.0][: len(curve)], curve).reason


def test_an_undefined_difference_has_no_dose():
    assert dose_of(Undefined("why"), [0.0, 1.0], [0.0, 1.0]) == Undefined("why")


# -- coverage -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small():
    """600 studies of three seeds whose spread matters."""
    rows = simulated(
        Design(shape="normal", sd=(0.1, 0.2, 0.1), seeds=3, examples=60), 600, draws(13)
    )
    return {r.method: r for r in rows}


def below(row):
    """The probability of so few or fewer, were 95 % the truth."""
    return stats.binomtest(row.covered, row.defined, 0.95, alternative="less").pvalue


def test_the_interval_holds_the_mean_in_95_percent_of_studies(small):
    assert below(small["t"]) > 1e-3 and small["t"].defined == 600


@pytest.mark.parametrize("near_miss", ["examples only", "two-way percentile"])
def test_intervals_that_hold_it_too_rarely_are_seen(small, near_miss):
    assert below(small[near_miss]) < 1e-6


def test_a_seed_alone_is_held_against_its_own_mean_not_that_of_all_seeds():
    own, *rest = simulated(
        Design(shape="normal", sd=(0.1, 0.2, 0.1), seeds=1, examples=60), 400, draws(14)
    )
    assert below(own) > 1e-3 and not rest


def test_the_committed_file_is_of_these_designs_and_holds_what_it_should():
    rows = json.loads(FILE.read_text())["rows"]
    assert [r["design"] for r in rows if r["method"] == "t"] == plain(designs())
    for row in rows:
        if row["method"] == "t" and row["design"]["seeds"] > 1:
            assert row["high"] >= 0.95, row
    missed = [r for r in rows if r["method"] != "t" and r["high"] < 0.95]
    assert {r["method"] for r in missed} == {"examples only", "satterthwaite", "two-way percentile"}


def test_the_first_rows_of_the_committed_file_come_out_again():
    file = json.loads(FILE.read_text())
    (made,) = simulated(designs()[0], file["rows"][0]["repetitions"], draws(file["seed"]))
    assert (made.covered, made.defined) == (file["rows"][0]["covered"], file["rows"][0]["defined"])


def test_the_command_writes_a_file(tmp_path, monkeypatch):
    few = Design(shape="excess", sd=(0.0, 0.2, 0.1), seeds=2, examples=40)
    monkeypatch.setattr("empirical.analysis.interval_coverage.designs", lambda: (few,))
    done = CliRunner().invoke(
        single(main), ["--out", str(tmp_path / "x.json"), "--repetitions", "20"]
    )
    assert done.exit_code == 0
    rows = json.loads((tmp_path / "x.json").read_text())["rows"]
    assert [r["method"] for r in rows] == ["t", "examples only", "satterthwaite"]
    assert all(r["repetitions"] == 20 and 0 < r["covered"] <= r["defined"] for r in rows)


def test_the_true_excess_is_that_of_a_large_sample():
    from empirical.analysis.interval_coverage import drawn

    design = Design(shape="excess", sd=(0.0, 0.2, 0.1), seeds=1, examples=200_000)
    studies = drawn(design, 1, draws(15))
    (table,) = studies.tables
    top, bottom = table.top.sum(-1)[:, 0], table.bottom.sum(-1)[:, 0]
    share = top / bottom
    errors = np.sqrt((share * (1 - share) / bottom).sum())
    assert abs(share[0] - share[1] - studies.truth[0]) <= 5 * errors  # 6e-7
    assert studies.truth[0] > 10 * errors
