"""One task and seed: its inputs made ready, its rate selected, its three settings run and measured.

Zero-shot and in-context captures lie on disk batch by batch, so that all rates, and what comes
after a stop, read them again; finetuning is measured against them as it goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import torch

from empirical.core.errors import UserError
from empirical.core.progress import SILENT, Reporter
from empirical.data.demonstrations import draw, rows_sha256
from empirical.data.paper_tasks import EVALUATION_LIMIT, Source, Task, evaluation
from empirical.data.prompts import PUBLISHED_MAX_LENGTH, Query, answers, label_tokens, pack, query
from empirical.inference.capture_store import Store, stored_parts
from empirical.inference.finetune import DivergedError, finetuned
from empirical.inference.recorder import QueryLog
from empirical.inference.settings import (
    Labels,
    Part,
    Position,
    Reading,
    check_inputs,
    fine_tuned,
    parts,
    training_examples,
)
from empirical.metrics.accumulate import Tally, kendall_measurements
from empirical.metrics.kendall import (
    EXAMPLES,
    Kendall,
    attended,
    demonstration_tokens,
    measure_kendall,
)
from empirical.metrics.similarity import Undefined
from empirical.models.decoder import LoadedModel
from empirical.results.record import Measurement
from empirical.study.protocols import Chosen

Remember = Callable[[float, float], None]  # a rate and its accuracy (nan: diverged)


@dataclass(frozen=True, kw_only=True)
class StudySettings:
    """Everything that a cell depends on beside model, task and source.

    `packing`: "published" stops at the first demonstration that does not fit, "strict" refuses.
    `published_draw`: take the published demonstrations of this seed where the source knows them.
    `rates_on`: the rows on which one of several rates is chosen.
    """

    seed: int
    rates: tuple[float, ...]
    k: int | None = None
    position: Position = "label"
    limit: int | None = EVALUATION_LIMIT
    batch_size: int = 32
    selection_rows: int = 100
    packing: Literal["published", "strict"] = "published"
    published_draw: bool = True
    rates_on: Chosen = "training"


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A task as tokens, checked to fit: nothing about the input can fail after this.

    `context` is BOS and the demonstrations `shown`; `held` are the rows to choose a rate on:
    training rows that are not shown, or the queries themselves.
    """

    task: Task
    seed: int
    rates: tuple[float, ...]
    labels: Labels
    queries: tuple[Query, ...]
    shown: tuple[Query, ...]
    held: tuple[Query, ...]
    context: tuple[int, ...]
    wanted: int
    rule: str
    rows_sha256: str
    short_list: str = ""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell's rate, how it was chosen: (rate, share right; nan: diverged), and its metrics."""

    rate: float
    selection: tuple[tuple[float, float], ...]
    metrics: dict[str, Measurement]


@dataclass(frozen=True, kw_only=True)
class Stores:
    """Where captures of the three settings lie; `ft` is None where it is not kept."""

    zsl: Store
    icl: Store
    ft: Store | None = None


def prepare(model: LoadedModel, task: Task, source: Source, settings: StudySettings) -> Prepared:
    """Rows drawn, tokenised, packed and checked; nothing is computed with the model.

    Raises:
        UserError: for rates, rows, labels or lengths that the study cannot be run with.
    """
    _check_rates(settings.rates)
    encoder, labels = model.encoder, label_tokens(model.encoder, task)
    train = source.rows(task, "train")
    known = source.rows(task, "evaluation")
    rows = evaluation(known, settings.limit)
    wanted = task.k if settings.k is None else settings.k
    drawn = draw(source, task, train, settings.seed, wanted, published=settings.published_draw)
    queries = tuple(query(encoder, task, r) for r in rows)
    # Packed beside the longest of the paper's rows, also where fewer are run: the same context.
    rest = evaluation(known, EVALUATION_LIMIT)[len(rows) :]
    every = (*queries, *(query(encoder, task, r) for r in rest))
    offered = [query(encoder, task, r) for r in drawn.offered]
    limit = min(PUBLISHED_MAX_LENGTH, model.max_length)
    packed = pack(offered, every, labels, encoder, limit, settings.packing)
    # Drawn but not shown: the first to choose a rate on, as they come next in the shuffle.
    left = [*drawn.offered[packed.used :], *drawn.left][: settings.selection_rows]
    held = tuple(q for r in left if _fits(model, q := query(encoder, task, r), labels))
    if settings.rates_on == "evaluation":
        held = queries
    found = Prepared(
        task=task,
        seed=settings.seed,
        rates=settings.rates,
        labels=labels,
        queries=queries,
        shown=tuple(offered[: packed.used]),
        held=held if len(settings.rates) > 1 else (),
        context=packed.context,
        wanted=wanted,
        rule=drawn.rule,
        short_list=drawn.short_list,
        rows_sha256=rows_sha256(train, rows, drawn.offered),
    )
    _check(model, found, settings)
    return found


