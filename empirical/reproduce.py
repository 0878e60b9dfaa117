"""The whole study of a model: every input opened and checked, then identities and cells, in order.

`open_study` finds what is wrong with the input before anything is computed. Each result is written
as soon as it is there, so that a run that was stopped goes on where it was: records and checks by
`empirical.resume`, captures batch by batch, rates trial by trial.
"""

import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from empirical import check_files, export, provenance, records, resume
from empirical.captures import CAPTURES, Store, key_of, tokens_sha256
from empirical.check_files import CheckProvenance
from empirical.checking import all_statements, run_checks, trained_on
from empirical.decoder import LoadedModel
from empirical.errors import UserError
from empirical.experiments import (
    Cell,
    Prepared,
    Stores,
    StudySettings,
    in_context_accuracy,
    prepare,
    reading_of,
    run_prepared,
    title,
)
from empirical.jsonfile import file_name
from empirical.measure import ALL
from empirical.metrics import Number, Undefined
from empirical.models import load
from empirical.progress import SILENT, Reporter
from empirical.protocols import Protocol, chosen, get_protocol
from empirical.settings import Position, batches
from empirical.tasks import (
    EVALUATION_LIMIT,
    TASKS,
    FolderSource,
    GeneratedSource,
    HubSource,
    Source,
    get_task,
    source_for,
    source_name,
)
from empirical.trials import Trials


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a user asks for; `data` is None for generated rows, "hub", or a folder.

    `tasks` empty: all six. `seeds` and `rates` None: the protocol's. `k` None: the paper's. `limit`
    None: the paper's. `command` is the name of the command that asks. `keep_captures`: leave what
    the three settings recorded in the folder, for `export`.
    """

    command: str
    model: str
    tokenizer: Path | None = None
    data: str | None = None
    tasks: tuple[str, ...] = ()
    protocol: str = "quick"
    seeds: tuple[int, ...] | None = None
    k: int | None = None
    limit: int | None = None
    rates: tuple[float, ...] | None = None
    published_draw: bool = True
    position: Position = "label"
    keep_captures: bool = False
    device: str = "cpu"
    checks: bool = True
    shard: tuple[int, int] = (1, 1)


@dataclass(frozen=True, kw_only=True)
class Study:
    """A model and its tasks, ready to run: `cells` holds every seed of every task, in order."""

    request: Request
    protocol: Protocol
    settings: StudySettings
    model: LoadedModel
    cells: tuple[Prepared, ...]
    names: dict[str, str]  # of each task, as it was asked for
    revisions: dict[str, str | None]
    weights_sha256: str
    code_sha256: str
    commit: str | None

    @property
    def tasks(self) -> tuple[Prepared, ...]:
        """The first seed of every task."""
        first = {ready.task.name: ready for ready in reversed(self.cells)}
        return tuple(first[name] for name in dict.fromkeys(r.task.name for r in self.cells))


def source_of(data: str | None) -> Source:
    """Generated rows, the hub, or a folder.

    Raises:
        UserError: for a folder that is not there.
    """
    if data is None:
        return GeneratedSource(seed=0)
    if data == "hub":
        return HubSource()
    if not Path(data).is_dir():
        raise UserError(
            f"expected a folder of tasks at {data}, got none; "
            "pass DIR with DIR/TASK/train.jsonl and validation.jsonl, or hub"
        )
    return FolderSource(path=Path(data))


def open_study(request: Request, reporter: Reporter = SILENT) -> Study:
    """Model, rows and tokens of every task, checked to fit. Says which demonstrations do not.

    Raises:
        UserError: for anything about the input that would stop the study later.
    """
    protocol = chosen(request.protocol, request.seeds, request.rates)
    chosen_tasks = [get_task(name) for name in dict.fromkeys(request.tasks or TASKS)]
    names = [task.name for task in chosen_tasks]
    if len(set(names)) < len(names):
        raise UserError(
            f"expected tasks of different names, got {', '.join(sorted(names))}; rename one"
        )
    default = source_of(request.data)
    settings = StudySettings(
        seed=0,
        rates=(1.0,),
        k=request.k,
        limit=EVALUATION_LIMIT if request.limit is None else request.limit,
        packing="published" if request.k is None else "strict",
        published_draw=request.published_draw,
        position=request.position,
        rates_on=protocol.rates_on,
    )
    for task in chosen_tasks:
        protocol.seeds_of(task.name), protocol.rates_of(task.name)
    model = load(request.model, device=request.device, tokenizer=request.tokenizer)
    ready: list[Prepared] = []
    for task in chosen_tasks:
        source = source_for(task, default)
        rates = protocol.rates_of(task.name)
        for seed in protocol.seeds_of(task.name):
            found = prepare(model, task, source, replace(settings, seed=seed, rates=rates))
            ready.append(found)
            _say_what_is_short(found, model, reporter)
    return Study(
        request=request,
        protocol=protocol,
        settings=settings,
        model=model,
        cells=tuple(ready),
        names={
            t.name: asked
            for t, asked in zip(chosen_tasks, dict.fromkeys(request.tasks or TASKS), strict=True)
        },
        revisions={t.name: source_for(t, default).revision(t) for t in chosen_tasks},
        weights_sha256=provenance.model_sha256(model),
        code_sha256=provenance.code_sha256(),
        commit=provenance.commit(),
    )


def _say_what_is_short(found: Prepared, model: LoadedModel, reporter: Reporter) -> None:
    if found.short_list:
        reporter.say(f"{title(found)}: {found.short_list}")
    if len(found.shown) < found.wanted:
        reporter.say(
            f"{title(found)}: {len(found.shown)} of the paper's {found.wanted} demonstrations fit "
            f"in {model.max_length} tokens"
        )


def _settings(study: Study, ready: Prepared) -> StudySettings:
    """The settings of one cell."""
    return replace(study.settings, seed=ready.seed, rates=ready.rates)


def _command(study: Study, ready: Prepared, *more: str) -> tuple[str, ...]:
    """The command that makes one cell alone."""
    asked = study.request
    options: tuple[tuple[str, object], ...] = (
        ("--tokenizer", asked.tokenizer),
        ("--data", asked.data),
        ("--k", asked.k),
        ("--limit", asked.limit),
        ("--draw", None if asked.published_draw else "shuffled"),
        ("--position", None if asked.position == "label" else asked.position),
        ("--threads", None if torch.get_num_threads() == 1 else torch.get_num_threads()),
        ("--device", None if asked.device == "cpu" else asked.device),
    )
    given = [text for name, value in options if value is not None for text in (name, str(value))]
    model = (asked.model,) if asked.command == "check" else ("--model", asked.model)
    name = study.names[ready.task.name]
    bare = () if asked.checks else ("--no-checks",)
    return ("dualform", asked.command, *model, "--task", name, *given, *bare, *more)


def _protocol_name(study: Study) -> str:
    """The protocol's name, with the seeds to choose from where they are a user's own."""
    protocol = study.protocol
    if protocol.one_seed and protocol.seeds != get_protocol(protocol.name).seeds:
        return f"{protocol.name} of seeds {', '.join(map(str, study.request.seeds or ()))}"
    return protocol.name


def _choices(study: Study, ready: Prepared) -> tuple[str, ...]:
    """The options that choose protocol, seeds and rates as they were chosen."""
    protocol = study.protocol
    if not isinstance(protocol.seeds, tuple):
        return ("--protocol", protocol.name)
    seeds = protocol.seeds if protocol.one_seed else (ready.seed,)
    found = [text for seed in seeds for text in ("--seed", str(seed))]
    if protocol.name != "quick":
        found += ["--protocol", protocol.name]
    if protocol.name == "quick" or study.request.rates is not None:
        found += ["--rates", ",".join(map(repr, ready.rates))]
    return tuple(found)


def _inputs(study: Study, ready: Prepared) -> dict[str, Any]:
    """The part of a provenance that records and checks have in common."""
    return {
        "model": study.request.model,
        "weights_sha256": study.weights_sha256,
        "source": source_name(ready.task, study.request.data),
        "source_sha256": ready.rows_sha256,
        "rule": ready.rule,
        "seed": ready.seed,
        "k_asked": study.request.k,
        "k": len(ready.shown),
        "limit": study.settings.limit,
        "context_length": len(ready.context),
        "device": provenance.device_name(study.model.device),
        "threads": torch.get_num_threads(),
        "versions": provenance.versions(),
        "commit": study.commit,
    }


def _dtype(model: LoadedModel) -> str:
    return str(next(model.model.parameters()).dtype).removeprefix("torch.")


def check_task(
    study: Study,
    ready: Prepared,
    folder: Path,
    *,
    rate: float,
    queries: int = 1,
    arithmetic: str = "float64",
    again: bool = False,
    reporter: Reporter = SILENT,
) -> dict[str, Any]:
    """The identities on every layer and head while the model reads one task; written to `folder`.

    The document is written, and returned, also when a check is refused. Checks that held with the
    same inputs are reused unless asked for `again`.

    Raises:
        UserError: for a bad rate, arithmetic or number of queries, or a finetuning that diverges.
    """
    more = ("--rate", repr(rate), "--queries", str(queries), "--dtype", arithmetic)
    choices = ("--seed", str(ready.seed), *more) if again else _choices(study, ready)
    command = _command(study, ready, *choices)
    wanted = CheckProvenance(
        **_inputs(study, ready),
        queries=queries,
        rate=rate,
        steps=len(trained_on(ready)),
        states=_dtype(study.model),
        arithmetic=arithmetic,
        statements=all_statements(ready),
        command=command,
    )
    old = check_files.Found(value=None, line="")
    if not again:
        old = check_files.find(folder, ready.task.name, wanted)
    if old.line:
        reporter.say(old.line)
    if old.value is not None:
        return old.value
    found = run_checks(
        study.model, ready, queries=queries, rate=rate, arithmetic=arithmetic, reporter=reporter
    )
    value = check_files.document(found, ready.task.name, wanted)
    check_files.write(value, folder)
    return value


def check_all(
    study: Study, folder: Path, reporter: Reporter = SILENT
) -> tuple[dict[str, Any], ...]:
    """`check_task` for every task; the finetuning update is that of the smallest rate.

    Raises:
        UserError: when finetuning diverges even at the smallest rate.
    """
    return tuple(
        check_task(study, ready, folder, rate=min(ready.rates), reporter=reporter)
        for ready in study.tasks
    )


def _store(study: Study, ready: Prepared, folder: Path, setting: str, *more: object) -> Store:
    """Where the captures of one setting lie: of the same inputs only."""
    settings = _settings(study, ready)
    context = ready.context if setting == "icl" else ()
    reading = reading_of(ready, settings)
    key = key_of(
        setting=setting,
        weights=study.weights_sha256,
        tokens=tokens_sha256(ready.queries, reading, context),
        code=study.code_sha256,
        versions=provenance.versions(),
        machine=[
            _dtype(study.model),
            provenance.device_name(study.model.device),
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
    old = resume.find(folder, ready.task.name, wanted, ALL)
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
        study.model, ready, _settings(study, ready), reporter, stores, trials.known(),
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
    count = len(batches(ready.queries, reading_of(ready, _settings(study, ready))))
    assert stores.ft is not None, "asked for where captures are kept"
    whole = all(s.whole(count) for s in (stores.zsl, stores.icl, stores.ft))
    return whole and stores.ft.read_training() is not None


def _provenance(
    study: Study,
    ready: Prepared,
    got: Cell | None,
    seeds: tuple[tuple[int, Number], ...],
) -> records.Provenance:
    """What is known before the run (None), and the chosen rate after it."""
    selection = () if got is None else got.selection
    return records.Provenance(
        **_inputs(study, ready),
        revision=study.revisions[ready.task.name],
        protocol=_protocol_name(study),
        seed_selection=seeds,
        position=study.settings.position,
        rates=ready.rates,
        rates_on=study.protocol.rates_on,
        rate=ready.rates[0] if got is None else got.rate,
        selection=tuple(
            (rate, Undefined("training diverged") if np.isnan(share) else 100 * share)
            for rate, share in selection
        ),
        dtype=_dtype(study.model),
        code_sha256=study.code_sha256,
        command=_command(study, ready, *_choices(study, ready)),
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
        old = resume.find(folder, ready.task.name, wanted, ALL)
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
        share = in_context_accuracy(study.model, ready, _settings(study, ready), store, reporter)
        shares.append(share)
    best = max(range(len(cells)), key=lambda i: shares[i])
    return cells[best], tuple((r.seed, 100 * s) for r, s in zip(cells, shares, strict=True))
