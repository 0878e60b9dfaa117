"""What a user asks for -> a model and its tasks, opened and checked before anything is computed."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from empirical.core import provenance
from empirical.core.errors import UserError
from empirical.core.progress import SILENT, Reporter
from empirical.data.paper_tasks import (
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
from empirical.data.sources import ReadOnce
from empirical.inference.read_options import Position
from empirical.models import digest
from empirical.models.decoder import LoadedModel
from empirical.models.loading import load
from empirical.study.preparation import Prepared, StudySettings, prepare, title
from empirical.study.protocols import Protocol, chosen, get_protocol


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a user asks for; `data` is None for generated rows, "hub", or a folder.

    `tasks` empty: all six. `seeds` and `rates` None: the protocol's. `k` None: the paper's. `limit`
    None: the paper's. `command` is the name of the command that asks. `keep_captures`: leave what
    the three settings recorded in the folder, for `export`. `controls`: names of the catalogue
    (`empirical.results.control_catalogue`).
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
    controls: tuple[str, ...] = ()


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

    @property
    def control_options(self) -> tuple[str, ...]:
        """The options that switch the controls of this run on."""
        return tuple(text for name in self.request.controls for text in ("--control", name))


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
    revisions = {}
    for task in chosen_tasks:
        source = ReadOnce(source_for(task, default))
        rates = protocol.rates_of(task.name)
        for seed in protocol.seeds_of(task.name):
            found = prepare(model, task, source, replace(settings, seed=seed, rates=rates))
            ready.append(found)
            _say_what_is_short(found, model, reporter)
        revisions[task.name] = source.revision(task)
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
        revisions=revisions,
        weights_sha256=digest.model_sha256(model),
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


def settings_of(study: Study, ready: Prepared) -> StudySettings:
    """The settings of one cell."""
    return replace(study.settings, seed=ready.seed, rates=ready.rates)


def command_of(study: Study, ready: Prepared, *more: str) -> tuple[str, ...]:
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


def protocol_name(study: Study) -> str:
    """The protocol's name, with the seeds to choose from where they are a user's own."""
    protocol = study.protocol
    if protocol.one_seed and protocol.seeds != get_protocol(protocol.name).seeds:
        return f"{protocol.name} of seeds {', '.join(map(str, study.request.seeds or ()))}"
    return protocol.name


def choices_of(study: Study, ready: Prepared) -> tuple[str, ...]:
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


def inputs_of(study: Study, ready: Prepared) -> dict[str, Any]:
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
        "device": digest.device_name(study.model.device),
        "threads": torch.get_num_threads(),
        "versions": provenance.versions(),
        "commit": study.commit,
    }


def dtype_of(model: LoadedModel) -> str:
    """The dtype of the weights, as text."""
    return str(next(model.model.parameters()).dtype).removeprefix("torch.")
