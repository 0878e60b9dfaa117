"""Which demonstration tokens are attended to, in-context against finetuning (numpy, scipy).

Source: Dai et al., arXiv 2212.10559 v3, section 4, and their `compute_training_example_attn.py`.
Letters: n examples (the first 100), L layers, d width, k demonstrations, N their tokens together.
c [n,L,N]: in-context scores of q_p, before the softmax, summed over heads. f [n,L,N]: `attended`.
Neither holds BOS or EOS: the released code drops, by position, the first token of every training
sequence and the context's tokens 0 and behind each demonstration; an EOS inside one (from a line
break) stays. It records c and the queries in float16, so that many of its c are tied.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from empirical.core.undefined import Number, Undefined
from empirical.metrics.similarity import Array, Mask, Similarity, _floats, similarity

EXAMPLES = 100
TOP_TOKENS = 100
TOP_DEMONSTRATIONS = 5
CONSTANT = "all entries of a vector are equal"


@dataclass(frozen=True, kw_only=True)
class Kendall:
    """Rank correlations and top-K recalls of c and f, over the N tokens and the k demonstrations.

    `token_random`, `example_random`: U[0,1) in place of f, or of its masses. `token_chance` =
    100/N, `example_chance` = 5/k: what an unrelated ranking recalls on average (the released code
    draws it).
    """

    token: Similarity
    token_random: Similarity
    token_recall: Similarity
    token_chance: Number
    example: Similarity
    example_random: Similarity
    example_recall: Similarity
    example_chance: Number


def _scores(*blocks: ArrayLike) -> tuple[Array, ...]:
    arrays = _floats(*blocks, ndim=3)
    if arrays[0].size == 0:
        raise ValueError(f"expected scores [n,L,N] with no empty axis, got {arrays[0].shape}")
    return arrays


def _positive(lengths: Sequence[int]) -> NDArray[np.int64]:
    counts = np.asarray(lengths)
    if counts.ndim != 1 or counts.size == 0 or counts.dtype.kind not in "iu" or (counts < 1).any():
        raise ValueError(f"expected a positive length for every demonstration, got {lengths}")
    return counts.astype(np.int64)


def demonstration_tokens(lengths: Sequence[int]) -> NDArray[np.int64]:
    """Positions [N] in BOS (demonstration EOS)^k of all but BOS and EOS; `lengths` [k] = T_i - 1.

    Raises:
        ValueError: unless the lengths are positive integers.
    """
    counts = _positive(lengths)
    return np.arange(counts.sum()) + 1 + np.repeat(np.arange(counts.size), counts)


def attended(queries: ArrayLike, q: ArrayLike) -> Array:
    """f = Q'q_p [n,L,N], in float64, from Q' = `queries` [L,N,d] and q_p = `q` [n,L,d].

    One matrix product per layer. The released code forms [n,L,N,d] instead, 39 to 115 GB. Every
    distinct query is multiplied once, so that equal ones have equal scores: words of a template at
    one position are tied in the first layer, and a product may give equal rows other last bits.

    Raises:
        ValueError: unless finite and of fitting shapes.
    """
    left, right = np.asarray(queries), np.asarray(q)
    if (
        left.ndim != 3
        or right.ndim != 3
        or (left.shape[0], left.shape[2]) != (right.shape[1], right.shape[2])
    ):
        raise ValueError(f"expected [L,N,d] and [n,L,d], got {left.shape} and {right.shape}")
    out = np.empty((right.shape[0], *left.shape[:2]))
    for layer in range(left.shape[0]):
        (tokens,), (position,) = _floats(left[layer], ndim=2), _floats(right[:, layer], ndim=2)
        rows, place = np.unique(tokens, axis=0, return_inverse=True)
        out[:, layer] = (position @ rows.T)[:, place.ravel()]
    return out


def _varies(x: Array) -> Mask:
    return np.asarray(x.max(-1) > x.min(-1))


def _gathered(values: Array, defined: Mask, reason: str) -> Similarity:
    return similarity(values, defined, int((~defined).sum()), defined.size, reason)


def _taus(a: Array, b: Array) -> Similarity:
    defined = _varies(a) & _varies(b)
    values = np.zeros(defined.shape)
    for i, layer in np.argwhere(defined):
        values[i, layer] = stats.kendalltau(a[i, layer], b[i, layer], variant="b").statistic
    return _gathered(values, defined, CONSTANT)


def token_kendall(c: ArrayLike, f: ArrayLike) -> Similarity:
    """tau-b of c and f [n,L,N] over the N tokens, mean over examples, then layers.

    The released code takes tau-b of `weights(c)` and `weights(f)`: the same ranks, except that a
    token whose weight underflows, 745 below the highest score, is tied with the others like it.

    Raises:
        ValueError: unless finite and of one shape [n,L,N] without an empty axis.
    """
    return _taus(*_scores(c, f))


def random_kendall(c: ArrayLike, generator: np.random.Generator) -> Similarity:
    """`token_kendall` of c [n,L,N] and `generator.random(c.shape)`: U[0,1) per example and layer.

    Raises:
        ValueError: as `token_kendall`.
    """
    (scores,) = _scores(c)
    return _taus(scores, generator.random(scores.shape))


def weights(scores: ArrayLike) -> Array:
    """Softmax over the N tokens, [n,L,N]: what the released code ranks at both levels.

    Raises:
        ValueError: as `token_kendall`.
    """
    (x,) = _scores(scores)
    out = np.empty(x.shape)
    for layer in range(x.shape[1]):
        raised = np.exp(x[:, layer] - x[:, layer].max(-1, keepdims=True))
        out[:, layer] = raised / raised.sum(-1, keepdims=True)
    return out


def example_masses(scores: ArrayLike, lengths: Sequence[int]) -> Array:
    """Softmax over all N tokens, summed over each demonstration: [n,L,N] -> [n,L,k].

    Each sum runs in ascending order, so that rounding does not rank demonstrations whose scores
    are the same up to their order.

    Raises:
        ValueError: as `token_kendall`, and unless the k `lengths` are positive and sum to N.
    """
    counts, shares = _positive(lengths), weights(scores)
    if counts.sum() != shares.shape[-1]:
        raise ValueError(f"expected lengths that sum to N = {shares.shape[-1]}, got {counts.sum()}")
    parts = np.split(shares, np.cumsum(counts)[:-1], axis=-1)
    return np.stack([np.sort(part, axis=-1).sum(-1) for part in parts], axis=-1)


def example_kendall(c: ArrayLike, f: ArrayLike, lengths: Sequence[int]) -> Similarity:
    """tau-b over the k demonstrations between the `example_masses` of c and of f [n,L,N].

    Unrelated scores do not give 0: the longer demonstrations have more mass on both sides. f = 0
    gives the share of the lengths alone.

    Raises:
        ValueError: as `example_masses`.
    """
    one, two = _scores(c, f)
    return _taus(example_masses(one, lengths), example_masses(two, lengths))


def _highest(x: Array, k: int) -> Mask:
    """Where the k highest of each row of [n,N] are; of equal entries, the earlier ones."""
    order = np.argsort(-x, axis=-1, kind="stable")[:, :k]
    found = np.zeros(x.shape, dtype=np.bool_)
    np.put_along_axis(found, order, True, axis=-1)
    return found


def top_k_recall(c: ArrayLike, f: ArrayLike, k: int) -> Similarity:
    """Share of the k highest of c [n,L,N] that are among the k highest of f; chance gives k/N.

    Of equal entries the earlier rank higher (the released code leaves their order to the sort).
    Undefined for a constant vector, which has no highest entries, and throughout for N <= k, where
    it would be 1 whatever the scores.

    Raises:
        ValueError: as `token_kendall`, and for k < 1.
    """
    one, two = _scores(c, f)
    n, layers, size = one.shape
    if k < 1:
        raise ValueError(f"expected k of at least 1, got {k}")
    values = np.zeros((n, layers))
    if size <= k:
        return _gathered(values, np.zeros_like(values, dtype=np.bool_), _too_few(k, size))
    defined = _varies(one) & _varies(two)
    for layer in range(layers):
        both = _highest(one[:, layer], k) & _highest(two[:, layer], k)
        values[:, layer] = both.sum(-1) / k
    return _gathered(np.where(defined, values, 0.0), defined, CONSTANT)


def _too_few(k: int, size: int) -> str:
    return f"the {k} highest of {size} are all of them"


def _chance(k: int, size: int) -> Number:
    return k / size if size > k else Undefined(_too_few(k, size))


def measure_kendall(
    c: ArrayLike, f: ArrayLike, lengths: Sequence[int], generator: np.random.Generator
) -> Kendall:
    """Every result on c and f [n,L,N], n <= 100; `generator` draws for tokens first.

    Raises:
        ValueError: as `example_masses`, and for more than 100 examples.
    """
    one, two = _scores(c, f)
    if one.shape[0] > EXAMPLES:
        raise ValueError(f"expected the first {EXAMPLES} examples at most, got {one.shape[0]}")
    mass_c, mass_f = example_masses(one, lengths), example_masses(two, lengths)
    return Kendall(
        token=_taus(one, two),
        token_random=random_kendall(one, generator),
        token_recall=top_k_recall(one, two, TOP_TOKENS),
        token_chance=_chance(TOP_TOKENS, one.shape[-1]),
        example=_taus(mass_c, mass_f),
        example_random=random_kendall(mass_c, generator),
        example_recall=top_k_recall(mass_c, mass_f, TOP_DEMONSTRATIONS),
        example_chance=_chance(TOP_DEMONSTRATIONS, mass_c.shape[-1]),
    )
