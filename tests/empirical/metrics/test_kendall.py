"""Attention to demonstration tokens: known answers, what is undefined, memory. Twins: elsewhere."""

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, strategies as st

from empirical.core.undefined import Undefined
from empirical.metrics import kendall, similarity as metrics


def rng(seed=0):
    return np.random.default_rng(seed)


def one(*values):
    """Scores [1,1,N]."""
    return np.array([[values]], dtype=np.float64)


def test_demonstration_tokens_are_those_the_finetuning_sees_without_its_first():
    bos, eos = 0, 2
    demonstrations = [[11, 12, 13], [21, eos, 22], [31]]  # a line break is an EOS of the prompt
    context = [bos]
    for tokens in demonstrations:
        context += [*tokens, eos]
    trained = [[bos, *tokens] for tokens in demonstrations]
    kept = kendall.demonstration_tokens([len(t) - 1 for t in trained])
    assert [context[i] for i in kept] == [token for t in trained for token in t[1:]]
    # Near miss: dropping by token id would lose the line break and with it the alignment.
    assert [t for t in context if t not in (bos, eos)] != [context[i] for i in kept]


@pytest.mark.parametrize("lengths", [[], [3, 0], [-1], [1.5], [[1, 2]]])
def test_lengths_that_are_none_are_refused(lengths):
    with pytest.raises(ValueError, match="expected a positive length for every demonstration, got"):
        kendall.demonstration_tokens(lengths)


def test_attended_is_the_dot_product_of_every_pair_in_float64():
    g = rng()
    queries = g.normal(size=(2, 4, 300)).astype(np.float32)
    q = g.normal(size=(3, 2, 300)).astype(np.float32)
    found = kendall.attended(queries, q)
    assert found.shape == (3, 2, 4) and found.dtype == np.float64
    for i, layer, token in itertools.product(range(3), range(2), range(4)):
        terms = queries[layer, token].astype(float) * q[i, layer].astype(float)
        assert found[i, layer, token] == pytest.approx(terms.sum(), abs=1e-11)
    # Near miss: accumulated in float32, which merges and reorders close scores.
    assert np.abs(np.einsum("ltd,nld->nlt", queries, q) - found).max() > 1e-7


def test_equal_queries_have_equal_scores_to_the_last_bit():
    g = np.random.default_rng(0)
    rows = g.normal(size=(40, 64)).astype(np.float32)
    queries = np.stack([rows[g.integers(0, 40, 475)] for _ in range(2)])
    queries[:, :40] = rows
    found = kendall.attended(queries, g.normal(size=(50, 2, 64)).astype(np.float32))
    assert all(len(np.unique(f)) == 40 for one in found for f in one)


def test_attended_never_holds_a_product_per_token_and_channel():
    n, layers, tokens, width = 64, 8, 128, 64
    queries, q = rng().normal(size=(layers, tokens, width)), rng().normal(size=(n, layers, width))
    tracemalloc.start()
    try:
        kendall.attended(queries, q)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Result and a few copies of one layer's inputs; the broadcast is 20 times that and more.
    assert peak < 3 * 8 * n * layers * tokens < 8 * n * layers * tokens * width / 20


@pytest.mark.parametrize(
    ("queries", "q"), [((2, 4, 5), (3, 2, 6)), ((2, 4, 5), (3, 1, 5)), ((4, 5), (3, 2, 5))]
)
def test_queries_that_do_not_fit_are_refused(queries, q):
    with pytest.raises(ValueError, match=r"expected \[L,N,d\] and \[n,L,d\], got"):
        kendall.attended(np.ones(queries), np.ones(q))


def test_queries_that_are_not_finite_are_refused():
    queries = np.ones((1, 2, 3))
    queries[0, 1, 2] = np.inf
    with pytest.raises(ValueError, match="finite"):
        kendall.attended(queries, np.ones((1, 1, 3)))


@pytest.mark.parametrize(
    ("a", "b", "tau"),
    [
        ((1, 2, 3), (1, 2, 3), 1.0),
        ((1, 2, 3), (5, 4, -3), -1.0),
        ((1, 2), (1, 2), 1.0),
        ((1, 2, 3), (1, 3, 2), 1 / 3),
        ((12, 2, 1, 12, 2), (1, 4, 7, 1, 0), -4 / 72**0.5),  # tau-a would be -4 / 10
    ],
)
def test_token_kendall_has_the_known_values(a, b, tau):
    assert kendall.token_kendall(one(*a), one(*b)).mean == pytest.approx(tau)


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=9), st.randoms(use_true_random=False))
def test_tau_is_symmetric_odd_and_blind_to_increasing_maps(values, random):
    other = random.sample(values, len(values))
    a, b = one(*values), one(*other)
    found = kendall.token_kendall(a, b).mean
    if len(set(values)) == 1:
        assert found == Undefined("all entries of a vector are equal in every example")
        return
    assert kendall.token_kendall(b, a).mean == pytest.approx(found, abs=1e-12)
    assert kendall.token_kendall(a, -b).mean == pytest.approx(-found, abs=1e-12)
    assert kendall.token_kendall(np.exp(a), 7 * b**3 - 1).mean == pytest.approx(found, abs=1e-12)


