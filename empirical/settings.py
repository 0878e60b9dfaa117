"""The three settings: zero-shot, in-context, finetuned; one Outcome each.

Batches are padded on the right: under the causal mask no real token sees the padding, and
positions count from the cached prefix. Letters: n queries, C classes, L, H, d as in capture.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from empirical.capture import Recorder, capture
from empirical.decoder import LoadedModel, default_dtype_of
from empirical.errors import UserError
from empirical.finetune import finetuned
from empirical.progress import Advance, ignore
from empirical.prompts import Query

Position = Literal["label", "prompt"]
Prefix = list[tuple[Tensor, Tensor]]
Labels = Sequence[tuple[int, ...]]
PREFIX_BYTES = 2**31  # memory for the copies of a cached prefix in one batch


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """predictions [n], labels [n], scores [n,C], h [n,L,d], m: n arrays [L,H,T_i]."""

    predictions: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    h: np.ndarray
    m: list[np.ndarray]


def cached_prefix(model: LoadedModel, context: Sequence[int]) -> Prefix:
    """Keys and values [1,H,T_c,d/H] of every layer over `context`, computed once."""
    cache: Any = DynamicCache(config=model.model.config)
    ids = torch.tensor([list(context)], device=model.device)
    with torch.no_grad(), default_dtype_of(model):
        model.model.model(input_ids=ids, past_key_values=cache, use_cache=True)
    return [(layer.keys, layer.values) for layer in cache.layers]


def _hidden(model: LoadedModel, rows: list[tuple[int, ...]], prefix: Prefix | None) -> Tensor:
    """Final states [B,T,d] of right-padded `rows` after the prefix."""
    longest = max(map(len, rows))
    # Any token serves as padding: nothing real attends to it.
    ids = torch.tensor([(*r, *[r[-1]] * (longest - len(r))) for r in rows], device=model.device)
    cache: Any = None
    start = 0
    if prefix is not None:
        cache = DynamicCache(config=model.model.config)
        for i, (k, v) in enumerate(prefix):
            cache.update(k.expand(len(rows), -1, -1, -1), v.expand(len(rows), -1, -1, -1), i)
        start = prefix[0][0].shape[2]
    positions = torch.arange(start, start + longest, device=model.device).expand(len(rows), -1)
    with default_dtype_of(model):
        out = model.model.model(
            input_ids=ids,
            position_ids=positions,
            past_key_values=cache,
            use_cache=cache is not None,
        )
    state: Tensor = out.last_hidden_state
    return state


def batch_that_fits(prefix: Prefix | None, wanted: int) -> int:
    """The wanted batch size, or less where copies of the prefix would pass PREFIX_BYTES.

    The cache copies the prefix for every row of a batch, and once more while it grows.
    """
    if prefix is None:
        return wanted
    row = sum(x.numel() * x.element_size() for pair in prefix for x in pair)
    return max(1, min(wanted, PREFIX_BYTES // (2 * row)))


def _log_probabilities(model: LoadedModel, states: Tensor) -> Tensor:
    """Full-vocabulary log-softmax in float32 (or wider) of states [..., d]."""
    logits = model.model.lm_head(states)
    return torch.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), -1)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How queries are read: label tokens and words, where states are recorded, and if at all."""

    labels: Labels
    words: Sequence[str]
    position: Position = "label"
    batch_size: int = 32
    record: bool = True

    @property
    def append(self) -> bool:
        """Whether the class-0 label word follows every query."""
        return self.record and self.position == "label"


def check_inputs(
    model: LoadedModel, queries: Sequence[Query], reading: Reading, start: int
) -> None:
    """Refuse what cannot be run after a context of `start` tokens.

    Raises:
        UserError: for no queries, a bad batch size or position, a class-0 label of several tokens
            when its position is recorded, a query longer than the model's context, or a token that
            the model does not know.
    """
    labels, words = reading.labels, reading.words
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
    if reading.append and len(labels[0]) != 1:
        raise UserError(
            f"expected the class-0 label {words[0]!r} to be one token for position 'label', "
            f"got {len(labels[0])} tokens {list(labels[0])}; use position 'prompt' or another label"
        )
    longest = start + max(len(q.prompt) for q in queries) + max(map(len, labels))
    if longest > model.max_length:
        raise UserError(
            f"expected at most {model.max_length} tokens, got {longest} (context {start}); "
            "use fewer demonstrations or shorter rows"
        )
    largest = max(t for tokens in (*labels, *(q.prompt for q in queries)) for t in tokens)
    if largest >= model.model.config.vocab_size:
        raise UserError(
            f"expected token ids below {model.model.config.vocab_size} of {model.name}, got "
            f"{largest}; pass the tokenizer that belongs to the model (--tokenizer DIR)"
        )


