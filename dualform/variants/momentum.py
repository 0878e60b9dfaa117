"""Momentum in softmax attention: beside it (Dai et al. 2212.10559, eq. 14), or in its values.

Beside: o_t = softmax attention + m_t, m_t = eta (m_{t-1} + v_{t-1}) = sum_{i < t} eta^(t-i) v_i.
Inside: causal softmax attention over the values w_i = eta w_{i-1} + v_i = sum_{j<=i} eta^(i-j) v_j.
eta enters as the nearest number of the computing type.
"""

from __future__ import annotations

from typing import NamedTuple

from dualform.variants.arithmetic import Array, cat, full
from dualform.variants.layout import joined, pieces, rows
from dualform.variants.pairwise import pair_products
from dualform.variants.recurrent import Gates
from dualform.variants.softmax import causal_chunks, causal_token


class MomentumState(NamedTuple):
    """Keys [..., G, n, d_k] and values [..., G, n, d_v] so far, and the vector m [..., G, 1, d_v].

    Beside attention m is the momentum that the next token adds; inside, the values are the summed
    w and m is the last of them.
    """

    keys: Array
    values: Array
    m: Array


def summed(v: Array, m: Array, eta: float, chunk: int) -> Array:
    """w_i = eta w_{i-1} + v_i from w_0 = m, chunk by chunk: [..., T, d_v]."""
    out = []
    for at in pieces(v.shape[-2], chunk):
        values = rows(v, at)
        rate = full(v, (values.shape[-2], 1), eta)
        (since, _), products = pair_products(rate)
        out.append(products @ values + since * m)
        m = out[-1][..., -1:, :]
    return joined(out, v, v.shape[-1])


def beside_fast(
    q: Array, k: Array, v: Array, gates: Gates, state: MomentumState, chunk: int, eta: float
) -> tuple[Array, MomentumState]:
    """Blocks of keys merged; the momentum sum by chunks, m_{t+1} = eta m_t + eta v_t."""
    past = state.keys.shape[-2]
    keys, values = cat([state.keys, k], -2), cat([state.values, v], -2)
    moments = cat([state.m, summed(full(v, (1, 1), eta) * v, state.m, eta, chunk)], -2)
    o = causal_chunks(q, keys, values, past, chunk) + moments[..., :-1, :]
    return o, MomentumState(keys, values, moments[..., -1:, :])


def beside_slow(
    q: Array, k: Array, v: Array, gates: Gates, state: MomentumState, eta: float
) -> tuple[Array, MomentumState]:
    """Each token's softmax as defined, and the recurrence of m."""
    keys, values, m = state
    rate, outputs = full(v, (1, 1), eta), []
    for t in range(k.shape[-2]):
        now = slice(t, t + 1)
        keys, values = cat([keys, k[..., now, :]], -2), cat([values, v[..., now, :]], -2)
        outputs.append(causal_token(q[..., now, :], keys, values) + m)
        m = rate * (m + v[..., now, :])
    return joined(outputs, q, v.shape[-1]), MomentumState(keys, values, m)


def inside_fast(
    q: Array, k: Array, v: Array, gates: Gates, state: MomentumState, chunk: int, eta: float
) -> tuple[Array, MomentumState]:
    """The summed values by chunks, then blocks of keys merged."""
    past = state.keys.shape[-2]
    new = summed(v, state.m, eta, chunk)
    keys, values = cat([state.keys, k], -2), cat([state.values, new], -2)
    last = cat([state.m, new], -2)[..., -1:, :]
    return causal_chunks(q, keys, values, past, chunk), MomentumState(keys, values, last)


def inside_slow(
    q: Array, k: Array, v: Array, gates: Gates, state: MomentumState, eta: float
) -> tuple[Array, MomentumState]:
    """The recurrence of w, and each token's softmax as defined."""
    keys, values, w = state
    rate, outputs = full(v, (1, 1), eta), []
    for t in range(k.shape[-2]):
        now = slice(t, t + 1)
        w = rate * w + v[..., now, :]
        keys, values = cat([keys, k[..., now, :]], -2), cat([values, w], -2)
        outputs.append(causal_token(q[..., now, :], keys, values))
    return joined(outputs, q, v.shape[-1]), MomentumState(keys, values, w)
