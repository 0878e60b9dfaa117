"""Every metric against every control: what was measured, and by how much it is more."""

from __future__ import annotations

from collections.abc import Sequence

from empirical.analysis.claims import GAINS, QUALIFIES
from empirical.analysis.comparisons import Compared, Comparison
from empirical.analysis.intervals import Estimate
from empirical.core.undefined import Undefined
from empirical.report import names
from empirical.report.commands import with_controls
from empirical.report.figures import strongest_controls
from empirical.report.render.blocks import Block, Details, Missing, Plot, Prose, Section, Table
from empirical.report.results import Results
from empirical.report.tables.grid import Column, Grid, with_interval
from empirical.report.tables.notes import Reasons

NOTES = (
    "Differences are what was measured less the control, paired by example and seed, with 95 % "
    "intervals. A control marked * has to be beaten; the others are for information.",
)


def text(found: Estimate, metric: str) -> str:
    """An estimate with its interval, in the digits of the metric."""
    return with_interval(found.value, found.low, found.high, 1 if names.percent(metric) else 3)


def _cell(found: Comparison | None, reasons: Reasons) -> str:
    if found is None:
        return "–"
    if found.set_aside is not None:
        return reasons.mark("set aside", found.set_aside)
    gap = found.difference
    if isinstance(gap.value, Undefined):
        return reasons.mark("undefined", gap.value.reason)
    return text(gap, found.metric)


def measured(found: Sequence[Comparison]) -> Estimate | None:
    """What was measured of a metric, whose gain is a difference already."""
    for one in found:
        if one.metric in GAINS and one.control in GAINS[one.metric]:
            return one.difference
    return found[0].ours if found else None


def grid(compared: Compared, model: str, metric: str, tasks: Sequence[str], place: str) -> Grid:
    """Controls in rows, tasks in columns; the first row is what was measured."""
    own = compared.of(model, metric)
    by = {(c.task, c.control): c for c in own}
    first = [measured([c for c in own if c.task == t]) for t in tasks]
    reasons = Reasons()
    rows = [("measured", *("–" if e is None else text(e, metric) for e in first))]
    for control in dict.fromkeys(c.control for c in own):
        star = "*" if any(c.required for c in own if c.control == control) else ""
        cells = [_cell(by.get((t, control)), reasons) for t in tasks]
        rows.append((f"less {names.control(control)}{star}", *cells))
    return Grid(
        id=f"controls-{place}-{metric.replace('_', '-')}",
        caption=f"{names.metric(metric)}{' (percent)' if names.percent(metric) else ''}: {model}",
        columns=(Column(heading="control", kind="head"), *(Column(heading=t) for t in tasks)),
        rows=tuple(rows),
        notes=reasons.notes(),
    )


def every_grid(results: Results, compared: Compared) -> tuple[Grid, ...]:
    """The grids of all models and metrics that have a comparison."""
    found = []
    for place, model in enumerate(compared.models):
        tasks = [t for m, t in results.cells() if m == model]
        tasks = [t for t in tasks if any(g.task == t for g in compared.grounds)]
        for metric in QUALIFIES:
            if compared.of(model, metric):
                found.append(grid(compared, model, metric, tasks, str(place)))
    return tuple(found)


def section(results: Results, compared: Compared) -> Section:
    """The overview figure, then a grid for each metric behind a summary."""
    blocks: list[Block] = []
    if not compared.comparisons:
        blocks.append(
            Missing(
                text="Controls replace one setting at a time and are measured as the settings are.",
                command=with_controls(results),
            )
        )
    else:
        blocks += [Plot(figure=f) for f in strongest_controls.figures(results, compared)]
        blocks += [Prose(text=note) for note in NOTES]
        blocks += [
            Details(summary=g.caption, blocks=(Table(grid=g),))
            for g in every_grid(results, compared)
        ]
    return Section(id="controls", title="Against the controls", blocks=tuple(blocks))
