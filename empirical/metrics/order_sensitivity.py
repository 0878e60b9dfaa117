"""Order sensitivity: how far answers spread over orders of the same demonstrations.

Source: Shen et al., arXiv 2310.08540: gradient descent in one pass depends on the order of its
examples, and in context the model depends on it in its own way; equal mechanisms would spread
alike. Letters: R orders, n examples, C answers.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from empirical.metrics.similarity import Array


def distributions(scores: ArrayLike) -> Array:
    """Softmax over the answers of mean log-probabilities [..., C]; minus infinity has no share."""
    return np.asarray(special.softmax(np.asarray(scores, dtype=np.float64), axis=-1))


def spread(tables: ArrayLike) -> Array:
    """Mean total variation distance between the answers of two orders: [R,n,C] -> [n].

    0: the order does not matter; 1: every two orders answer surely and differently.

    Raises:
        ValueError: unless there are two orders or more of finite distributions.
    """
    p = np.asarray(tables, dtype=np.float64)
    if p.ndim != 3 or len(p) < 2 or not np.isfinite(p).all():
        raise ValueError(f"expected two or more finite tables [R,n,C], got shape {p.shape}")
    pairs = [0.5 * np.abs(p[a] - p[b]).sum(-1) for a, b in combinations(range(len(p)), 2)]
    return np.asarray(np.mean(pairs, axis=0))


def permutations(k: int, count: int, generator: np.random.Generator) -> list[NDArray[np.int64]]:
    """The given order and `count` - 1 drawn ones of k demonstrations."""
    return [np.arange(k), *(generator.permutation(k) for _ in range(count - 1))]