def _fits(model: LoadedModel, row: Query, labels: Labels) -> bool:
    """Whether BOS, a row and its longest answer fit in the model's context."""
    return 1 + len(row.prompt) + max(map(len, answers(row, labels))) <= model.max_length


def _check_rates(rates: Sequence[float]) -> None:
    """Raise unless there are rates, all positive and finite, none twice.

    Raises:
        UserError: otherwise.
    """
    if not rates:
        raise UserError("expected at least one learning rate, got none; pass rates")
    bad = [r for r in rates if not (np.isfinite(r) and r > 0)]
    if bad or len(set(rates)) < len(rates):
        shown = ",".join(f"{r:g}" for r in rates)
        raise UserError(
            f"expected positive finite learning rates, each once, got {shown}; for example 0.01,0.1"
        )


def _check(model: LoadedModel, found: Prepared, settings: StudySettings) -> None:
    """Raise unless every later pass can be made.

    Raises:
        UserError: otherwise.
    """
    if len(settings.rates) > 1 and not found.held:
        raise UserError(
            f"expected training rows of {found.task.name} beyond the {len(found.shown)} "
            "demonstrations to choose a rate, got none; add training rows, lower k, or pass one "
            "rate"
        )
    how = reading_of(found, settings)
    check_inputs(model, found.queries, how, len(found.context))
    check_inputs(model, [*found.shown, *found.held], how, 1)


def reading_of(ready: Prepared, settings: StudySettings) -> Reading:
    """How the queries of a cell are read and recorded."""
    return Reading(
        labels=ready.labels,
        words=ready.task.labels,
        position=settings.position,
        batch_size=settings.batch_size,
        wide=EXAMPLES,
    )


def select_rate(
    model: LoadedModel,
    ready: Prepared,
    settings: StudySettings,
    reporter: Reporter = SILENT,
    known: Sequence[tuple[float, float]] = (),
    remember: Remember = lambda _rate, _share: None,
) -> tuple[float, tuple[tuple[float, float], ...]]:
    """The rate with the best accuracy on the rows held, and (rate, share right) of each.

    With a single rate nothing is selected. Ties go to the rate named first; nan: diverged. What is
    `known` is not tried again; `remember` is told of every new trial.

    Raises:
        UserError: when every rate diverges.
    """
    if len(settings.rates) == 1:
        return settings.rates[0], ()
    shares = dict(known)
    for rate in settings.rates:
        if rate not in shares:
            shares[rate] = _trial(model, ready, settings, rate, reporter)
            remember(rate, shares[rate])
    tried = tuple((rate, shares[rate]) for rate in settings.rates)
    usable = [s for s in tried if not np.isnan(s[1])]
    if not usable:
        shown = ",".join(f"{r:g}" for r in settings.rates)
        raise UserError(
            f"expected one rate of {shown} to stay finite on {ready.task.name}, got divergence at "
            "all of them; add smaller rates"
        )
    return max(usable, key=lambda s: s[1])[0], tried


def _trial(
    model: LoadedModel, ready: Prepared, settings: StudySettings, rate: float, reporter: Reporter
) -> float:
    """Share right of the rows held after finetuning; nan where it diverges."""
    name = title(ready)
    with reporter.stage(f"{name}: select rate {rate:g}", len(ready.shown) + len(ready.held)) as add:
        try:
            out = fine_tuned(
                model, ready.held, ready.labels, ready.task.labels, ready.shown, rate,
                settings.position, settings.batch_size, record=False, advance=add,
            )  # fmt: skip
        except DivergedError:
            reporter.say(f"{name}: finetuning diverges at rate {rate:g}")
            return float("nan")
    return float((out.predictions == out.labels).mean())


def title(ready: Prepared) -> str:
    """How a cell is called while it runs."""
    return f"{ready.task.name} (seed {ready.seed})"


def zero_shot_parts(
    model: LoadedModel, ready: Prepared, settings: StudySettings, store: Store, reporter: Reporter
) -> Iterator[Part]:
    """Zero-shot captures, computed where the store lacks them."""
    how = reading_of(ready, settings)
    with reporter.stage(f"{ready.task.name}: zero-shot", len(ready.queries)) as advance:
        yield from stored_parts(model, ready.queries, how, (), store, advance)


def in_context_parts(
    model: LoadedModel, ready: Prepared, settings: StudySettings, store: Store, reporter: Reporter
) -> Iterator[Part]:
    """In-context captures, computed where the store lacks them."""
    how, shown = reading_of(ready, settings), len(ready.shown)
    stage = f"{title(ready)}: in-context, {shown} demonstrations"
    with reporter.stage(stage, len(ready.queries)) as advance:
        yield from stored_parts(model, ready.queries, how, ready.context, store, advance)


