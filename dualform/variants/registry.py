"""The variants by name: each a fast and a slow form of one update, with its gates and its source.

Both forms take q [..., H, T, d_k], k [..., G, T, d_k], v [..., G, T, d_v], H a multiple of G, and
return o [..., H, T, d_v] and the state after the last token. o_t reads the state after token t is
written; q and k are not scaled, except in softmax.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

from torch import Tensor

from dualform.variants import additive, delta, mesa, momentum, recurrent, titans, ttt
from dualform.variants.forms import Core, Form, Gate, Zero, form
from dualform.variants.layout import zeros


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One rule in two forms.

    `fast(q, k, v, **gates, **options, state=None, chunk=64)` works by chunks, `slow(q, k, v,
    **gates, **options, state=None)` token by token. `initial_state(q, k, v)` is the zero state,
    which None stands for. `options` are the further keywords and their defaults: `batch`, tokens a
    mini-batch; `eta`, a number; `ridge` [..., G, d_k] positive, None for ones. Gates and ridge are
    of the inputs' type or of the computing type. bfloat16 and float16 are computed in float32: the
    state is float32 in and out, and outputs are rounded once. Both forms raise `VariantInputError`
    for inputs that do not fit, and read gates only on a CPU outside of tracing.
    """

    name: str
    title: str
    source: str
    update: str
    fast: Form = field(repr=False)
    slow: Form = field(repr=False)
    initial_state: Zero = field(repr=False)
    gates: Mapping[str, Gate] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


def matrix_state(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """S = 0, [..., G, d_v, d_k]."""
    return zeros(k, *k.shape[:-2], v.shape[-1], k.shape[-1])


def ttt_state(q: Tensor, k: Tensor, v: Tensor) -> ttt.TTTState:
    """W_0 = 0 and an empty mini-batch."""
    pending = (zeros(k, *k.shape[:-2], 0, d) for d in (k.shape[-1], v.shape[-1], 1))
    return ttt.TTTState(matrix_state(q, k, v), *pending)


def titans_state(q: Tensor, k: Tensor, v: Tensor) -> titans.TitansState:
    """M = S = 0."""
    return titans.TitansState(matrix_state(q, k, v), matrix_state(q, k, v))


def mesa_state(q: Tensor, k: Tensor, v: Tensor) -> mesa.MesaState:
    """G = 0, H = 0."""
    return mesa.MesaState(matrix_state(q, k, v), matrix_state(q, k, k))


def momentum_state(q: Tensor, k: Tensor, v: Tensor) -> momentum.MomentumState:
    """No keys, no values, m = 0."""
    keys, values = (zeros(k, *k.shape[:-2], 0, a.shape[-1]) for a in (k, v))
    return momentum.MomentumState(keys, values, zeros(k, *k.shape[:-2], 1, v.shape[-1]))


def _variant(
    name: str,
    title: str,
    source: str,
    update: str,
    fast: Core,
    slow: Core,
    *gates: str,
    channel: bool = False,
    zero: Zero = matrix_state,
    **options: Any,
) -> Variant:
    per = {g: Gate(per="channel" if channel and g == "decay" else "token") for g in gates}
    return Variant(
        name=name,
        title=title,
        source=source,
        update=update,
        fast=form(fast, zero, per, options, chunked=True),
        slow=form(slow, zero, per, options, chunked=False),
        initial_state=zero,
        gates=MappingProxyType(per),
        options=MappingProxyType(options),
    )


def _steps(step: recurrent.Step) -> Core:
    return partial(recurrent.token_by_token, step)


_ALL = [
    _variant(
        "linear_attention",
        "Linear attention",
        "Katharopoulos et al. 2006.16236",
        "S + v k^T",
        additive.additive,
        _steps(recurrent.linear_attention),
    ),
    _variant(
        "scalar_decay",
        "RetNet, Mamba-2",
        "Sun et al. 2307.08621; Dao and Gu 2405.21060",
        "a S + v k^T",
        additive.additive,
        _steps(recurrent.decayed),
        "decay",
    ),
    _variant(
        "channel_decay",
        "Gated linear attention",
        "Yang et al. 2312.06635",
        "S Diag(a) + v k^T",
        additive.additive,
        _steps(recurrent.decayed),
        "decay",
        channel=True,
    ),
    _variant(
        "delta_rule",
        "DeltaNet",
        "Schlag et al. 2102.11174; Yang et al. 2406.06484",
        "S (I - b k k^T) + b v k^T",
        delta.delta,
        _steps(recurrent.delta_rule),
        "beta",
    ),
    _variant(
        "gated_delta_rule",
        "Gated DeltaNet",
        "Yang et al. 2412.06464",
        "a S (I - b k k^T) + b v k^T",
        delta.delta,
        _steps(recurrent.gated_delta_rule),
        "decay",
        "beta",
    ),
    _variant(
        "undecayed_residual",
        "Delta rule with its gradient before the decay",
        "Wang, Shi, Fox 2501.12352",
        "a S + b (v - S k) k^T",
        delta.undecayed_residual,
        _steps(recurrent.undecayed_residual),
        "decay",
        "beta",
    ),
    _variant(
        "kda",
        "Kimi delta attention",
        "Kimi Team 2510.26692",
        "S Diag(a) (I - b k k^T) + b v k^T",
        delta.delta,
        _steps(recurrent.gated_delta_rule),
        "decay",
        "beta",
        channel=True,
    ),
    _variant(
        "longhorn",
        "Longhorn",
        "Liu et al. 2407.14207",
        "S (I - e k k^T) + e v k^T, e = b / (1 + b k^T k)",
        delta.longhorn,
        _steps(recurrent.longhorn),
        "beta",
    ),
    _variant(
        "ttt_linear",
        "TTT-Linear",
        "Sun et al. 2407.04620",
        "W - r 2 (W_s k - v) k^T, W_s at the start of the mini-batch",
        ttt.fast,
        ttt.slow,
        "rate",
        zero=ttt_state,
        batch=16,
    ),
    _variant(
        "titans",
        "Titans",
        "Behrouz et al. 2501.00663",
        "S = eta S - theta 2 (M k - v) k^T, M = (1 - alpha) M + S",
        titans.fast,
        titans.slow,
        "alpha",
        "eta",
        "theta",
        zero=titans_state,
    ),
    _variant(
        "mesa",
        "Mesa layer",
        "von Oswald et al. 2506.05233",
        "G = gamma G + beta v k^T, H = gamma H + beta k k^T, o = G (H + Diag(lambda))^-1 q",
        mesa.fast,
        mesa.slow,
        "gamma",
        "beta",
        zero=mesa_state,
        ridge=None,
    ),
    _variant(
        "momentum_attention",
        "Momentum beside attention",
        "Dai et al. 2212.10559, equation 14",
        "o = softmax attention + m, m = eta (m + v)",
        momentum.beside_fast,
        momentum.beside_slow,
        zero=momentum_state,
        eta=0.9,
    ),
    _variant(
        "ema_value_attention",
        "Momentum in the values of attention",
        "Dai et al. 2212.10559, what the momentum of equation 14 stands for",
        "softmax attention over w = eta w + v",
        momentum.inside_fast,
        momentum.inside_slow,
        zero=momentum_state,
        eta=0.9,
    ),
]

VARIANTS: Mapping[str, Variant] = MappingProxyType({v.name: v for v in _ALL})
"""The variants by name."""
