"""Records -> the paper's tables, ours beside the published numbers; no model needed.

Computed numbers are printed with a stated count of digits, since the last ones differ between
processors; the records keep all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from empirical.analysis.published import PUBLISHED, TASKS
from empirical.core.errors import UserError
from empirical.core.undefined import Number, Undefined
from empirical.data.paper_tasks import EVALUATION_LIMIT
from empirical.report.tables.grid import Column, Grid, shown, with_interval
from empirical.report.tables.record_columns import LAYOUTS, REFERENCE, Layout, MetricColumn
from empirical.results.record import Measurement, Record

MEAN = "mean"


def _measured(column: MetricColumn, found: Measurement) -> str:
    if not column.interval or isinstance(found.value, Undefined):
        text = shown(found.value, column.digits)
    else:
        text = with_interval(found.value, found.low, found.high, column.digits)
    if column.counts and found.numerator is not None and not isinstance(found.value, Undefined):
        text += f" {found.numerator}/{found.denominator}"
    return text


def _cell(column: MetricColumn, record: Record) -> str:
    if column.made:
        return f"{getattr(record.provenance, column.metric):g}"
    if column.published:
        value = PUBLISHED[REFERENCE][column.metric].get(record.task)
        return "not published" if value is None else shown(value, column.digits)
    found = record.metrics.get(column.metric)
    return "not measured" if found is None else _measured(column, found)


def _mean(column: MetricColumn, records: Sequence[Record]) -> str:
    """The unweighted mean over tasks and seeds, of ours or of the published model."""
    if column.made:
        return ""
    values: list[Number | None] = []
    for r in records:
        found = r.metrics.get(column.metric)
        published = PUBLISHED[REFERENCE].get(column.metric, {}).get(r.task)
        values.append(published if column.published else None if found is None else found.value)
    known = [x for x in values if x is not None and not isinstance(x, Undefined)]
    if len(known) < len(values):
        return f"of {len(known)} rows only" if known else "undefined"
    return shown(sum(known) / len(known), column.digits)


def _rows(layout: Layout, records: Sequence[Record]) -> tuple[tuple[str, ...], ...]:
    """A row for each record, and one of means below a model that has several tasks."""
    rows = []
    for model, group in groupby(records, key=lambda r: r.provenance.model):
        own = list(group)
        rows += [(model, _name(r, own), *(_cell(c, r) for c in layout.columns)) for r in own]
        if len(own) > 1:
            rows.append((model, MEAN, *(_mean(c, own) for c in layout.columns)))
    return tuple(rows)


def _name(record: Record, own: Sequence[Record]) -> str:
    """The task, with its seed where the task has several."""
    several = sum(r.task == record.task for r in own) > 1
    return f"{record.task}, seed {record.provenance.seed}" if several else record.task


def in_order(records: Sequence[Record]) -> list[Record]:
    """By model, the tasks of the paper first and as it has them, then by seed."""

    def place(record: Record) -> tuple[str, int, str, int]:
        at = TASKS.index(record.task) if record.task in TASKS else len(TASKS)
        return record.provenance.model, at, record.task, record.provenance.seed

    return sorted(records, key=place)


def _made(layout: Layout, records: Sequence[Record]) -> tuple[str, ...]:
    """By which rule seed and rate were chosen, and what departs from the paper; said once."""
    if layout.id != "accuracy":
        return ()
    notes = []
    for r in records:
        made = r.provenance
        parts = [f"{made.model}: protocol {made.protocol}"]
        if len(made.rates) > 1:
            parts.append(f"rate chosen on {made.rates_on} rows")
        if made.seed_selection:
            parts.append("seed chosen on evaluation rows")
        if made.k_asked is not None:
            parts.append(f"k = {made.k_asked} asked for")
        if made.limit != EVALUATION_LIMIT:
            parts.append(f"{made.limit} evaluation rows at most")
        if made.position != "label":
            parts.append(f"recorded at position {made.position}")
        notes.append(", ".join(parts) + ".")
    return tuple(dict.fromkeys(notes))


def _excluded(layout: Layout, records: Sequence[Record]) -> tuple[str, ...]:
    notes = []
    for r in records:
        for c in layout.columns:
            found = r.metrics.get(c.metric)
            if found is not None and found.excluded and not isinstance(found.value, Undefined):
                notes.append(
                    f"{r.provenance.model}, {_name(r, records)}, {c.heading}: {found.excluded} of "
                    f"{found.denominator} left out, because a vector is zero or constant."
                )
    return tuple(notes)


def build(records: Sequence[Record]) -> tuple[Grid, ...]:
    """Accuracy, Rec2FTP, SimAOU, SimAM and Kendall, a row per record in the paper's task order.

    The first two columns are model and task; below a model that has several tasks stands a row of
    means.

    Raises:
        UserError: without records.
    """
    if not records:
        raise UserError("expected at least one record, got none; run the study first")
    rows = in_order(records)
    return tuple(_grid(layout, rows) for layout in LAYOUTS)


def _grid(layout: Layout, records: Sequence[Record]) -> Grid:
    rows = _rows(layout, records)
    named = (Column(heading="model", kind="head"), Column(heading="task", kind="head"))
    return Grid(
        id=layout.id,
        caption=layout.title,
        columns=(*named, *(Column(heading=c.heading) for c in layout.columns)),
        rows=rows,
        notes=(*layout.notes, *_made(layout, records), *_excluded(layout, records)),
        strong=frozenset(i for i, row in enumerate(rows) if row[1] == MEAN),
    )


def of_one_model(table: Grid) -> Grid:
    """Without the column of models where there is one only, which then stands in the caption."""
    models = {row[0] for row in table.rows}
    if len(models) > 1:
        return table
    return replace(
        table,
        caption=f"{table.caption}: {models.pop()}",
        columns=table.columns[1:],
        rows=tuple(row[1:] for row in table.rows),
    )
