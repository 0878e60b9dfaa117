"""The paper's printed numbers, read by the rules of the verdicts as far as they allow."""

from __future__ import annotations

from collections.abc import Sequence

from empirical.analysis.published_verdicts import Printed, readings
from empirical.report.render.blocks import Details, Prose, Section, Table
from empirical.report.sections.verdicts import WORDS
from empirical.report.tables.grid import Column, Grid

TITLES = {
    "icl_accuracy": "Is there in-context learning to explain?",
    "ft_accuracy": "Does finetuning improve on zero-shot?",
    "prediction": "Prediction level (Rec2FTP)",
    "representation": "Representation level (SimAOU)",
    "attention": "Attention level (SimAM)",
    "tokens": "Training-token level (Kendall)",
}
LEAD = (
    "Two models, six tasks, one seed and rate each, chosen on the evaluation rows. Few of the "
    "controls were printed, so that no claim can be supported by the tables alone; what they do "
    "say is here. These numbers are the paper's, not of a run of this suite."
)


def grid(claim: str, found: Sequence[Printed]) -> Grid:
    """Every reading of one claim."""
    return Grid(
        id=f"printed-{claim}".replace("_", "-"),
        caption=f"Printed: {TITLES[claim]}",
        columns=(
            Column(heading="model", kind="head"),
            Column(heading="task", kind="head"),
            Column(heading="reading", kind="text"),
            Column(heading="why", kind="text"),
        ),
        rows=tuple((p.model, p.task, WORDS[p.status], p.sentence) for p in found),
    )


def section() -> Section:
    """A closed block for each claim."""
    found = readings()
    blocks = [
        Details(
            summary=TITLES[claim],
            blocks=(Table(grid=grid(claim, [p for p in found if p.claim == claim])),),
        )
        for claim in dict.fromkeys(p.claim for p in found)
    ]
    return Section(
        id="printed",
        title="The printed numbers, by the same rules",
        blocks=(Prose(text=LEAD), *blocks),
    )
