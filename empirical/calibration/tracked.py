"""The twin of `linear` that carries rounding bounds: how far apart two equal readings may be.

The same layers once more on `dualform.rounding.Tracked` columns, one head at a time, without torch
modules, runs or captures. Where both settings are equal in exact arithmetic, what the model records
of them differs by at most the sum of both errors, twice each (`Tracked.elsewhere`). Letters: d
width, C context tokens, B queries of T tokens, H heads, h head width, L layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dualform.ops import TrackedOps
from dualform.rounding import Tracked
from empirical.calibration.construct import Prompted, Regression
from empirical.calibration.linear import LinearModel
from empirical.metrics.similarity import Array

OPS = TrackedOps()
Step = Callable[[int, Sequence[Tracked], Sequence[Tracked]], Tracked]  # layer, keys, values -> D


@dataclass(frozen=True, kw_only=True, eq=False)
class Gaps:
    """How far in-context and finetuned readings may differ, in the order of the queries.

    h [n,L] and q-scores in Euclidean norm: `h`, and per head `m` [n,L,H]. `c` [n,L,N]: bound of a
    score towards the context and of its counterpart Q'q, entry by entry.
    """

    h: Array
    m: Array
    c: Array


@dataclass(frozen=True, kw_only=True, eq=False)
class _Layer:
    """One layer's weights, head by head."""

    query: list[Tracked]
    key: list[Tracked]
    value: list[Tracked]
    output: list[Tracked]


def _layers(model: LinearModel) -> list[_Layer]:
    found = []
    for block, out in zip(model.blocks, model.outputs, strict=True):
        P = out.weight.detach().view(len(out.weight), block.heads, -1)
        found.append(
            _Layer(
                query=[Tracked(w) for w in block.query.weight()],
                key=[Tracked(w) for w in block.key.weight()],
                value=[Tracked(w) for w in block.value.weight()],
                output=[Tracked(P[:, k]) for k in range(block.heads)],
            )
        )
    return found


def _sum(terms: Sequence[Tracked]) -> Tracked:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _own(layer: _Layer, Z: Tracked, seen: Tensor) -> tuple[list[Tracked], list[Tracked]]:
    """Queries, and attention to its own columns where `seen` [T,T] (a key, who asks), per head."""
    queries, outputs = [], []
    for W_Q, W_K, W_V in zip(layer.query, layer.key, layer.value, strict=True):
        q = W_Q @ Z
        scores = ((W_K @ Z).T @ q).times(Tracked(seen.to(q.value.dtype)))
        queries.append(q)
        outputs.append((W_V @ Z) @ scores)
    return queries, outputs


def _behind(layer: _Layer, outputs: Sequence[Tracked]) -> Tracked:
    return _sum([P @ o for P, o in zip(layer.output, outputs, strict=True)])


def _context(
    layers: Sequence[_Layer], episode: Prompted, mutual: bool
) -> list[tuple[list[Tracked], list[Tracked], list[Tracked]]]:
    """Keys, values and queries of the context in every layer, per head."""
    ids = torch.tensor(episode.context)
    Z = Tracked(episode.table[ids].T)
    seen = torch.ones(len(ids), len(ids), dtype=torch.bool).triu()
    if mutual:
        seen = seen | episode.shown[ids][:, None]
    found = []
    for layer in layers:
        queries, outputs = _own(layer, Z, seen)
        keys, values = ([W @ Z for W in side] for side in (layer.key, layer.value))
        found.append((keys, values, queries))
        Z = Z + _behind(layer, outputs)
    return found


def linear_loss_step(model: LinearModel) -> Step:
    """The twin of `steps.linear_loss_steps`: sum over heads of P V K^T W_Q."""
    layers = _layers(model)

    def step(number: int, keys: Sequence[Tracked], values: Sequence[Tracked]) -> Tracked:
        layer = layers[number]
        return _sum(
            [
                P @ ((V @ K.T) @ W)
                for P, V, K, W in zip(layer.output, values, keys, layer.query, strict=True)
            ]
        )

    return step