def test_all_short_rankings_have_a_value_without_a_warning():
    for size in (2, 3):
        for a, b in itertools.product(itertools.product(range(size), repeat=size), repeat=2):
            found = kendall.token_kendall(one(*a), one(*b))
            assert found.excluded == (len(set(a)) == 1 or len(set(b)) == 1)


def test_a_constant_vector_is_left_out_and_counted():
    g = rng(1)
    c, f = g.normal(size=(2, 4, 3, 9))
    c[1, 0] = 2.5
    f[:, 2] = -1.0
    found = kendall.token_kendall(c, f)
    assert (found.excluded, found.total) == (5, 12)
    assert found.per_layer[2] == Undefined("all entries of a vector are equal")
    kept = kendall.token_kendall(c[[0, 2, 3]], f[[0, 2, 3]])
    assert found.per_layer[0] == pytest.approx(kept.per_layer[0])
    assert found.mean == pytest.approx(sum(found.per_layer[:2]) / 2)
    assert found.per_example().shape == (4,)


def test_the_released_weights_rank_as_the_scores_until_they_underflow():
    c, f = rng(2).normal(size=(2, 3, 2, 40)) * 30
    found = kendall.token_kendall(c, f)
    weighted = kendall.token_kendall(kendall.weights(c), kendall.weights(f))
    assert weighted.mean == found.mean
    assert kendall.weights(c).sum(-1) == pytest.approx(np.ones((3, 2)))
    wide = kendall.weights(c * 30)
    assert (wide == 0).any() and not np.isnan(wide).any()
    assert kendall.token_kendall(wide, f).mean != pytest.approx(found.mean, abs=1e-3)
    assert kendall.token_kendall(c * 30, f).mean == found.mean


def test_random_kendall_uses_the_generator_passed_and_is_centred_on_zero():
    c = rng(3).normal(size=(60, 2, 30))
    found = kendall.random_kendall(c, rng(4))
    assert found.mean == kendall.token_kendall(c, rng(4).random(c.shape)).mean
    assert found.mean == kendall.random_kendall(c, rng(4)).mean
    assert found.mean != kendall.random_kendall(c, rng(5)).mean
    # Variance of tau without ties: 2(2N+5) / 9N(N-1); four standard errors of 120 draws.
    assert abs(found.mean) < 4 * (2 * 65 / (9 * 30 * 29) / 120) ** 0.5
    # Drawn per example and layer: the same ranking does not meet the same draw twice.
    assert len(set(kendall.random_kendall(c[:1].repeat(9, 0), rng(6)).values.flat)) > 9


def test_example_masses_are_shares_of_one_softmax_over_all_tokens():
    scores = one(0.0, np.log(2), np.log(3), 0.0, 0.0)
    found = kendall.example_masses(scores, [2, 1, 2])
    assert found[0, 0] == pytest.approx([3 / 8, 3 / 8, 2 / 8])
    c = rng(7).normal(size=(3, 2, 12)) * 100
    masses = kendall.example_masses(c, [5, 3, 4])
    assert masses.sum(-1) == pytest.approx(np.ones((3, 2)))
    c[1] += 1e4  # a softmax does not see the level of a row, however far it is from the others'
    assert kendall.example_masses(c, [5, 3, 4]) == pytest.approx(masses, abs=1e-9)
    with pytest.raises(ValueError, match="expected lengths that sum to N = 12, got 11"):
        kendall.example_masses(c, [5, 3, 3])


def test_the_order_of_tokens_in_a_demonstration_ranks_nothing():
    part = np.round(rng(8).normal(size=40) * 3, 1)
    scores = one(*part, *part[::-1], *rng(9).permutation(part), 0.3)
    masses = kendall.example_masses(scores, [40, 40, 40, 1])[0, 0]
    assert masses[0] == masses[1] == masses[2] != masses[3]
    # Near miss: sums in the order of the tokens, of which rounding makes a ranking.
    w = kendall.weights(scores)[0, 0, :120].reshape(3, 40)
    assert len({sum(x.tolist()) for x in w}) > 1


def test_one_demonstration_cannot_be_ranked():
    c, f = rng(10).normal(size=(2, 2, 1, 6))
    found = kendall.example_kendall(c, f, [6])
    assert found.mean == Undefined("all entries of a vector are equal in every example")


