"""Titans: descent with momentum and weight decay on |M k - v|^2 (Behrouz et al. 2501.00663).

S_t = eta_t S_{t-1} - theta_t 2 (M_{t-1} k_t - v_t) k_t^T, M_t = (1 - alpha_t) M_{t-1} + S_t.
With u_t = 2 theta_t (v_t - M_{t-1} k_t), E and D the pair products of eta and of 1 - alpha,
M_t = D_t M_0 + (D E_0)_t S_0 + sum_{i <= t} (D E)[t, i] u_i k_i^T: one triangular system a chunk.
"""

from __future__ import annotations

from typing import NamedTuple

from dualform.variants.arithmetic import Array, cat, full, identity
from dualform.variants.layout import joined, pieces, rows
from dualform.variants.pairwise import Decays, pair_products
from dualform.variants.recurrent import Gates
from dualform.variants.solve import solve_unit_lower


class TitansState(NamedTuple):
    """The memory M and the momentum S, both [..., G, d_v, d_k]."""

    memory: Array
    momentum: Array


class _Weights(NamedTuple):
    """How M_t, for t = 0 ... C, depends on M_0 and S_0 [..., C + 1, 1] and on u [..., C + 1, C]."""

    memory: Array
    momentum: Array
    written: Array


def _weights(eta: Decays, E: Array, kept: Decays, D: Array) -> _Weights:
    one = full(D, (*D.shape[:-2], 1, 1), 1.0)
    none = full(D, (*D.shape[:-2], 1, D.shape[-1]), 0.0)
    return _Weights(
        memory=cat([one, kept.since], -2),
        momentum=cat([none[..., :1], D @ eta.since], -2),
        written=cat([none, D @ E], -2),
    )


def _read(readers: Array, at: slice, w: _Weights, state: TitansState) -> Array:
    """M_t r_t for rows t of the weights, before what the chunk writes."""
    from_memory = (readers * w.memory[..., at, :]) @ state.memory.mT
    return from_memory + (readers * w.momentum[..., at, :]) @ state.momentum.mT


def fast(
    q: Array, k: Array, v: Array, gates: Gates, state: TitansState, chunk: int
) -> tuple[Array, TitansState]:
    """A triangular system for u, then products of matrices, chunk by chunk."""
    outputs = []
    kept_gate = full(k, (1, 1), 1.0) - gates["alpha"]
    for at in pieces(k.shape[-2], chunk):
        keys, theta = rows(k, at), rows(gates["theta"], at)
        eta, E = pair_products(rows(gates["eta"], at))
        w = _weights(eta, E, *pair_products(rows(kept_gate, at)))
        before, after = slice(0, keys.shape[-2]), slice(1, keys.shape[-2] + 1)
        rate = theta + theta
        system = rate * ((keys @ keys.mT) * w.written[..., before, :])
        right = rate * (rows(v, at) - _read(keys, before, w, state))
        u = solve_unit_lower(identity(k, keys.shape[-2]) + system, right)
        scores = (rows(q, at) @ keys.mT) * w.written[..., after, :]
        outputs.append(_read(rows(q, at), after, w, state) + scores @ u)
        state = _written(state, w, eta, keys, u)
    return joined(outputs, q, v.shape[-1]), state


def _written(state: TitansState, w: _Weights, eta: Decays, k: Array, u: Array) -> TitansState:
    last = slice(-1, None)
    memory = (
        state.memory * w.memory[..., last, :]
        + state.momentum * w.momentum[..., last, :]
        + (u * w.written[..., last, :].mT).mT @ k
    )
    momentum = state.momentum * eta.since[..., last, :] + (u * eta.until).mT @ k
    return TitansState(memory, momentum)


def slow(
    q: Array, k: Array, v: Array, gates: Gates, state: TitansState
) -> tuple[Array, TitansState]:
    """The two updates as written, token by token."""
    M, S = state
    outputs = []
    for t in range(k.shape[-2]):
        key, target = k[..., t : t + 1, :], v[..., t : t + 1, :]
        alpha, eta, theta = (gates[n][..., t : t + 1, :] for n in ("alpha", "eta", "theta"))
        half = (key @ M.mT - target).mT @ key
        S = eta * S - theta * (half + half)
        M = M - alpha * M + S
        outputs.append(q[..., t : t + 1, :] @ M.mT)
    return joined(outputs, q, v.shape[-1]), TitansState(M, S)
