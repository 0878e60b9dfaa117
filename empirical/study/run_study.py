"""The cells of a study: a record for every task and seed, from the folder or computed.

What a cell needs on the way (captures, tried rates) lies in the folder until its record is there.
"""

import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from empirical.core import provenance
from empirical.core.errors import UserError
from empirical.core.json_files import file_name
from empirical.core.progress import SILENT, Reporter
from empirical.core.undefined import Number, Undefined
from empirical.inference.batches import batches
from empirical.inference.capture_store import CAPTURES, Store, key_of, tokens_sha256
from empirical.metrics.accumulate import ALL
from empirical.models import digest
from empirical.results import record as records
from empirical.results import reuse
from empirical.study import export
from empirical.study.preparation import Prepared, reading_of
from empirical.study.rate_trials import Trials
from empirical.study.request import (
    Study,
    choices_of,
    command_of,
    dtype_of,
    inputs_of,
    protocol_name,
    settings_of,
)
from empirical.study.run_cell import CellResult, Stores, in_context_accuracy, run_prepared


def _store(study: Study, ready: Prepared, folder: Path, setting: str, *more: object) -> Store:
    """Where the captures of one setting lie: of the same inputs only."""
    settings = settings_of(study, ready)
    context = ready.context if setting == "icl" else ()
    reading = reading_of(ready, settings)
    key = key_of(
        setting=setting,
        weights=study.weights_sha256,
        tokens=tokens_sha256(ready.queries, reading, context),
        code=study.code_sha256,
        versions=provenance.versions(),
        machine=[
            dtype_of(study.model),
            digest.device_name(study.model.device),
            torch.get_num_threads(),
        ],
        more=more,
    )
    name = file_name(setting, study.request.model, f"{ready.task.name}-{key}")
    return Store(folder=Path(folder) / CAPTURES / name)


def _finetuning(study: Study, ready: Prepared) -> tuple[object, ...]:
    """What the weights of finetuning follow from, beside the model."""
    return ready.seed, ready.rates, study.protocol.rates_on, ready.context, ready.rows_sha256


def _stores(study: Study, ready: Prepared, folder: Path) -> Stores:
    kept = study.request.keep_captures
    return Stores(
        zsl=_store(study, ready, folder, "zsl"),
        icl=_store(study, ready, folder, "icl"),
        ft=_store(study, ready, folder, "ft", *_finetuning(study, ready)) if kept else None,
    )


def run_cell(
    study: Study,
    ready: Prepared,
    folder: Path,
    reporter: Reporter = SILENT,
    seeds: tuple[tuple[int, Number], ...] = (),
) -> records.Record:
    """ZSL, ICL and FT of one task and seed; the record is written, or reused from `folder`.

    `seeds`: those to choose from, with ICL accuracies, where this one was chosen.

    Raises:
        UserError: when every rate diverges.
    """
    start = time.perf_counter()
    wanted = _provenance(study, ready, None, seeds)
    old = reuse.find(folder, ready.task.name, wanted, ALL)
    if old.line:
        reporter.say(old.line)
    stores = _stores(study, ready, folder)
    trials = Trials.open(
        folder,
        ready,
        key_of(cell=stores.icl.folder.name, finetuning=_finetuning(study, ready)),
    )
    if old.record is not None and (stores.ft is None or _kept(study, ready, stores, folder)):
        _clean(study, trials, stores)
        return old.record
    if stores.ft is not None:
        export.kept_path(study.request.model, ready.task.name, ready.seed, folder).unlink(
            missing_ok=True
        )
    got = run_prepared(
        study.model, ready, settings_of(study, ready), reporter, stores, trials.known(),
        trials.remember,
    )  # fmt: skip
    record = records.Record(
        task=ready.task.name,
        provenance=_provenance(study, ready, got, seeds),
        counts={
            "examples": len(ready.queries),
            "layers": study.model.n_layers,
            "heads": study.model.n_heads,
        },
        metrics=got.metrics,
    )
    records.write(
        record,
        folder,
        {"total": time.perf_counter() - start, "peak_memory_gib": provenance.peak_memory_gib()},
    )
    if stores.ft is not None:
        export.write_kept(_note(study, ready, stores), folder)
    _clean(study, trials, stores)
    return record


def _clean(study: Study, trials: Trials, stores: Stores) -> None:
    """Remove what a finished cell needs no more."""
    trials.remove()
    if not study.request.keep_captures:
        stores.icl.remove()


