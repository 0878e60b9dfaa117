"""Queries read batch by batch, scored and recorded.

Queries are sorted into buckets by length and run in batches of one padded length, which depends on
the query alone: what is computed for a query does not depend on how many others run beside it.
Letters: B queries of a batch, C classes, L, H, h, d as in capture, T_c context tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from empirical.core.progress import Advance, ignore
from empirical.data.prompts import Query, answers
from empirical.inference.attention import Run
from empirical.inference.finetune import DivergedError
from empirical.inference.forward import (
    log_probabilities,
    read_context,
    states,
    token_log_probabilities,
)
from empirical.inference.read_options import Labels, ReadOptions, check_inputs, check_shift
from empirical.inference.recorder import Recorder, Taken, capture
from empirical.models.decoder import LoadedModel

TOKENS = 8192  # of one pass at most, unless one row has more
Array = NDArray[np.float32]


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
        reader = _Reader(
            model=model,
            reading=reading,
            recorder=recorder,
            quiet=Run(blocks, prefix, shift=shift),
            watched=Run(blocks, prefix, recorder, shift),
            lead=() if context else (model.encoder.bos,),
        )
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
        self,
        state: Tensor,
        prompts: list[tuple[int, ...]],
        chosen: list[tuple[int, ...]],
        many: list[int],
        length: int | None,
    ) -> Tensor:
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
