"""Chunked forms of the rules that write a residual: S_t = S_{t-1} Diag(a_t) + u_t k_t^T.

u_t = b_t (v_t - S_read k_t) depends on the earlier u of its chunk through one unit lower triangular
system, (I + Diag(b) strictly lower(K D K^T)) U = Diag(b) (V - K S_0^T): Yang et al. 2406.06484,
2412.06464. S_read is the decayed state, or in `undecayed_residual` the state before its decay.
"""

from __future__ import annotations

from dualform.variants.additive import ChunkScores, carried, chunk_scores
from dualform.variants.arithmetic import Array, cat, full, identity, moved
from dualform.variants.layout import joined, pieces, rows
from dualform.variants.pairwise import pair_products
from dualform.variants.recurrent import Gates
from dualform.variants.solve import solve_unit_lower


def residuals(s: ChunkScores, v: Array, rate: Array, state: Array) -> Array:
    """The u_t of a chunk, [..., C, d_v]."""
    before = moved(lambda t: t.tril(-1), s.kk)
    system = identity(v, v.shape[-2]) + rate * before
    return solve_unit_lower(system, rate * (v - s.k @ state.mT))


def delta(
    q: Array, k: Array, v: Array, gates: Gates, state: Array, chunk: int
) -> tuple[Array, Array]:
    """The delta rule, with the gate `decay` per token or per channel where there is one."""
    return _by_chunk(q, k, v, gates["beta"], gates.get("decay"), state, chunk)


def longhorn(
    q: Array, k: Array, v: Array, gates: Gates, state: Array, chunk: int
) -> tuple[Array, Array]:
    """The delta rule at the rate of the implicit step, b / (1 + b k^T k)."""
    b = gates["beta"]
    squares = (k * k) @ full(k, (k.shape[-1], 1), 1.0)
    return _by_chunk(q, k, v, b / (full(b, (1, 1), 1.0) + b * squares), None, state, chunk)


def undecayed_residual(
    q: Array, k: Array, v: Array, gates: Gates, state: Array, chunk: int
) -> tuple[Array, Array]:
    """The residual is read one decay earlier: keys read row t - 1 of the running products."""
    outputs = []
    for at in pieces(k.shape[-2], chunk):
        keys, values, rate = rows(k, at), rows(v, at), rows(gates["beta"], at)
        s = _read_before_decay(rows(q, at), keys, rows(gates["decay"], at))
        output, state = _one_chunk(s, values, rate, state)
        outputs.append(output)
    return joined(outputs, q, v.shape[-1]), state


def _read_before_decay(q: Array, k: Array, decay: Array) -> ChunkScores:
    (since, until), products = pair_products(decay)
    first = full(decay, (*decay.shape[:-2], 1, 1), 1.0)
    earlier = cat([first, since[..., :-1, :]], -2)
    no_pair = full(products, (*products.shape[:-2], 1, products.shape[-1]), 0.0)
    pairs = cat([no_pair, products[..., :-1, :]], -2)
    return ChunkScores(
        q=q * since,
        k=k * earlier,
        write=k * until,
        last=since[..., -1:, :],
        qk=(q @ k.mT) * products,
        kk=(k @ k.mT) * pairs,
    )


def _one_chunk(s: ChunkScores, v: Array, rate: Array, state: Array) -> tuple[Array, Array]:
    u = residuals(s, v, rate, state)
    output = s.q @ state.mT + s.qk @ u
    return output, carried(state, s.last) + u.mT @ s.write


def _by_chunk(
    q: Array, k: Array, v: Array, rate: Array, decay: Array | None, state: Array, chunk: int
) -> tuple[Array, Array]:
    outputs = []
    for at in pieces(k.shape[-2], chunk):
        s = chunk_scores(rows(q, at), rows(k, at), None if decay is None else rows(decay, at))
        output, state = _one_chunk(s, rows(v, at), rows(rate, at), state)
        outputs.append(output)
    return joined(outputs, q, v.shape[-1]), state
