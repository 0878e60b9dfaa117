"""Every metric against a slow twin written from its definition, known answers and near misses."""

import math

import numpy as np
import pytest

from empirical.core.undefined import Undefined
from empirical.metrics import similarity as metrics
from empirical.metrics.similarity import Interval, Proportion


def rng(seed=0):
    return np.random.default_rng(seed)


def states(n=6, layers=3, d=5, seed=0):
    g = rng(seed)
    return [g.normal(size=(n, layers, d)) for _ in range(3)]


def scores(n=5, layers=2, heads=3, seed=0):
    g = rng(seed)
    lengths = g.integers(2, 7, n)
    return [[g.normal(size=(layers, heads, t)) for t in lengths] for _ in range(3)]


def slow_cos(a, b):
    dot = sum(float(x) * float(y) for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(float(x) ** 2 for x in a) * sum(float(y) ** 2 for y in b))


def slow_unit(a):
    norm = math.sqrt(sum(float(x) ** 2 for x in a))
    return [float(x) / norm for x in a]


def slow_sim_aou(icl, zsl, ft):
    per_layer = []
    for layer in range(icl.shape[1]):
        total = 0.0
        for i in range(icl.shape[0]):
            u, z, f = (slow_unit(h[i, layer]) for h in (icl, zsl, ft))
            total += slow_cos(
                [a - b for a, b in zip(u, z, strict=True)],
                [a - b for a, b in zip(f, z, strict=True)],
            )
        per_layer.append(total / icl.shape[0])
    return per_layer


def slow_sim_am(a, b):
    n, (layers, heads, _) = len(a), a[0].shape
    per_layer = []
    for layer in range(layers):
        total = 0.0
        for i in range(n):
            total += sum(slow_cos(a[i][layer, h], b[i][layer, h]) for h in range(heads)) / heads
        per_layer.append(total / n)
    return per_layer


def slow_wilson(k, n, z=1.959963984540054):
    p = k / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return 100 * (middle - half), 100 * (middle + half)


def test_accuracy_counts_and_has_a_wilson_interval():
    found = metrics.accuracy(np.array([True, True, False, True]))
    assert (found.numerator, found.denominator, found.value) == (3, 4, 75.0)
    assert (found.low, found.high) == pytest.approx(slow_wilson(3, 4))
    assert metrics.accuracy(np.zeros(0, dtype=bool)) == Undefined("there is no evaluation example")


def test_rec2ftp_agrees_with_counting_by_hand():
    g = rng(3)
    zsl, icl, ft = (g.random(200) < p for p in (0.5, 0.7, 0.6))
    rows = list(zip(zsl.tolist(), icl.tolist(), ft.tolist(), strict=True))
    both = len([1 for z, i, f in rows if not z and f and i])
    by_ft = len([1 for z, i, f in rows if not z and f])
    by_icl = len([1 for z, i, f in rows if not z and i])
    wrong = len([1 for z, i, f in rows if not z])
    found = metrics.rec2ftp(zsl, icl, ft)
    assert (found.recall.numerator, found.recall.denominator) == (both, by_ft)
    assert found.recall.value == pytest.approx(100 * both / by_ft)
    assert (found.recall.low, found.recall.high) == pytest.approx(slow_wilson(both, by_ft))
    assert (found.base_rate.numerator, found.base_rate.denominator) == (by_icl, wrong)
    assert (found.reverse.numerator, found.reverse.denominator) == (both, by_icl)
    # Near misses: dividing by another count gives another number.
    assert len({by_ft, by_icl, wrong, len(rows)}) == 4
    for count in (by_icl, wrong, len(rows)):
        assert found.recall.value != pytest.approx(100 * both / count)


def test_rec2ftp_without_corrections_is_undefined_and_says_why():
    zsl, icl, ft = np.array([[False, True], [True, True], [False, True]])
    found = metrics.rec2ftp(zsl, icl, ft)
    assert found.recall == Undefined("finetuning corrects no zero-shot error")
    assert isinstance(found.base_rate, Proportion)
    assert metrics.rec2ftp(np.ones(2, bool), ft, ft).base_rate == Undefined(
        "zero-shot makes no error"
    )


