"""The three settings: zero-shot, in-context, finetuned; batch by batch, or one Outcome each.

Queries are sorted into buckets by length and run in batches of one padded length, which depends on
the query alone: what is computed for a query does not depend on how many others run beside it.
Letters: n queries, C classes, L, H, h, d as in capture, T_c context tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from empirical.core.errors import UserError
from empirical.core.progress import Advance, ignore
from empirical.data.prompts import Query, answers
from empirical.inference.attention import Run
from empirical.inference.finetune import DivergedError, finetuned
from empirical.inference.forward import (
    log_probabilities,
    padded_length,
    read_context,
    states,
    takes_positions,
    token_log_probabilities,
)
from empirical.inference.recorder import Recorder, Taken, capture
from empirical.models.decoder import LoadedModel

Position = Literal["label", "prompt"]
Labels = Sequence[tuple[int, ...]]
TOKENS = 8192  # of one pass at most, unless one row has more
Array = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """predictions [n], labels [n], scores [n,C], h [n,L,d], m: n arrays [L,H,T_i]."""

    predictions: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    h: np.ndarray
    m: list[np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one batch left: B of the queries, `index` their places.

    scores [B,C] (minus infinity where a query has fewer answers), labels [B], h [B,L,d], m: B
    arrays [L,H,T_i]; for the first `ReadOptions.wide` queries, whose places are in `wide`, c
    [B',L,T_c] (in context only) and q [B',L,H h]. h and m are empty where nothing is recorded.
    """

    index: tuple[int, ...]
    labels: NDArray[np.int64]
    scores: Array
    h: Array
    m: list[Array]
    wide: tuple[int, ...] = ()
    c: Array | None = None
    q: Array | None = None

    @property
    def predictions(self) -> NDArray[np.int64]:
        """The best answer of each: [B]."""
        return np.asarray(self.scores.argmax(1))

    @property
    def asked(self) -> dict[int, Array]:
        """q [L,H h] by the place of its query."""
        return {} if self.q is None else dict(zip(self.wide, self.q, strict=True))

    @property
    def attended(self) -> dict[int, Array]:
        """c [L,T_c] by the place of its query."""
        return {} if self.c is None else dict(zip(self.wide, self.c, strict=True))


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How queries are read: label tokens and words, where states are recorded, and if at all.

    `wide`: for so many of the first queries, queries and scores towards the context are recorded.
    """

    labels: Labels
    words: Sequence[str]
    position: Position = "label"
    batch_size: int = 32
    record: bool = True
    wide: int = 0

    @property
    def append(self) -> bool:
        """Whether the class-0 label word follows every query."""
        return self.record and self.position == "label"

    def length(self, query: Query) -> int:
        """The padded length of a query with its longest answer, and BOS or nothing in front."""
        longest = max(map(len, answers(query, self.labels)))
        return padded_length(1 + len(query.prompt) + longest)


def check_inputs(
    model: LoadedModel, queries: Sequence[Query], reading: ReadOptions, start: int
) -> None:
    """Refuse what cannot be run after a context of `start` tokens.

    Raises:
        UserError: for no queries, a bad batch size or position, a query without answers or longer
            than the model's context, or a token that the model does not know.
    """
    if reading.position not in ("label", "prompt"):
        raise UserError(
            f"expected position 'label' or 'prompt', got {reading.position!r}; choose one"
        )
    if not queries:
        raise UserError("expected at least one query, got none; check the source and the limit")
    if reading.batch_size < 1:
        raise UserError(
            f"expected a batch size of at least 1, got {reading.batch_size}; choose another"
        )
    offered = [answers(q, reading.labels) for q in queries]
    if not all(found and all(found) for found in offered):
        raise UserError(
            "expected answers of one token or more for every query, got an empty one; "
            "check the labels of the task"
        )
    longest = start + max(
        len(q.prompt) + max(map(len, a)) for q, a in zip(queries, offered, strict=True)
    )
    if longest > model.max_length:
        raise UserError(
            f"expected at most {model.max_length} tokens, got {longest} (context {start}); "
            "use fewer demonstrations or shorter rows"
        )
    largest = max(
        t for q, a in zip(queries, offered, strict=True) for part in (q.prompt, *a) for t in part
    )
    if largest >= model.model.config.vocab_size:
        raise UserError(
            f"expected token ids below {model.model.config.vocab_size} of {model.name}, got "
            f"{largest}; pass the tokenizer that belongs to the model (--tokenizer DIR)"
        )


def check_shift(model: LoadedModel, context: Sequence[int], shift: int) -> None:
    """Refuse positions that nothing can be read at.

    Raises:
        UserError: for a negative shift, one behind a context, or a model that takes no positions.
    """
    if shift < 0 or (shift and context):
        raise UserError(
            f"expected a shift of 0 or more, and 0 behind a context, got {shift} and "
            f"{len(context)} tokens; a context already moves its queries"
        )
    if shift and not takes_positions(model):
        raise UserError(
            f"expected a model whose positions can be shifted, got {model.name}; ALiBi and "
            "relative positions see distances only, so leave the shift away"
        )


def batches(queries: Sequence[Query], reading: ReadOptions) -> list[tuple[int, ...]]:
    """Places of the queries of each batch: of one padded length, in order of length and place."""
    order = sorted(range(len(queries)), key=lambda i: reading.length(queries[i]))
    found = []
    for length, group in groupby(order, key=lambda i: reading.length(queries[i])):
        places = list(group)
        size = max(1, min(reading.batch_size, TOKENS // length))
        found += [tuple(places[i : i + size]) for i in range(0, len(places), size)]
    return found


def parts(
    model: LoadedModel,
    queries: Sequence[Query],
    reading: ReadOptions,
    context: Sequence[int] = (),
    advance: Advance = ignore,
    skip: int = 0,
    shift: int = 0,
) -> Iterator[Part]:
    """Score and record batch after batch, the first `skip` of them left out.

    An empty `context` stands for BOS inside the sequence; else it is read once (BOS first), and
    shared by all queries. `shift` is the position of that BOS: with T_c - 1 every token of a query
    is where it is behind a context of T_c tokens.

    Raises:
        UserError: as `check_inputs` and `check_shift`; `DivergedError` where states are not finite.
    """
    check_shift(model, context, shift)
    check_inputs(model, queries, reading, shift + max(len(context), 1))
    blocks = model.blocks
    with torch.no_grad(), capture(blocks) if reading.record else nullcontext() as recorder:
        groups = batches(queries, reading)[skip:]
        prefix = read_context(model, context) if context and groups else None
        reader = _Reader(model=model, reading=reading, recorder=recorder,
                         quiet=Run(blocks, prefix, shift=shift),
                         watched=Run(blocks, prefix, recorder, shift),
                         lead=() if context else (model.encoder.bos,))  # fmt: skip
        for index in groups:
            yield reader.read([queries[i] for i in index], index)
            advance(len(index))


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """A model ready to read batches; `lead` stands in front of every query."""

    model: LoadedModel
    reading: ReadOptions
    recorder: Recorder | None
    quiet: Run
    watched: Run
    lead: tuple[int, ...]

    def read(self, queries: list[Query], index: tuple[int, ...]) -> Part:
        """One batch of queries of one padded length."""
        reading, first = self.reading, len(self.lead)
        prompts = [(*self.lead, *q.prompt) for q in queries]
        offered = [answers(q, reading.labels) for q in queries]
        length = reading.length(queries[0])
        shown = prompts
        if reading.append:
            shown = [(*p, *a[0]) for p, a in zip(prompts, offered, strict=True)]
        wide = tuple(i for i in index if i < reading.wide) if self.recorder is not None else ()
        if self.recorder is not None:
            self.recorder.at(torch.tensor([len(s) - 1 for s in shown]), wide=bool(wide))
        state = states(self.model, self.watched, shown, length)
        taken = None if self.recorder is None else self.recorder.take(first)
        scores = self._scores(state, prompts, offered, length)
        _check_finite(scores, taken)
        return Part(
            index=index,
            labels=np.array([q.label for q in queries]),
            scores=scores.cpu().numpy(),
            h=np.empty((0, 0, 0), dtype=np.float32) if taken is None else taken.h.numpy(),
            m=[] if taken is None else [x.numpy() for x in taken.m],
            wide=wide,
            **_wide(taken, [i in wide for i in index]),
        )

    def _scores(
        self, state: Tensor, prompts: list[tuple[int, ...]], offered: Sequence[Labels], length: int
    ) -> Tensor:
        """Mean log-probability of every answer [B,C]; answers of one token from `state`."""
        ends = torch.tensor([len(p) - 1 for p in prompts], device=state.device)
        rows = torch.arange(len(prompts), device=state.device)
        first = log_probabilities(self.model, state[rows, ends])
        table = first.new_full((len(prompts), max(map(len, offered))), -torch.inf)
        for j in range(table.shape[1]):
            many = []
            for i, found in enumerate(offered):
                if j < len(found) and len(found[j]) == 1:
                    table[i, j] = first[i, found[j][0]]
                elif j < len(found):
                    many.append(i)
            if many:
                again = None if j == 0 and self.reading.append else length
                table[many, j] = self._mean(
                    state, [prompts[i] for i in many], [offered[i][j] for i in many], many, again
                )
        return table

    def _mean(
        self, state: Tensor, prompts: list[tuple[int, ...]], chosen: list[tuple[int, ...]],
        many: list[int], length: int | None,
    ) -> Tensor:  # fmt: skip
        """Mean over the tokens of longer answers; from `state` where they were in the pass."""
        if length is None:
            state = state[many]
        else:
            if self.recorder is not None:
                self.recorder.at(torch.empty(0, dtype=torch.long))
            rows = [(*p, *a[:-1]) for p, a in zip(prompts, chosen, strict=True)]
            state = states(self.model, self.quiet, rows, length)
        places = [
            (i, len(p) - 1 + t)
            for i, (p, a) in enumerate(zip(prompts, chosen, strict=True))
            for t in range(len(a))
        ]
        row, at = torch.tensor(places, device=state.device).T
        tokens = torch.tensor([t for a in chosen for t in a], device=state.device)
        found = token_log_probabilities(self.model, state[row, at], tokens)
        return torch.stack([x.mean() for x in torch.split(found, [len(a) for a in chosen])])


def _check_finite(scores: Tensor, taken: Taken | None) -> None:
    """Refuse states that no answer can be read from.

    Raises:
        DivergedError: for a score that is nan, or a recorded state or score that is not finite.
    """
    found = [] if taken is None else [taken.h, *taken.m]
    if bool(torch.isnan(scores).any()) or not all(bool(torch.isfinite(x).all()) for x in found):
        raise DivergedError(
            "expected finite states and scores, got nan or an infinity; choose a smaller rate, or "
            "look for weights that are too large"
        )


def _wide(taken: Taken | None, chosen: list[bool]) -> dict[str, Array | None]:
    if taken is None or not any(chosen):
        return {}
    kept = np.array(chosen)
    return {
        name: None if value is None else value.numpy()[kept]
        for name, value in (("c", taken.c), ("q", taken.q))
    }


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
    position: Position = "label",
    batch_size: int = 32,
    record: bool = True,
    advance: Advance = ignore,
) -> Outcome:
    """BOS prompt label, weights untouched.

    Raises:
        UserError: as `check_inputs`.
    """
    how = ReadOptions(
        labels=labels, words=words, position=position, batch_size=batch_size, record=record
    )
    return gather(model, list(parts(model, queries, how, (), advance)))


def in_context(
    model: LoadedModel,
    queries: Sequence[Query],
    labels: Labels,
    words: Sequence[str],
    context: Sequence[int],
    position: Position = "label",
    batch_size: int = 32,
    record: bool = True,
    advance: Advance = ignore,
) -> Outcome:
    """The demonstrations encoded once (`context`, BOS first) and shared by every query.

    Raises:
        UserError: for an empty context, and as `check_inputs`.
    """
    if not context:
        raise UserError("expected a context that starts with BOS, got an empty one; use pack()")
    how = ReadOptions(
        labels=labels, words=words, position=position, batch_size=batch_size, record=record
    )
    return gather(model, list(parts(model, queries, how, context, advance)))


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
    position: Position = "label",
    batch_size: int = 32,
    record: bool = True,
    advance: Advance = ignore,
) -> Outcome:
    """Zero-shot layout after one pass of SGD over the demonstrations; weights restored after.

    `advance` counts steps of SGD, then queries.

    Raises:
        UserError: as `check_inputs` and `finetuned`; `DivergedError` where training diverges.
    """
    how = ReadOptions(
        labels=labels, words=words, position=position, batch_size=batch_size, record=record
    )
    check_inputs(model, queries, how, 1)
    with finetuned(model, training_examples(model, demonstrations, labels), rate, advance):
        return gather(model, list(parts(model, queries, how, (), advance)))
