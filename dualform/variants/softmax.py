"""Softmax attention by blocks of keys, merged exactly.

Attention over all keys is the mean of attention over blocks, each block weighted by its share of
the softmax mass: with two blocks, demonstrations and query, F = (1 - w) F_query + w F_demo,
w = Z_demo / (Z_demo + Z_query). Flash and cascade attention merge in the same way (Dao et al.
2205.14135; Milakov and Gimelshein 1805.02867). Scores carry d_k^(-1/2).

A softmax does not change when a number is taken from all its scores, so the largest score enters
as data: no error and no gradient of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dualform.variants._checks import VariantInputError, check_positive, check_tokens
from dualform.variants.arithmetic import (
    Array,
    cat,
    constant,
    exp,
    full,
    lift,
    log,
    moved,
    pair,
    select,
    to_type,
    value,
)
from dualform.variants.layout import (
    grouped,
    in_computing_type,
    joined,
    pieces,
    rows,
    shared,
    ungrouped,
)


class Partial(NamedTuple):
    """Attention to one block of keys: log of its softmax mass [..., T, 1], output [..., T, d_v].

    A block without keys has log mass -inf and output 0.
    """

    log_mass: Array
    output: Array


def attend(q: Array, k: Array, v: Array, seen: Tensor | None = None) -> Partial:
    """Attention of q [..., T, d_k] to k [..., n, d_k], v [..., n, d_v] where `seen` [T, n] holds.

    Every query sees at least one key, unless there is none.
    """
    scores = (q * constant(q, 1 / math.sqrt(max(q.shape[-1], 1)))) @ k.mT
    if not k.shape[-2]:
        return Partial(full(q, (*scores.shape[:-1], 1), -math.inf), scores @ v)
    if seen is not None:  # masked scores are replaced before exp, whose gradient would overflow
        peak = _peak(moved(lambda t: t.masked_fill(~seen, -math.inf), scores))
        scores = select(seen, scores, peak)
    else:
        peak = _peak(scores)
    weights = exp(scores - peak)
    if seen is not None:
        weights = moved(lambda t: t.masked_fill(~seen, 0.0), weights)
    mass = weights @ full(k, (k.shape[-2], 1), 1.0)
    return Partial(peak + log(mass), (weights @ v) / mass)


def _peak(scores: Array) -> Array:
    """The largest entry of each row, as data; 0 where it is -inf."""
    largest = value(scores).amax(-1, keepdim=True)
    largest = torch.where(largest == -math.inf, torch.zeros_like(largest), largest)
    return largest if pair(scores) is None else lift(largest)


def merge(partials: Sequence[Partial]) -> Partial:
    """Attention to all the blocks together, in any order: log mass [..., T, 1], o [..., T, d_v].

    Raises:
        VariantInputError: for no block at all.
    """
    if not partials:
        raise VariantInputError("at least one block of keys", "none", "pass a block without keys")
    if len(partials) == 1:
        return partials[0]
    masses = cat([p.log_mass for p in partials], -1)
    peak = _peak(masses)
    shares = exp(masses - peak)
    total = shares @ full(masses, (masses.shape[-1], 1), 1.0)
    output = partials[0].output * shares[..., :1]
    for i, p in enumerate(partials[1:], 1):
        output = output + p.output * shares[..., i : i + 1]
    empty = value(total) == 0
    safe = select(empty, full(total, total.shape, 1.0), total)
    return Partial(select(empty, masses[..., :1], peak + log(safe)), output / safe)


def causal(first: int, queries: int, keys: int, device: torch.device) -> Tensor:
    """[queries, keys]: query i, at position first + i, sees the keys up to its own."""
    at = torch.arange(queries, device=device).unsqueeze(-1) + first
    return torch.arange(keys, device=device) <= at


def causal_chunks(q: Array, k: Array, v: Array, past: int, chunk: int) -> Array:
    """Causal attention of T queries to past + T keys; each chunk merges its past and its own."""
    outputs = []
    for at in pieces(q.shape[-2], chunk):
        begin, end = past + at.start, past + at.stop
        own = causal(0, end - begin, end - begin, value(k).device)
        blocks = [attend(rows(q, at), k[..., begin:end, :], v[..., begin:end, :], own)]
        if begin:
            blocks.append(attend(rows(q, at), k[..., :begin, :], v[..., :begin, :]))
        outputs.append(merge(blocks).output)
    return joined(outputs, q, v.shape[-1])


def causal_token(q: Array, k: Array, v: Array) -> Array:
    """Attention of the last token's q [..., 1, d_k] to all keys [..., n, d_k], as defined."""
    scores = (q @ k.mT) * constant(q, 1 / math.sqrt(max(q.shape[-1], 1)))
    weights = exp(scores - _peak(scores))
    mass = weights @ full(k, (k.shape[-2], 1), 1.0)
    return (weights / mass) @ v


def softmax_attention(q: Array, k: Array, v: Array, block: int | None = None) -> Array:
    """Causal softmax(q k^T / sqrt(d_k)) v, at once or by merged blocks of `block` tokens.

    q [..., H, T, d_k], k [..., G, T, d_k], v [..., G, T, d_v] to [..., H, T, d_v]; bfloat16 and
    float16 in float32, rounded once.

    Raises:
        VariantInputError: for shapes, types or a block size that do not fit.
    """
    check_tokens(q, k, v)
    if block is not None:
        check_positive("block", block)
    kind, tokens = q.dtype, q.shape[-2]
    q, k, v = (in_computing_type(a) for a in (grouped(q, k.shape[-3]), shared(k), shared(v)))
    o = causal_chunks(q, k, v, 0, block or max(tokens, 1))
    return ungrouped(to_type(o, kind))
