"""An answer against its expectation: the worst entry, or how informative the agreement is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dualform.testing.cases import Case
from dualform.testing.implementation import Implementation
from dualform.testing.messages import ConformanceError, Finding, number
from dualform.testing.reference import bound

TELLING = 0.25  # a bound under this share of an entry tells right from wrong there


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The name of a statement and its formula."""

    name: str
    formula: str


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Largest gap/bound, and whether some entry was known well enough to tell."""

    worst_ratio: float
    telling: bool


def compare(
    got: Tensor,
    want: Any,
    error: Tensor,
    *,
    place: str,
    identity: Identity,
    case: Case,
    kernel: Implementation,
) -> Agreement:
    """`got` against `want` (bounded, float64) where the arithmetic may err by `error`.

    Raises:
        ConformanceError: for another shape, or a gap that rounding does not explain, NaN included.
    """
    if got.shape != want.value.shape:
        raise ConformanceError(
            Finding(
                identity=identity.name,
                formula=identity.formula,
                example=str(case),
                convention=str(kernel.convention),
                place=f"the shape of {place}",
                got=str(tuple(got.shape)),
                expected=str(tuple(want.value.shape)),
                gap="",
                bound="",
            )
        )
    limit = bound(want, error, got.dtype)
    gap = (got.detach().double() - want.value).abs()
    if not gap.numel():
        return Agreement(worst_ratio=0.0, telling=False)
    ratio = torch.where(gap == 0, 0.0, gap / limit)
    ratio = torch.where(torch.isinf(limit), 0.0, torch.where(ratio.isnan(), torch.inf, ratio))
    if not float(ratio.max()) <= 1:
        at = torch.unravel_index(ratio.argmax(), ratio.shape)
        raise ConformanceError(
            Finding(
                identity=identity.name,
                formula=identity.formula,
                example=str(case),
                convention=str(kernel.convention),
                place=_entry(place, [int(i) for i in at]),
                got=number(float(got[at])),
                expected=number(float(want.value[at])),
                gap=number(float(gap[at])),
                bound=f"{number(float(limit[at]))} (gap/bound {float(ratio[at]):.3g})",
            )
        )
    telling = bool((limit < TELLING * want.value.abs()).any())
    return Agreement(worst_ratio=float(ratio.max()), telling=telling)


def _entry(place: str, at: list[int]) -> str:
    """The entry in words, in this project's axes."""
    last = ("row", "column") if place.startswith("state") else ("token", "channel")
    named = zip(("batch", "head", *last), at, strict=False)
    return f"{place} at {', '.join(f'{name} {i}' for name, i in named)}"
