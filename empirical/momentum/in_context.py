"""In-context learning of a trained model: what it answers with and without demonstrations.

Layout and scores are those of the study (`empirical.data.prompts`): BOS (prompt label EOS)^k prompt
label, a label's score the mean of its tokens' log-probabilities. The demonstrations are read once
into the model's own key-value cache, which every batch of questions goes on from; rows are padded
on the right, where under the causal mask no real token sees the padding.
Letters: B rows, T tokens, C classes, n questions.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from empirical.core.errors import UserError
from empirical.data.demonstrations import draw, rows_sha256
from empirical.data.paper_tasks import EVALUATION_LIMIT, evaluation
from empirical.data.prompts import Encoder, Query, answers, label_tokens, pack, query
from empirical.data.task import Source, Task
from empirical.results.language_models import Scores

PASS = 8192  # tokens of one pass at most, the cached ones among them, unless one row has more
ROWS = 32  # of one pass at most
Table = NDArray[np.float64]


def score(
    model: Any,
    encoder: Encoder,
    source: Source,
    task: Task,
    *,
    seed: int,
    limit: int,
    length: int,
    device: torch.device | None = None,
) -> Scores:
    """Chosen classes of the first `limit` evaluation rows, zero-shot and after demonstrations.

    The rows are those of the study, shuffled with seed 1; `seed` draws the demonstrations, of which
    up to `task.k` are shown: as many as fit into `length` tokens beside the longest row asked. A
    task none of whose demonstrations fits is absent, with the reason; so is one that the model
    gives no finite score.

    Raises:
        UserError: for rows that cannot be read or drawn, a token that the model does not know, or a
            model without a key-value cache.
    """
    train = source.rows(task, "train")
    asked = evaluation(source.rows(task, "evaluation"), min(limit, EVALUATION_LIMIT))
    shown = draw(source, task, train, seed, min(task.k, len(train))).offered
    labels = label_tokens(encoder, task)
    queries = [query(encoder, task, row) for row in asked]
    try:
        packed = pack(
            [query(encoder, task, row) for row in shown], queries, labels, encoder, length
        )
    except UserError as reason:
        if not queries:
            raise
        return Scores(task=task.name, absent=str(reason))
    reader = Reader(model=model, device=device or next(model.parameters()).device)
    zero = reader.table(queries, labels, (encoder.bos,))
    found = reader.table(queries, labels, packed.context)
    if np.isnan(zero).any() or np.isnan(found).any():
        return Scores(task=task.name, absent="the model's scores are no finite numbers")
    return Scores(
        task=task.name,
        k=packed.used,
        classes=zero.shape[1],
        gold=tuple(q.label for q in queries),
        zero_shot=_best(zero),
        in_context=_best(found),
        rows_sha256=rows_sha256(asked, shown[: packed.used]),
    )


def _best(table: Table) -> tuple[int, ...]:
    """The class of the highest score of every row, the first of equals."""
    return tuple(int(i) for i in table.argmax(1))


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """One sequence to read, and what its last tokens answer: (question, class, answer)."""

    tokens: tuple[int, ...]
    uses: tuple[tuple[int, int, tuple[int, ...]], ...]


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A causal decoder of transformers that reads questions behind a context."""

    model: Any
    device: torch.device

    def table(
        self, queries: Sequence[Query], labels: Sequence[tuple[int, ...]], context: Sequence[int]
    ) -> Table:
        """Mean log-probability of every answer [n,C], minus infinity where a row has fewer.

        `context` has BOS first, and is BOS alone for zero-shot.

        Raises:
            UserError: for an empty answer, a token that the model does not know, or no cache.
        """
        offered = [answers(q, labels) for q in queries]
        _check(self.model, queries, offered, context)
        found = np.full((len(queries), max(map(len, offered))), -np.inf)
        with reading(self.model), torch.no_grad():
            cache = self._read(context)
            for batch in batches(_sequences(queries, offered), len(context)):
                for (i, j), value in self._batch(batch, cache).items():
                    found[i, j] = value
        return found

    def _read(self, context: Sequence[int]) -> Any:
        """The cache of `context`, one row.

        Raises:
            UserError: for a model that returns none, or one that cannot be repeated.
        """
        ids = torch.tensor([list(context)], device=self.device)
        cache = getattr(self.model(input_ids=ids, use_cache=True), "past_key_values", None)
        if not hasattr(cache, "batch_repeat_interleave"):
            raise UserError(
                f"expected a key-value cache from {type(self.model).__name__}, got "
                f"{type(cache).__name__}; choose a causal decoder of transformers"
            )
        return cache

    def _batch(self, batch: Sequence[_Asked], cache: Any) -> dict[tuple[int, int], float]:
        """Scores by (question, class)."""
        longest = max(len(x.tokens) for x in batch)
        # Any token serves as padding: nothing real attends to it.
        padded = [[*x.tokens, *[x.tokens[-1]] * (longest - len(x.tokens))] for x in batch]
        ids = torch.tensor(padded, device=self.device)
        mine = copy.deepcopy(cache)
        mine.batch_repeat_interleave(len(batch))
        logits: Tensor = self.model(input_ids=ids, past_key_values=mine, use_cache=True).logits
        places = [
            (b, len(x.tokens) - len(answer) + t, answer[t])
            for b, x in enumerate(batch)
            for _, _, answer in x.uses
            for t in range(len(answer))
        ]
        found = _log_p(logits, places)
        out, at = {}, 0
        for x in batch:
            for i, j, answer in x.uses:
                out[i, j] = float(found[at : at + len(answer)].mean())
                at += len(answer)
        return out


