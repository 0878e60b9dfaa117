"""Draws of a variant's inputs, and for each variant its near misses."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from dualform.layouts import LAYOUTS, laid_out
from dualform.rounding import Tracked
from dualform.variants import VARIANTS, bounded
from dualform.variants import recurrent as slow_steps
from dualform.variants.arithmetic import identity
from dualform.variants.forms import Gate, form
from dualform.variants.registry import Variant, matrix_state

Inputs = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class VariantDraw:
    """One example; exponents of two for q, k and v, `cut` in percent of the tokens."""

    seed: int
    batch: tuple[int, ...] = ()
    groups: int = 1
    repeat: int = 1
    tokens: int = 5
    d_k: int = 2
    d_v: int = 2
    layout: str = "contiguous"
    exponents: tuple[int, int, int] = (0, -1, 0)
    chunk: int = 2
    cut: int = 50
    mini_batch: int = 3
    positive: bool = False
    ends: bool = False


def variant_draws(reach: int) -> st.SearchStrategy[VariantDraw]:
    """Sizes from 0, exponents within `reach`, keys at most of unit size."""
    return st.builds(
        VariantDraw,
        seed=st.integers(0, 2**31),
        batch=st.sampled_from([(), (2,), (1, 2), (0,)][:3] * 3 + [(0,)]),
        groups=st.sampled_from([1, 2, 3]),
        repeat=st.sampled_from([1, 2]),
        tokens=st.sampled_from([5, 4, 3, 7, 2, 1, 9, 0]),
        d_k=st.sampled_from([2, 3, 4, 1, 5, 0]),
        d_v=st.sampled_from([2, 3, 4, 1, 5, 0]),
        layout=st.sampled_from(LAYOUTS),
        exponents=st.tuples(
            st.integers(-reach, reach), st.integers(-reach, 0), st.integers(-reach, reach)
        ),
        chunk=st.integers(1, 9),
        cut=st.integers(0, 100),
        mini_batch=st.integers(1, 4),
        ends=st.booleans(),
    )


def inputs_of(variant: Variant, draw: VariantDraw, dtype: torch.dtype) -> Inputs:
    """q, k, v, gates and options; the gates' ends, 0 and 1, appear where `ends`."""
    g = torch.Generator().manual_seed(draw.seed)

    def tensor(*shape: int, exponent: int = 0) -> Tensor:
        x = torch.randn(*draw.batch, *shape, generator=g, dtype=torch.float64)
        x = 0.5 + x.abs() if draw.positive else x
        return laid_out((x * 2.0**exponent).to(dtype), draw.layout)

    heads, tokens = draw.groups * draw.repeat, draw.tokens
    e_q, e_k, e_v = draw.exponents
    made: Inputs = {
        "q": tensor(heads, tokens, draw.d_k, exponent=e_q),
        "k": tensor(draw.groups, tokens, draw.d_k, exponent=e_k),
        "v": tensor(draw.groups, tokens, draw.d_v, exponent=e_v),
    }
    for name, gate in variant.gates.items():
        width = (draw.d_k,) if gate.per == "channel" else ()
        shape = (*draw.batch, draw.groups, tokens, *width)
        x = torch.rand(shape, generator=g, dtype=torch.float64) * 0.75 + 0.125
        if draw.ends:
            x = torch.where(x < 0.3, 0.0, torch.where(x > 0.7, 1.0, x))
        made[name] = x.to(dtype)
    made |= options_of(variant, draw, dtype, g)
    return made


def options_of(
    variant: Variant, draw: VariantDraw, dtype: torch.dtype, g: torch.Generator
) -> Inputs:
    made: Inputs = {}
    if "batch" in variant.options:
        made["batch"] = draw.mini_batch
    if "eta" in variant.options:
        made["eta"] = 0.75
    if "ridge" in variant.options:
        shape = (*draw.batch, draw.groups, draw.d_k)
        made["ridge"] = (0.5 + torch.rand(shape, generator=g, dtype=torch.float64)).to(dtype)
    return made


def part(inputs: Inputs, at: slice, state: Any) -> Inputs:
    """Some of the tokens, from a state."""
    rest = {n: x for n, x in inputs.items() if not isinstance(x, Tensor) or n == "ridge"}
    rows = {
        n: x[..., at, :] if n in "qkv" or x.dim() == inputs["k"].dim() else x[..., at]
        for n, x in inputs.items()
        if n not in rest
    }
    return rows | rest | {"state": state}


Wrong = Callable[[Inputs], Tracked]


def _other(name: str, **changed: Callable[[Inputs], Any]) -> Wrong:
    """The slow form of a rule on inputs of which some are changed, gates it does not know left."""

    def run(given: Inputs) -> Tracked:
        of = VARIANTS[name]
        known = {"q", "k", "v", *of.gates, *of.options}
        altered = given | {n: f(given) for n, f in changed.items()}
        return bounded(of, "slow", {n: x for n, x in altered.items() if n in known})[0]

    return run


def _step(step: slow_steps.Step, gates: Mapping[str, Gate]) -> Wrong:
    """A recurrence with another step."""
    core = partial(slow_steps.token_by_token, step)
    slow = form(core, matrix_state, gates, {}, chunked=False)
    of = Variant(
        name="", title="", source="", update="", fast=slow, slow=slow,
        initial_state=matrix_state, gates=gates,
    )  # fmt: skip
    return lambda given: bounded(of, "slow", given)[0]