def test_counts_that_are_not_boolean_are_refused():
    with pytest.raises(ValueError, match="expected boolean vectors, got"):
        metrics.rec2ftp(np.array([0, 1]), np.array([0, 1]), np.array([0, 1]))
    with pytest.raises(ValueError, match="one length"):
        metrics.rec2ftp(np.ones(2, bool), np.ones(3, bool), np.ones(2, bool))


def test_sim_aou_agrees_with_its_slow_twin():
    icl, zsl, ft = states()
    found = metrics.sim_aou(icl, zsl, ft)
    twin = slow_sim_aou(icl, zsl, ft)
    assert found.per_layer == pytest.approx(twin)
    assert found.mean == pytest.approx(sum(twin) / len(twin))
    assert found.per_example().mean() == pytest.approx(found.mean)
    # Near miss: subtracting first and not normalising is another number.
    assert metrics.sim_aou(icl, zsl, ft, normalise=False).mean != pytest.approx(found.mean)


def test_identical_updates_score_one_and_opposite_ones_minus_one():
    icl, zsl, _ = states()
    assert metrics.sim_aou(icl, zsl, icl).mean == pytest.approx(1.0)
    same = metrics.sim_aou(zsl + icl, zsl, zsl - icl, normalise=False)
    assert same.mean == pytest.approx(-1.0)
    base = np.array([[[1.0, 0.0]]])
    up, down = np.array([[[0.6, 0.8]]]), np.array([[[0.6, -0.8]]])
    assert metrics.sim_aou(up, base, down).mean == pytest.approx((0.16 - 0.64) / 0.8)


def test_sim_aou_is_free_of_scale_even_where_squares_underflow():
    icl, zsl, ft = states()
    expected = metrics.sim_aou(icl, zsl, ft).mean
    assert metrics.sim_aou(icl * 1e-200, zsl * 1e-220, ft * 1e200).mean == pytest.approx(expected)


def test_zero_updates_are_counted_and_left_out():
    icl, zsl, ft = states()
    ft[0, 1] = zsl[0, 1]
    icl[2, 0] = 0.0
    found = metrics.sim_aou(icl, zsl, ft)
    assert (found.excluded, found.total) == (2, 18)
    kept = [slow_sim_aou(*(h[i : i + 1, 1:2] for h in (icl, zsl, ft)))[0] for i in range(1, 6)]
    assert found.per_layer[1] == pytest.approx(sum(kept) / 5)
    inert = metrics.sim_aou(icl, zsl, zsl)
    assert isinstance(inert.mean, Undefined) and inert.excluded == inert.total
    assert inert.per_example().size == 0


def test_random_sim_aou_uses_the_generator_passed_and_no_other():
    icl, zsl, _ = states(n=4, layers=2)
    found = metrics.random_sim_aou(icl, zsl, rng(9))
    r = rng(9).random(icl.shape)
    twin = [
        sum(
            slow_cos(np.subtract(slow_unit(icl[i, j]), slow_unit(zsl[i, j])), r[i, j])
            for i in range(4)
        )
        / 4
        for j in range(2)
    ]
    assert found.per_layer == pytest.approx(twin)
    assert metrics.random_sim_aou(icl, zsl, rng(9)).mean == found.mean
    assert metrics.random_sim_aou(icl, zsl, rng(10)).mean != found.mean


@pytest.mark.parametrize(("rho", "expected"), [(1.0, 0.146), (3.0, 0.25)])
def test_noise_floor_has_the_known_values(rho, expected):
    assert metrics.floor_at(np.array(rho), np.array(rho)) == pytest.approx(expected, abs=5e-4)


def test_noise_floor_is_what_orthogonal_updates_score():
    e = np.eye(3)
    zsl = e[None, None, 0]
    icl, ft = zsl + 1.3 * e[1], zsl + 0.4 * e[2]
    floor = metrics.noise_floor(icl, zsl, ft).mean
    assert floor == pytest.approx(metrics.sim_aou(icl, zsl, ft).mean)
    s = [(1 + x * x) ** -0.5 for x in (1.3, 0.4)]
    assert floor == pytest.approx(0.5 * math.sqrt((1 - s[0]) * (1 - s[1])))
    assert isinstance(metrics.noise_floor(icl, zsl, zsl).mean, Undefined)


