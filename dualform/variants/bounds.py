"""A form's outputs with their bound: the same code on numbers that carry their errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

from torch import Tensor

from dualform.rounding import Tracked
from dualform.variants.arithmetic import lift
from dualform.variants.layout import on_leaves
from dualform.variants.registry import VARIANTS, Variant


def bounded(
    variant: Variant | str, form: Literal["fast", "slow"], inputs: Mapping[str, Any]
) -> tuple[Tracked, Any]:
    """`form` of a variant on keyword inputs: o [..., H, T, d_v] and the final state, each Tracked.

    Tensors are data, of error 0; a `Tracked` brings its own error (a state from an earlier call
    does). The values are those that the form itself returns for the same tensors, bit for bit.
    Substitution is bounded in any order; an overflow shows as a bound or value that is not finite.

    Raises:
        VariantInputError: for inputs that the form refuses.
        UnboundedArithmetic: for an arithmetic without a bound.
    """
    of = VARIANTS[variant] if isinstance(variant, str) else variant
    run = of.fast if form == "fast" else of.slow
    lifted = {name: _lifted(x) for name, x in inputs.items()}
    o, state = run(**lifted)
    return cast(Tracked, o), _all_lifted(state)


def _lifted(x: Any) -> Any:
    if isinstance(x, Tensor | Tracked):
        return lift(x)
    return on_leaves(lift, x) if isinstance(x, tuple) else x


def _all_lifted(state: Any) -> Any:
    return on_leaves(lift, state)