def _note(study: Study, ready: Prepared, stores: Stores) -> export.Kept:
    """Which captures are those of a cell."""
    return export.Kept(
        model=study.request.model,
        task=ready.task.name,
        seed=ready.seed,
        position=study.settings.position,
        context=len(ready.context),
        zsl=stores.zsl.folder.name,
        icl=stores.icl.folder.name,
        ft="" if stores.ft is None else stores.ft.folder.name,
    )


def _kept(study: Study, ready: Prepared, stores: Stores, folder: Path) -> bool:
    """Whether whole captures of all three settings lie there, and the note that names them."""
    path = export.kept_path(study.request.model, ready.task.name, ready.seed, folder)
    try:
        if export.read_note(path) != _note(study, ready, stores):
            return False
    except UserError:  # missing or damaged
        return False
    count = len(batches(ready.queries, reading_of(ready, settings_of(study, ready))))
    assert stores.ft is not None, "asked for where captures are kept"
    whole = all(s.whole(count) for s in (stores.zsl, stores.icl, stores.ft))
    return whole and stores.ft.read_training() is not None


def _provenance(
    study: Study,
    ready: Prepared,
    got: CellResult | None,
    seeds: tuple[tuple[int, Number], ...],
) -> records.Provenance:
    """What is known before the run (None), and the chosen rate after it."""
    selection = () if got is None else got.selection
    return records.Provenance(
        **inputs_of(study, ready),
        revision=study.revisions[ready.task.name],
        protocol=protocol_name(study),
        seed_selection=seeds,
        position=study.settings.position,
        rates=ready.rates,
        rates_on=study.protocol.rates_on,
        rate=ready.rates[0] if got is None else got.rate,
        selection=tuple(
            (rate, Undefined("training diverged") if np.isnan(share) else 100 * share)
            for rate, share in selection
        ),
        dtype=dtype_of(study.model),
        code_sha256=study.code_sha256,
        command=command_of(study, ready, *choices_of(study, ready)),
    )


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
    groups = [[r for r in study.cells if r.task.name == t.task.name] for t in study.tasks]
    if not study.protocol.one_seed:
        groups = [[ready] for ready in study.cells]
    mine = groups[place - 1 :: count]
    made = []
    for number, own in enumerate(mine):
        if study.protocol.one_seed:
            made.append(_searched(study, own, folder, reporter))
        else:
            made.append(run_cell(study, own[0], folder, reporter))
        left = {group[0].task.name for group in mine[number + 1 :]}
        if not kept and own[0].task.name not in left:
            _stores(study, own[0], folder).zsl.remove()
    return tuple(made)


def _searched(
    study: Study, cells: list[Prepared], folder: Path, reporter: Reporter
) -> records.Record:
    """The record of the best seed, the only one of this protocol that stays.

    Raises:
        UserError: as `run_cell`.
    """
    record = _finished_search(study, cells, folder, reporter)
    if record is None:
        ready, seeds = _best_seed(study, cells, folder, reporter)
        record = run_cell(study, ready, folder, reporter, seeds)
    for ready in cells:
        if not study.request.keep_captures:
            _stores(study, ready, folder).icl.remove()
        name = records.cell_name(study.request.model, ready.task.name, ready.seed)
        path = Path(folder) / f"{name}.json"
        if ready.seed != record.provenance.seed and path.exists():
            with suppress(UserError):
                if records.read(path).provenance.protocol.startswith(study.protocol.name):
                    path.unlink()
    return record


def _finished_search(
    study: Study, cells: list[Prepared], folder: Path, reporter: Reporter
) -> records.Record | None:
    """The record of an earlier search over the same seeds, where it can be taken."""
    if study.request.keep_captures:
        return None
    for ready in cells:
        wanted = _provenance(study, ready, None, ())
        old = reuse.find(folder, ready.task.name, wanted, ALL)
        if old.record is None:
            continue
        seeds = [seed for seed, _ in old.record.provenance.seed_selection]
        if seeds == [r.seed for r in cells]:
            reporter.say(old.line)
            return old.record
    return None


def _best_seed(
    study: Study, cells: list[Prepared], folder: Path, reporter: Reporter
) -> tuple[Prepared, tuple[tuple[int, Number], ...]]:
    """The seed with the best ICL accuracy on the evaluation rows, the first of equals, and all."""
    shares = []
    for ready in cells:
        store = _stores(study, ready, folder).icl
        share = in_context_accuracy(study.model, ready, settings_of(study, ready), store, reporter)
        shares.append(share)
    best = max(range(len(cells)), key=lambda i: shares[i])
    return cells[best], tuple((r.seed, 100 * s) for r, s in zip(cells, shares, strict=True))
