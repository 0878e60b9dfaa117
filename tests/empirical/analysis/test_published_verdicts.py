"""What is read of the printed numbers alone, against counting and against the forward formulas."""

import itertools

import numpy as np
import pytest
from scipy import stats

from empirical.analysis.published import PUBLISHED, TASKS
from empirical.analysis.published_verdicts import (
    EVALUATED,
    accuracy_gain,
    attention,
    base_rate_bounds,
    denominators,
    newcombe,
    norm_that_gives,
    readings,
    recall,
    representation,
    tokens,
)
from empirical.analysis.verdicts import CONTRADICTED, OPEN, SUPPORTED, UNTESTED
from empirical.metrics.similarity import floor_at


def test_every_cell_has_its_readings():
    keys = [(r.claim, r.model, r.task) for r in readings()]
    assert len(keys) == len(set(keys)) == 4 * 12 + 2
    assert all(r.sentence.endswith(".") for r in readings())


# -- SimAOU ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("similarity", [0.0, 0.08, 0.146, 0.25, 0.333, 0.49])
def test_the_norm_is_the_one_whose_floor_is_the_similarity(similarity):
    rho = np.array(norm_that_gives(similarity))
    assert float(floor_at(rho, rho)) == pytest.approx(similarity, rel=1e-12, abs=1e-15)


def test_the_norms_of_the_protocol():
    assert norm_that_gives(0.25) == 3.0
    assert norm_that_gives(0.5 * (1 - 2**-0.5)) == pytest.approx(1.0, rel=1e-12)
    for bad in (-0.1, 0.5, 1.0):
        with pytest.raises(ValueError, match=r"\[0, 0.5\)"):
            norm_that_gives(bad)


def test_no_printed_similarity_is_told_from_the_floor_without_norms():
    found = [representation(m, t) for m in PUBLISHED for t in TASKS]
    assert {r.status for r in found} == {OPEN}
    assert representation("1.3B", "mr").numbers["rho"] == pytest.approx(2.2348, abs=5e-5)


# -- Rec2FTP --------------------------------------------------------------------------------------


def test_the_bounds_of_the_base_rate_are_those_of_all_ways_to_be_right():
    """Seven examples, three of them zero-shot right: every set of ICL answers with a count."""
    n, zsl = 7, 3
    for right in range(n + 1):
        rates = {
            sum(i >= zsl for i in chosen) / (n - zsl)
            for chosen in itertools.combinations(range(n), right)
        }
        low, high = base_rate_bounds(100 * zsl / n, 100 * right / n, 0.0)
        assert (low, high) == pytest.approx((100 * min(rates), 100 * max(rates)), abs=1e-12)


def test_rounding_widens_the_bounds():
    inner, outer = base_rate_bounds(70.5, 92.7, 0.0), base_rate_bounds(70.5, 92.7)
    assert outer[0] < inner[0] < inner[1] <= outer[1] == 100.0


def test_the_counts_of_a_recall_are_those_of_a_search():
    """45 of 49 in the float32 run of sst2; every count from 1 to n tried in whole numbers."""
    found = denominators(872, 70.5, 73.9, 91.84)
    slow = []
    for d in range(1, 873):
        printed = {round(100 * k / d, 2) for k in range(d + 1)}
        if 91.84 in printed and d >= 872 * (73.9 - 70.5 - 0.1) / 100:
            if d <= 872 * (100 - 70.5 + 0.05) / 100:
                slow.append(d)
    assert list(found) == slow and 49 in found
    assert denominators(872, 70.5, 73.9, 91.85) != found


def test_a_recall_that_no_count_gives_is_not_testable(monkeypatch):
    rows = {**PUBLISHED["1.3B"], "Rec2FTP": {**PUBLISHED["1.3B"]["Rec2FTP"], "cb": 87.51}}
    monkeypatch.setattr("empirical.analysis.published_verdicts.PUBLISHED", {"1.3B": rows})
    assert recall("1.3B", "cb").status == UNTESTED


@pytest.mark.parametrize(
    ("icl", "printed", "status"),
    [(80.0, 100.0, OPEN), (4.0, 95.0, SUPPORTED), (98.0, 60.0, CONTRADICTED)],
)
def test_a_recall_is_read_against_the_bounds(monkeypatch, icl, printed, status):
    one = {"ZSL_acc": 50.0, "FT_acc": 70.0, "ICL_acc": icl, "Rec2FTP": printed}
    rows = {name: {"subj": value} for name, value in one.items()}
    monkeypatch.setattr("empirical.analysis.published_verdicts.PUBLISHED", {"x": rows})
    assert recall("x", "subj").status == status


