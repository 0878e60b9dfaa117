"""Synthetic finetuning of a dose alpha, from arrays alone (numpy).

h_FT = h_ZSL + |h_FT - h_ZSL| (alpha u + sqrt(1 - alpha^2) r), u the in-context unit update and r a
unit normal draw orthogonal to it, per example and layer; scores m the same, per head. Ranks and
answers are mixed likewise. Letters: n examples, L layers, N tokens of the demonstrations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from empirical.metrics.similarity import Array, Mask, _unit

# Zero-shot, in-context and finetuned arrays, doses, draws -> one array for each dose.
Mix = Callable[[ArrayLike, ArrayLike, ArrayLike, Sequence[float], np.random.Generator], list[Array]]


def mixed(
    base: ArrayLike,
    towards: ArrayLike,
    measured: ArrayLike,
    doses: Sequence[float],
    g: np.random.Generator,
) -> list[Array]:
    """`base` plus an update of the norm of `measured` - `base`, at cosine alpha to the other.

    All arrays [..., d]; one draw serves all doses. Vectors of one entry have no direction that is
    orthogonal to another: there the update is left away, and its cosine is undefined.
    """
    z, a, f = (np.asarray(x, dtype=np.float64) for x in (base, towards, measured))
    if z.shape[-1] < 2:
        return [z for _ in doses]
    u, _ = _unit(a - z)
    drawn, _ = _unit(g.normal(size=z.shape))
    r, _ = _unit(drawn - (drawn * u).sum(-1, keepdims=True) * u)
    size = np.linalg.norm(f - z, axis=-1, keepdims=True)
    return [z + size * (x * u + np.sqrt(1 - x * x) * r) for x in doses]


def mixed_scores(c: Array, dose: float, drawn: Array) -> Array:
    """alpha z(c) + sqrt(1 - alpha^2) z(drawn), z over tokens [n,L,N], on the scale of c."""

    def standard(x: Array) -> tuple[Array, Array, Array]:
        mean, spread = x.mean(-1, keepdims=True), x.std(-1, keepdims=True)
        return (x - mean) / np.where(spread > 0, spread, 1.0), mean, spread

    z, mean, spread = standard(c)
    other, _, _ = standard(drawn)
    return np.asarray(mean + spread * (dose * z + np.sqrt(1 - dose * dose) * other))


def mixed_answers(
    zsl: Mask, icl: Mask, ft: Mask, doses: Sequence[float], g: np.random.Generator
) -> list[Mask]:
    """Who is right [n] at each dose: with probability alpha as in context, else by a draw.

    The draw has finetuning's share of right answers among the zero-shot errors, or among the rest.
    """
    share = np.zeros(zsl.size)
    for stratum in (zsl, ~zsl):
        if stratum.any():
            share[stratum] = ft[stratum].mean()
    copies, drawn = g.random(zsl.size), g.random(zsl.size) < share
    return [np.where(copies < a, icl, drawn) for a in doses]
