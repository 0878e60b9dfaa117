"""Findings about rules that the kit does not have, each with an independent confirmation."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

RATE = 0.125  # a power of two, so that dividing by it rounds nothing
TINY = 1e-30  # a gate next to 0 whose logarithm is finite


@dataclass(frozen=True, kw_only=True)
class Found:
    """A title, what it means, and the numbers."""

    title: str
    text: str
    measured: str


@dataclass(frozen=True, kw_only=True)
class _Token:
    """One token of one head of width 4: q, k, v [1, 1, 1, 4], w and b [1, 4], M [1, 1, 4, 4]."""

    q: Tensor
    k: Tensor
    v: Tensor
    w: Tensor
    b: Tensor
    M: Tensor


def _token() -> _Token:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    q, k, v = (draw(1, 1, 1, 4) for _ in range(3))
    return _Token(q=q, k=k, v=v, w=1 + 0.1 * draw(1, 4), b=0.1 * draw(1, 4), M=draw(1, 1, 4, 4))


def _loss(t: _Token, M: Tensor, bias: Tensor | float = 0.0) -> Tensor:
    """|w LN(k M + bias) + b - (v - k)|^2 in float64."""
    k, v, w, b = (x.double().reshape(4) for x in (t.k, t.v, t.w, t.b))
    y = torch.nn.functional.layer_norm(k @ M + bias, (4,), w, b, eps=1e-6)
    return ((y - (v - k)) ** 2).sum()


def _gradient(t: _Token) -> Tensor:
    made: Tensor = torch.func.grad(lambda M: _loss(t, M))(t.M[0, 0].double())
    return made


def _differences(t: _Token) -> Tensor:
    """Central differences of the loss, which use no derivative at all."""
    M, step = t.M[0, 0].double(), 2.0**-17
    made = torch.zeros_like(M)
    for i in range(4):
        for j in range(4):
            up, down = M.clone(), M.clone()
            up[i, j] += step
            down[i, j] -= step
            made[i, j] = (_loss(t, up) - _loss(t, down)) / (2 * step)
    return made


def _row(name: str, x: Tensor) -> str:
    return f"{name:<36}" + " ".join(f"{float(a):>10.4f}" for a in x.reshape(-1, 4)[0])


def _titans(t: _Token, *, chunk: int = 1, alpha: float = TINY, eta: float = TINY) -> Tensor:
    f = _fla("titans.naive", "chunk_titans_linear_ref")
    one = torch.ones(1, 1, 1, 1)
    _, M = f(
        t.q,
        t.k,
        t.v,
        t.w,
        t.b,
        RATE * one,
        alpha * one,
        eta * one,
        chunk_size=chunk,
        initial_state=t.M.clone(),
        output_final_state=True,
        use_chunk=False,
    )
    made: Tensor = M
    return made


def _ttt(t: _Token, *, chunk: int = 1, q: Tensor | None = None) -> tuple[Tensor, Tensor]:
    f = _fla("ttt.naive", "chunk_ttt_linear_ref")
    _, M, bias = f(
        t.q.clone() if q is None else q,
        t.k,
        t.v,
        t.w,
        t.b,
        RATE * torch.ones(1, 1, 1, 1),
        mini_batch_size=chunk,
        initial_state=t.M.clone(),
        initial_state_bias=torch.zeros(1, 1, 1, 4),
        output_final_state=True,
    )
    return M, bias


def _fla(module: str, name: str) -> Any:
    return getattr(importlib.import_module(f"fla.ops.{module}"), name)


def titans_step() -> Found:
    """The step of fla's Titans reference against the gradient of its loss."""
    t = _token()
    rows = [
        _row("step / rate, Titans reference", (t.M - _titans(t)) / RATE),
        _row("autograd of the loss", _gradient(t)),
        _row("central differences of the loss", _differences(t)),
        _row("2 step / rate, TTT reference", 2 * (t.M - _ttt(t)[0]) / RATE),
    ]
    return Found(
        title="fla.ops.titans.naive: the step is not the gradient of its loss (wrong)",
        text="One token, decay and momentum next to 0, so that the step is the gradient alone; the "
        "first row of the 4 x 4 matrix. The package writes no loss down. The terms are those of "
        "|w LN(k M) + b - (v - k)|^2, whose gradient the TTT reference of the same package "
        "computes (it steps along half of it), and a comment in `titans_linear` holds the "
        "expression that would be right, `(D * grad - grad.sum(...) - ...) / (rstd * D)`. In the "
        "code of `titans_linear` and `chunk_titans_linear` the parenthesis is missing, and "
        "`D * grad` is not divided. The two agree with each other, so that a test of one against "
        "the other cannot see it. By one command: "
        "`python -m empirical.verification.conformance.run --only titans_step`.",
        measured="\n".join(rows),
    )


