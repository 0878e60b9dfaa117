"""The three settings: zero-shot, in-context, finetuned; one Outcome each.

Letters: n queries, C classes, L, H, h, d as in capture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict, Unpack

import numpy as np

from empirical.core.errors import UserError
from empirical.core.progress import Advance, ignore
from empirical.data.prompts import Query, answers
from empirical.inference.batches import Part, parts
from empirical.inference.finetune import finetuned
from empirical.inference.read_options import Labels, Position, ReadOptions, check_inputs
from empirical.models.decoder import LoadedModel


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """predictions [n], labels [n], scores [n,C], h [n,L,d], m: n arrays [L,H,T_i]."""

    predictions: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    h: np.ndarray
    m: list[np.ndarray]


class How(TypedDict, total=False):
    """The fields of `ReadOptions` that have a default, by name."""

    position: Position
    batch_size: int
    record: bool


def gather(model: LoadedModel, found: Sequence[Part]) -> Outcome:
    """All parts of a run as one Outcome, in the order of the queries."""
    n = sum(len(p.index) for p in found)
    places = {i: (part, j) for part in found for j, i in enumerate(part.index)}
    ordered = [places[i] for i in range(n)]
    classes = max(p.scores.shape[1] for p in found)
    table = np.full((n, classes), -np.inf, dtype=found[0].scores.dtype)
    for i, (part, j) in enumerate(ordered):
        table[i, : part.scores.shape[1]] = part.scores[j]
    recorded = bool(found[0].m)
    empty = np.empty((0, model.n_layers, model.width), dtype=np.float32)
    return Outcome(
        predictions=table.argmax(1),
        labels=np.array([part.labels[j] for part, j in ordered]),
        scores=table,
        h=np.stack([part.h[j] for part, j in ordered]) if recorded else empty,
        m=[part.m[j] for part, j in ordered] if recorded else [],
    )


def zero_shot(
    model: LoadedModel,
    queries: Sequence[Query],
    labels: Labels,
    words: Sequence[str],
    advance: Advance = ignore,
    **how: Unpack[How],
) -> Outcome:
    """BOS prompt label, weights untouched.

    Raises:
        UserError: as `check_inputs`.
    """
    return _outcome(model, queries, ReadOptions(labels=labels, words=words, **how), (), advance)


def in_context(
    model: LoadedModel,
    queries: Sequence[Query],
    labels: Labels,
    words: Sequence[str],
    context: Sequence[int],
    advance: Advance = ignore,
    **how: Unpack[How],
) -> Outcome:
    """The demonstrations encoded once (`context`, BOS first) and shared by every query.

    Raises:
        UserError: for an empty context, and as `check_inputs`.
    """
    if not context:
        raise UserError("expected a context that starts with BOS, got an empty one; use pack()")
    options = ReadOptions(labels=labels, words=words, **how)
    return _outcome(model, queries, options, context, advance)


def training_examples(
    model: LoadedModel, demonstrations: Sequence[Query], labels: Labels
) -> list[tuple[int, ...]]:
    """[BOS] prompt label of every demonstration."""
    return [(model.encoder.bos, *q.prompt, *answers(q, labels)[q.label]) for q in demonstrations]


def fine_tuned(
    model: LoadedModel,
    queries: Sequence[Query],
    labels: Labels,
    words: Sequence[str],
    demonstrations: Sequence[Query],
    rate: float,
    advance: Advance = ignore,
    **how: Unpack[How],
) -> Outcome:
    """Zero-shot layout after one pass of SGD over the demonstrations; weights restored after.

    `advance` counts steps of SGD, then queries.

    Raises:
        UserError: as `check_inputs` and `finetuned`; `DivergedError` where training diverges.
    """
    options = ReadOptions(labels=labels, words=words, **how)
    check_inputs(model, queries, options, 1)
    with finetuned(model, training_examples(model, demonstrations, labels), rate, advance):
        return _outcome(model, queries, options, (), advance)


def _outcome(
    model: LoadedModel,
    queries: Sequence[Query],
    options: ReadOptions,
    context: Sequence[int],
    advance: Advance,
) -> Outcome:
    return gather(model, list(parts(model, queries, options, context, advance)))
