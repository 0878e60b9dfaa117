"""One task: its inputs made ready, its learning rate selected, its three settings run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from empirical.decoder import LoadedModel
from empirical.draws import draw, rows_sha256
from empirical.errors import UserError
from empirical.finetune import DivergedError
from empirical.progress import SILENT, Reporter
from empirical.prompts import PUBLISHED_MAX_LENGTH, Query, label_tokens, pack, query
from empirical.settings import (
    Labels,
    Outcome,
    Position,
    Reading,
    check_inputs,
    fine_tuned,
    in_context,
    zero_shot,
)
from empirical.tasks import EVALUATION_LIMIT, Source, Task, evaluation


@dataclass(frozen=True, kw_only=True)
class StudySettings:
    """Everything that a cell depends on beside model, task and source.

    `packing`: "published" stops at the first demonstration that does not fit, "strict" refuses.
    `published_draw`: take the published demonstrations of this seed where the source knows them.
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


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A task as tokens, checked to fit: nothing about the input can fail after this.

    `context` is BOS and the demonstrations `shown`; `held` are training rows to choose a rate on.
    """

    task: Task
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
class TaskOutcomes:
    """The three outcomes of a task; `selection` holds (rate, held-out accuracy, nan: diverged)."""

    task: str
    k_used: int
    context_length: int
    rate: float
    zsl: Outcome
    icl: Outcome
    ft: Outcome
    selection: tuple[tuple[float, float], ...]


def prepare(model: LoadedModel, task: Task, source: Source, settings: StudySettings) -> Prepared:
    """Rows drawn, tokenised, packed and checked; nothing is computed with the model.

    Raises:
        UserError: for rates, rows, labels or lengths that the study cannot be run with.
    """
    _check_rates(settings.rates)
    encoder, labels = model.encoder, label_tokens(model.encoder, task)
    train = source.rows(task, "train")
    rows = evaluation(source.rows(task, "evaluation"), settings.limit)
    wanted = task.k if settings.k is None else settings.k
    drawn = draw(source, task, train, settings.seed, wanted, published=settings.published_draw)
    queries = tuple(query(encoder, task, r) for r in rows)
    offered = [query(encoder, task, r) for r in drawn.offered]
    limit = min(PUBLISHED_MAX_LENGTH, model.max_length)
    packed = pack(offered, queries, labels, encoder, limit, settings.packing)
    # Drawn but not shown: the first to choose a rate on, as they come next in the shuffle.
    left = [*drawn.offered[packed.used :], *drawn.left][: settings.selection_rows]
    found = Prepared(
        task=task,
        labels=labels,
        queries=queries,
        shown=tuple(offered[: packed.used]),
        held=tuple(query(encoder, task, r) for r in left) if len(settings.rates) > 1 else (),
        context=packed.context,
        wanted=wanted,
        rule=drawn.rule,
        short_list=drawn.short_list,
        rows_sha256=rows_sha256(train, rows, drawn.offered),
    )
    _check(model, found, settings)
    return found


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
    how = Reading(
        labels=found.labels,
        words=found.task.labels,
        position=settings.position,
        batch_size=settings.batch_size,
    )
    check_inputs(model, found.queries, how, len(found.context))
    check_inputs(model, [*found.shown, *found.held], how, 1)


def select_rate(
    model: LoadedModel, ready: Prepared, settings: StudySettings, reporter: Reporter = SILENT
) -> tuple[float, tuple[tuple[float, float], ...]]:
    """The rate with the best accuracy on held-out training rows, and (rate, share right) of each.

    With a single rate nothing is selected. Ties go to the rate named first; nan: diverged.

    Raises:
        UserError: when every rate diverges.
    """
    if len(settings.rates) == 1:
        return settings.rates[0], ()
    shares = []
    for rate in settings.rates:
        title = f"{ready.task.name}: select rate {rate:g}"
        with reporter.stage(title, len(ready.shown) + len(ready.held)) as advance:
            try:
                out = fine_tuned(
                    model, ready.held, ready.labels, ready.task.labels, ready.shown, rate,
                    settings.position, settings.batch_size, record=False, advance=advance,
                )  # fmt: skip
            except DivergedError:
                reporter.say(f"{ready.task.name}: finetuning diverges at rate {rate:g}")
                shares.append((rate, float("nan")))
            else:
                shares.append((rate, float((out.predictions == out.labels).mean())))
    usable = [s for s in shares if not np.isnan(s[1])]
    if not usable:
        tried = ",".join(f"{r:g}" for r in settings.rates)
        raise UserError(
            f"expected one rate of {tried} to stay finite on {ready.task.name}, got divergence at "
            "all of them; add smaller rates"
        )
    return max(usable, key=lambda s: s[1])[0], tuple(shares)


def run_prepared(
    model: LoadedModel, ready: Prepared, settings: StudySettings, reporter: Reporter = SILENT
) -> TaskOutcomes:
    """The rate selected, then ZSL, ICL and FT on the evaluation rows.

    Raises:
        UserError: when every rate diverges; `DivergedError` when the only or selected one does.
    """
    rate, selection = select_rate(model, ready, settings, reporter)
    name, n, shown = ready.task.name, len(ready.queries), ready.shown
    common = (model, ready.queries, ready.labels, ready.task.labels)
    how = (settings.position, settings.batch_size)
    with reporter.stage(f"{name}: zero-shot", n) as advance:
        zsl = zero_shot(*common, *how, advance=advance)
    with reporter.stage(f"{name}: in-context, {len(shown)} demonstrations", n) as advance:
        icl = in_context(*common, ready.context, *how, advance=advance)
    with reporter.stage(f"{name}: finetuned at rate {rate:g}", n + len(shown)) as advance:
        ft = fine_tuned(*common, shown, rate, *how, advance=advance)
    return TaskOutcomes(
        task=name,
        k_used=len(shown),
        context_length=len(ready.context),
        rate=rate,
        zsl=zsl,
        icl=icl,
        ft=ft,
        selection=selection,
    )


def run_task(
    model: LoadedModel,
    task: Task,
    source: Source,
    settings: StudySettings,
    reporter: Reporter = SILENT,
) -> TaskOutcomes:
    """`prepare`, then `run_prepared`.

    Raises:
        UserError: as those.
    """
    return run_prepared(model, prepare(model, task, source, settings), settings, reporter)
