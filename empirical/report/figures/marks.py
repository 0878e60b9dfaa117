"""The mark of a control in a figure: its colour and its shape."""

from __future__ import annotations

from dataclasses import dataclass

from empirical.analysis.intervals import Estimate
from empirical.core.undefined import Undefined


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A value with the ends of its interval, where it has one; `name`: of the control."""

    name: str
    value: float
    ends: tuple[float, float] | None


def mark(name: str, found: Estimate) -> Mark | None:
    """An estimate as a mark; None where it has no value."""
    if isinstance(found.value, Undefined):
        return None
    ends = None
    if not (isinstance(found.low, Undefined) or isinstance(found.high, Undefined)):
        ends = found.low, found.high
    return Mark(name=name, value=found.value, ends=ends)
