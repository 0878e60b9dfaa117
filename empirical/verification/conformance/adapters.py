"""From the kit's arguments to those of other packages, where names alone do not suffice.

Each adapter takes a function of the package and returns one of (q, k, v, **gates). None contains a
formula of the package: they pass derived arguments (a write strength as its product with a value)
or order what comes back.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Function = Callable[..., Any]


def output_alone(f: Function) -> Function:
    """What comes second is no state."""
    return lambda *tokens, **more: f(*tokens, **more)[0]


def mesa_exact(f: Function) -> Function:
    """(o, H, G) to (o, (G, H)); the ridge is shared by the batch."""

    def call(
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        gamma: Tensor,
        beta: Tensor,
        ridge: Tensor,
        state: Any = None,
    ) -> Any:
        first = {} if state is None else {"h_kv_init": state[0], "h_kk_init": state[1]}
        o, H, G = f(q, k, v, g=gamma, lamb=ridge[0], beta=beta, **first)
        return o, (G, H)

    return call


def mesa_iterative(f: Function) -> Function:
    """As `mesa_exact`, by conjugate gradients in chunks."""
    return mesa_exact(lambda *a, **more: f(*a, chunk_size=2, **more))


def momentum_delta_as_titans(f: Function) -> Function:
    """Erasing along the key itself, unit beta: descent with momentum and weight decay."""

    def call(
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        alpha: Tensor,
        eta: Tensor,
        theta: Tensor,
        state: Any = None,
        **more: Any,
    ) -> Any:
        first = {} if state is None else {"initial_S": state[0], "initial_M": -state[1]}
        o, last = f(
            q,
            k,
            v,
            p=k,
            log_alpha=torch.log1p(-alpha),
            log_mu=eta.log(),
            beta=torch.ones_like(theta),
            eta=2 * theta,
            output_final_state=True,
            **first,
            **more,
        )
        return o, (last[0], -last[1])

    return call


def identity_plus_low_rank(f: Function) -> Function:
    """S (I + alpha beta^T) + v k^T with alpha = -b k, beta = k and values b v."""

    def call(q: Tensor, k: Tensor, v: Tensor, *, beta: Tensor, **more: Any) -> Any:
        b = beta.unsqueeze(-1)
        return f(q, k, b * v, -b * k, k, **more)

    return call


def diagonal_plus_low_rank(f: Function) -> Function:
    """S (Diag(a) + alpha beta^T) + v k^T with alpha = -b a k; `decay` in log space."""

    def call(q: Tensor, k: Tensor, v: Tensor, *, decay: Tensor, beta: Tensor, **more: Any) -> Any:
        b = beta.unsqueeze(-1)
        return f(q, k, b * v, -b * decay.exp() * k, k, decay, **more)

    return call


def erasing_its_key(f: Function) -> Function:
    """Comba with p = k."""
    return lambda q, k, v, **more: f(q, k, v, p=k, **more)


def one_householder(f: Function) -> Function:
    """A product of one Householder factor."""
    return lambda q, k, v, **more: f(q, k, v, scale=q.shape[-1] ** -0.5, num_householder=1, **more)


def scan(f: Function) -> Function:
    """A scan x_t = a_t x_(t-1) + b_t over states [L, T, d_v, d_k], read by q."""

    def call(q: Tensor, k: Tensor, v: Tensor, decay: Tensor) -> tuple[Tensor, Tensor]:
        writes = (v.unsqueeze(-1) * k.unsqueeze(-2)).flatten(0, 1)
        gates = decay.unsqueeze(-2).flatten(0, 1).expand_as(writes).contiguous()
        states = f(gates, writes).reshape(*q.shape[:2], *writes.shape[1:])
        return (states @ q.unsqueeze(-1)).squeeze(-1), states[..., -1, :, :]

    return call


def exponential_features(f: Function) -> Function:
    """Code that exponentiates its keys and normalises its queries: given logarithms."""
    return lambda q, k, v, **more: f(q.log(), k.log(), v, **more)


class _Slice(torch.nn.Module):
    """Columns of the sequence, padded with zeros to `width`; `f` of them."""

    def __init__(self, columns: slice, width: int, f: Function = lambda t: t) -> None:
        super().__init__()
        self.columns, self.width, self.f = columns, width, f

    def forward(self, seq: Tensor) -> Tensor:
        """[B, T, width]."""
        part = self.f(seq[..., self.columns])
        made: Tensor = torch.nn.functional.pad(part, (0, self.width - part.shape[-1]))
        return made


def neural_memory(f: Function) -> Function:
    """titans_pytorch.NeuralMemory as a single linear memory.

    A mini-batch of one token, no norms, its projections replaced by slices of one sequence that
    holds q, k, v and the gates; its mean square over the padded width D makes the rate theta D.
    """

    def call(
        q: Tensor, k: Tensor, v: Tensor, *, alpha: Tensor, eta: Tensor, theta: Tensor
    ) -> Tensor:
        rows = [one_memory(f, *part) for part in _heads(q, k, v, alpha, eta, theta)]
        return torch.stack(rows).reshape(v.shape)

    return call


def _heads(*tensors: Tensor) -> Any:
    return zip(*(t.flatten(0, 1) for t in tensors), strict=True)


def one_memory(
    f: Function, q: Tensor, k: Tensor, v: Tensor, alpha: Tensor, eta: Tensor, theta: Tensor
) -> Tensor:
    """One head: q and k [T, d], v [T, d_v], gates [T]."""
    linear = importlib.import_module("titans_pytorch").MemoryMLP
    d, d_v = k.shape[-1], v.shape[-1]
    width = 2 * d + d_v + 3
    memory = f(
        dim=width,
        chunk_size=1,
        batch_size=1,
        pre_rmsnorm=False,
        model=linear(width, depth=1),
        mem_model_norm_add_residual=False,
        adaptive_step_transform=lambda x: x * width,
    ).to(k.dtype)
    for weights in memory.memory_model_parameters:
        weights.data.zero_()
    parts = (slice(0, d), slice(d, 2 * d), slice(2 * d, 2 * d + d_v))
    memory.to_queries, memory.to_keys, memory.to_values = (_Slice(p, width) for p in parts)
    memory.to_adaptive_step = _Gate(width - 3, lambda t: t.squeeze(-1))
    memory.to_momentum = _Gate(width - 2, lambda t: t.logit().unsqueeze(0))
    memory.to_decay_factor = _Gate(width - 1, torch.logit)
    gates = torch.stack([theta, eta, alpha], -1)
    made, _ = memory(torch.cat([q, k, v, gates], -1).unsqueeze(0))
    answer: Tensor = made[0, :, :d_v]
    return answer


class _Gate(torch.nn.Module):
    """One column [B, T, 1], through `f`."""

    def __init__(self, column: int, f: Function) -> None:
        super().__init__()
        self.column, self.f = column, f

    def forward(self, seq: Tensor) -> Any:
        """f of the column."""
        return self.f(seq[..., self.column : self.column + 1])
