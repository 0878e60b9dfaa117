"""How far from 1 a similarity of equal updates may read: derived, in numpy, from rounding bounds.

For vectors a, b at a distance of at most e, 1 - cos <= sin^2 <= (e / |a|)^2; the cosine itself is
computed with an error of at most gamma_(2d+16) (dot product, two norms, a scaling, a root, a
quotient; Higham 2002, section 3.1). Letters: n examples, L layers, d entries of a vector.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from empirical.metrics.kendall import example_masses
from empirical.metrics.similarity import Array

U = 2.0**-53


def gamma(k: float) -> float:
    """k u / (1 - k u)."""
    return k * U / (1 - k * U)


def _norm(x: Array) -> Array:
    return np.asarray(np.linalg.norm(x, axis=-1)) * (1 + gamma(x.shape[-1] + 2))


def cosine_bound(a: Array, e: Array) -> Array:
    """Bound of |cos - 1| for vectors a [...,d] and others at a distance of at most e [...].

    Infinite where e reaches |a|, so that the direction of a is not known.
    """
    d, size = a.shape[-1], np.linalg.norm(a, axis=-1)
    known = size > 2 * e
    ratio = np.where(known, e, 0.0) / np.where(known, size - e, 1.0)
    return np.where(known, ratio**2 * (1 + gamma(8)) + gamma(2 * d + 16), np.inf)


def update_bound(icl: ArrayLike, zsl: ArrayLike, gap: Array, *, normalise: bool) -> Array:
    """Bound of |SimAOU - 1| per example and layer; h [n,L,d], `gap` [n,L] of h_ICL and h_FT."""
    x, z = np.asarray(icl, dtype=np.float64), np.asarray(zsl, dtype=np.float64)
    size_icl, size_zsl = _norm(x), _norm(z)
    if not normalise:
        return cosine_bound(x - z, gap + 4 * U * (size_icl + size_zsl))
    usable = (size_icl > gap) & (size_zsl > 0)
    safe = np.where(usable, size_icl, 1.0)[..., None]
    u = x / safe - z / np.where(usable, size_zsl, 1.0)[..., None]
    # |x/|x| - y/|y|| <= 2 |x - y| / |x|; three unit vectors and two differences are rounded.
    e = 2 * gap / safe[..., 0] + 6 * gamma(x.shape[-1] + 8)
    return np.where(usable, cosine_bound(u, e), np.inf)


def score_bounds(icl: Sequence[ArrayLike], base: Sequence[ArrayLike] | None, gap: Array) -> Array:
    """Bounds of |cos - 1| of scores, n arrays [L,H,T_i] (less `base`): [n,L,H].

    `gap` [n,L,H] of the scores in context and finetuned. Infinite where rounding may decide on the
    direction, as where no score changes at all.
    """
    found = []
    for k, scores in enumerate(icl):
        a = np.asarray(scores, dtype=np.float64)
        less = np.zeros_like(a) if base is None else np.asarray(base[k], dtype=np.float64)
        found.append(cosine_bound(a - less, gap[k] + 4 * U * (_norm(a) + _norm(less))))
    return np.stack(found)


def tau_bound(c: Array, gap: Array) -> Array:
    """Bound of |tau - 1| [...] of scores c [...,N] and others at most `gap` [...,N] away.

    Pairs further apart than both gaps keep their order. With m of P pairs closer, tau-b is at least
    1 - 2 m / P; its own quotient is rounded a few times.
    """
    i, j = np.triu_indices(c.shape[-1], 1)
    close = np.abs(c[..., i] - c[..., j]) <= gap[..., i] + gap[..., j]
    return np.asarray(2 * close.mean(-1) + gamma(8))


def mass_gap(c: Array, gap: Array, lengths: Sequence[int]) -> tuple[Array, Array]:
    """The softmax masses of demonstrations [n,L,k], and how far those of other scores may be.

    A weight moves by a factor of at most exp(2 delta), delta the largest gap; the exponent's own
    rounding is at most 2 u times the range of scores, and the sums' relative error gamma_(N+8).
    """
    masses = example_masses(c, lengths)
    delta, span = gap.max(-1, keepdims=True), np.ptp(c, axis=-1)[..., None]
    relative = np.expm1(2 * delta) + 2 * (np.expm1(2 * U * span) + gamma(c.shape[-1] + 8))
    return masses, masses * relative