def test_top_k_recall_has_the_known_values():
    c = one(9, 8, 7, 6, 5, 4)
    assert kendall.top_k_recall(c, c, 3).mean == 1.0
    assert kendall.top_k_recall(c, -c, 3).mean == 0.0
    assert kendall.top_k_recall(c, one(9, 0, 0.5, 1, 8, 7), 3).mean == pytest.approx(1 / 3)
    # Near miss: the lowest agree fully here.
    assert kendall.top_k_recall(-c, -one(9, 8, 7, 5, 4, 6), 3).mean == 1.0


def test_of_equal_scores_the_earlier_is_higher():
    c, f = one(1, 1, 1, 1, 0), one(5, 4, 3, 2, 1)
    assert kendall.top_k_recall(c, f, 2).mean == 1.0
    assert kendall.top_k_recall(c[..., ::-1], f, 2).mean == 0.5  # 0 1 1 1 1: places 1, 2
    assert kendall.top_k_recall(c, f[..., ::-1], 2).mean == 0.0


@pytest.mark.parametrize("size", [2, 3])
def test_recall_of_everything_is_undefined(size):
    c, f = rng(11).normal(size=(2, 2, 2, size))
    found = kendall.top_k_recall(c, f, 3)
    assert found.mean == Undefined(f"the 3 highest of {size} are all of them in every example")
    assert (found.excluded, found.total) == (4, 4)
    assert kendall.top_k_recall(*rng(11).normal(size=(2, 2, 2, 4)), 3).excluded == 0


def test_recall_of_a_constant_vector_is_undefined():
    c = rng(12).normal(size=(2, 1, 5))
    f = np.ones_like(c)
    f[1] = c[1]
    found = kendall.top_k_recall(c, f, 2)
    assert (found.mean, found.excluded) == (1.0, 1)
    with pytest.raises(ValueError, match="expected k of at least 1, got 0"):
        kendall.top_k_recall(c, f, 0)


def test_unrelated_rankings_recall_their_chance():
    c, f = rng(13).normal(size=(2, 50, 8, 30))
    masses = [kendall.example_masses(x, [3] * 10) for x in (c, f)]
    few = kendall.measure_kendall(c[:2], f[:2], [3] * 10, rng())
    assert few.example_chance == 0.5
    assert kendall.top_k_recall(*masses, 5).mean == pytest.approx(0.5, abs=0.03)  # 400 of s.d. .17
    assert kendall.top_k_recall(c, f, 5).mean == pytest.approx(5 / 30, abs=0.03)
    assert few.token_chance == Undefined("the 100 highest of 30 are all of them")
    assert isinstance(few.token_recall.mean, Undefined)


def test_unequal_lengths_alone_correlate_masses_of_unrelated_scores():
    c, f = rng(13).normal(size=(2, 50, 4, 30))
    lengths = [1, 5, 2, 4, 3] * 2
    unrelated = kendall.example_kendall(c, f, lengths).mean
    assert unrelated > 0.2 > 0.03 > abs(kendall.example_kendall(c, f, [3] * 10).mean)
    # Finetuning's scores all equal: what is left of its masses is their lengths.
    assert kendall.example_masses(one(*[0.0] * 6), [1, 3, 2])[0, 0] * 6 == pytest.approx([1, 3, 2])
    assert kendall.example_kendall(c, np.zeros_like(f), lengths).mean > unrelated


def test_more_than_the_first_hundred_examples_are_refused():
    c = rng(14).normal(size=(101, 1, 4))
    with pytest.raises(ValueError, match="expected the first 100 examples at most, got 101"):
        kendall.measure_kendall(c, c, [2, 2], rng())
    assert kendall.measure_kendall(c[:100], c[:100], [2, 2], rng()).token.mean == 1.0


def test_scores_that_cannot_be_compared_are_refused():
    c = rng(15).normal(size=(2, 1, 4))
    with pytest.raises(ValueError, match="expected arrays of one shape with 3 axes, got"):
        kendall.token_kendall(c, c[..., :3])
    with pytest.raises(ValueError, match="no empty axis"):
        kendall.token_kendall(c[..., :0], c[..., :0])
    c[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="finite"):
        kendall.token_kendall(c, c)


def test_everything_together_holds_a_few_arrays_of_the_size_of_the_scores():
    n, layers, lengths = 10, 4, [25] * 20
    c, f = rng(16).normal(size=(2, n, layers, 500))
    tracemalloc.start()
    try:
        kendall.measure_kendall(c, f, lengths, rng())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * c.nbytes


def test_the_interval_of_a_rank_correlation_is_that_of_its_examples():
    c, f = rng(17).normal(size=(2, 12, 3, 8))
    found = kendall.token_kendall(c, f)
    interval = metrics.mean_interval(found.per_example(), rng())
    assert interval.low < interval.value < interval.high
    assert interval.value == pytest.approx(found.mean)
