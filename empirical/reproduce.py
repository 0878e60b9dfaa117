"""The whole study of a model: every input opened and checked, then identities and cells, in order.

`open_study` finds what is wrong with the input before anything is computed. Each result is written
as soon as it is there, so that a run that was stopped goes on where it was (`empirical.resume`).
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from empirical import check_files, provenance, records, resume
from empirical.check_files import CheckProvenance
from empirical.checking import all_statements, run_checks, trained_on
from empirical.decoder import LoadedModel
from empirical.errors import UserError
from empirical.experiments import (
    Prepared,
    StudySettings,
    TaskOutcomes,
    prepare,
    run_prepared,
)
from empirical.measure import METRICS, measure
from empirical.metrics import Undefined
from empirical.models import load
from empirical.progress import SILENT, Reporter
from empirical.settings import Position
from empirical.tasks import (
    EVALUATION_LIMIT,
    TASKS,
    FolderSource,
    GeneratedSource,
    HubSource,
    Source,
    get_task,
)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a user asks for; `data` is None for generated rows, "hub", or a folder.

    `tasks` empty: all six. `k` None: the paper's. `limit` None: the paper's. `command` is the name
    of the command that asks.
    """

    command: str
    model: str
    tokenizer: Path | None = None
    data: str | None = None
    tasks: tuple[str, ...] = ()
    seed: int = 1
    k: int | None = None
    limit: int | None = None
    rates: tuple[float, ...] = (0.01,)
    published_draw: bool = True
    position: Position = "label"


@dataclass(frozen=True, kw_only=True)
class Study:
    """A model and its tasks, ready to run."""

    request: Request
    settings: StudySettings
    model: LoadedModel
    tasks: tuple[Prepared, ...]
    weights_sha256: str
    commit: str | None


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
    chosen_tasks = [get_task(name) for name in dict.fromkeys(request.tasks or TASKS)]
    source = source_of(request.data)
    settings = StudySettings(
        seed=request.seed,
        rates=request.rates,
        k=request.k,
        limit=EVALUATION_LIMIT if request.limit is None else request.limit,
        packing="published" if request.k is None else "strict",
        published_draw=request.published_draw,
        position=request.position,
    )
    model = load(request.model, tokenizer=request.tokenizer)
    ready = []
    for task in chosen_tasks:
        found = prepare(model, task, source, settings)
        ready.append(found)
        if found.short_list:
            reporter.say(f"{task.name}: {found.short_list}")
        if len(found.shown) < found.wanted:
            reporter.say(
                f"{task.name}: {len(found.shown)} of the paper's {found.wanted} demonstrations fit "
                f"in {model.max_length} tokens"
            )
    return Study(
        request=request,
        settings=settings,
        model=model,
        tasks=tuple(ready),
        weights_sha256=provenance.weights_sha256(model.model),
        commit=provenance.commit(),
    )


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
    )
    given = [text for name, value in options if value is not None for text in (name, str(value))]
    model = (asked.model,) if asked.command == "check" else ("--model", asked.model)
    task = ("--task", ready.task.name, "--seed", str(asked.seed))
    return ("dualform", asked.command, *model, *task, *given, *more)


def _inputs(study: Study, ready: Prepared) -> dict[str, Any]:
    """The part of a provenance that records and checks have in common."""
    return {
        "model": study.request.model,
        "weights_sha256": study.weights_sha256,
        "source": study.request.data or "generated",
        "source_sha256": ready.rows_sha256,
        "rule": ready.rule,
        "seed": study.request.seed,
        "k_asked": study.request.k,
        "k": len(ready.shown),
        "limit": study.settings.limit,
        "context_length": len(ready.context),
        "device": study.model.device.type,
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
    command = _command(study, ready, *more) if again else _command(study, ready)
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
    rate = min(study.settings.rates)
    return tuple(
        check_task(study, ready, folder, rate=rate, reporter=reporter) for ready in study.tasks
    )


def run_cell(
    study: Study, ready: Prepared, folder: Path, reporter: Reporter = SILENT
) -> records.Record:
    """ZSL, ICL and FT of one task; the record is written to `folder`, or reused from there.

    Raises:
        UserError: when every rate diverges.
    """
    start = time.perf_counter()
    wanted = _provenance(study, ready, None)
    old = resume.find(folder, ready.task.name, wanted, METRICS)
    if old.line:
        reporter.say(old.line)
    if old.record is not None:
        return old.record
    got = run_prepared(study.model, ready, study.settings, reporter)
    with reporter.stage(f"{ready.task.name}: metrics", 1) as advance:
        values = measure(got.zsl, got.icl, got.ft, np.random.default_rng(study.request.seed))
        advance(1)
    record = records.Record(
        task=ready.task.name,
        provenance=_provenance(study, ready, got),
        counts={
            "examples": len(got.zsl.labels),
            "layers": study.model.n_layers,
            "heads": study.model.n_heads,
        },
        metrics=values,
    )
    records.write(record, folder, {"total": time.perf_counter() - start})
    return record


def _provenance(study: Study, ready: Prepared, got: TaskOutcomes | None) -> records.Provenance:
    """What is known before the run (None), and the chosen rate after it."""
    rates = study.settings.rates
    selection = () if got is None else got.selection
    return records.Provenance(
        **_inputs(study, ready),
        position=study.settings.position,
        rates=rates,
        rate=rates[0] if got is None else got.rate,
        selection=tuple(
            (rate, Undefined("training diverged") if np.isnan(share) else 100 * share)
            for rate, share in selection
        ),
        dtype=_dtype(study.model),
        command=_command(study, ready, "--rates", ",".join(map(repr, rates))),
    )


def run_cells(
    study: Study, folder: Path, reporter: Reporter = SILENT
) -> tuple[records.Record, ...]:
    """`run_cell` for every task in order.

    Raises:
        UserError: when every rate diverges on a task.
    """
    return tuple(run_cell(study, ready, folder, reporter) for ready in study.tasks)
