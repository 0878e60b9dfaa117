"""A table of text, and the same table as Markdown and as LaTeX (booktabs) that compiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from empirical.core.undefined import Number, Undefined
from empirical.report.tables.records import Table, tex_text
from empirical.report.tables.records import markdown_text as markdown_text

Kind = Literal["head", "text", "prose", "number"]
TEX_KIND = {"head": "l", "text": "l", "prose": "p{0.42\\linewidth}", "number": "r"}


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


def of_table(table: Table, shared: frozenset[str] = frozenset()) -> Grid:
    """A table of records; a single model goes to the caption, `shared` notes are left out."""
    models = {row[0] for row in table.rows}
    skip = 1 if len(models) == 1 else 0
    rows = tuple(row[skip:] for row in table.rows)
    return Grid(
        id=f"paper-{table.id}",
        caption=f"{table.title}: {models.pop()}" if skip else table.title,
        columns=tuple(
            Column(heading=h, kind="head" if i < 2 - skip else "number")
            for i, h in enumerate(table.headings[skip:])
        ),
        rows=rows,
        notes=tuple(n for n in table.notes if n not in shared),
        strong=frozenset(i for i, row in enumerate(rows) if row[1 - skip] == "mean"),
    )


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


def to_markdown(grid: Grid) -> str:
    """A pipe table under its caption, notes below."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(markdown_text(c) for c in cells) + " |"

    rule = "|".join("---:" if c.kind == "number" else "---" for c in grid.columns)
    body = [line([c.heading for c in grid.columns]), f"|{rule}|", *map(line, grid.rows)]
    notes = [f"- {markdown_text(n)}" for n in grid.notes]
    return "\n".join([f"## {markdown_text(grid.caption)}", "", *body, "", *notes, ""])


def markdown_document(title: str, grids: Sequence[Grid]) -> str:
    """All tables under one heading."""
    return f"# {markdown_text(title)}\n\n" + "\n".join(map(to_markdown, grids))


# What the text fonts of pdfTeX with T1 lack.
_GLYPHS = {
    "Δ": r"$\Delta$", "λ": r"$\lambda$", "τ": r"$\tau$", "ρ": r"$\rho$", "α": r"$\alpha$",
    "−": "$-$", "–": "--", "—": "---", "≥": r"$\geq$", "≤": r"$\leq$", "≈": r"$\approx$",
    "×": r"$\times$", "·": r"$\cdot$", "→": r"$\rightarrow$", "✓": r"$\surd$", "✗": r"$\times$",
    "±": r"$\pm$", "≠": r"$\neq$", "Σ": r"$\Sigma$", "σ": r"$\sigma$", "γ": r"$\gamma$",
    "²": "$^2$", "ᵀ": r"$^\top$", "′": "$'$", "“": "``", "”": "''", "’": "'", "…": r"\dots{}",
    "∞": r"$\infty$", "∈": r"$\in$", "‖": r"$\Vert$", "√": r"$\surd$", "½": r"$\frac12$",
    "η": r"$\eta$",
}  # fmt: skip


def tex(text: str) -> str:
    """`text` for TeX; a character that neither TeX nor the list above has becomes `?`."""
    out = "".join(_GLYPHS.get(c, c) for c in tex_text(text))
    return "".join(c if ord(c) < 0x180 else "?" for c in out)


def to_latex(grid: Grid) -> str:
    """A table that may run over pages (longtable), with booktabs rules and its notes below."""

    def line(cells: Sequence[str]) -> str:
        return " & ".join(map(tex, cells)) + r" \\"

    kinds = "".join(TEX_KIND[c.kind] for c in grid.columns)
    head = line([c.heading for c in grid.columns])
    body = []
    for i, row in enumerate(grid.rows):
        body += [r"\midrule", line(row)] if i in grid.strong else [line(row)]
    return "\n".join(
        [
            r"{\scriptsize\setlength{\tabcolsep}{3pt}",
            rf"\begin{{longtable}}{{@{{}}{kinds}@{{}}}}",
            rf"\caption{{{tex(grid.caption)}}}\\", r"\toprule", head, r"\midrule", r"\endfirsthead",
            r"\toprule", head, r"\midrule", r"\endhead", *body, r"\bottomrule",
            r"\end{longtable}",
            *(rf"\noindent {tex(n)}\par" for n in grid.notes), "}", "",
        ]
    )  # fmt: skip


def latex_document(grids: Sequence[Grid]) -> str:
    """A landscape document that compiles on its own."""
    head = "\n".join(
        [
            r"\documentclass[a4paper,landscape]{article}", r"\usepackage[utf8]{inputenc}",
            r"\usepackage[T1]{fontenc}", r"\usepackage[margin=15mm]{geometry}",
            r"\usepackage{booktabs,longtable}", r"\begin{document}", "",
        ]
    )  # fmt: skip
    return head + "\n".join(map(to_latex, grids)) + r"\end{document}" + "\n"
