"""Pipe tables of Markdown, from texts that are safe there already."""

from collections.abc import Iterable, Sequence


def pipe_row(cells: Sequence[str]) -> str:
    """One row."""
    return "| " + " | ".join(cells) + " |"


def pipe_table(
    headings: Sequence[str], rules: Sequence[str], rows: Iterable[Sequence[str]]
) -> list[str]:
    """Its lines; `rules`: `---`, or `--:` to the right, for each column."""
    return [pipe_row(headings), f"|{'|'.join(rules)}|", *map(pipe_row, rows)]