def test_sim_am_agrees_with_its_slow_twin_on_ragged_scores():
    icl, zsl, ft = scores()
    found = metrics.sim_am(icl, zsl)
    twin = slow_sim_am(icl, zsl)
    assert found.per_layer == pytest.approx(twin)
    assert found.mean == pytest.approx(sum(twin) / len(twin))
    assert metrics.sim_am(icl, icl).mean == pytest.approx(1.0)
    assert metrics.sim_am(icl, [-x for x in icl]).mean == pytest.approx(-1.0)
    # Near miss: one cosine over all heads together is another number.
    flat = [[x.reshape(x.shape[0], 1, -1) for x in run] for run in (icl, zsl)]
    assert metrics.sim_am(*flat).mean != pytest.approx(found.mean)


def test_sim_am_delta_compares_changes():
    icl, zsl, ft = scores()
    moved = [[a - z for a, z in zip(run, zsl, strict=True)] for run in (icl, ft)]
    assert metrics.sim_am_delta(icl, zsl, ft).per_layer == pytest.approx(slow_sim_am(*moved))
    assert isinstance(metrics.sim_am_delta(icl, zsl, zsl).mean, Undefined)


def test_a_silent_head_is_left_out_of_the_mean_over_heads():
    icl, zsl, _ = scores(n=1, layers=1)
    zsl[0][0, 1] = 0.0
    found = metrics.sim_am(icl, zsl)
    assert (found.excluded, found.total) == (1, 3)
    kept = [slow_cos(icl[0][0, h], zsl[0][0, h]) for h in (0, 2)]
    assert found.mean == pytest.approx(sum(kept) / 2)


def test_shapes_and_values_that_cannot_be_compared_are_refused():
    icl, zsl, ft = states()
    with pytest.raises(ValueError, match="expected arrays of one shape with 3 axes, got"):
        metrics.sim_aou(icl, zsl[:, :2], ft)
    icl[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="expected finite entries"):
        metrics.sim_aou(icl, zsl, ft)
    with pytest.raises(ValueError, match="same examples"):
        metrics.sim_am([np.ones((1, 1, 2))], [])


def test_mean_difference_is_paired_and_its_interval_reproducible():
    g = rng(1)
    b = g.normal(size=80) * 10
    a = b + 0.5 + 0.1 * g.normal(size=80)
    found = metrics.mean_difference(a, b, rng(2))
    assert isinstance(found, Interval)
    assert found.value == pytest.approx(sum(x - y for x, y in zip(a, b, strict=True)) / 80)
    assert found.low < found.value < found.high
    assert found.high - found.low < 0.1  # unpaired intervals would be about 6 wide
    assert found == metrics.mean_difference(a, b, rng(2))
    # The twin: percentiles of means of resamples, close to 1.96 standard errors.
    error = np.std(a - b, ddof=1) / math.sqrt(80)
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_intervals_that_do_not_exist_say_so():
    assert isinstance(metrics.mean_interval(np.zeros(0), rng()), Undefined)
    one = metrics.mean_interval(np.array([2.0]), rng())
    assert one.value == 2.0 and isinstance(one.low, Undefined)


def test_matched_sim_aou_is_that_of_a_drawn_update_of_the_finetuning_norm():
    icl, zsl, ft = states(n=400, layers=2, d=6)
    found = metrics.matched_sim_aou(icl, zsl, ft, rng(1))
    drawn = rng(1).normal(size=zsl.shape)
    drawn /= np.linalg.norm(drawn, axis=-1, keepdims=True)
    update = drawn * np.linalg.norm(ft - zsl, axis=-1, keepdims=True)
    want = slow_sim_aou(icl, zsl, zsl + update)
    assert found.per_layer == pytest.approx(want, abs=1e-12)
    # An update unrelated to the others scores over 0 by normalisation alone; unnormalised, 0.
    plain = metrics.sim_aou(icl, zsl, zsl + update, normalise=False)
    assert found.mean > 0.1 > abs(plain.mean)


def test_matched_sim_aou_leaves_out_what_finetuning_did_not_move():
    icl, zsl, _ = states()
    found = metrics.matched_sim_aou(icl, zsl, zsl, rng())
    assert isinstance(found.mean, Undefined) and found.excluded == found.total
