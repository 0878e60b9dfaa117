"""The controls of a study: for every record, an evidence file with its findings.

A finding is written as soon as it is there, so that a run which was stopped goes on with the next
one. What was made with other inputs, or is damaged, is computed again and replaced.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from empirical.core import provenance
from empirical.core.errors import UserError
from empirical.core.json_files import plain
from empirical.core.progress import SILENT, Reporter
from empirical.data.paper_tasks import source_for
from empirical.data.sources import ReadOnce
from empirical.results import control_results, record as records, reuse
from empirical.results.control_results import BASE, ControlResults
from empirical.results.record import Record
from empirical.study.cell import Cell
from empirical.study.controls.recorded_cell import recorded_cell
from empirical.study.controls.runs import run_control
from empirical.study.preparation import Prepared, prepare
from empirical.study.request import source_of


def run_controls(
    cells: Sequence[Cell], made: Sequence[Record], reporter: Reporter = SILENT
) -> tuple[ControlResults, ...]:
    """The findings asked for, of every cell that has one of the records.

    Raises:
        UserError: when finetuning diverges at the rate of a record.
    """
    by_name = {(cell.task, cell.seed): cell for cell in cells}
    return tuple(
        run_cell_controls(by_name[record.task, record.provenance.seed], record, reporter)
        for record in made
    )


def run_cell_controls(cell: Cell, record: Record, reporter: Reporter = SILENT) -> ControlResults:
    """The findings of one cell, those of its evidence file reused where they still hold.

    Raises:
        UserError: when finetuning diverges at the rate of the record.
    """
    held = _held(cell, record, reporter)
    missing = [n for n in (BASE, *cell.study.request.controls) if n not in held.findings]
    if not missing:
        return held
    start = time.perf_counter()
    rate = record.provenance.rate
    with recorded_cell(cell, rate, other=_other(cell), sibling=_sibling(cell)) as recorded:
        with reporter.stage(recorded.named("controls"), 1 + len(missing)) as advance:
            base = recorded.measured()
            advance(1)
            for name in missing:
                held = held.adding(name, base if name == BASE else run_control(recorded, name))
                control_results.write(held, cell.folder)
                advance(1)
    _note(held, cell.folder, time.perf_counter() - start)
    for name in missing:
        if held.findings[name].absent:
            reporter.say(f"{recorded.named(name)}: {held.findings[name].absent}")
    return held


def _note(held: ControlResults, folder: Path, seconds: float) -> None:
    """Seconds and memory, beside those of the record."""
    made = held.provenance
    name = control_results.evidence_name(made.model, held.task, made.seed)
    records.note_seconds(
        folder, name, {"total": seconds, "peak_memory_gib": provenance.peak_memory_gib()}
    )


def _held(cell: Cell, record: Record, reporter: Reporter) -> ControlResults:
    """What the folder holds that was made with the same inputs, or a new file without findings."""
    made = record.provenance
    new = ControlResults(
        task=record.task,
        provenance=replace(made, command=(*made.command, *cell.study.control_options)),
        counts=record.counts,
        words=cell.prepared.task.labels,
        labels=np.array([q.label for q in cell.prepared.queries], dtype=np.int64),
        findings={},
    )
    path = cell.folder / f"{control_results.evidence_name(made.model, record.task, made.seed)}.json"
    if not path.exists():
        return new
    try:
        old = control_results.read(path)
    except UserError as error:
        reporter.say(f"{record.task}: controls again, {path.name} is damaged ({error})")
        return new
    names = (*reuse.INPUTS, "rate")
    changed = reuse.differences(plain(old.provenance), plain(made), names)
    if changed:
        reporter.say(f"{record.task}: controls again, {path.name} was made with {changed[0]}")
        return new
    reporter.say(f"{record.task}: reused {len(old.findings)} findings of {path.name}")
    return replace(new, findings=old.findings)


def _other(cell: Cell) -> Prepared | None:
    """The next task of the run, under the same seed where it has that one."""
    names = [t.task.name for t in cell.study.tasks]
    if len(names) < 2:
        return None
    name = names[(names.index(cell.task) + 1) % len(names)]
    seeds = [p for p in cell.study.prepared if p.task.name == name]
    return next((p for p in seeds if p.seed == cell.seed), seeds[0])


def _sibling(cell: Cell) -> Prepared | None:
    """The same task with other demonstrations: the run's next seed, or the one after this."""
    own = [p for p in cell.study.prepared if p.task.name == cell.task]
    seeds = [p for p in own if p.seed != cell.seed]
    if seeds:
        return next((p for p in seeds if p.seed > cell.seed), seeds[0])
    task = cell.prepared.task
    source = ReadOnce(source_for(task, source_of(cell.study.request.data)))
    try:
        return prepare(cell.model, task, source, replace(cell.settings, seed=cell.seed + 1))
    except UserError:
        return None