def regression_step(
    task: Regression, W_0: Tensor, rates: Sequence[float], width: int, sign: float
) -> Step:
    """The twin of `steps.descended` and `steps.regression_steps`: D = -sign rate (W X - Y) X^T."""
    W, X, Y = Tracked(W_0), Tracked(task.X), Tracked(task.Y)
    o, i = W_0.shape
    found = []
    for rate in rates:
        change = OPS.scale(Tracked(W_0.new_full((1, 1), rate)), (W @ X - Y) @ X.T)
        after = W - change
        moved = after - W  # as it is computed there
        left, above = W_0.new_zeros(o, width - i), W_0.new_zeros(i, width)
        below = W_0.new_zeros(width - i - o, width)
        row = OPS.hcat(moved if sign > 0 else -moved, Tracked(left))
        # The rounding of `after - W` is already in its error, as is that of `after` itself.
        found.append(OPS.vcat(Tracked(above), row, Tracked(below)))
        W = after

    def step(number: int, _keys: Sequence[Tracked], _values: Sequence[Tracked]) -> Tracked:
        return found[number]

    return step


def gaps(model: LinearModel, episode: Prompted, step: Step) -> Gaps:
    """Bounds of what in-context and finetuned captures may differ by, for every query."""
    layers = _layers(model)
    context = _context(layers, episode, model.model.base_model.shown is not None)
    kept = [i for i, t in enumerate(episode.context) if t > 1]
    n = len(episode.queries)
    shape = (n, len(layers), len(layers[0].query))
    found = Gaps(h=np.empty(shape[:2]), m=np.empty(shape), c=np.empty((*shape[:2], len(kept))))
    for length in {len(q.prompt) for q in episode.queries}:
        at = [i for i, q in enumerate(episode.queries) if len(q.prompt) == length]
        ids = torch.tensor([episode.queries[i].prompt for i in at])
        _fill(found, at, layers, context, step, episode.table[ids].mT, kept)
    return found


def _fill(
    found: Gaps,
    at: list[int],
    layers: Sequence[_Layer],
    context: Sequence[tuple[list[Tracked], list[Tracked], list[Tracked]]],
    step: Step,
    table: Tensor,
    kept: list[int],
) -> None:
    """The bounds of queries of one length, whose columns are `table` [B,d,T]."""
    icl, ft = Tracked(table), Tracked(table)
    seen = torch.ones(table.shape[-1], table.shape[-1], dtype=torch.bool).triu()
    for number, (layer, (keys, values, asked)) in enumerate(zip(layers, context, strict=True)):
        q_icl, own = _own(layer, icl, seen)
        far = [V @ (K.T @ q) for V, K, q in zip(values, keys, q_icl, strict=True)]
        h_icl = _behind(layer, [a + b for a, b in zip(own, far, strict=True)])
        q_ft, own = _own(layer, ft, seen)
        D = step(number, keys, values)
        h_ft = _behind(layer, own) + Tracked(D.value, 2 * D.error) @ ft
        errors = [x.error[:, :, -1] for x in (h_icl, h_ft)]
        found.h[at, number] = 2 * torch.linalg.norm(errors[0] + errors[1], dim=-1).numpy()
        for head, W_K in enumerate(layer.key):
            scores = [(W_K @ Z).T @ q[head] for Z, q in ((icl, q_icl), (ft, q_ft))]
            both = scores[0].error[:, :, -1] + scores[1].error[:, :, -1]
            found.m[at, number, head] = 2 * torch.linalg.norm(both, dim=-1).numpy()
        c = _sum([K.T @ q for K, q in zip(keys, q_icl, strict=True)])
        f = _sum([Q.T @ q for Q, q in zip(asked, q_ft, strict=True)])
        found.c[at, number] = 2 * (c.error + f.error)[:, kept, -1].numpy()
        icl, ft = icl + h_icl, ft + h_ft