def in_context_accuracy(
    model: LoadedModel, ready: Prepared, settings: StudySettings, store: Store, reporter: Reporter
) -> float:
    """Share of queries answered rightly in context."""
    found = in_context_parts(model, ready, settings, store, reporter)
    right = [bool(x) for part in found for x in part.predictions == part.labels]
    return sum(right) / len(right)


def run_prepared(
    model: LoadedModel,
    ready: Prepared,
    settings: StudySettings,
    reporter: Reporter = SILENT,
    stores: Stores | None = None,
    known: Sequence[tuple[float, float]] = (),
    remember: Remember = lambda _rate, _share: None,
) -> Cell:
    """The rate selected, then ZSL, ICL and FT on the evaluation rows, and every metric.

    Raises:
        UserError: when every rate diverges; `DivergedError` when the only or selected one does.
    """
    with _somewhere(stores) as where:
        for _ in zero_shot_parts(model, ready, settings, where.zsl, reporter):
            pass
        for _ in in_context_parts(model, ready, settings, where.icl, reporter):
            pass
        rate, selection = select_rate(model, ready, settings, reporter, known, remember)
        tally, queries, asked = _finetuned(model, ready, settings, rate, where, reporter)
        with reporter.stage(f"{title(ready)}: metrics", 1) as advance:
            ranks = _kendall(ready, where.icl, queries, asked)
            found = tally.measurements() | kendall_measurements(
                ranks, lambda i: np.random.default_rng((5, ready.seed, i, 1))
            )
            advance(1)
    return Cell(rate=rate, selection=selection, metrics=found)


@contextmanager
def _somewhere(stores: Stores | None) -> Iterator[Stores]:
    """The stores given, or some that are gone afterwards."""
    if stores is not None:
        yield stores
        return
    with TemporaryDirectory() as folder:
        yield Stores(zsl=Store(folder=Path(folder) / "zsl"), icl=Store(folder=Path(folder) / "icl"))


def _finetuned(
    model: LoadedModel,
    ready: Prepared,
    settings: StudySettings,
    rate: float,
    where: Stores,
    reporter: Reporter,
) -> tuple[Tally, QueryLog, dict[int, np.ndarray]]:
    """FT measured against what the stores hold; queries of training, and q_p of the first rows."""
    tally, log = Tally(ready.seed), QueryLog(layers=model.n_layers)
    asked: dict[int, np.ndarray] = {}
    how = reading_of(ready, settings)
    examples = training_examples(model, ready.shown, ready.labels)
    stage = f"{title(ready)}: finetuned at rate {rate:g}"
    with (
        reporter.stage(stage, len(ready.queries) + len(examples)) as advance,
        finetuned(model, examples, rate, advance, log),
    ):
        for number, ft in enumerate(parts(model, ready.queries, how, (), advance)):
            zsl, icl = where.zsl.read(number), where.icl.read(number)
            if zsl is None or icl is None:
                raise UserError(
                    f"expected the captures of batch {number} in {where.zsl.folder.parent}, got "
                    "none that can be read; run the same command again"
                )
            tally.add(ft.index, zsl, icl, ft)
            asked |= ft.asked
            if where.ft is not None:
                where.ft.write(number, ft)
    if where.ft is not None:
        where.ft.write_training([torch.stack(example).numpy() for example in log.seen])
    return tally, log, asked


def demonstration_lengths(ready: Prepared) -> list[int]:
    """Tokens of prompt and answer of each demonstration shown."""
    return [len(q.prompt) + len(answers(q, ready.labels)[q.label]) for q in ready.shown]


def _kendall(
    ready: Prepared, icl: Store, log: QueryLog, asked: dict[int, np.ndarray]
) -> Kendall | Undefined:
    """Over the first examples: scores c in context against Q'q_p of finetuning."""
    scores: dict[int, np.ndarray] = {}
    for part in icl.read_all():
        scores |= part.attended
    first = sorted(asked)
    if not first:
        return Undefined("scores towards the context were not recorded")
    if sorted(scores) != first:
        raise UserError(
            f"expected whole captures in {icl.folder}, got damaged ones; run the same command again"
        )
    lengths = demonstration_lengths(ready)
    kept = demonstration_tokens(lengths)
    c = np.stack([scores[i][:, kept] for i in first])
    f = attended(log.stacked().numpy(), np.stack([asked[i] for i in first]))
    return measure_kendall(c, f, lengths, np.random.default_rng((6, ready.seed, 1)))


def run_task(
    model: LoadedModel,
    task: Task,
    source: Source,
    settings: StudySettings,
    reporter: Reporter = SILENT,
) -> Cell:
    """`prepare`, then `run_prepared`.

    Raises:
        UserError: as those.
    """
    return run_prepared(model, prepare(model, task, source, settings), settings, reporter)
