"""A value, or the reason why there is none."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Undefined:
    """The absence of a value, with its reason; never a number."""

    reason: str


Number = float | Undefined