def titans_padding() -> Found:
    """The final state of fla's Titans reference after padding."""
    t = _token()
    step = _titans(t) - t.M
    rows = [_row("(1 - alpha) M + step", 0.75 * t.M + step)]
    rows += [
        _row(f"final state, chunk_size={c}", _titans(t, chunk=c, alpha=0.25, eta=0.5))
        for c in (1, 2, 4)
    ]
    return Found(
        title="fla.ops.titans.naive: the final state depends on padding (wrong)",
        text="One token cannot depend on the chunk size: the gradient is taken at the first state "
        "whatever the chunk. `chunk_titans_linear_ref` pads to a multiple of it and gives the last "
        "padded token the gates of the last real one, so that decay and momentum act once more on "
        "the returned state. Outputs are right. By one command: "
        "`python -m empirical.verification.conformance.run --only titans_padding`.",
        measured="\n".join(rows),
    )


def ttt_padding() -> Found:
    """The final bias of fla's TTT reference after padding."""
    t = _token()
    bias = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(_loss(t, t.M[0, 0].double(), bias) / 2, bias)
    rows = [_row("autograd: - rate d(loss / 2)/d bias", -RATE * slope)]
    rows += [_row(f"final bias, mini_batch_size={c}", _ttt(t, chunk=c)[1]) for c in (1, 2, 4)]
    return Found(
        title="fla.ops.ttt.naive: the final bias depends on padding (wrong)",
        text="As above for `chunk_ttt_linear_ref`: padded tokens have zero keys, which keeps the "
        "matrix right, but each adds a gradient to the bias. Outputs are right. By one command: "
        "`python -m empirical.verification.conformance.run --only ttt_padding`.",
        measured="\n".join(rows),
    )


def ttt_queries() -> Found:
    """The queries after a call of fla's TTT reference."""
    t = _token()
    q = t.q.clone()
    _ttt(t, q=q)
    return Found(
        title="fla.ops.ttt.naive: queries are changed in place (wrong)",
        text="`ttt_linear` scales q in place. For float32 queries whose length is a multiple of "
        "the mini-batch no copy was made, and the caller's own tensor is scaled by d^(-1/2) at "
        "every call. By one command: `python -m empirical.verification.conformance.run --only "
        "ttt_queries`.",
        measured="\n".join([_row("q before", t.q), _row("q after", q)]),
    )


def comba_references() -> Found:
    """The two Comba references of fla on the same two tokens."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 2, 1, 4, generator=generator) for _ in range(3))
    gates = {"beta": torch.full((1, 2, 1), 0.5), "g": torch.full((1, 2, 1), 0.25).log()}
    rows = []
    for name in ("naive_recurrent_comba", "naive_chunk_comba"):
        o, _ = _fla("comba.naive", name)(q, k, v, p=k, **gates)
        rows.append(_row(f"{name}, o_2", o[0, 1]))
    decayed, undecayed = _two_tokens(q, k, v)
    rows += [_row("residual of the decayed state", decayed)]
    rows += [_row("residual of the undecayed state", undecayed)]
    return Found(
        title="fla.ops.comba.naive: the two references compute two rules (one of them is wrong)",
        text="`naive_recurrent_comba` decays the state and then reads it along p for the residual; "
        "`naive_chunk_comba` reads it before it decays, a S + b (v - S p) k^T. The package's "
        "kernels (read, not run) do as the chunked reference does. The third and fourth row are "
        "both rules in float64, written out. By one command: "
        "`python -m empirical.verification.conformance.run --only comba`.",
        measured="\n".join(rows),
    )


def _two_tokens(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """o_2 for a = 1/4, b = 1/2 and queries scaled by d^(-1/2): residual of aS, residual of S."""
    (k1, k2), (v1, v2) = (x.double().reshape(2, 4) for x in (k, v))
    read = q.double().reshape(2, 4)[1] / 2
    S = 0.5 * torch.outer(v1, k1)
    answers = [
        (0.25 * S + 0.5 * torch.outer(v2 - kept * S @ k2, k2)) @ read for kept in (0.25, 1.0)
    ]
    return answers[0], answers[1]


FINDINGS: tuple[Callable[[], Found], ...] = (
    comba_references,
    titans_step,
    titans_padding,
    ttt_padding,
    ttt_queries,
)
