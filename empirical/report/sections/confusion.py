"""Confusion tables: which class was answered for which, zero-shot, in context and finetuned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from empirical.report import names
from empirical.report.commands import with_controls
from empirical.report.render.blocks import Block, Details, Missing, Prose, Row, Section
from empirical.report.results import Results
from empirical.report.tables.grid import Column, Grid
from empirical.report.tables.pooling import origin
from empirical.results.control_results import BASE, ControlResults

Counts = NDArray[np.int64]


def confusion(labels: Counts, answered: Counts, classes: int) -> Counts:
    """Examples by right class (rows) and answered class (columns): [classes,classes]."""
    return np.bincount(labels * classes + answered, minlength=classes**2).reshape(classes, classes)


def _counts(seeds: Sequence[ControlResults], setting: str) -> Counts | None:
    """Summed over the seeds that have predictions of that setting."""
    size = len(seeds[0].words)
    found = [
        confusion(e.labels, e.findings[BASE].predictions[setting], size)
        for e in seeds
        if setting in e.findings[BASE].predictions
    ]
    return np.sum(found, axis=0) if found else None


def _grid(name: str, setting: str, seeds: Sequence[ControlResults], counts: Counts) -> Grid:
    words = seeds[0].words
    rows = []
    for word, row, right in zip(words, counts, np.diag(counts), strict=True):
        share = f"{100 * right / row.sum():.1f}" if row.sum() else "no example"
        rows.append((word, *map(str, row), share))
    total = counts.sum()
    last = f"{100 * np.trace(counts) / total:.1f}" if total else "no example"
    rows.append(("answered", *map(str, counts.sum(0)), last))
    return Grid(
        id=f"answers-{name}-{setting}".replace(" ", "-").replace(",", ""),
        caption=f"{name}, {names.SETTINGS[setting]}",
        columns=(
            Column(heading="right class", kind="head"),
            *(Column(heading=w) for w in words),
            Column(heading="right (%)"),
        ),
        rows=tuple(rows),
        strong=frozenset({len(rows) - 1}),
    )


def section(results: Results) -> Section:
    """A closed block for each task; its sum over seeds."""
    models = [m for m, _ in results.cells()]
    blocks: list[Block] = []
    for model, task, seeds in results.with_finding(BASE):
        name = names.place(model, task, models)
        grids = []
        for setting in names.SETTINGS:
            counts = _counts(seeds, setting)
            if counts is not None:
                grids.append(_grid(name, setting, seeds, counts))
        inner = (Row(grids=tuple(grids)), Prose(text=origin(seeds)))
        blocks.append(Details(summary=name, blocks=inner))
    if not blocks:
        text = "Confusion tables need the answers of every example, which evidence files hold."
        blocks.append(Missing(text=text, command=with_controls(results)))
    else:
        text = "Rows are right classes, columns are answers; counts are summed over seeds."
        blocks.insert(0, Prose(text=text))
    return Section(id="answers", title="Which answers were confused", blocks=tuple(blocks))
