"""What is fuzzed: every true statement, side against side, and every variant, fast against slow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from dualform.layouts import LAYOUTS, laid_out
from dualform.ops import TrackedOps
from dualform.rounding import Tracked
from dualform.variants import VARIANTS, Variant, bounded
from empirical.verification.fuzz.draws import (
    Example,
    Plan,
    entries,
    exponents,
    one_of,
    scaled,
    size,
)
from proofs.statements import STATEMENTS, Side, Statement

Pair = tuple[Tracked, Tracked]
Inputs = Mapping[str, Tensor]


class Unit(Protocol):
    """Two computations of the same thing."""

    @property
    def id(self) -> str:
        """Its name in the results."""

    @property
    def kind(self) -> str:
        """`statement` or `variant`."""

    def draw(
        self, plan: Plan, dtype: torch.dtype, device: str, generator: torch.Generator
    ) -> Example:
        """Inputs for a batch of cases."""

    def sides(self, example: Example, other: Inputs | None = None) -> list[Pair]:
        """What must agree; the first side on the inputs `other` where they are given."""

    def near(self, example: Example) -> Pair:
        """One side, and a plausible false one."""


@dataclass(frozen=True)
class StatementUnit:
    """Both sides of a statement on error-tracking tensors."""

    statement: Statement

    @property
    def id(self) -> str:
        """The statement's."""
        return self.statement.id

    @property
    def kind(self) -> str:
        """A statement."""
        return "statement"

    def draw(
        self, plan: Plan, dtype: torch.dtype, device: str, generator: torch.Generator
    ) -> Example:
        """Matrices of drawn sizes, each case and variable with its own exponent."""
        shapes = self.statement.variables
        names = sorted({d for shape in shapes.values() for d in shape if not d.isdigit()})
        sizes = {name: size(plan, generator) for name in names}
        layout = LAYOUTS[0] if plan.positive else one_of(LAYOUTS, generator)
        inputs, powers = {}, {}
        for name, shape in shapes.items():
            rows, columns = (int(d) if d.isdigit() else sizes[d] for d in shape)
            powers[name] = exponents(plan, generator)
            value = scaled(entries(plan, (rows, columns), generator), powers[name], dtype)
            inputs[name] = laid_out(value.to(device), layout)
        block = int(one_of((1, 2, 3), generator))
        return Example(
            inputs=inputs, block=block, options={}, sizes=sizes, layout=layout, exponents=powers
        )

    def sides(self, example: Example, other: Inputs | None = None) -> list[Pair]:
        """The left and the right side."""
        left = self._side(self.statement.lhs, other or example.inputs, example.block)
        return [(left, self._side(self.statement.rhs, example.inputs, example.block))]

    def near(self, example: Example) -> Pair:
        """The left side and the near miss, one example a step."""
        assert self.statement.near_miss is not None, "every true statement has one"
        wanted = (self.statement.lhs, self.statement.near_miss)
        left, wrong = (self._side(side, example.inputs, 1) for side in wanted)
        return left, wrong

    @staticmethod
    def _side(side: Side, inputs: Inputs, block: int) -> Tracked:
        made = side(TrackedOps(block=block), {name: Tracked(x) for name, x in inputs.items()})
        assert isinstance(made, Tracked)
        return made


Change = Callable[[Example], dict[str, Any]]


def _ones(name: str) -> Change:
    return lambda example: {name: torch.ones_like(example.inputs[name])}


def _one_a_token(example: Example) -> dict[str, Any]:
    decay = example.inputs["decay"]
    return {"decay": decay.mean(-1, keepdim=True).expand(decay.shape)}


# For each variant a rule, in its slow form, that is not it, and the inputs to change for that.
NEAR_MISSES: dict[str, tuple[str, Change]] = {
    "linear_attention": ("delta_rule", lambda x: {"beta": torch.ones_like(x.inputs["v"][..., 0])}),
    "scalar_decay": ("linear_attention", lambda _: {}),
    "channel_decay": ("channel_decay", _one_a_token),
    "delta_rule": ("longhorn", lambda _: {}),
    "gated_delta_rule": ("undecayed_residual", lambda _: {}),
    "undecayed_residual": ("gated_delta_rule", lambda _: {}),
    "kda": ("kda", _one_a_token),
    "longhorn": ("delta_rule", lambda _: {}),
    "ttt_linear": ("ttt_linear", lambda _: {"batch": 1}),
    "titans": ("titans", lambda x: {"eta": torch.zeros_like(x.inputs["eta"])}),
    "mesa": ("mesa", _ones("beta")),
    "momentum_attention": ("ema_value_attention", lambda _: {}),
    "ema_value_attention": ("momentum_attention", lambda _: {}),
}


