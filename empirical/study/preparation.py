"""A task's rows, demonstrations and settings, made ready for one seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from empirical.core.errors import UserError
from empirical.data.demonstrations import draw, rows_sha256
from empirical.data.paper_tasks import EVALUATION_LIMIT, Source, Task, evaluation
from empirical.data.prompts import PUBLISHED_MAX_LENGTH, Query, answers, label_tokens, pack, query
from empirical.inference.read_options import Labels, Position, ReadOptions, check_inputs
from empirical.metrics.kendall import (
    EXAMPLES,
)
from empirical.models.decoder import LoadedModel
from empirical.study.protocols import Chosen


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
    settings: StudySettings
    labels: Labels
    queries: tuple[Query, ...]
    shown: tuple[Query, ...]
    held: tuple[Query, ...]
    context: tuple[int, ...]
    wanted: int
    rule: str
    rows_sha256: str
    short_list: str = ""

    @property
    def seed(self) -> int:
        """The seed of the demonstrations."""
        return self.settings.seed

    @property
    def rates(self) -> tuple[float, ...]:
        """The rates to choose from."""
        return self.settings.rates

    @property
    def title(self) -> str:
        """How it is called while it runs."""
        return f"{self.task.name} (seed {self.seed})"

    @property
    def read_options(self) -> ReadOptions:
        """How its queries are read and recorded."""
        return ReadOptions(
            labels=self.labels,
            words=self.task.labels,
            position=self.settings.position,
            batch_size=self.settings.batch_size,
            wide=EXAMPLES,
        )

    @property
    def demonstration_lengths(self) -> list[int]:
        """Tokens of prompt and answer of each demonstration shown."""
        return [len(q.prompt) + len(answers(q, self.labels)[q.label]) for q in self.shown]


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
    unseen = tuple(q for r in left if _fits(model, q := query(encoder, task, r), labels))
    prepared = Prepared(
        task=task,
        settings=settings,
        labels=labels,
        queries=queries,
        shown=tuple(offered[: packed.used]),
        held=_held(unseen, queries, settings),
        context=packed.context,
        wanted=wanted,
        rule=drawn.rule,
        short_list=drawn.short_list,
        rows_sha256=rows_sha256(train, rows, drawn.offered),
    )
    _check(model, prepared)
    return prepared


def _held(
    unseen: tuple[Query, ...], queries: tuple[Query, ...], settings: StudySettings
) -> tuple[Query, ...]:
    """The rows to choose a rate on, where there are several."""
    if len(settings.rates) == 1:
        return ()
    return queries if settings.rates_on == "evaluation" else unseen


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


def _check(model: LoadedModel, prepared: Prepared) -> None:
    """Raise unless every later pass can be made.

    Raises:
        UserError: otherwise.
    """
    if len(prepared.rates) > 1 and not prepared.held:
        raise UserError(
            f"expected training rows of {prepared.task.name} beyond the {len(prepared.shown)} "
            "demonstrations to choose a rate, got none; add training rows, lower k, or pass one "
            "rate"
        )
    how = prepared.read_options
    check_inputs(model, prepared.queries, how, len(prepared.context))
    check_inputs(model, [*prepared.shown, *prepared.held], how, 1)
