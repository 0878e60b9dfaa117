"""TTT-Linear: mini-batch gradient descent on |W k - v|^2 (Sun et al. 2407.04620, section 2.4).

All gradients of a mini-batch are taken at the weights W_s of its start; token t reads the weights
after the gradients of its mini-batch up to its own:
W_t = W_s - sum_{s < i <= t} rate_i 2 (W_s k_i - v_i) k_i^T. The learned W_0 is the initial state.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from dualform.variants._checks import VariantInputError
from dualform.variants.arithmetic import Array, cat, moved
from dualform.variants.layout import joined, pieces, rows
from dualform.variants.recurrent import Gates


class TTTState(NamedTuple):
    """Weights at the start of the running mini-batch, and its tokens so far (p of them).

    start [..., G, d_v, d_k], keys [..., G, p, d_k], values [..., G, p, d_v], rates [..., G, p, 1].
    The position in the mini-batch is p, a size and not a number, so that it may be traced.
    """

    start: Array
    keys: Array
    values: Array
    rates: Array


def descended(W: Array, k: Array, v: Array, rate: Array) -> Array:
    """W after the gradient steps of some tokens [..., p, d], all gradients at W."""
    step = rate * (v - k @ W.mT)
    return W + (step + step).mT @ k


def fast(
    q: Array, k: Array, v: Array, gates: Gates, state: TTTState, chunk: int, batch: int
) -> tuple[Array, TTTState]:
    """Pieces of at most `chunk` tokens that end where mini-batches end."""
    start, *pending = state
    _check_position(pending[0].shape[-2], batch)
    now = descended(start, *pending)
    outputs = []
    for at in _aligned(k.shape[-2], chunk, batch, pending[0].shape[-2]):
        tokens = rows(k, at), rows(v, at), rows(gates["rate"], at)
        step = tokens[2] * (tokens[1] - tokens[0] @ start.mT)
        step = step + step
        scores = moved(torch.tril, rows(q, at) @ tokens[0].mT)
        outputs.append(rows(q, at) @ now.mT + scores @ step)
        now = now + step.mT @ tokens[0]
        pending = [cat(both, -2) for both in zip(pending, tokens, strict=True)]
        if pending[0].shape[-2] == batch:
            start, pending = now, [p[..., :0, :] for p in pending]
    return joined(outputs, q, v.shape[-1]), TTTState(start, *pending)


def _aligned(tokens: int, chunk: int, batch: int, position: int) -> list[slice]:
    """Pieces of a run of tokens that do not cross the end of a mini-batch."""
    ends = [min(position + tokens, batch) - position] if tokens else []
    while ends and ends[-1] < tokens:
        ends.append(min(ends[-1] + batch, tokens))
    return [
        slice(begin + at.start, begin + at.stop)
        for begin, end in zip([0, *ends], ends, strict=False)
        for at in pieces(end - begin, chunk)
    ]


def slow(
    q: Array, k: Array, v: Array, gates: Gates, state: TTTState, batch: int
) -> tuple[Array, TTTState]:
    """One gradient at a time, W - rate 2 (W_s k - v) k^T."""
    start, keys, values, rates = state
    _check_position(keys.shape[-2], batch)
    W = start
    for i in range(keys.shape[-2]):
        W = _one_step(W, start, keys, values, rates, i)
    outputs = []
    for t in range(k.shape[-2]):
        W = _one_step(W, start, k, v, gates["rate"], t)
        outputs.append(q[..., t : t + 1, :] @ W.mT)
        now = slice(t, t + 1)
        keys, values = cat([keys, k[..., now, :]], -2), cat([values, v[..., now, :]], -2)
        rates = cat([rates, gates["rate"][..., now, :]], -2)
        if keys.shape[-2] == batch:
            start = W
            keys, values, rates = keys[..., :0, :], values[..., :0, :], rates[..., :0, :]
    return joined(outputs, q, v.shape[-1]), TTTState(start, keys, values, rates)


def _one_step(W: Array, start: Array, k: Array, v: Array, rate: Array, t: int) -> Array:
    key, value_, r = k[..., t : t + 1, :], v[..., t : t + 1, :], rate[..., t : t + 1, :]
    gradient = (key @ start.mT - value_).mT @ key
    return W - r * (gradient + gradient)


def _check_position(position: int, batch: int) -> None:
    if position >= batch:
        raise VariantInputError(
            f"a state of fewer than {batch} tokens in its mini-batch", position, "keep `batch`"
        )
