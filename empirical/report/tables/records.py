"""Records -> the paper's tables, ours beside the published numbers; no model needed.

Terminal (rich), Markdown, CSV (long) and LaTeX (booktabs) come from one `Table`. Computed numbers
are printed with a stated count of digits, since the last ones differ between processors; the
records keep all of them.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from rich.console import Group
from rich.table import Table as RichTable
from rich.text import Text

from empirical.analysis.published import CITATION, PUBLISHED, TASKS
from empirical.core.errors import UserError
from empirical.core.json_files import write_text
from empirical.core.undefined import Number, Undefined
from empirical.results.record import Measurement, Record

REFERENCE = "1.3B"
MEAN = "mean"
EVALUATION_LIMIT = 2000  # the paper's
CSV_DIGITS = 6  # significant digits of a computed number in a CSV file,
CSV_DECIMALS = 12  # and its decimals: what cancels to rounding noise is printed as 0


@dataclass(frozen=True, kw_only=True)
class Column:
    """A heading, the metric it shows (of ours, or of the published model), and how.

    `made`: not a metric but a field of the record's provenance.
    """

    heading: str
    metric: str
    digits: int
    published: bool = False
    interval: bool = False
    counts: bool = False
    made: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells as text, row by row, the first two being model and task; notes below."""

    id: str
    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What one table shows."""

    id: str
    title: str
    columns: tuple[Column, ...]
    notes: tuple[str, ...]


_OTHER = (
    f"Columns '{REFERENCE}' are published numbers of another, larger model on the real data sets "
    f"({CITATION}); they are "
    "context, not a target that this model should meet."
)

LAYOUTS = (
    Layout(
        id="accuracy",
        title="Accuracy (%), with 95 % Wilson intervals",
        columns=(
            Column(heading="k", metric="k", digits=0, made=True),
            Column(heading="rate", metric="rate", digits=0, made=True),
            Column(heading="ZSL", metric="zsl_accuracy", digits=1, interval=True),
            Column(heading="FT", metric="ft_accuracy", digits=1, interval=True),
            Column(heading="ICL", metric="icl_accuracy", digits=1, interval=True),
            Column(heading=f"ZSL, {REFERENCE}", metric="ZSL_acc", digits=1, published=True),
            Column(heading=f"FT, {REFERENCE}", metric="FT_acc", digits=1, published=True),
            Column(heading=f"ICL, {REFERENCE}", metric="ICL_acc", digits=1, published=True),
        ),
        notes=(
            _OTHER,
            "k: demonstrations that were shown. rate: of finetuning; where a run names several, "
            "the one chosen on held-out training rows (with --protocol published-search on the "
            "evaluation rows). The published seed and rate were chosen on the evaluation set.",
        ),
    ),
    Layout(
        id="rec2ftp",
        title="Recall to finetuning predictions (%), with 95 % Wilson intervals",
        columns=(
            Column(heading="Rec2FTP", metric="rec2ftp", digits=1, interval=True, counts=True),
            Column(
                heading="base rate",
                metric="rec2ftp_base_rate",
                digits=1,
                interval=True,
                counts=True,
            ),
            Column(heading="reverse", metric="rec2ftp_reverse", digits=1, counts=True),
            Column(heading=f"Rec2FTP, {REFERENCE}", metric="Rec2FTP", digits=2, published=True),
        ),
        notes=(
            _OTHER,
            "Rec2FTP = #{ZSL wrong, FT right, ICL right} / #{ZSL wrong, FT right}. The base rate "
            "P(ICL right | ZSL wrong) is what it would be if the examples that finetuning "
            "corrects were no different: only the excess over it speaks for the claim.",
        ),
    ),
    Layout(
        id="sim_aou",
        title="Similarity of attention output updates (SimAOU), with 95 % bootstrap intervals",
        columns=(
            Column(heading="SimAOU", metric="sim_aou", digits=3, interval=True),
            Column(heading="U[0,1)", metric="sim_aou_random", digits=3),
            Column(heading="matched", metric="sim_aou_matched", digits=3),
            Column(heading="floor", metric="sim_aou_floor", digits=3),
            Column(heading="not normal.", metric="sim_aou_unnormalised", digits=3),
            Column(heading=f"SimAOU, {REFERENCE}", metric="SimAOU", digits=3, published=True),
            Column(
                heading=f"U[0,1), {REFERENCE}", metric="SimAOU_random", digits=3, published=True
            ),
        ),
        notes=(
            _OTHER,
            "States are normalised before they are subtracted, so that two unrelated updates score "
            "over 0. matched: a normal draw of the finetuning update's norm in its place. floor: "
            "sqrt((1-s1)(1-s2))/2 with s = (1+r)^(-1/2), at the measured relative squared norms r, "
            "which holds for updates orthogonal to the state (0.146 at r = 1, 0.25 at r = 3). Read "
            "SimAOU against the larger of the two; the paper's U[0,1) base line cannot show this. "
            "not normal.: the same without normalising.",
        ),
    ),
    Layout(
        id="sim_am",
        title="Similarity of attention maps (SimAM), with 95 % bootstrap intervals",
        columns=(
            Column(heading="before FT", metric="sim_am_before", digits=3, interval=True),
            Column(heading="after FT", metric="sim_am_after", digits=3, interval=True),
            Column(heading="after - before", metric="sim_am_difference", digits=3, interval=True),
            Column(heading="SimAM-delta", metric="sim_am_delta", digits=3),
            Column(heading=f"before, {REFERENCE}", metric="SimAM_before", digits=3, published=True),
            Column(heading=f"after, {REFERENCE}", metric="SimAM_after", digits=3, published=True),
        ),
        notes=(
            _OTHER,
            "Read 'after' against 'before': an inert finetuning leaves SimAM at its 'before' "
            "value, so only the difference speaks for the claim. SimAM-delta compares the changes "
            "of the scores and inherits nothing.",
        ),
    ),
    Layout(
        id="kendall",
        title="Attention to training tokens: Kendall's tau-b, with 95 % bootstrap intervals",
        columns=(
            Column(heading="tokens", metric="kendall", digits=3, interval=True),
            Column(heading="U[0,1)", metric="kendall_random", digits=3),
            Column(heading=f"tokens, {REFERENCE}", metric="Kendall", digits=3, published=True),
            Column(
                heading=f"U[0,1), {REFERENCE}", metric="Kendall_random", digits=3, published=True
            ),
        ),
        notes=(
            _OTHER,
            "Over the first 100 evaluation rows: in context, the scores of the asking token "
            "towards the demonstrations' tokens, summed over heads; finetuned, Q'q with the "
            "queries Q' of those tokens just before their update.",
        ),
    ),
    Layout(
        id="kendall_examples",
        title="Attention to demonstrations: Kendall's tau-b and the highest that agree",
        columns=(
            Column(heading="demonstrations", metric="kendall_examples", digits=3, interval=True),
            Column(heading="U[0,1)", metric="kendall_examples_random", digits=3),
            Column(heading="top 100 tokens", metric="top_tokens", digits=3),
            Column(heading="top 100: chance", metric="top_tokens_chance", digits=3),
            Column(heading="top 5 dem.", metric="top_examples", digits=3),
            Column(heading="top 5: chance", metric="top_examples_chance", digits=3),
        ),
        notes=(
            "demonstrations: tau-b of their softmax masses; longer ones have more on both sides, "
            "so that unrelated scores do not give 0. top: share of the highest tokens or "
            "demonstrations that are the same, and what an unrelated ranking gives.",
        ),
    ),
)


def _number(value: Number, digits: int) -> str:
    if isinstance(value, Undefined):
        return f"undefined ({value.reason})"
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _measured(column: Column, found: Measurement) -> str:
    text = _number(found.value, column.digits)
    if isinstance(found.value, Undefined):
        return text
    if column.interval and not (
        found.low is None or found.high is None
        or isinstance(found.low, Undefined) or isinstance(found.high, Undefined)
    ):  # fmt: skip
        low, high = (_number(x, column.digits) for x in (found.low, found.high))
        text += f" [{low}, {high}]"
    if column.counts and found.numerator is not None:
        text += f" {found.numerator}/{found.denominator}"
    return text


def _cell(column: Column, record: Record) -> str:
    if column.made:
        return f"{getattr(record.provenance, column.metric):g}"
    if column.published:
        value = PUBLISHED[REFERENCE][column.metric].get(record.task)
        return "not published" if value is None else _number(value, column.digits)
    found = record.metrics.get(column.metric)
    return "not measured" if found is None else _measured(column, found)


def _mean(column: Column, records: Sequence[Record]) -> str:
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
    return _number(sum(known) / len(known), column.digits)


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


def _order(record: Record) -> tuple[str, int, str, int]:
    place = TASKS.index(record.task) if record.task in TASKS else len(TASKS)
    return record.provenance.model, place, record.task, record.provenance.seed


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


def build(records: Sequence[Record]) -> tuple[Table, ...]:
    """Accuracy, Rec2FTP, SimAOU, SimAM and Kendall, a row per record in the paper's task order.

    Raises:
        UserError: without records.
    """
    if not records:
        raise UserError("expected at least one record, got none; run the study first")
    rows = sorted(records, key=_order)
    return tuple(
        Table(
            id=layout.id,
            title=layout.title,
            headings=("model", "task", *(c.heading for c in layout.columns)),
            rows=_rows(layout, rows),
            notes=(*layout.notes, *_made(layout, rows), *_excluded(layout, rows)),
        )
        for layout in LAYOUTS
    )


def to_rich(table: Table) -> Group:
    """A terminal table; cells are plain text, never markup. A single model goes into the title.

    The note that all tables share is left to `write_all`, which adds it once.
    """
    models = {row[0] for row in table.rows}
    skip = 1 if len(models) == 1 else 0
    title = f"{table.title}: {models.pop()}" if skip else table.title
    out = RichTable(title=Text(title), title_justify="left")
    for i, heading in enumerate(table.headings[skip:], skip):
        left = "left" if i < 2 else "right"
        out.add_column(Text(heading), justify=left, overflow="fold")  # type: ignore[arg-type] # literals
    for row in table.rows:
        if row[1] == MEAN:
            out.add_section()
        out.add_row(*(Text(cell) for cell in row[skip:]))
    notes = [Text(note, style="dim") for note in table.notes if note != _OTHER]
    return Group(out, *notes, Text(""))


def markdown_text(text: str) -> str:
    for mark in ("\\", "|", "<", "*", "_", "`", "[", "]"):
        text = text.replace(mark, "\\" + mark)
    return " ".join(text.split())


def to_markdown(table: Table) -> str:
    """A pipe table under its title, notes below."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(markdown_text(c) for c in cells) + " |"

    rule = "|" + "|".join(["---", "---", *["---:"] * (len(table.headings) - 2)]) + "|"
    body = [line(table.headings), rule, *(line(r) for r in table.rows)]
    notes = [f"- {markdown_text(n)}" for n in table.notes]
    return "\n".join([f"## {markdown_text(table.title)}", "", *body, "", *notes, ""])


