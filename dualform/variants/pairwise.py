"""Products of decays between all pairs of tokens of a chunk, without division or logarithms.

D[t, i] = a_{i+1} ... a_t for i <= t. A pair whose tokens lie in the two halves of a block meets at
its middle: D[t, i] = (a_mid ... a_t) (a_{i+1} ... a_{mid-1}). So halves are joined by one product
of matrices a level, log2(C) levels; every factor is a product of gates, at most 1 when the gates
are. A decay of 0 is a factor like any other, nothing overflows, and underflow is part of the bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dualform.variants.arithmetic import Array, cat, full, moved, select, value


class Decays(NamedTuple):
    """`since` [..., C, d]: a_1 ... a_t; `until` [..., C, d]: a_{t+1} ... a_C; both per token t."""

    since: Array
    until: Array


def padded(a: Array, rows: int, number: float) -> Array:
    """`a` [..., C, d] with rows of one number below, up to `rows`."""
    missing = rows - a.shape[-2]
    if not missing:
        return a
    return cat([a, full(a, (*a.shape[:-2], missing, a.shape[-1]), number)], -2)


def _joined(a: Array) -> Array:
    """[..., 2n, h, d] to [..., n, 2h, d]: neighbouring blocks end to end."""
    return cat([a[..., 0::2, :, :], a[..., 1::2, :, :]], -2)


def decayed(readers: Sequence[Array], k: Array, decay: Array) -> tuple[Decays, list[Array]]:
    """Running products, and sum_c r[t, c] D[t, i, c] k[i, c] for i <= t, else 0, for each reader.

    readers and k [..., C, d], decay [..., C, d or 1]; scores [..., C, C].
    """
    tokens = k.shape[-2]
    size = 1 << max(tokens - 1, 0).bit_length()
    k = moved(_blocks, padded(k, size, 0.0))
    rows = [moved(_blocks, padded(r, size, 0.0)) for r in readers]
    since = moved(_blocks, padded(decay, size, 1.0))
    until = full(since, since.shape, 1.0)
    scores = [r @ k.mT for r in rows]
    for _ in range(size.bit_length() - 1):
        before, after = since[..., 0::2, :, :], since[..., 1::2, :, :]
        to_middle = until[..., 0::2, :, :]
        left = (k[..., 0::2, :, :] * to_middle).mT
        scores = [
            _lower(s, (r[..., 1::2, :, :] * after) @ left)
            for s, r in zip(scores, rows, strict=True)
        ]
        since = cat([before, after * before[..., -1:, :]], -2)
        until = cat([to_middle * after[..., -1:, :], until[..., 1::2, :, :]], -2)
        k, rows = _joined(k), [_joined(r) for r in rows]
    kept = slice(0, tokens)
    running = Decays(since[..., 0, kept, :], until[..., 0, kept, :])
    return running, [s[..., 0, kept, kept] for s in scores]


def _blocks(a: Tensor) -> Tensor:
    return a.unsqueeze(-2)


def _lower(scores: Array, cross: Array) -> Array:
    """The two halves' scores on the diagonal, `cross` below it, zeros above."""
    first, second = scores[..., 0::2, :, :], scores[..., 1::2, :, :]
    above = moved(torch.zeros_like, first)
    return cat([cat([first, above], -1), cat([cross, second], -1)], -2)


def pair_products(decay: Array) -> tuple[Decays, Array]:
    """Running products of decays [..., C, 1], and D [..., C, C], zero above the diagonal.

    Column i holds a_t below row i and 1 elsewhere; its running products are taken by doubling.
    """
    tokens = decay.shape[-2]
    row = torch.arange(tokens, device=value(decay).device).unsqueeze(-1)
    column = torch.arange(-1, tokens, device=row.device)
    products = select(row > column, decay, full(decay, (1, 1), 1.0))
    step = 1
    while step < tokens:
        met = products[..., step:, :] * products[..., :-step, :]
        products = cat([products[..., :step, :], met], -2)
        step *= 2
    until = products[..., -1:, 1:].mT
    pairs = moved(torch.tril, products[..., 1:])
    return Decays(products[..., :1], until), pairs
