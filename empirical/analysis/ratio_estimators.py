"""Quotients of sums over examples, seed by seed, and their bootstrap over examples.

A mean of cosines and a recall of counts are the same thing here: a sum over a sum. Letters: S
seeds, n examples, R quotients, B resamples, K tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from empirical.metrics.similarity import Array

RESAMPLES = 2000
BATCH = 250
NO_VALUE = "no seed has an example with a value"


@dataclass(frozen=True, kw_only=True)
class RatioTable:
    """Sum over r of signs[r] * (sum over examples of top[r]) / (sum of bottom[r]), of each seed.

    `top`, `bottom` [R,S,n], `signs` [R]. A mean over the examples that have a value is one of them,
    and `paired`: each example has a value of its own.
    """

    top: Array
    bottom: Array
    signs: tuple[float, ...]
    paired: bool = False
    reason: str = NO_VALUE


def mean_of(values: ArrayLike, reason: str = NO_VALUE) -> RatioTable:
    """The mean over examples of values [S,n], nan where there is none.

    Raises:
        ValueError: unless there are two axes, not empty, and no infinity.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 2 or x.size == 0 or np.isinf(x).any():
        raise ValueError(f"expected values [S,n] without infinities, got shape {x.shape}")
    held = ~np.isnan(x)
    return RatioTable(
        top=np.where(held, x, 0.0)[None],
        bottom=held.astype(np.float64)[None],
        signs=(1.0,),
        paired=True,
        reason=reason,
    )


def quotients_of(
    counted: Sequence[tuple[ArrayLike, ArrayLike, float]], reason: str = NO_VALUE
) -> RatioTable:
    """Signed quotients of counts from (numerator, denominator, sign), booleans [S,n] each.

    Raises:
        ValueError: unless they have one shape and every numerator lies in its denominator.
    """
    top = np.stack([np.asarray(a, dtype=np.float64) for a, _, _ in counted])
    bottom = np.stack([np.asarray(b, dtype=np.float64) for _, b, _ in counted])
    if top.ndim != 3 or top.shape != bottom.shape or (top > bottom).any():
        raise ValueError("expected numerators [S,n] inside their denominators, of one shape")
    return RatioTable(top=top, bottom=bottom, signs=tuple(s for _, _, s in counted), reason=reason)


def divided(top: Array, bottom: Array) -> Array:
    """nan where the denominator is zero."""
    return np.asarray(np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1.0), np.nan))


def seed_mean(values: Array) -> Array:
    """Mean over the last axis of those that are not nan; nan where there is none."""
    held = ~np.isnan(values)
    return divided(np.where(held, values, 0.0).sum(-1), held.sum(-1).astype(np.float64))


def seed_values(table: RatioTable) -> Array:
    """The value of every seed, [S]."""
    found = divided(table.top.sum(-1), table.bottom.sum(-1))
    return np.asarray((np.array(table.signs)[:, None] * found).sum(0))


def _weights(index: NDArray[np.int64], n: int) -> Array:
    """How often every example was drawn: [B,n] places -> [B,n] counts."""
    rows = index + n * np.arange(len(index))[:, None]
    return np.bincount(rows.ravel(), minlength=index.size).reshape(index.shape).astype(np.float64)


def resampled(tables: Sequence[RatioTable], generator: np.random.Generator) -> Array:
    """Bootstrap over examples, the same draws for all tables and seeds: [K,B], nan where undefined.

    Raises:
        ValueError: unless all tables have the same n >= 2 examples.
    """
    sizes = {t.top.shape[-1] for t in tables}
    if len(sizes) != 1 or min(sizes) < 2:
        raise ValueError(f"expected tables over the same two or more examples, got {sizes}")
    (n,) = sizes
    tops = np.concatenate([t.top.reshape(-1, n) for t in tables]).T
    bottoms = np.concatenate([t.bottom.reshape(-1, n) for t in tables]).T
    ends = np.cumsum([t.top.shape[0] * t.top.shape[1] for t in tables])[:-1]

    def statistic(index: NDArray[np.int64], axis: int = -1) -> Array:
        drawn = _weights(np.atleast_2d(index).astype(np.int64), n)
        blocks = np.split(divided(drawn @ tops, drawn @ bottoms), ends, axis=1)
        rows = [
            np.tensordot(t.signs, x.reshape(len(x), *t.top.shape[:2]), ((0,), (1,)))
            for t, x in zip(tables, blocks, strict=True)
        ]
        found = np.stack([seed_mean(r) for r in rows])
        # scipy warns of nan: zeros, and below them where they stand for nan.
        whole = np.concatenate([np.nan_to_num(found), np.isnan(found)])
        return whole if np.ndim(index) > 1 else whole[:, 0]

    found = stats.bootstrap(
        (np.arange(n),),
        statistic,
        n_resamples=RESAMPLES,
        batch=BATCH,
        method="percentile",
        vectorized=True,
        axis=-1,
        rng=generator,
    )
    values, gone = np.split(found.bootstrap_distribution, 2)
    return np.where(gone > 0, np.nan, values)
