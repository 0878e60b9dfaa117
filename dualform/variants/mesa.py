"""The Mesa layer: the exact minimiser of the weighted ridge regression so far.

G_t = gamma_t G_{t-1} + beta_t v_t k_t^T, H_t = gamma_t H_{t-1} + beta_t k_t k_t^T,
o_t = G_t (H_t + Diag(lambda))^{-1} q_t (von Oswald et al. 2506.05233, equations 8 to 11). H_t is
positive semidefinite, so no eigenvalue of the system is below the least lambda.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor

from dualform.variants.arithmetic import Array, Bounded, identity, moved, pair
from dualform.variants.layout import joined, pieces, rows
from dualform.variants.pairwise import pair_products
from dualform.variants.recurrent import Gates
from dualform.variants.solve import deficiency, eliminate, solve_positive


class MesaState(NamedTuple):
    """G [..., G, d_v, d_k] and H [..., G, d_k, d_k], which is symmetric positive semidefinite."""

    G: Array
    H: Array


def fast(
    q: Array, k: Array, v: Array, gates: Gates, state: MesaState, chunk: int, ridge: Array
) -> tuple[Array, MesaState]:
    """All systems of a chunk by Cholesky at once, then G as chunked attention over the solutions.

    ridge [..., G, 1, 1, d_k].
    """
    outputs = []
    diagonal = ridge * identity(k, k.shape[-1])
    least = _less(ridge, deficiency(state.H))
    for at in pieces(k.shape[-2], chunk):
        (since, until), products = pair_products(rows(gates["gamma"], at))
        keys, values, beta = rows(k, at), rows(v, at), rows(gates["beta"], at)
        systems = _systems(state.H, keys, products * beta.mT, since) + _beside(diagonal)
        asked = moved(lambda t: t.unsqueeze(-1), rows(q, at))
        x = moved(lambda t: t.squeeze(-1), solve_positive(systems, asked, _beside(least)))
        scores = (x @ keys.mT) * (products * beta.mT)
        outputs.append((x * since) @ state.G.mT + scores @ values)
        written, last = (keys * (until * beta)), since[..., -1:, :]
        state = MesaState(state.G * last + values.mT @ written, state.H * last + keys.mT @ written)
    return joined(outputs, q, v.shape[-1]), state


def _less(ridge: Array, by: Tensor | None) -> Array:
    """The ridge less what a given H may lack, which later decays only shrink."""
    r = pair(ridge)
    if by is None or r is None:
        return ridge
    value = r.value.double() - r.error - by
    return cast(Array, Bounded(value, torch.zeros_like(value)))


def _beside(a: Array) -> Array:
    """[..., r, c] to [..., 1, r, c], shared by the tokens of a chunk."""
    return moved(lambda t: t.unsqueeze(-3), a)


def _systems(H: Array, k: Array, weights: Array, since: Array) -> Array:
    """H_t of every token of a chunk, [..., C, d_k, d_k]; weights [..., C, C]."""
    column = moved(lambda t: t.unsqueeze(-1), since)
    weighted = moved(lambda t: t.unsqueeze(-2), weights)  # [..., C, 1, C]
    keys = _beside(k)  # [..., 1, C, d_k]
    return _beside(H) * column + (keys.mT * weighted) @ keys


def slow(
    q: Array, k: Array, v: Array, gates: Gates, state: MesaState, ridge: Array
) -> tuple[Array, MesaState]:
    """Both sums as written, and one elimination a token."""
    G, H = state
    diagonal = ridge * identity(k, k.shape[-1])
    outputs = []
    for t in range(k.shape[-2]):
        key, target = k[..., t : t + 1, :], v[..., t : t + 1, :]
        gamma, beta = gates["gamma"][..., t : t + 1, :], gates["beta"][..., t : t + 1, :]
        G = gamma * G + beta * (target.mT @ key)
        H = gamma * H + beta * (key.mT @ key)
        solution = eliminate(H + diagonal, q[..., t : t + 1, :].mT)
        outputs.append((G @ solution).mT)
    return joined(outputs, q, v.shape[-1]), MesaState(G, H)
