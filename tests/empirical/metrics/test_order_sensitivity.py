"""Spread over orders, against its definition in loops and its extremes."""

import numpy as np
import pytest

from empirical.metrics.order_sensitivity import distributions, permutations, spread


def slow(tables: np.ndarray) -> list[float]:
    """Mean over pairs of orders of half the sum of |p - q|, query by query."""
    found = []
    for i in range(tables.shape[1]):
        pairs = []
        for a in range(tables.shape[0]):
            for b in range(a):
                both = zip(tables[a, i], tables[b, i], strict=True)
                pairs.append(sum(abs(float(x) - float(y)) for x, y in both) / 2)
        found.append(sum(pairs) / len(pairs))
    return found


def test_it_is_the_mean_distance_of_pairs() -> None:
    p = distributions(np.random.default_rng(0).normal(size=(4, 5, 3)))
    assert np.abs(spread(p) - slow(p)).max() < 1e-15  # sums of at most 18 numbers below 1


def test_equal_answers_have_no_spread_and_sure_different_ones_all() -> None:
    sure = np.eye(2)[:, None]  # [R=2, n=1, C=2]
    assert spread(np.stack([sure[0], sure[0]])).tolist() == [0.0]
    assert spread(sure).tolist() == [1.0]


def test_a_standard_deviation_is_refused_as_a_near_miss() -> None:
    p = distributions(np.random.default_rng(0).normal(size=(4, 5, 3)))
    assert np.abs(p.std(0).sum(-1) / 2 - slow(p)).max() > 1e-3


def test_an_answer_that_a_query_does_not_have_has_no_share() -> None:
    assert distributions([[0.0, 0.0, -np.inf]]).tolist() == [[0.5, 0.5, 0.0]]


@pytest.mark.parametrize("bad", [np.ones((1, 2, 2)), np.ones((2, 2)), np.full((2, 1, 2), np.nan)])
def test_what_is_no_set_of_tables_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected two or more finite tables"):
        spread(bad)


def test_orders_begin_with_the_given_one_and_come_from_the_generator() -> None:
    one, two = (permutations(6, 5, np.random.default_rng(s)) for s in (1, 1))
    assert one[0].tolist() == list(range(6)) and len(one) == 5
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert all(sorted(p.tolist()) == list(range(6)) for p in one)
    assert any(p.tolist() != list(range(6)) for p in one[1:])