_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "[": "{[}", "]": "{]}",
}  # fmt: skip


def tex_text(text: str) -> str:
    """`text` with TeX's special characters escaped."""
    return "".join(_TEX.get(c, c) for c in " ".join(text.split()))


def to_latex(table: Table) -> str:
    """A table environment with booktabs rules."""

    def line(cells: Sequence[str]) -> str:
        return " & ".join(tex_text(c) for c in cells) + r" \\"

    return "\n".join(
        [
            r"\begin{table}[p]", r"\centering\scriptsize", rf"\caption{{{tex_text(table.title)}}}",
            r"\resizebox{\textwidth}{!}{%",
            rf"\begin{{tabular}}{{ll{'r' * (len(table.headings) - 2)}}}", r"\toprule",
            line(table.headings), r"\midrule", *(line(r) for r in table.rows), r"\bottomrule",
            r"\end{tabular}}", r"\begin{itemize}",
            *(rf"\item {tex_text(n)}" for n in table.notes), r"\end{itemize}", r"\end{table}", "",
        ]
    )  # fmt: skip


def latex_document(tables: Sequence[Table]) -> str:
    """A document that compiles on its own."""
    head = "\n".join(
        [
            r"\documentclass{article}", r"\usepackage[utf8]{inputenc}", r"\usepackage[T1]{fontenc}",
            r"\usepackage{booktabs,graphicx}", r"\begin{document}", "",
        ]
    )  # fmt: skip
    return head + "\n".join(map(to_latex, tables)) + r"\end{document}" + "\n"


