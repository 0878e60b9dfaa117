"""The three settings: zero-shot, in-context, finetuned; one Outcome each.

Batches are padded on the right: under the causal mask no real token sees the padding, and
positions count from the cached prefix. Letters: n queries, C classes, L, H, d as in capture.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from empirical.capture import Recorder, capture
from empirical.errors import UserError
from empirical.finetune import finetuned
from empirical.models import LoadedModel, default_dtype_of
from empirical.prompts import Query

Position = Literal["label", "prompt"]
Prefix = list[tuple[Tensor, Tensor]]
Labels = Sequence[tuple[int, ...]]


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


def _log_probabilities(model: LoadedModel, states: Tensor) -> Tensor:
    """Full-vocabulary log-softmax in float32 (or wider) of states [..., d]."""
    logits = model.model.lm_head(states)
    return torch.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), -1)


def _check(model: LoadedModel, queries: Sequence[Query], labels: Labels, words: Sequence[str],
           position: str, record: bool, batch_size: int, start: int) -> None:  # fmt: skip
    """Refuse what cannot be run.

    Raises:
        UserError: for no queries, a bad batch size or position, a class-0 label of several tokens
            when its position is recorded, or a query longer than the model's context.
    """
    if position not in ("label", "prompt"):
        raise UserError(f"expected position 'label' or 'prompt', got {position!r}; choose one")
    if not queries:
        raise UserError("expected at least one query, got none; check the source and the limit")
    if batch_size < 1:
        raise UserError(f"expected a batch size of at least 1, got {batch_size}; choose another")
    if record and position == "label" and len(labels[0]) != 1:
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


def _run(
    model: LoadedModel,
    queries: Sequence[Query],
    labels: Labels,
    words: Sequence[str],
    position: Position,
    batch_size: int,
    record: bool,
    context: Sequence[int],
) -> Outcome:
    """Score and record every query; an empty `context` stands for BOS inside the sequence."""
    _check(model, queries, labels, words, position, record, batch_size, max(len(context), 1))
    with torch.no_grad():
        prefix = cached_prefix(model, context) if context else None
        lead = () if context else (model.encoder.bos,)
        n = len(queries)
        scores: list[Tensor | None] = [None] * n
        h: list[Tensor | None] = [None] * n
        m: list[np.ndarray] = [np.empty(0)] * n
        order = sorted(range(n), key=lambda i: len(queries[i].prompt))
        with capture(model) as recorder:
            for begin in range(0, n, batch_size):
                index = order[begin : begin + batch_size]
                prompts = [(*lead, *queries[i].prompt) for i in index]
                s, hs, ms = _batch(
                    model, prompts, labels, position, record, prefix, recorder, len(lead)
                )
                for j, i in enumerate(index):
                    scores[i] = s[j]
                    if record:
                        h[i], m[i] = hs[j], ms[j].numpy()
    table = torch.stack([s for s in scores if s is not None]).numpy()
    states = [x for x in h if x is not None]
    shape = (0, model.n_layers, model.width)
    return Outcome(
        predictions=table.argmax(1),
        labels=np.array([q.label for q in queries]),
        scores=table,
        h=torch.stack(states).numpy() if states else np.empty(shape, dtype=np.float32),
        m=m if record else [],
    )


def _batch(model: LoadedModel, prompts: list[tuple[int, ...]], labels: Labels, position: Position,
           record: bool, prefix: Prefix | None, recorder: Recorder,
           first: int) -> tuple[Tensor, Tensor, list[Tensor]]:  # fmt: skip
    """Scores [B,C], h [B,L,d] and m of one batch."""
    lengths = torch.tensor([len(p) for p in prompts])
    rows = torch.arange(len(prompts))
    append = record and position == "label"
    recorder.at(lengths if append else lengths - 1)
    state = _hidden(model, [(*p, *labels[0]) for p in prompts] if append else prompts, prefix)
    h, m = recorder.take(first) if record else (torch.empty(0), [])
    last = _log_probabilities(model, state[rows, lengths - 1])
    columns = []
    for label in labels:
        if len(label) == 1:
            columns.append(last[:, label[0]])
            continue
        recorder.at(lengths - 1)
        state = _hidden(model, [(*p, *label[:-1]) for p in prompts], prefix)
        at = lengths[:, None] - 1 + torch.arange(len(label))
        log_p = _log_probabilities(model, state[rows[:, None], at])
        columns.append(log_p[:, torch.arange(len(label)), torch.tensor(label)].mean(1))
    return torch.stack(columns, 1).cpu(), h, m


def zero_shot(
    model: LoadedModel,
    queries: Sequence[Query],
    labels: Labels,
    words: Sequence[str],
    position: Position = "label",
    batch_size: int = 32,
    record: bool = True,
) -> Outcome:
    """BOS prompt label, weights untouched."""
    return _run(model, queries, labels, words, position, batch_size, record, ())


def in_context(
    model: LoadedModel,
    queries: Sequence[Query],
    labels: Labels,
    words: Sequence[str],
    context: Sequence[int],
    position: Position = "label",
    batch_size: int = 32,
    record: bool = True,
) -> Outcome:
    """The demonstrations encoded once (`context`, BOS first) and shared by every query.

    Raises:
        UserError: for an empty context.
    """
    if not context:
        raise UserError("expected a context that starts with BOS, got an empty one; use pack()")
    return _run(model, queries, labels, words, position, batch_size, record, context)


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
) -> Outcome:
    """Zero-shot layout after one pass of SGD over the demonstrations; weights restored after."""
    bos = model.encoder.bos
    examples = [(bos, *q.prompt, *labels[q.label]) for q in demonstrations]
    with finetuned(model, examples, rate):
        return _run(model, queries, labels, words, position, batch_size, record, ())
