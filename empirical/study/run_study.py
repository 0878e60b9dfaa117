"""The cells of a study: a record for every task and seed, from the folder or computed.

What a cell needs on the way (captures, tried rates) lies in the folder until its record is there.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from empirical.core.errors import UserError
from empirical.core.progress import SILENT, Reporter
from empirical.core.provenance import peak_memory_gib
from empirical.core.undefined import Number, Undefined
from empirical.inference.batches import batches
from empirical.metrics.accumulate import ALL
from empirical.results import record as records, reuse
from empirical.study import kept_captures
from empirical.study.cell import Cell, cells_of
from empirical.study.request import Study
from empirical.study.run_cell import in_context_accuracy, run_prepared

Seeds = tuple[tuple[int, Number], ...]  # to choose from, with ICL accuracies (percent)


def run_cell(cell: Cell, reporter: Reporter = SILENT, seeds: Seeds = ()) -> records.Record:
    """ZSL, ICL and FT of one task and seed; the record is written, or reused from the folder.

    `seeds`: those that this one was chosen from, where it was.

    Raises:
        UserError: when every rate diverges.
    """
    start = time.perf_counter()
    old = reuse.find(cell.folder, cell.task, cell.provenance, ALL)
    if old.line:
        reporter.say(old.line)
    if old.record is not None and (not cell.keeps_captures or _whole_captures(cell)):
        _clean(cell)
        return old.record
    if cell.keeps_captures:
        kept_captures.path_of(cell.kept, cell.folder).unlink(missing_ok=True)
    record = _computed(cell, reporter, seeds)
    seconds = time.perf_counter() - start
    records.write(record, cell.folder, {"total": seconds, "peak_memory_gib": peak_memory_gib()})
    if cell.keeps_captures:
        kept_captures.write(cell.kept, cell.folder)
    _clean(cell)
    return record


def _computed(cell: Cell, reporter: Reporter, seeds: Seeds) -> records.Record:
    """The record, from captures and trials as far as they are there."""
    got = run_prepared(cell.model, cell.prepared, reporter, cell.stores, cell.trials)
    selection = tuple(
        (rate, Undefined("training diverged") if np.isnan(share) else 100 * share)
        for rate, share in got.selection
    )
    return records.Record(
        task=cell.task,
        provenance=replace(
            cell.provenance, seed_selection=seeds, rate=got.rate, selection=selection
        ),
        counts={
            "examples": len(cell.prepared.queries),
            "layers": cell.model.n_layers,
            "heads": cell.model.n_heads,
        },
        metrics=got.metrics,
    )


def _clean(cell: Cell) -> None:
    """Remove what a finished cell needs no more."""
    cell.trials.remove()
    if not cell.keeps_captures:
        cell.stores.icl.remove()


def _whole_captures(cell: Cell) -> bool:
    """Whether whole captures of all three settings lie there, and the note that names them."""
    try:
        if kept_captures.read(kept_captures.path_of(cell.kept, cell.folder)) != cell.kept:
            return False
    except UserError:  # missing or damaged
        return False
    stores = cell.stores
    count = len(batches(cell.prepared.queries, cell.read_options))
    assert stores.ft is not None, "asked for where captures are kept"
    whole = all(s.whole(count) for s in (stores.zsl, stores.icl, stores.ft))
    return whole and stores.ft.read_training() is not None


def run_cells(
    study: Study, folder: Path, reporter: Reporter = SILENT
) -> tuple[records.Record, ...]:
    """`run_cell` for every task and seed in order, or for the best seed of each task.

    Of a shard I/N, every N-th from the I-th on; captures that others share are then left in place.

    Raises:
        UserError: when every rate diverges on a task.
    """
    place, count = study.request.shard
    kept = study.request.keep_captures or count > 1
    mine = _groups(study, folder)[place - 1 :: count]
    made = []
    for number, cells in enumerate(mine):
        if study.protocol.one_seed:
            made.append(_searched(cells, reporter))
        else:
            made.append(run_cell(cells[0], reporter))
        left = {group[0].task for group in mine[number + 1 :]}
        if not kept and cells[0].task not in left:
            cells[0].stores.zsl.remove()
    return tuple(made)


def _groups(study: Study, folder: Path) -> list[list[Cell]]:
    """The cells that end in one record: each alone, or all seeds of a task to choose from."""
    cells = cells_of(study, folder)
    if not study.protocol.one_seed:
        return [[cell] for cell in cells]
    return [[c for c in cells if c.task == t.task.name] for t in study.tasks]


def _searched(cells: Sequence[Cell], reporter: Reporter) -> records.Record:
    """The record of the best seed, the only one of this protocol that stays.

    Raises:
        UserError: as `run_cell`.
    """
    record = _finished_search(cells, reporter)
    if record is None:
        best, seeds = _best_seed(cells, reporter)
        record = run_cell(best, reporter, seeds)
    for cell in cells:
        if not cell.keeps_captures:
            cell.stores.icl.remove()
        if cell.seed != record.provenance.seed:
            _remove_record(cell)
    return record


def _remove_record(cell: Cell) -> None:
    """Delete what an earlier run of this protocol recorded of another seed."""
    path = cell.folder / f"{records.cell_name(cell.study.request.model, cell.task, cell.seed)}.json"
    if not path.exists():
        return
    with suppress(UserError):
        if records.read(path).provenance.protocol.startswith(cell.study.protocol.name):
            path.unlink()


def _finished_search(cells: Sequence[Cell], reporter: Reporter) -> records.Record | None:
    """The record of an earlier search over the same seeds, where it can be taken."""
    if cells[0].keeps_captures:
        return None
    for cell in cells:
        old = reuse.find(cell.folder, cell.task, cell.provenance, ALL)
        if old.record is None:
            continue
        seeds = [seed for seed, _ in old.record.provenance.seed_selection]
        if seeds == [c.seed for c in cells]:
            reporter.say(old.line)
            return old.record
    return None


def _best_seed(cells: Sequence[Cell], reporter: Reporter) -> tuple[Cell, Seeds]:
    """The seed with the best ICL accuracy on the evaluation rows, the first of equals, and all."""
    shares = [in_context_accuracy(c.model, c.prepared, c.stores.icl, reporter) for c in cells]
    best = max(range(len(cells)), key=lambda i: shares[i])
    return cells[best], tuple((c.seed, 100 * s) for c, s in zip(cells, shares, strict=True))
