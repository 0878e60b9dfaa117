"""What a check of a statement on a layer found, and when it counts as held."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from empirical.core.undefined import Number


class CheckRefused(AssertionError):
    """A layer check failed, was vacuous, or could not refuse its near miss."""


@dataclass(frozen=True, kw_only=True)
class LayerCheck:
    """gap/bound of a statement, and of its near miss, on one head.

    The statement holds where `worst_ratio` <= 1; the near miss is refused where
    `near_miss_ratio` > 1, unless `coincides` names why it is true there. `finite`: no side
    overflowed. `nontrivial`: some entry is not zero. `head` counts query heads, key-value heads
    where weights are trained, and is None for a block as a whole.
    """

    statement: str
    layer: int
    head: int | None
    worst_ratio: float
    near_miss_ratio: float
    nontrivial: bool
    finite: bool
    coincides: str | None = None


@dataclass(frozen=True, kw_only=True)
class NotApplicable:
    """Why a statement with a site says nothing about a layer."""

    statement: str
    layer: int
    reason: str


def require(checks: Sequence[LayerCheck]) -> None:
    """Raise unless every check holds, is non-trivial and refuses its near miss.

    A near miss that is said to be true somewhere must hold there.

    Raises:
        CheckRefused: naming the first that does not, or for no checks.
    """
    if not checks:
        raise CheckRefused("expected at least one layer check, got none")
    for c in checks:
        where = f"{c.statement}, layer {c.layer}" + ("" if c.head is None else f", head {c.head}")
        if not c.finite:
            raise CheckRefused(f"expected finite sides at {where}, got an overflow")
        if not c.worst_ratio <= 1:
            raise CheckRefused(f"expected gap/bound of at most 1 at {where}, got {c.worst_ratio}")
        if not c.nontrivial:
            raise CheckRefused(f"expected a side that is not zero at {where}, got zeros")
        if c.coincides is None and not c.near_miss_ratio > 1:
            raise CheckRefused(
                f"expected the near miss to be refused at {where}, "
                f"got gap/bound {c.near_miss_ratio}"
            )
        if c.coincides is not None and not c.near_miss_ratio <= 1:
            raise CheckRefused(
                f"expected the near miss to be true at {where} ({c.coincides}), "
                f"got gap/bound {c.near_miss_ratio}"
            )


def worse(*checks: LayerCheck) -> LayerCheck:
    """One check of several of one statement and head, the worst of each number; nan stays nan."""
    first, *others = checks
    for c in others:
        open_near = [x.near_miss_ratio for x in (first, c) if x.coincides is None]
        near = open_near or [first.near_miss_ratio, c.near_miss_ratio]
        pick = min if open_near else max
        first = replace(
            first,
            worst_ratio=_nan_or(max, first.worst_ratio, c.worst_ratio),
            near_miss_ratio=_nan_or(pick, *near),
            nontrivial=first.nontrivial and c.nontrivial,
            finite=first.finite and c.finite,
            coincides=None if open_near else first.coincides,
        )
    return first


def _nan_or(pick: Callable[..., float], *values: float) -> float:
    bad = [x for x in values if x != x]
    return bad[0] if bad else pick(values)


@dataclass(frozen=True, kw_only=True)
class SoftmaxShare:
    """Metrics, no checks, of one head at the last token.

    `demonstrations` is lambda, the share of softmax mass on the context, which is what softmax
    takes away from the zero-shot term. `relaxation` is |V K^T q - F| / |F| for softmax attention F
    and unscaled q, and `cosine` that of V K^T q and F.
    """

    layer: int
    head: int
    demonstrations: float
    relaxation: Number
    cosine: Number