def _read_before_write(name: str) -> Wrong:
    def run(given: Inputs) -> Tracked:
        shifted = torch.cat([given["q"][..., 1:, :], given["q"][..., :1, :] * 0], -2)
        o, _ = bounded(name, "slow", given | {"q": shifted})
        rows = slice(0, -1)
        pad = torch.zeros_like(o.value[..., :1, :])
        return Tracked(
            torch.cat([pad, o.value[..., rows, :]], -2),
            torch.cat([pad.double(), o.error[..., rows, :]], -2),
        )

    return run


def _scaled(name: str, by: float) -> Callable[[Inputs], Tensor]:
    return lambda given: given[name] * by


def _ones(name: str) -> Callable[[Inputs], Tensor]:
    return lambda given: torch.ones_like(given[name])


def _token_gate(name: str) -> Callable[[Inputs], Tensor]:
    return lambda given: given[name].mean(-1, keepdim=True).expand(given[name].shape)


def _decay_last(S: Any, k: Any, v: Any, gates: Any) -> Any:
    """The delta rule, and then the decay."""
    return slow_steps.delta_rule(S, k, v, gates) * gates["decay"]


def _unscaled_write(S: Any, k: Any, v: Any, gates: Any) -> Any:
    """S (I - b k k^T) + v k^T: beta only where it erases."""
    return S @ (identity(k, k.shape[-1]) - gates["beta"] * (k.mT @ k)) + v.mT @ k


def _ungated_write(S: Any, k: Any, v: Any, gates: Any) -> Any:
    """As above, decayed."""
    return _unscaled_write(S * gates["decay"], k, v, gates)


def _decayed_values(given: Inputs) -> Tensor:
    return given["decay"][..., None] * given["v"]


def _decayed_keys(given: Inputs) -> Tensor:
    return given["decay"] * given["k"]


def _gates(name: str) -> Mapping[str, Gate]:
    return VARIANTS[name].gates


NEAR_MISSES: dict[str, dict[str, Wrong]] = {
    "linear_attention": {
        "read before write": _read_before_write("linear_attention"),
        "a delta rule of rate 1": lambda x: bounded(
            "delta_rule", "slow", x | {"beta": torch.ones_like(x["v"][..., 0])}
        )[0],
    },
    "scalar_decay": {
        "read before write": _read_before_write("scalar_decay"),
        "decay after the write": _other("scalar_decay", v=_decayed_values),
        "no decay": _other("linear_attention"),
    },
    "channel_decay": {
        "read before write": _read_before_write("channel_decay"),
        "decay after the write": _other("channel_decay", k=_decayed_keys),
        "one decay a token": _other("channel_decay", decay=_token_gate("decay")),
    },
    "delta_rule": {
        "read before write": _read_before_write("delta_rule"),
        "beta forgotten in the write": _step(_unscaled_write, _gates("delta_rule")),
        "half the rate": _other("delta_rule", beta=_scaled("beta", 0.5)),
        "the implicit step": _other("longhorn"),
    },
    "gated_delta_rule": {
        "read before write": _read_before_write("gated_delta_rule"),
        "gradient before the decay": _other("undecayed_residual"),
        "decay after the write": _step(_decay_last, _gates("gated_delta_rule")),
        "beta forgotten in the write": _step(_ungated_write, _gates("gated_delta_rule")),
    },
    "undecayed_residual": {
        "read before write": _read_before_write("undecayed_residual"),
        "gradient after the decay": _other("gated_delta_rule"),
        "decay after the write": _step(_decay_last, _gates("undecayed_residual")),
    },
    "kda": {
        "read before write": _read_before_write("kda"),
        "one decay a token": _other("kda", decay=_token_gate("decay")),
        "decay after the write": _step(_decay_last, _gates("kda")),
        "beta forgotten in the write": _step(_ungated_write, _gates("kda")),
    },
    "longhorn": {
        "read before write": _read_before_write("longhorn"),
        "the explicit step": _other("delta_rule"),
        "half the rate": _other("longhorn", beta=_scaled("beta", 0.5)),
    },
    "ttt_linear": {
        "gradient at the current weights": _other("ttt_linear", batch=lambda _: 1),
        "gradient of half the square": _other("ttt_linear", rate=_scaled("rate", 0.5)),
        "another mini-batch": _other("ttt_linear", batch=lambda x: x["batch"] + 1),
    },
    "titans": {
        "read before write": _read_before_write("titans"),
        "gradient of half the square": _other("titans", theta=_scaled("theta", 0.5)),
        "no momentum": _other("titans", eta=_scaled("eta", 0.0)),
        "no decay of the memory": _other("titans", alpha=_scaled("alpha", 0.0)),
    },
    "mesa": {
        "twice the ridge": _other("mesa", ridge=_scaled("ridge", 2.0)),
        "beta forgotten": _other("mesa", beta=_ones("beta")),
        "no decay": _other("mesa", gamma=_ones("gamma")),
        "one step instead of the minimiser": _other(
            "scalar_decay", decay=lambda x: x["gamma"], v=lambda x: x["beta"][..., None] * x["v"]
        ),
    },
    "momentum_attention": {
        "momentum in the values": _other("ema_value_attention"),
        "scores without the root of d": _other("momentum_attention", q=_scaled("q", 2.0)),
        "another eta": _other("momentum_attention", eta=lambda x: x["eta"] / 2),
    },
    "ema_value_attention": {
        "momentum beside attention": _other("momentum_attention"),
        "scores without the root of d": _other("ema_value_attention", q=_scaled("q", 2.0)),
        "no momentum": _other("ema_value_attention", eta=lambda x: 0.0),
    },
}