def _log_p(logits: Tensor, places: Sequence[tuple[int, int, int]]) -> Table:
    """log p of (row, place, token), by a log-softmax over the vocabulary in float32 or wider."""
    row, place, token = torch.tensor(places, device=logits.device).T
    some = logits[row, place]
    table = torch.log_softmax(some.to(torch.promote_types(some.dtype, torch.float32)), -1)
    return np.asarray(table.gather(1, token[:, None])[:, 0].cpu().numpy(), dtype=np.float64)


def _sequences(
    queries: Sequence[Query], offered: Sequence[Sequence[tuple[int, ...]]]
) -> list[_Asked]:
    """Each prompt with its answers' tokens but the last; answers that share them share a row."""
    out = []
    for i, (q, found) in enumerate(zip(queries, offered, strict=True)):
        uses: dict[tuple[int, ...], list[tuple[int, int, tuple[int, ...]]]] = {}
        for j, answer in enumerate(found):
            uses.setdefault(answer[:-1], []).append((i, j, answer))
        out += [_Asked(tokens=(*q.prompt, *read), uses=tuple(u)) for read, u in uses.items()]
    return out


def batches(asked: Sequence[_Asked], context: int) -> Iterator[list[_Asked]]:
    """In order of length, as many as a pass behind `context` tokens may hold."""
    batch: list[_Asked] = []
    for one in sorted(asked, key=lambda x: len(x.tokens)):
        if len(batch) == ROWS or (len(batch) + 1) * (context + len(one.tokens)) > PASS:
            if batch:
                yield batch
            batch = []
        batch.append(one)
    if batch:
        yield batch


@contextmanager
def reading(model: Any) -> Iterator[None]:
    """Evaluation mode while inside; every module is then in the mode that it was in."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def _check(
    model: Any,
    queries: Sequence[Query],
    offered: Sequence[Sequence[tuple[int, ...]]],
    context: Sequence[int],
) -> None:
    """Refuse what cannot be scored.

    Raises:
        UserError: for an empty answer, or a token that the model does not know.
    """
    if not all(found and all(found) for found in offered):
        raise UserError(
            "expected answers of one token or more for every row, got an empty one; check the "
            "labels of the task"
        )
    parts = [q.prompt for q in queries] + [a for found in offered for a in found]
    largest = max(max(map(max, parts)), max(context))
    if largest >= model.config.vocab_size:
        raise UserError(
            f"expected token ids below {model.config.vocab_size}, got {largest}; pass the encoder "
            "that belongs to the model"
        )
