"""A table of text: what every table of the report is, on the page, in a file or on a terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from empirical.core.undefined import Number, Undefined

Kind = Literal["head", "text", "prose", "number"]


@dataclass(frozen=True, kw_only=True)
class Column:
    """A heading; "head" columns name the row, "prose" wraps, "number" stands right."""

    heading: str
    kind: Kind = "number"


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Rows of text under columns; a row of `strong` is of means and stands apart."""

    id: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    strong: frozenset[int] = frozenset()

    @property
    def headings(self) -> tuple[str, ...]:
        """Of its columns."""
        return tuple(c.heading for c in self.columns)


def shown(value: Number | None, digits: int = 3) -> str:
    """A number as text, without a negative zero; why there is none, where it is undefined."""
    if value is None:
        return "–"
    if isinstance(value, Undefined):
        return f"undefined ({value.reason})"
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def with_interval(value: Number | None, low: object, high: object, digits: int = 3) -> str:
    """`value [low, high]`, or the value alone where an end is missing."""
    text = shown(value, digits)
    if not (isinstance(value, float) and isinstance(low, float) and isinstance(high, float)):
        return text
    return f"{text} [{shown(low, digits)}, {shown(high, digits)}]"
