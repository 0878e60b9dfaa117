"""The panel: every series against an independent twin, in whatever batches it grows."""

import math

import numpy as np
import pytest

from empirical.core.undefined import Undefined
from empirical.inference.settings import Part
from empirical.metrics import similarity as metrics
from empirical.metrics.series import RANKS, SIMILARITIES, SeriesAccumulator, ranks_of, to_series
from tests.support.twins import metric_twins as twins

N, L, H, D, T = 7, 3, 2, 5, 6


def part(seed: int, places: range | list[int], stretch: float = 1.0) -> Part:
    """Drawn captures; those of a place are the same whatever the batch."""
    rngs = [np.random.default_rng((seed, i)) for i in places]
    return Part(
        index=tuple(places),
        labels=np.array([i % 2 for i in places]),
        scores=np.stack([r.normal(size=2) for r in rngs]).astype(np.float32),
        h=np.stack([stretch * r.normal(size=(L, D)) for r in rngs]).astype(np.float32),
        m=[
            r.normal(size=(L, H, T + i % 2)).astype(np.float32)
            for r, i in zip(rngs, places, strict=True)
        ],
    )


def grown(batches: list[list[int]]) -> SeriesAccumulator:
    panel = SeriesAccumulator(3)
    for places in batches:
        panel.update(places, *(part(s, places) for s in (1, 2, 3)))
    return panel


def test_batches_and_their_order_change_no_bit() -> None:
    one = grown([list(range(N))]).compute({})
    two = grown([[5, 1], [0, 6, 2], [4, 3]]).compute({})
    assert set(one.series) == set(SIMILARITIES)
    for name in SIMILARITIES:
        assert np.array_equal(one.series[name].values, two.series[name].values), name
        assert one.series[name].mean == two.series[name].mean
    for setting in ("zsl", "icl", "ft"):
        assert np.array_equal(one.predictions[setting], two.predictions[setting])
    assert one.numbers == two.numbers


def softmax(v):
    top = max(v)
    raised = [math.exp(x - top) for x in v]
    return [x / sum(raised) for x in raised]


def less_mean(v):
    return [x - sum(v) / len(v) for x in v]


@pytest.mark.parametrize(("name", "change"), [("centred", less_mean), ("softmax", softmax)])
@pytest.mark.parametrize(("when", "other"), [("before", 1), ("after", 3)])
def test_changed_scores_are_compared_as_their_definition_says(
    name: str, change, when: str, other: int
) -> None:
    found = grown([list(range(N))]).compute({}).series[f"sim_am_{name}_{when}"]
    a, b = part(2, range(N)), part(other, range(N))
    for i in range(N):
        layers = []
        for l in range(L):
            heads = []
            for h in range(H):
                x, y = (change([float(v) for v in p.m[i][l, h]]) for p in (a, b))
                dot = sum(p * q for p, q in zip(x, y, strict=True))
                heads.append(dot / math.sqrt(sum(p * p for p in x) * sum(q * q for q in y)))
            layers.append(sum(heads) / H)
        # a float32 value of a number up to 1, of sums in float64
        assert abs(found.values[i] - sum(layers) / L) <= 2.0**-24
    raw = grown([list(range(N))]).compute({}).series[f"sim_am_{when}"]
    assert np.abs(raw.values - found.values).max() > 1e-2  # the raw scores are the near miss


def test_a_constant_of_each_head_changes_only_the_raw_scores() -> None:
    m = part(1, [0]).m
    moved = [x + np.arange(1, H + 1)[None, :, None] for x in m]
    for change in (metrics.centred, metrics.softmaxed):
        same = metrics.sim_am(change(m), change(moved)).mean
        assert isinstance(same, float) and 1 - same < 1e-6  # float32 scores
    raw = metrics.sim_am(m, moved).mean
    assert isinstance(raw, float) and raw < 0.99


def test_series_name_what_is_undefined_and_why() -> None:
    values = np.array([[0.5, 0.0], [0.25, 0.0]])
    defined = np.array([[True, False], [True, False]])
    found = to_series(metrics.similarity(values, defined, 2, 4), np.random.default_rng(0))
    assert found.values.tolist() == [0.5, 0.25] and found.excluded == 2
    assert isinstance(found.per_layer[1], Undefined) and isinstance(found.low[1], Undefined)
    none = to_series(Undefined("no context"), np.random.default_rng(0))
    assert none.values.size == 0 and none.mean == Undefined("no context")


def test_an_example_without_any_value_is_nan() -> None:
    values = np.array([[0.5], [0.0]])
    found = to_series(
        metrics.similarity(values, np.array([[True], [False]]), 1, 2), np.random.default_rng(0)
    )
    assert found.values[0] == 0.5 and np.isnan(found.values[1])


def test_the_interval_of_a_layer_covers_its_mean_and_shrinks_with_examples() -> None:
    rng = np.random.default_rng(0)
    widths = []
    for n in (20, 2000):
        values = rng.normal(size=(n, 1))
        found = to_series(
            metrics.similarity(values, np.ones_like(values, dtype=bool), 0, n),
            np.random.default_rng(1),
        )
        low, high = found.low[0], found.high[0]
        assert isinstance(low, float) and isinstance(high, float)
        assert low < values.mean() < high
        widths.append(high - low)
    # 10 times narrower in expectation; the relative error of a width is about 1/sqrt(2n) = 0.16
    assert 5 < widths[0] / widths[1] < 20


def test_ranks_that_were_not_taken_say_why() -> None:
    found = ranks_of(Undefined("no context"), Undefined("no context"))
    assert set(found) == set(RANKS) and set(found.values()) == {Undefined("no context")}


def test_similarities_of_the_tally_agree_with_the_twins() -> None:
    found = grown([list(range(N))]).compute({}).series
    z, a, f = (part(s, range(N)).h for s in (1, 2, 3))
    table = twins.sim_aou(a, z, f)
    assert abs(float(found["sim_aou"].mean) - table.mean) < 1e-12