def _run(
    model: LoadedModel,
    queries: Sequence[Query],
    reading: Reading,
    context: Sequence[int],
    advance: Advance,
) -> Outcome:
    """Score and record every query; an empty `context` stands for BOS inside the sequence."""
    check_inputs(model, queries, reading, max(len(context), 1))
    n = len(queries)
    scores: dict[int, Tensor] = {}
    h: dict[int, Tensor] = {}
    m: dict[int, np.ndarray] = {}
    order = sorted(range(n), key=lambda i: len(queries[i].prompt))
    with torch.no_grad(), capture(model) if reading.record else nullcontext() as recorder:
        prefix = cached_prefix(model, context) if context else None
        lead = () if context else (model.encoder.bos,)
        size = batch_that_fits(prefix, reading.batch_size)
        for begin in range(0, n, size):
            index = order[begin : begin + size]
            prompts = [(*lead, *queries[i].prompt) for i in index]
            got = _batch(model, prompts, reading, prefix, recorder, len(lead))
            for j, i in enumerate(index):
                scores[i] = got.scores[j]
                if reading.record:
                    h[i], m[i] = got.h[j], got.m[j].numpy()
            advance(len(index))
    table = torch.stack([scores[i] for i in range(n)]).numpy()
    empty = np.empty((0, model.n_layers, model.width), dtype=np.float32)
    return Outcome(
        predictions=table.argmax(1),
        labels=np.array([q.label for q in queries]),
        scores=table,
        h=torch.stack([h[i] for i in range(n)]).numpy() if h else empty,
        m=[m[i] for i in range(n)] if m else [],
    )


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """scores [B,C], h [B,L,d], m: B tensors [L,H,T_i]; no h and m where nothing is recorded."""

    scores: Tensor
    h: Tensor
    m: list[Tensor]


def _batch(
    model: LoadedModel,
    prompts: list[tuple[int, ...]],
    reading: Reading,
    prefix: Prefix | None,
    recorder: Recorder | None,
    first: int,
) -> _Batch:
    """One batch; scores of labels of one token come from the pass that is recorded."""
    lengths = torch.tensor([len(p) for p in prompts])
    rows = torch.arange(len(prompts))
    if recorder is not None:
        recorder.at(lengths if reading.append else lengths - 1)
    shown = [(*p, *reading.labels[0]) for p in prompts] if reading.append else prompts
    state = _hidden(model, shown, prefix)
    h, m = (torch.empty(0), []) if recorder is None else recorder.take(first)
    last = _log_probabilities(model, state[rows, lengths - 1])
    columns = []
    for label in reading.labels:
        if len(label) == 1:
            columns.append(last[:, label[0]])
            continue
        if recorder is not None:
            recorder.at(lengths - 1)
        state = _hidden(model, [(*p, *label[:-1]) for p in prompts], prefix)
        at = lengths[:, None] - 1 + torch.arange(len(label))
        log_p = _log_probabilities(model, state[rows[:, None], at])
        columns.append(log_p[:, torch.arange(len(label)), torch.tensor(label)].mean(1))
    return _Batch(scores=torch.stack(columns, 1).cpu(), h=h, m=m)


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
    how = Reading(
        labels=labels, words=words, position=position, batch_size=batch_size, record=record
    )
    return _run(model, queries, how, (), advance)


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
    how = Reading(
        labels=labels, words=words, position=position, batch_size=batch_size, record=record
    )
    return _run(model, queries, how, context, advance)


def training_examples(
    model: LoadedModel, demonstrations: Sequence[Query], labels: Labels
) -> list[tuple[int, ...]]:
    """[BOS] prompt label of every demonstration."""
    return [(model.encoder.bos, *q.prompt, *labels[q.label]) for q in demonstrations]


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
    how = Reading(
        labels=labels, words=words, position=position, batch_size=batch_size, record=record
    )
    check_inputs(model, queries, how, 1)
    with finetuned(model, training_examples(model, demonstrations, labels), rate, advance):
        return _run(model, queries, how, (), advance)
