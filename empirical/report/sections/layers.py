"""Per-layer curves of every similarity with the band of its controls."""

from __future__ import annotations

from empirical.report.commands import with_controls
from empirical.report.figures.per_layer import CURVES, figure
from empirical.report.render.blocks import Block, Details, Missing, Plot, Prose, Section
from empirical.report.results import Results

OPEN = ("sim_aou", "sim_am_after", "kendall")  # the paper's metrics; the others can be opened


def section(results: Results) -> Section:
    """The paper's metrics at once, their variants behind a summary."""
    shown: list[Block] = []
    more: list[Block] = []
    for against in CURVES:
        found = figure(results, against)
        if found is not None:
            (shown if against.metric in OPEN else more).append(Plot(figure=found))
    if not (shown or more):
        text = "Curves with their intervals and controls need evidence files."
        shown.append(Missing(text=text, command=with_controls(results)))
    else:
        shown.insert(0, Prose(text="A mean over layers can hide where two updates agree."))
    if more:
        shown.append(
            Details(
                summary="The same for un-normalised, centred, softmax and other variants",
                blocks=tuple(more),
            )
        )
    return Section(id="layers", title="Layer by layer", blocks=tuple(shown))