@dataclass(frozen=True)
class VariantUnit:
    """The fast form of a variant against its slow one: outputs and final states."""

    variant: Variant

    @property
    def id(self) -> str:
        """The variant's name."""
        return self.variant.name

    @property
    def kind(self) -> str:
        """A variant."""
        return "variant"

    def draw(
        self, plan: Plan, dtype: torch.dtype, device: str, generator: torch.Generator
    ) -> Example:
        """Tokens, gates in [0, 1] and a positive ridge, each case with its own exponents."""
        sizes = {n: size(plan, generator) for n in ("tokens", "d_k", "d_v")}
        sizes |= {n: int(one_of((1, 2), generator)) for n in ("groups", "repeat")}
        layout = LAYOUTS[0] if plan.positive else one_of(LAYOUTS, generator)
        inputs, powers = {}, {}
        for name, shape in _shapes(self.variant, sizes).items():
            powers[name] = exponents(plan, generator)
            value = entries(plan, shape, generator)
            if name in self.variant.gates:  # in [0.125, 0.875), or that times a power of two
                value = torch.rand(value.shape, generator=generator, dtype=torch.float64)
                value = value * 0.75 + 0.125
                powers[name] = [min(e, 0) for e in powers[name]]
            value = scaled(value.abs() if name == "ridge" else value, powers[name], dtype)
            if name == "ridge":
                value = value.clamp(min=torch.finfo(dtype).smallest_normal)
            inputs[name] = laid_out(value.to(device), layout)
        options: dict[str, Any] = {}
        if "batch" in self.variant.options:
            options["batch"] = int(one_of((2, 3, 4) if plan.least else (1, 2, 3, 4), generator))
        if "eta" in self.variant.options:
            options["eta"] = 0.75
        block = int(one_of((1, 2, 3), generator))
        return Example(
            inputs=inputs,
            block=block,
            options=options,
            sizes=sizes,
            layout=layout,
            exponents=powers,
        )

    def sides(self, example: Example, other: Inputs | None = None) -> list[Pair]:
        """Fast and slow: outputs first, then each tensor of the final state."""
        given = {**(other or example.inputs), **example.options, "chunk": example.block}
        o, state = bounded(self.variant, "fast", given)
        o_slow, state_slow = bounded(self.variant, "slow", example.inputs | example.options)
        return [(o, o_slow), *zip(_leaves(state), _leaves(state_slow), strict=True)]

    def near(self, example: Example) -> Pair:
        """The fast form's outputs, and those of another rule."""
        rule, change = NEAR_MISSES[self.id]
        of = VARIANTS[rule]
        known = {"q", "k", "v", *of.gates, *of.options}
        given = {**example.inputs, **example.options, **change(example)}
        wrong, _ = bounded(of, "slow", {n: x for n, x in given.items() if n in known})
        return self.sides(example)[0][0], wrong


def _shapes(variant: Variant, sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    groups, tokens, d_k = sizes["groups"], sizes["tokens"], sizes["d_k"]
    shapes: dict[str, tuple[int, ...]] = {
        "q": (groups * sizes["repeat"], tokens, d_k),
        "k": (groups, tokens, d_k),
        "v": (groups, tokens, sizes["d_v"]),
    }
    for name, gate in variant.gates.items():
        shapes[name] = (groups, tokens, d_k) if gate.per == "channel" else (groups, tokens)
    if "ridge" in variant.options:
        shapes["ridge"] = (groups, d_k)
    return shapes


def _leaves(state: Any) -> list[Tracked]:
    return list(state) if isinstance(state, tuple) else [state]


def units() -> tuple[Unit, ...]:
    """All true statements in the order of the catalogue, then all variants."""
    statements = [StatementUnit(s) for s in STATEMENTS if s.claim == "true"]
    return (*statements, *(VariantUnit(v) for v in VARIANTS.values()))