def test_no_printed_recall_is_told_from_its_base_rate():
    found = [recall(m, t) for m in PUBLISHED for t in TASKS]
    assert {r.status for r in found} == {OPEN}
    one = recall("1.3B", "sst2").numbers
    assert (one["fewest"], one["base_high"]) == (49.0, 100.0)
    ends = stats.binomtest(45, 49).proportion_ci(0.95, method="wilson")
    assert (one["wilson_low"], one["wilson_high"]) == (100 * ends.low, 100 * ends.high)


# -- accuracies -----------------------------------------------------------------------------------


def test_the_interval_of_two_shares_is_newcombes():
    """His example: 56/70 against 48/80 gives 0.2000 [0.0524, 0.3339] (method 10)."""

    def wilson(k, n):
        z2, p = stats.norm.isf(0.025) ** 2, k / n
        centre = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = np.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n))) / (1 + z2 / n)
        return p, centre - half, centre + half

    gap, low, high = newcombe(56, 40, 70)
    (p, a, b), (q, c, d) = wilson(56, 70), wilson(40, 70)
    assert gap == pytest.approx(100 * (p - q), rel=1e-12)
    assert low == pytest.approx(100 * (p - q - np.hypot(p - a, d - q)), rel=1e-9)
    assert high == pytest.approx(100 * (p - q + np.hypot(b - p, q - c)), rel=1e-9)
    (p, a, b), (q, c, d) = wilson(56, 70), wilson(48, 80)
    assert (p - q - np.hypot(p - a, d - q), p - q + np.hypot(b - p, q - c)) == pytest.approx(
        (0.0524, 0.3339), abs=5e-5
    )


def test_in_context_learning_is_there_in_all_cells_but_one():
    found = {(m, t): accuracy_gain(m, t, "ICL") for m in PUBLISHED for t in TASKS}
    assert [k for k, r in found.items() if r.status != SUPPORTED] == [("2.7B", "cb")]
    assert accuracy_gain("1.3B", "sst5", "FT").status == OPEN
    assert found["1.3B", "sst2"].numbers["difference"] == pytest.approx(100 * (808 - 615) / 872)


def test_a_fall_of_accuracy_is_a_contradiction(monkeypatch):
    rows = {"ZSL_acc": {"subj": 80.0}, "ICL_acc": {"subj": 60.0}}
    monkeypatch.setattr("empirical.analysis.published_verdicts.PUBLISHED", {"x": rows})
    assert accuracy_gain("x", "subj", "ICL").status == CONTRADICTED


def test_counts_are_those_of_the_released_code():
    assert EVALUATED == {
        "sst2": 872,
        "sst5": 1101,
        "mr": 1066,
        "subj": 2000,
        "agnews": 2000,
        "cb": 56,
    }


# -- attention and tokens -------------------------------------------------------------------------


def test_attention_counts_signs_and_ranks():
    gaps = [
        round(1000 * PUBLISHED[m]["SimAM_after"][t]) - round(1000 * PUBLISHED[m]["SimAM_before"][t])
        for m in PUBLISHED
        for t in TASKS
    ]
    found = attention()
    assert found.status == UNTESTED
    assert (found.numbers["up"], found.numbers["down"]) == (
        sum(g > 0 for g in gaps),
        sum(g < 0 for g in gaps),
    )
    # The exact signed-rank test by all signs of the 11 changes that are not 0.
    sizes = stats.rankdata([abs(g) for g in gaps if g])
    up = sum(r for r, g in zip(sizes, [g for g in gaps if g], strict=True) if g > 0)
    sums = [float(np.dot(sizes, s)) for s in itertools.product((0, 1), repeat=len(sizes))]
    tail = 2 * min(np.mean([s >= up for s in sums]), np.mean([s <= up for s in sums]))
    assert found.numbers["wilcoxon_p"] == pytest.approx(min(tail, 1.0), rel=1e-9)


def test_ranks_are_above_uniform_numbers_and_nothing_else_was_printed():
    found = tokens()
    assert found.status == UNTESTED and found.numbers["above"] == 12.0
    assert "not printed" in found.sentence
