"""What a user asks for -> a model and its tasks, opened and checked before anything is computed."""

from dataclasses import dataclass, replace
from pathlib import Path

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
    Task,
    get_task,
    source_for,
)
from empirical.data.sources import ReadOnce
from empirical.inference.read_options import Position
from empirical.models import digest
from empirical.models.decoder import LoadedModel
from empirical.models.loading import load
from empirical.study.preparation import Prepared, StudySettings, prepare
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
    """A model and its tasks, ready to run: `prepared` holds every seed of every task, in order."""

    request: Request
    protocol: Protocol
    model: LoadedModel
    prepared: tuple[Prepared, ...]
    names: dict[str, str]  # of each task, as it was asked for
    revisions: dict[str, str | None]
    weights_sha256: str
    code_sha256: str
    commit: str | None

    @property
    def tasks(self) -> tuple[Prepared, ...]:
        """The first seed of every task."""
        first = {p.task.name: p for p in reversed(self.prepared)}
        return tuple(first[name] for name in dict.fromkeys(p.task.name for p in self.prepared))

    @property
    def control_options(self) -> tuple[str, ...]:
        """The options that switch the controls of this run on."""
        return tuple(text for name in self.request.controls for text in ("--control", name))

    @property
    def protocol_name(self) -> str:
        """The protocol's name, with the seeds to choose from where they are a user's own."""
        protocol = self.protocol
        if protocol.one_seed and protocol.seeds != get_protocol(protocol.name).seeds:
            return f"{protocol.name} of seeds {', '.join(map(str, self.request.seeds or ()))}"
        return protocol.name

    @property
    def dtype(self) -> str:
        """The dtype of the weights, as text."""
        return str(next(self.model.model.parameters()).dtype).removeprefix("torch.")

    @property
    def device(self) -> str:
        """`cpu`, or `cuda` with the name of the card."""
        return digest.device_name(self.model.device)


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
    tasks = _tasks(request)
    default, settings = source_of(request.data), _settings(request, protocol)
    for task in tasks.values():
        protocol.seeds_of(task.name), protocol.rates_of(task.name)
    model = load(request.model, device=request.device, tokenizer=request.tokenizer)
    prepared: list[Prepared] = []
    revisions = {}
    for task in tasks.values():
        source = ReadOnce(source_for(task, default))
        own = replace(settings, rates=protocol.rates_of(task.name))
        for seed in protocol.seeds_of(task.name):
            prepared.append(prepare(model, task, source, replace(own, seed=seed)))
            _say_what_is_short(prepared[-1], model, reporter)
        revisions[task.name] = source.revision(task)
    return Study(
        request=request,
        protocol=protocol,
        model=model,
        prepared=tuple(prepared),
        names={task.name: asked for asked, task in tasks.items()},
        revisions=revisions,
        weights_sha256=digest.model_sha256(model),
        code_sha256=provenance.code_sha256(),
        commit=provenance.commit(),
    )


def _tasks(request: Request) -> dict[str, Task]:
    """The tasks by what they were asked for as: a name or a file.

    Raises:
        UserError: for a task that is not known, or two of one name.
    """
    tasks = {asked: get_task(asked) for asked in dict.fromkeys(request.tasks or TASKS)}
    names = [task.name for task in tasks.values()]
    if len(set(names)) < len(names):
        raise UserError(
            f"expected tasks of different names, got {', '.join(sorted(names))}; rename one"
        )
    return tasks


def _settings(request: Request, protocol: Protocol) -> StudySettings:
    """What all cells have in common; seed and rates stand for those of a cell."""
    return StudySettings(
        seed=0,
        rates=(1.0,),
        k=request.k,
        limit=EVALUATION_LIMIT if request.limit is None else request.limit,
        packing="published" if request.k is None else "strict",
        published_draw=request.published_draw,
        position=request.position,
        rates_on=protocol.rates_on,
    )


def _say_what_is_short(prepared: Prepared, model: LoadedModel, reporter: Reporter) -> None:
    if prepared.short_list:
        reporter.say(f"{prepared.title}: {prepared.short_list}")
    if len(prepared.shown) < prepared.wanted:
        reporter.say(
            f"{prepared.title}: {len(prepared.shown)} of the paper's {prepared.wanted} "
            f"demonstrations fit in {model.max_length} tokens"
        )
