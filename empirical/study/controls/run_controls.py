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
from empirical.results import control_results, reuse
from empirical.results import record as records
from empirical.results.control_results import BASE, ControlResults
from empirical.results.record import Record
from empirical.study.controls.recorded_cell import bench_of, named
from empirical.study.controls.runs import run_control
from empirical.study.preparation import Prepared, prepare
from empirical.study.request import Study, settings_of, source_of


def run_controls(
    study: Study, made: Sequence[Record], folder: Path, reporter: Reporter = SILENT
) -> tuple[ControlResults, ...]:
    """The findings asked for, of every cell that has one of the records.

    Raises:
        UserError: when finetuning diverges at the rate of a record.
    """
    cells = {(ready.task.name, ready.seed): ready for ready in study.cells}
    found = []
    for record in made:
        ready = cells[record.task, record.provenance.seed]
        found.append(run_cell_controls(study, ready, record, folder, reporter))
    return tuple(found)


def run_cell_controls(
    study: Study, ready: Prepared, record: Record, folder: Path, reporter: Reporter = SILENT
) -> ControlResults:
    """The findings of one cell, those of its evidence file reused where they still hold.

    Raises:
        UserError: when finetuning diverges at the rate of the record.
    """
    wanted = (BASE, *study.request.controls)
    held = _held(study, ready, record, folder, reporter)
    missing = [name for name in wanted if name not in held.findings]
    if not missing:
        return held
    start = time.perf_counter()
    settings = settings_of(study, ready)
    with bench_of(
        study.model, ready, settings, record.provenance.rate,
        other=_other(study, ready), sibling=_sibling(study, ready),
    ) as bench:  # fmt: skip
        with reporter.stage(named(bench, "controls"), 1 + len(missing)) as advance:
            base = bench.measured()
            advance(1)
            for name in missing:
                held = held.adding(name, base if name == BASE else run_control(bench, name))
                control_results.write(held, folder)
                advance(1)
    _note(held, folder, time.perf_counter() - start)
    for name in missing:
        if held.findings[name].absent:
            reporter.say(f"{named(bench, name)}: {held.findings[name].absent}")
    return held


def _note(held: ControlResults, folder: Path, seconds: float) -> None:
    """Seconds and memory, beside those of the record."""
    made = held.provenance
    name = control_results.evidence_name(made.model, held.task, made.seed)
    records.note_seconds(
        folder, name, {"total": seconds, "peak_memory_gib": provenance.peak_memory_gib()}
    )


def _held(
    study: Study, ready: Prepared, record: Record, folder: Path, reporter: Reporter
) -> ControlResults:
    """What the folder holds that was made with the same inputs, or a new file without findings."""
    made = record.provenance
    new = ControlResults(
        task=record.task,
        provenance=replace(made, command=(*made.command, *study.control_options)),
        counts=record.counts,
        words=ready.task.labels,
        labels=np.array([q.label for q in ready.queries], dtype=np.int64),
        findings={},
    )
    path = (
        Path(folder) / f"{control_results.evidence_name(made.model, record.task, made.seed)}.json"
    )
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


def _other(study: Study, ready: Prepared) -> Prepared | None:
    """The next task of the run, under the same seed where it has that one."""
    names = [t.task.name for t in study.tasks]
    if len(names) < 2:
        return None
    name = names[(names.index(ready.task.name) + 1) % len(names)]
    cells = [c for c in study.cells if c.task.name == name]
    return next((c for c in cells if c.seed == ready.seed), cells[0])


def _sibling(study: Study, ready: Prepared) -> Prepared | None:
    """The same task with other demonstrations: the run's next seed, or the one after this."""
    seeds = [c for c in study.cells if c.task.name == ready.task.name and c.seed != ready.seed]
    if seeds:
        return next((c for c in seeds if c.seed > ready.seed), seeds[0])
    source = ReadOnce(source_for(ready.task, source_of(study.request.data)))
    settings = replace(settings_of(study, ready), seed=ready.seed + 1)
    try:
        return prepare(study.model, ready.task, source, settings)
    except UserError:
        return None
