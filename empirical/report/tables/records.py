"""The paper's tables of records: for a terminal (rich), and as Markdown, CSV (long) and LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import Group
from rich.table import Table
from rich.text import Text

from empirical.analysis.published import PUBLISHED, TASKS
from empirical.core.json_files import write_text
from empirical.core.undefined import Undefined
from empirical.report.tables.csv_text import csv_number, csv_text
from empirical.report.tables.grid import Grid
from empirical.report.tables.latex import float_tables
from empirical.report.tables.markdown import markdown_document
from empirical.report.tables.record_columns import OTHER, REFERENCE
from empirical.report.tables.record_rows import build, in_order, of_one_model
from empirical.results.record import Record


def to_rich(table: Grid) -> Group:
    """A terminal table; cells are plain text, never markup. A single model goes into the title.

    The note that all tables share is left to `write_all`, which adds it once.
    """
    table = of_one_model(table)
    out = Table(title=Text(table.caption), title_justify="left")
    for column in table.columns:
        left = "left" if column.kind == "head" else "right"
        out.add_column(Text(column.heading), justify=left, overflow="fold")  # type: ignore[arg-type] # literals
    for i, row in enumerate(table.rows):
        if i in table.strong:
            out.add_section()
        out.add_row(*map(Text, row))
    notes = [Text(note, style="dim") for note in table.notes if note != OTHER]
    return Group(out, *notes, Text(""))


def to_csv(records: Sequence[Record]) -> str:
    """One line per record and metric, ours and published."""
    return csv_text(
        ["origin", "model", "protocol", "task", "seed", "rate", "rates_on", "metric", "value",
         "low", "high", "numerator", "denominator", "excluded", "undefined_because"],
        _csv_rows(records),
    )  # fmt: skip


def _csv_rows(records: Sequence[Record]) -> Iterator[Sequence[object]]:
    for r in in_order(records):
        for name, m in sorted(r.metrics.items()):
            made = r.provenance
            count = ["" if x is None else str(x) for x in (m.numerator, m.denominator)]
            why = m.value.reason if isinstance(m.value, Undefined) else ""
            yield (
                "measured",
                made.model,
                made.protocol,
                r.task,
                made.seed,
                repr(made.rate),
                made.rates_on if len(made.rates) > 1 else "",
                name,
                *map(csv_number, (m.value, m.low, m.high)),
                *count,
                m.excluded,
                why,
            )
    for task in sorted({r.task for r in records} & set(TASKS), key=TASKS.index):
        for name, row in PUBLISHED[REFERENCE].items():
            yield "published", REFERENCE, "", task, "", "", "", name, repr(row[task]), *[""] * 6


def write_all(records: Sequence[Record], out_dir: Path) -> tuple[Group, ...]:
    """Write tables.md, tables.csv and tables.tex; return the tables for a terminal.

    Raises:
        UserError: without records.
    """
    tables = build(records)
    folder = Path(out_dir)
    texts: dict[str, Callable[[], str]] = {
        "tables.md": lambda: markdown_document("Results", tables),
        "tables.csv": lambda: to_csv(records),
        "tables.tex": lambda: float_tables(tables),
    }
    for name, text in texts.items():
        write_text(folder / name, text())
    return (*map(to_rich, tables), Group(Text(OTHER, style="dim")))
