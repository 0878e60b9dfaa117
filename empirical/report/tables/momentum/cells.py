"""What the tables of trained models share: cells, the layers shown, and the words beside them."""

from __future__ import annotations

from collections.abc import Sequence

from empirical.analysis.intervals import Estimate
from empirical.analysis.momentum.outcome import AtScale, Interval, Language
from empirical.core.undefined import Undefined
from empirical.report.tables.grid import Column, with_interval
from empirical.report.tables.notes import Reasons
from empirical.results.attention_kinds import Layer
from empirical.results.language_models import TRAINING, VALIDATION

PRINTED = "published (350M, other text): "
OTHER = (
    "Published numbers are of other models (350M parameters), another text and other rows, one run "
    "each, without an interval: context, not a target."
)
Value = Estimate | Interval


def cell(found: Value, digits: int, reasons: Reasons) -> str:
    """`value [low, high]`, or a number that points to the note that says why there is none."""
    if isinstance(found.value, Undefined):
        return reasons.mark("undefined", found.value.reason)
    text = with_interval(found.value, found.low, found.high, digits)
    for end in (found.low, found.high):
        if isinstance(end, Undefined):
            return reasons.mark(f"{text}, no interval", end.reason)
    return text


def tabled(scale: AtScale) -> tuple[Layer, ...]:
    """The layers of tables 6 and 7: plain attention, every kind at its chosen eta, learned ones."""
    return tuple(e.layer for e in scale.entries if e.chosen or e.layer.learned)


def text_name(one: Language) -> str:
    """`held-out books, 64 tokens`."""
    place = {TRAINING: "training books", VALIDATION: "held-out books"}.get(one.place, one.place)
    return f"{place}, {one.length} tokens"


def columns(first: str, headings: Sequence[str]) -> tuple[Column, ...]:
    """One that names the row, then numbers."""
    return (Column(heading=first, kind="head"), *(Column(heading=h) for h in headings))


def of_layer(found: Sequence[Language], layer: Layer) -> Language | None:
    """The cell of that layer, if any."""
    return next((x for x in found if x.layer == layer), None)
