"""From the values an implementation is given to the canonical rule's, and back.

Written once over the variants' arithmetic: on tensors it computes, on bounded tensors it carries
the rounding of what the implementation itself has to do (exponentials, scalings, quotients).
Letters: q [B, H, T, d_k], k [B, G, T, d_k], v [B, G, T, d_v], token gates [B, G, T], channel gates
[B, G, T, d_k], state leaves [B, G, d_v, d_k] (canonical axes; `Convention.axes` is not used here).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from dualform.rounding import UNIT_ROUNDOFF
from dualform.testing.conventions import Convention
from dualform.variants import arithmetic as A
from dualform.variants.arithmetic import Array
from dualform.variants.layout import leaves, on_leaves


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Arrays in canonical axes; state None for the variant's initial state; a rule's options."""

    q: Array
    k: Array
    v: Array
    gates: Mapping[str, Array]
    state: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """o [B, H, T, d_v], a tensor or a bounded array, and the final state."""

    o: Any
    state: Any


def run(form: Any, given: Inputs, convention: Convention, **more: Any) -> Outputs:
    """The canonical `form` on what an implementation of `convention` was given."""
    q, k, v = given.q, given.k, given.v
    if convention.query_scale == "inverse sqrt":
        q = q * A.constant(q, q.shape[-1] ** -0.5)
    if convention.key_scale == "inverse sqrt":
        k = k * A.constant(k, k.shape[-1] ** -0.5)
    gates = {name: meant(x, convention.gates.get(name, "plain")) for name, x in given.gates.items()}
    first, width = q[..., :1, :], v.shape[-1]
    if convention.read == "before write":
        q = _next_token(q)
    final = None
    if convention.decay != "before write":
        decay = gates["decay"]
        if convention.decay == "after write":
            q = q * _per_channel(decay, q)
        gates["decay"], final = _previous_token(decay, q), _last(decay, q)
    if convention.normaliser is not None:
        v = A.cat([v, A.full(v, (*v.shape[:-1], 1), 1.0)], -1)
    state = given.state
    o, end = form(q, k, v, **gates, **given.options, state=state, **more)
    if convention.read == "before write":
        o = _read_first(first, o, state)
    if final is not None:
        end = on_leaves(lambda s: s * final, end)
    if convention.normaliser is not None:
        sums = o[..., width:] + A.constant(o, convention.normaliser)
        o = o[..., :width] / sums
        end = on_leaves(lambda s: s[..., :width, :], end)
    return Outputs(o=o, state=end)


def meant(x: Array, meaning: str) -> Array:
    """The gate that the argument x stands for."""
    if meaning == "log":
        return _widened(A.exp(x), x)
    if meaning == "one minus":
        return A.full(x, (1, 1), 1.0) - x
    if meaning in ("half", "double"):
        return x * A.full(x, (1, 1), 0.5 if meaning == "half" else 2.0)
    return x


def given_for(gate: torch.Tensor, meaning: str) -> torch.Tensor:
    """The argument that stands for a gate; both in float64."""
    if meaning == "log":
        return gate.log()
    if meaning == "one minus":
        return 1 - gate
    if meaning in ("half", "double"):
        return gate * (2.0 if meaning == "half" else 0.5)
    return gate


def _widened(gate: Array, logs: Array) -> Array:
    """Room for code that multiplies decays by adding their logarithms.

    exp(c_i - c_j) for prefix sums c of T logarithms: each c errs by at most gamma_T sum|log|, the
    difference by u sum|log| more, so the product is off by a factor exp(E) at most, E = (2 gamma_T
    + u) sum|log|. Each gate of a product of at least one is given that room.
    """
    b, x = A.pair(gate), A.pair(logs)
    if b is None or x is None:
        return gate
    u = UNIT_ROUNDOFF[b.value.dtype]
    by_token = x.value.double().abs()
    dim = -1 if by_token.dim() == 3 else -2
    count = by_token.shape[dim]
    room = torch.expm1((2 * count * u / (1 - count * u) + u) * by_token.sum(dim, keepdim=True))
    return A.lift(type(b)(b.value, b.error + room * b.value.double().abs()))


def _per_channel(gate: Array, q: Array) -> Array:
    """[B, G, T] or [B, G, T, d_k] beside q [B, H, T, d_k]."""
    wide = gate if len(gate.shape) == len(q.shape) else A.moved(lambda t: t.unsqueeze(-1), gate)
    repeat = q.shape[-3] // gate.shape[1]
    return A.moved(lambda t: t.repeat_interleave(repeat, -3), wide)


def _last(gate: Array, q: Array) -> Array:
    """The last token's decay, [B, G, 1, 1 or d_k], beside a state."""
    wide = gate if len(gate.shape) == len(q.shape) else A.moved(lambda t: t.unsqueeze(-1), gate)
    return wide[..., -1:, :]


def _previous_token(gate: Array, q: Array) -> Array:
    """a_(t-1) in place of a_t; 1 before the first."""
    if len(gate.shape) == len(q.shape):
        return A.cat([A.full(gate, gate[..., :1, :].shape, 1.0), gate[..., :-1, :]], -2)
    return A.cat([A.full(gate, gate[..., :1].shape, 1.0), gate[..., :-1]], -1)


def _next_token(q: Array) -> Array:
    """q_(t+1) in place of q_t; 0 after the last."""
    return A.cat([q[..., 1:, :], A.full(q, q[..., :1, :].shape, 0.0)], -2)


def _read_first(first: Array, o: Array, state: Any) -> Array:
    """S_0 q_1, then S_t q_(t+1)."""
    if state is None:
        read = A.full(o, o[..., :1, :].shape, 0.0)
    else:
        (s,) = leaves(state)
        repeat = first.shape[-3] // s.shape[-3]
        read = first @ A.moved(lambda t: t.repeat_interleave(repeat, -3), s).mT
    return A.cat([read, o[..., :-1, :]], -2)
