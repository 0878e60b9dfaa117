"""Chunked forms of the rules without a residual: S_t = S_{t-1} Diag(a_t) + v_t k_t^T.

Inside a chunk o_t = S_0 Diag(a_1 ... a_t) q_t + sum_{i <= t} (q_t^T D[t, i] k_i) v_i, so that
every step is a product of matrices (Sun et al. 2307.08621; Yang et al. 2312.06635, without their
division by running products).
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from dualform.variants.arithmetic import Array, moved
from dualform.variants.layout import joined, pieces, rows
from dualform.variants.pairwise import decayed, pair_products
from dualform.variants.recurrent import Gates


class ChunkScores(NamedTuple):
    """What decays do to a chunk [..., C, d_k].

    `q` and `k` as they read the state at the chunk's start; `write` the keys as the state at its
    end holds them; `last` what is left of the first state; `qk` and `kk` [..., C, C] the scores
    towards the tokens up to and including the reader's own.
    """

    q: Array
    k: Array
    write: Array
    last: Array | None
    qk: Array
    kk: Array


def chunk_scores(q: Array, k: Array, decay: Array | None) -> ChunkScores:
    """Scores and decayed readers of one chunk; decay [..., C, 1], [..., C, d_k] or none."""
    if decay is None:
        return ChunkScores(q, k, k, None, moved(torch.tril, q @ k.mT), moved(torch.tril, k @ k.mT))
    if decay.shape[-1] == 1:
        running, products = pair_products(decay)
        qk, kk = (q @ k.mT) * products, (k @ k.mT) * products
    else:
        running, (qk, kk) = decayed([q, k], k, decay)
    since, until = running
    return ChunkScores(q * since, k * since, k * until, since[..., -1:, :], qk, kk)


def carried(state: Array, last: Array | None) -> Array:
    """The state at a chunk's start, decayed to its end."""
    return state if last is None else state * last


def additive(
    q: Array, k: Array, v: Array, gates: Gates, state: Array, chunk: int
) -> tuple[Array, Array]:
    """Linear attention, with the gate `decay` where there is one."""
    outputs = []
    for at in pieces(k.shape[-2], chunk):
        decay = rows(gates["decay"], at) if "decay" in gates else None
        s, values = chunk_scores(rows(q, at), rows(k, at), decay), rows(v, at)
        outputs.append(s.q @ state.mT + s.qk @ values)
        state = carried(state, s.last) + values.mT @ s.write
    return joined(outputs, q, v.shape[-1]), state
