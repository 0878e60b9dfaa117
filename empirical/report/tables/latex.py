"""Grids as LaTeX with booktabs rules: long tables in landscape, or floats as wide as the text."""

from __future__ import annotations

from collections.abc import Sequence

from empirical.report.tables.grid import Grid

_KINDS = {"head": "l", "text": "l", "prose": "p{0.42\\linewidth}", "number": "r"}
_TEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",
    "]": "{]}",
}
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
    """`text` for TeX, on one line; `?` for a character that neither it nor the lists have."""
    escaped = "".join(_TEX.get(c, c) for c in " ".join(text.split()))
    out = "".join(_GLYPHS.get(c, c) for c in escaped)
    return "".join(c if ord(c) < 0x180 else "?" for c in out)


def _line(cells: Sequence[str]) -> str:
    return " & ".join(map(tex, cells)) + r" \\"


def _kinds(grid: Grid) -> str:
    return "".join(_KINDS[c.kind] for c in grid.columns)


def longtable(grid: Grid) -> str:
    """A table that may run over pages (longtable), with booktabs rules and its notes below."""
    head, body = _line(grid.headings), []
    for i, row in enumerate(grid.rows):
        body += [r"\midrule", _line(row)] if i in grid.strong else [_line(row)]
    return "\n".join(
        [
            r"{\scriptsize\setlength{\tabcolsep}{3pt}",
            rf"\begin{{longtable}}{{@{{}}{_kinds(grid)}@{{}}}}",
            rf"\caption{{{tex(grid.caption)}}}\\",
            r"\toprule",
            head,
            r"\midrule",
            r"\endfirsthead",
            r"\toprule",
            head,
            r"\midrule",
            r"\endhead",
            *body,
            r"\bottomrule",
            r"\end{longtable}",
            *(rf"\noindent {tex(n)}\par" for n in grid.notes),
            "}",
            "",
        ]
    )


def longtables(grids: Sequence[Grid]) -> str:
    """A landscape document that compiles on its own."""
    head = "\n".join(
        [
            r"\documentclass[a4paper,landscape]{article}",
            r"\usepackage[utf8]{inputenc}",
            r"\usepackage[T1]{fontenc}",
            r"\usepackage[margin=15mm]{geometry}",
            r"\usepackage{booktabs,longtable}",
            r"\begin{document}",
            "",
        ]
    )
    return head + "\n".join(map(longtable, grids)) + r"\end{document}" + "\n"


def float_table(grid: Grid) -> str:
    """A page of its own, as wide as the text, with booktabs rules and its notes as items."""
    return "\n".join(
        [
            r"\begin{table}[p]",
            r"\centering\scriptsize",
            rf"\caption{{{tex(grid.caption)}}}",
            r"\resizebox{\textwidth}{!}{%",
            rf"\begin{{tabular}}{{{_kinds(grid)}}}",
            r"\toprule",
            _line(grid.headings),
            r"\midrule",
            *map(_line, grid.rows),
            r"\bottomrule",
            r"\end{tabular}}",
            r"\begin{itemize}",
            *(rf"\item {tex(n)}" for n in grid.notes),
            r"\end{itemize}",
            r"\end{table}",
            "",
        ]
    )


def float_tables(grids: Sequence[Grid]) -> str:
    """A document that compiles on its own."""
    head = "\n".join(
        [
            r"\documentclass{article}",
            r"\usepackage[utf8]{inputenc}",
            r"\usepackage[T1]{fontenc}",
            r"\usepackage{booktabs,graphicx}",
            r"\begin{document}",
            "",
        ]
    )
    return head + "\n".join(map(float_table, grids)) + r"\end{document}" + "\n"
