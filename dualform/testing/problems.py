"""The inputs of one example, and an implementation run on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dualform.layouts import laid_out
from dualform.testing.canonical import Inputs, Outputs, given_for
from dualform.testing.cases import Case, draw_qkv
from dualform.testing.implementation import Implementation
from dualform.testing.messages import ConformanceError, Finding
from dualform.testing.reference import expected
from dualform.variants import Variant
from dualform.variants.layout import computing_type, leaves, on_leaves

# Decays and rates away from the ends of their range, where logarithms and quotients live too.
_LOW, _HIGH = 2.0**-6, 1.0
MOMENTUM = 0.5  # eta of the momentum rules, which they take as a number
RIDGE = 1.0  # the Mesa layer's lambda
BATCH = 2  # TTT's mini-batch


def settings_of(variant: Variant, case: Case) -> dict[str, Any]:
    """The arguments of a rule that are not per token."""
    made: dict[str, Any] = {}
    if "eta" in variant.options:
        made["eta"] = MOMENTUM
    if "batch" in variant.options:
        made["batch"] = BATCH
    if "ridge" in variant.options:
        made["ridge"] = torch.full((case.batch, case.heads, case.d_k), RIDGE, dtype=case.dtype)
    return made


def problem(variant: Variant, kernel: Implementation, case: Case) -> Inputs:
    """q, k, v, gates in the implementation's meaning, and a state where the case has one."""
    q, k, v = draw_qkv(case, positive=kernel.positive)
    generator = torch.Generator().manual_seed(case.seed + 1)
    gates = {}
    for name, gate in variant.gates.items():
        width = (case.d_k,) if gate.per == "channel" else ()
        shape = (case.batch, case.heads, case.tokens, *width)
        low, high = max(gate.low, _LOW), min(gate.high, _HIGH)
        x = low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)
        meaning = kernel.convention.gates.get(name, "plain")
        gates[name] = laid_out(given_for(x, meaning).to(case.dtype), case.layout)
    options, state = settings_of(variant, case), _state(variant, kernel, case)
    return Inputs(q=q, k=k, v=v, gates=gates, state=state, options=options)


def _state(variant: Variant, kernel: Implementation, case: Case) -> Any:
    """Where the slow twin is after three other tokens."""
    if not case.from_state:
        return None
    before = {**vars(case), "seed": case.seed + 2, "tokens": 3, "from_state": False}
    other = problem(variant, kernel, Case(**before))
    end = expected(variant, other, kernel).state
    return on_leaves(lambda s: s.value.to(computing_type(case.dtype)), end)


def answer(kernel: Implementation, given: Inputs, case: Case, identity: str) -> Outputs:
    """The implementation's answer, which must leave its inputs as they were.

    Raises:
        ConformanceError: when it raises, or changes an input.
    """
    before = {name: x.clone() for name, x in _tensors(given).items()}
    try:
        made = kernel(given, case.chunk)
    except Exception as error:
        what = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise ConformanceError(
            _finding(identity, "an answer for these inputs", case, kernel, "", what, "a tensor")
        ) from error
    for name, x in _tensors(given).items():
        if not torch.equal(x, before[name]):
            raise ConformanceError(
                _finding(
                    identity,
                    "inputs stay as they are",
                    case,
                    kernel,
                    name,
                    "a changed tensor",
                    "same",
                )
            )
    return made


def _tensors(given: Inputs) -> Mapping[str, Tensor]:
    state = [] if given.state is None else leaves(given.state)
    named = {f"state {i}": s for i, s in enumerate(state)}
    return {"q": given.q, "k": given.k, "v": given.v, **given.gates, **named}


def _finding(
    identity: str,
    formula: str,
    case: Case,
    kernel: Implementation,
    place: str,
    got: str,
    wanted: str,
) -> Finding:
    return Finding(
        identity=identity,
        formula=formula,
        example=str(case),
        convention=str(kernel.convention),
        place=place,
        got=got,
        expected=wanted,
        gap="",
        bound="",
    )
