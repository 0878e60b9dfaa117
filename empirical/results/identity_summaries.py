"""Checks and softmax shares of many heads and queries, summarised (no torch)."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from empirical.core.undefined import Number, Undefined
from empirical.results.layer_check import LayerCheck, SoftmaxShare


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Mean and range of the defined values, of `total`; undefined where none is."""

    mean: Number
    low: Number
    high: Number
    defined: int
    total: int


def spread(values: Iterable[Number]) -> Spread:
    """Mean and range of what is defined and finite."""
    found = list(values)
    kept = [x for x in found if not isinstance(x, Undefined) and math.isfinite(x)]
    none = Undefined("no head has a value")
    return Spread(
        mean=math.fsum(kept) / len(kept) if kept else none,
        low=min(kept) if kept else none,
        high=max(kept) if kept else none,
        defined=len(kept),
        total=len(found),
    )


@dataclass(frozen=True, kw_only=True)
class Extremes:
    """The worst gap/bound and the smallest near-miss ratio of some checks.

    Near misses that are true of what they were checked on are left out of the latter.
    """

    worst_ratio: Number
    near_miss_ratio: Number
    checks: int


def number(value: float) -> Number:
    """`value`, or why it is none."""
    return value if math.isfinite(value) else Undefined(f"not finite ({value})")


def extremes(checks: Sequence[LayerCheck]) -> Extremes:
    """Over all of `checks`; a ratio that is not finite makes its extreme undefined."""
    ratios = [c.worst_ratio for c in checks]
    near = [c.near_miss_ratio for c in checks if c.coincides is None]
    bad = [x for x in (*ratios, *near) if math.isnan(x)]
    smallest: Number = Undefined(f"true here: {checks[0].coincides}")
    if near:
        smallest = number(bad[0] if bad else min(near))
    return Extremes(
        worst_ratio=number(bad[0] if bad else max(ratios)),
        near_miss_ratio=smallest,
        checks=len(checks),
    )


@dataclass(frozen=True, kw_only=True)
class Softmax:
    """lambda, the share of softmax mass on the demonstrations, and the softmax relaxation."""

    demonstrations: Spread
    relaxation: Spread
    cosine: Spread


def softmax(shares: Sequence[SoftmaxShare]) -> Softmax:
    """Mean and range over the heads and queries of `shares`."""
    return Softmax(
        demonstrations=spread(s.demonstrations for s in shares),
        relaxation=spread(s.relaxation for s in shares),
        cosine=spread(s.cosine for s in shares),
    )


def statements(checks: Sequence[LayerCheck]) -> tuple[str, ...]:
    """Ids in the order checked."""
    return tuple(dict.fromkeys(c.statement for c in checks))
