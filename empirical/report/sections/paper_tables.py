"""The paper's tables beside ours; several seeds of a task in one row, each by itself behind it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from empirical.core.undefined import Number, Undefined
from empirical.report.render.blocks import Block, Details, Prose, Section, Table
from empirical.report.results import Results
from empirical.report.tables.grid import Grid
from empirical.report.tables.record_rows import build, of_one_model
from empirical.results.record import Measurement, Record

POOLED = (
    "One row is the mean over the seeds of a task; its brackets go from the lowest to the highest "
    "end of the seeds’ own intervals, counts are summed."
)


def _mean(values: Sequence[Number]) -> Number:
    known = [float(x) for x in values if not isinstance(x, Undefined)]
    if not known:
        return values[0]
    return math.fsum(known) / len(known)


def _ends(values: Sequence[Number | None]) -> list[float]:
    return [x for x in values if x is not None and not isinstance(x, Undefined)]


def pooled(found: Sequence[Measurement]) -> Measurement:
    """One metric of several seeds."""
    low, high = _ends([m.low for m in found]), _ends([m.high for m in found])
    counted = [
        (m.numerator, m.denominator)
        for m in found
        if m.numerator is not None and m.denominator is not None
    ]
    return Measurement(
        value=_mean([m.value for m in found]),
        low=min(low) if low else None,
        high=max(high) if high else None,
        numerator=sum(a for a, _ in counted) if counted else None,
        denominator=sum(b for _, b in counted) if counted else None,
        excluded=sum(m.excluded for m in found),
    )


def together(records: Sequence[Record]) -> tuple[Record, ...]:
    """A record for each model and task; what it says of seed and rate is of the first seed."""
    cells: dict[tuple[str, str], list[Record]] = {}
    for r in sorted(records, key=lambda r: r.provenance.seed):
        cells.setdefault((r.provenance.model, r.task), []).append(r)
    found = []
    for own in cells.values():
        shared = [name for name in own[0].metrics if all(name in r.metrics for r in own)]
        metrics = {name: pooled([r.metrics[name] for r in own]) for name in shared}
        found.append(replace(own[0], metrics=metrics))
    return tuple(found)


def _on_page(table: Grid, shared: frozenset[str]) -> Grid:
    """A single model goes to the caption, `shared` notes are left out."""
    notes = tuple(n for n in table.notes if n not in shared)
    return replace(of_one_model(table), id=f"paper-{table.id}", notes=notes)


def _without_rate(grid: Grid) -> Grid:
    """Without the column of rates, which differ between seeds."""
    place = next((i for i, c in enumerate(grid.columns) if c.heading == "rate"), None)
    if place is None:
        return grid
    return replace(
        grid,
        columns=grid.columns[:place] + grid.columns[place + 1 :],
        rows=tuple(row[:place] + row[place + 1 :] for row in grid.rows),
    )


def section(results: Results) -> Section:
    """Every table of the records, the note that they share said once."""
    built = build(results.records)
    shared = frozenset.intersection(*(frozenset(t.notes) for t in built[:-1]))
    blocks: list[Block] = [Prose(text=note) for note in sorted(shared)]
    pool = together(results.records)
    if len(pool) == len(results.records):
        blocks += [Table(grid=_on_page(t, shared)) for t in built]
    else:
        blocks.append(Prose(text=POOLED))
        for one, many in zip(build(pool), built, strict=True):
            grid = _on_page(many, shared)
            blocks.append(Table(grid=_without_rate(_on_page(one, shared))))
            each = replace(grid, id=f"{grid.id}-seeds", notes=())
            blocks.append(Details(summary="Each seed by itself", blocks=(Table(grid=each),)))
    return Section(id="paper", title="The paper’s tables beside ours", blocks=tuple(blocks))
