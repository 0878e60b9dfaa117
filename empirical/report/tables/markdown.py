"""Grids as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from empirical.core.markdown import pipe_table
from empirical.report.tables.grid import Grid


def markdown_text(text: str) -> str:
    """`text` on one line, with what Markdown takes for marks escaped."""
    for mark in ("\\", "|", "<", "*", "_", "`", "[", "]"):
        text = text.replace(mark, "\\" + mark)
    return " ".join(text.split())


def to_markdown(grid: Grid) -> str:
    """A pipe table under its caption, notes below."""
    rules = ["---:" if c.kind == "number" else "---" for c in grid.columns]
    rows = ([markdown_text(c) for c in row] for row in grid.rows)
    body = pipe_table([markdown_text(h) for h in grid.headings], rules, rows)
    notes = [f"- {markdown_text(n)}" for n in grid.notes]
    return "\n".join([f"## {markdown_text(grid.caption)}", "", *body, "", *notes, ""])


def markdown_document(title: str, grids: Sequence[Grid]) -> str:
    """All tables under one heading."""
    return f"# {markdown_text(title)}\n\n" + "\n".join(map(to_markdown, grids))
