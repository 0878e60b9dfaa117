"""Implementations that are wrong in one respect each, written as their users would write them.

q and k [B, H, T, d_k], v [B, H, T, d_v], token gates [B, H, T], states [B, H, d_v, d_k].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dualform.testing import Implementation


@dataclass(frozen=True, kw_only=True)
class Broken:
    """What is wrong, the rule it claims, the check that finds it, a word of the hint."""

    title: str
    claims: str
    check: str
    call: Callable[..., Any]
    hint: str = ""
    more: dict[str, Any] = field(default_factory=dict)

    def implementation(self) -> Implementation:
        """It, with this project's own conventions."""
        return Implementation(call=self.call, **self.more)


def _outer(v: Tensor, k: Tensor) -> Tensor:
    return v.unsqueeze(-1) * k.unsqueeze(-2)


def _read(S: Tensor, q: Tensor) -> Tensor:
    return (S @ q.unsqueeze(-1)).squeeze(-1)


def _loop(
    step: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor, *gates: Tensor,
    state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    q, k, v = (x.float() if x.dtype == torch.bfloat16 else x for x in (q, k, v))
    S = k.new_zeros(*k.shape[:-2], v.shape[-1], k.shape[-1]) if state is None else state
    outputs = []
    for t in range(k.shape[-2]):
        at = [g[..., t, None, None].to(k.dtype) for g in gates]
        S = step(S, k[..., t, :], v[..., t, :], *at)
        outputs.append(_read(S, q[..., t, :]))
    return torch.stack(outputs, -2), S


def mask_without_diagonal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal scores by tril(-1): a token does not see itself."""
    return (q @ k.mT).tril(-1) @ v


def no_mask(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Every token sees every other."""
    return q @ (k.mT @ v)


def scaled_keys(q: Tensor, k: Tensor, v: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    """The delta rule on keys times d_k^(-1/2)."""
    return right_delta(q, k * k.shape[-1] ** -0.5, v, beta)


def right_delta(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The delta rule, nothing wrong with it."""
    step = lambda S, k, v, b: S + b * _outer(v - _read(S, k), k)  # noqa: E731
    return _loop(step, q, k, v, beta, state=state)


def decay_after_write(q: Tensor, k: Tensor, v: Tensor, decay: Tensor) -> tuple[Tensor, Tensor]:
    """S = a (S + v k^T) for a S + v k^T."""
    return _loop(lambda S, k, v, a: a * (S + _outer(v, k)), q, k, v, decay)


def undecayed_residual(
    q: Tensor, k: Tensor, v: Tensor, decay: Tensor, beta: Tensor
) -> tuple[Tensor, Tensor]:
    """Gated DeltaNet with the residual of the state before its decay."""
    step = lambda S, k, v, a, b: a * S + b * _outer(v - _read(S, k), k)  # noqa: E731
    return _loop(step, q, k, v, decay, beta)


def half_gradient(
    q: Tensor, k: Tensor, v: Tensor, alpha: Tensor, eta: Tensor, theta: Tensor
) -> Tensor:
    """Titans with the gradient of half the square."""
    momentum = [torch.zeros(())]

    def step(M: Tensor, k: Tensor, v: Tensor, a: Tensor, e: Tensor, t: Tensor) -> Tensor:
        momentum[0] = e * momentum[0] - t * _outer(_read(M, k) - v, k)
        return (1 - a) * M + momentum[0]

    return _loop(step, q, k, v, alpha, eta, theta)[0]


def chunk_forgets_decay(q: Tensor, k: Tensor, v: Tensor, decay: Tensor, chunk: int = 64) -> Tensor:
    """Chunked decay whose carried state is read without the decay since the chunk began."""
    S = k.new_zeros(*k.shape[:-2], v.shape[-1], k.shape[-1])
    outputs = []
    for at in range(0, k.shape[-2], chunk):
        rows = slice(at, at + chunk)
        Q, K, V, a = q[..., rows, :], k[..., rows, :], v[..., rows, :], decay[..., rows]
        c = a.log().cumsum(-1)
        D = (c.unsqueeze(-1) - c.unsqueeze(-2)).tril().exp().tril()
        outputs.append((Q @ K.mT * D) @ V + Q @ S.mT)
        left = (c[..., -1:] - c).exp().unsqueeze(-1)
        S = S * c[..., -1, None, None].exp() + (V * left).mT @ K
    return torch.cat(outputs, -2)


def ignores_state(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The delta rule whose outputs start from zero whatever state is given."""
    return right_delta(q, k, v, beta)[0], right_delta(q, k, v, beta, state)[1]


def detached_residual(q: Tensor, k: Tensor, v: Tensor, beta: Tensor) -> Tensor:
    """The delta rule with no gradient through what was read."""
    step = lambda S, k, v, b: S + b * _outer(v - _read(S, k).detach(), k)  # noqa: E731
    return _loop(step, q, k, v, beta)[0]


def short_state(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Linear attention whose state is kept in bfloat16."""
    step = lambda S, k, v: (S + _outer(v, k)).bfloat16().to(k.dtype)  # noqa: E731
    return _loop(step, q, k, v)


def momentum_inside(q: Tensor, k: Tensor, v: Tensor, eta: float) -> Tensor:
    """Attention over summed values, claimed to be attention beside a momentum sum."""
    w, summed = torch.zeros_like(v[..., 0, :]), []
    for t in range(v.shape[-2]):
        w = eta * w + v[..., t, :]
        summed.append(w)
    scores = q @ k.mT * q.shape[-1] ** -0.5
    past = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    weights: Tensor = scores.masked_fill(~past, -torch.inf).softmax(-1)
    return weights @ torch.stack(summed, -2)


def shared_batch(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Linear attention whose queries are centred over the batch."""
    return ((q - q.mean(0, keepdim=True)) @ k.mT).tril() @ v


def changes_queries(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Linear attention that scales its queries in place."""
    q *= 0.5
    return (2 * q @ k.mT).tril() @ v


SINGLE: dict[str, Any] = {"dtypes": (torch.float32,)}
BROKEN = [
    Broken(title="Causal mask without its diagonal", claims="linear_attention",
           check="output", call=mask_without_diagonal, hint="the read before the write"),
    Broken(title="No causal mask", claims="linear_attention", check="causality", call=no_mask),
    Broken(title="Keys scaled by d_k^(-1/2)", claims="delta_rule", check="output",
           call=scaled_keys, hint="keys scaled by d_k^(-1/2)"),
    Broken(title="Decay after the write", claims="scalar_decay", check="output",
           call=decay_after_write, hint="decay after the write"),
    Broken(title="Residual of the state before its decay", claims="gated_delta_rule",
           check="output", call=undecayed_residual, hint="the rule 'undecayed_residual'"),
    Broken(title="Gradient of half the square", claims="titans", check="output",
           call=half_gradient, hint="without the factor 2"),
    Broken(title="A chunk that forgets the decay of the carried state", claims="scalar_decay",
           check="output", call=chunk_forgets_decay,
           hint="outputs agree with the declared rule", more=SINGLE),
    Broken(title="A given state that the outputs ignore", claims="delta_rule",
           check="state passing", call=ignores_state, hint="outputs agree with the declared rule"),
    Broken(title="No gradient through the residual", claims="delta_rule", check="gradients",
           call=detached_residual, hint="outputs agree with the declared rule"),
    Broken(title="A state kept in bfloat16", claims="linear_attention", check="final state",
           call=short_state, more=SINGLE),
    Broken(title="Momentum inside attention", claims="momentum_attention", check="output",
           call=momentum_inside, hint="the rule 'ema_value_attention'", more=SINGLE),
    Broken(title="Batch rows that hear each other", claims="linear_attention",
           check="batch independence", call=shared_batch),
    Broken(title="Queries changed in place", claims="linear_attention", check="output",
           call=changes_queries),
]  # fmt: skip
