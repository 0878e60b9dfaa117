"""What a section of the page is made of."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from empirical.report.render.drawing import Figure
from empirical.report.tables.grid import Grid

Status = str  # "yes", "no", "open", "untested": a class of the style sheet


@dataclass(frozen=True, kw_only=True)
class Prose:
    """One paragraph of plain text."""

    text: str
    kind: str = "prose"


@dataclass(frozen=True, kw_only=True)
class Missing:
    """What is not there, and the command that makes it."""

    text: str
    command: str
    kind: str = "missing"


@dataclass(frozen=True, kw_only=True)
class Code:
    """A block to copy; `label` names it."""

    label: str
    text: str
    kind: str = "code"


@dataclass(frozen=True, kw_only=True)
class Table:
    """A grid on the page."""

    grid: Grid
    kind: str = "table"


@dataclass(frozen=True, kw_only=True)
class Row:
    """Small grids side by side, as many as fit."""

    grids: tuple[Grid, ...]
    kind: str = "row"


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A figure on the page; `stored`: also written to `figures/`."""

    figure: Figure
    stored: bool = True
    kind: str = "plot"


@dataclass(frozen=True, kw_only=True)
class Card:
    """A verdict: what the paper `says`, the status in words, why, the numbers, where to read on."""

    status: Status
    word: str
    title: str
    says: str
    sentence: str
    numbers: tuple[tuple[str, str], ...]
    link: str
    link_text: str


@dataclass(frozen=True, kw_only=True)
class Cards:
    """Verdicts of one model."""

    heading: str
    cards: tuple[Card, ...]
    kind: str = "cards"


@dataclass(frozen=True, kw_only=True)
class Term:
    """A term, its formulas as MathML, and words."""

    term: str
    formulas: tuple[Markup, ...]
    words: str


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Formulas with words."""

    terms: tuple[Term, ...]
    kind: str = "terms"


@dataclass(frozen=True, kw_only=True)
class Details:
    """Blocks behind a summary, closed at first."""

    summary: str
    blocks: tuple[Block, ...]
    kind: str = "details"


@dataclass(frozen=True, kw_only=True)
class Heading:
    """A heading inside a section."""

    text: str
    kind: str = "heading"


Block = Prose | Missing | Code | Table | Row | Plot | Cards | Terms | Details | Heading


@dataclass(frozen=True, kw_only=True)
class Section:
    """One section of the page."""

    id: str
    title: str
    blocks: tuple[Block, ...]