def csv_number(value: Number | None) -> str:
    """`value` with `CSV_DIGITS` significant digits; empty where there is no number."""
    if value is None or isinstance(value, Undefined):
        return ""
    return f"{round(value, CSV_DECIMALS) + 0.0:.{CSV_DIGITS}g}"  # + 0.0: no negative zero


def csv_text(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows under their headings, between commas."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(headings)
    writer.writerows(rows)
    return out.getvalue()


def to_csv(records: Sequence[Record]) -> str:
    """One line per record and metric, ours and published."""
    return csv_text(
        ["origin", "model", "protocol", "task", "seed", "rate", "rates_on", "metric", "value",
         "low", "high", "numerator", "denominator", "excluded", "undefined_because"],
        _csv_rows(records),
    )  # fmt: skip


def _csv_rows(records: Sequence[Record]) -> Iterator[Sequence[object]]:
    for r in sorted(records, key=_order):
        for name, m in sorted(r.metrics.items()):
            made = r.provenance
            count = ["" if x is None else str(x) for x in (m.numerator, m.denominator)]
            why = m.value.reason if isinstance(m.value, Undefined) else ""
            yield (
                "measured", made.model, made.protocol, r.task, made.seed, repr(made.rate),
                made.rates_on if len(made.rates) > 1 else "", name,
                *map(csv_number, (m.value, m.low, m.high)), *count, m.excluded, why,
            )  # fmt: skip
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
        "tables.md": lambda: "# Results\n\n" + "\n".join(map(to_markdown, tables)),
        "tables.csv": lambda: to_csv(records),
        "tables.tex": lambda: latex_document(tables),
    }
    for name, text in texts.items():
        write_text(folder / name, text())
    return (*map(to_rich, tables), Group(Text(_OTHER, style="dim")))
