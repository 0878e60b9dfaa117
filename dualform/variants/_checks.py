"""The only place of the variants that words errors; shapes only, but for gates at hand on a CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dualform.rounding import UNIT_ROUNDOFF
from dualform.variants.arithmetic import Array, pair

Range = tuple[float, float]


class VariantInputError(ValueError):
    """An input that no variant takes: what was expected, what came, what to do."""

    def __init__(self, expected: object, got: object, do: str) -> None:
        super().__init__(expected, got, do)

    def __str__(self) -> str:
        expected, got, do = self.args
        return f"expected {expected}, got {got}; do {do}"


def check_tokens(q: Array, k: Array, v: Array) -> None:
    """Tokens as rows, heads before time, heads of q a multiple of those of k and v.

    Raises:
        VariantInputError: for another number of axes, sizes that do not fit, or types that differ.
    """
    if min(len(a.shape) for a in (q, k, v)) < 3:
        raise VariantInputError(
            "q, k and v of shape [..., heads, tokens, width]",
            f"{tuple(q.shape)}, {tuple(k.shape)} and {tuple(v.shape)}",
            "add the missing axes",
        )
    if k.shape[:-1] != v.shape[:-1]:
        raise VariantInputError(
            f"v of shape {(*k.shape[:-1], 'd_v')} beside k", tuple(v.shape), "align k and v"
        )
    if (*q.shape[:-3], *q.shape[-2:]) != (*k.shape[:-3], *k.shape[-2:]):
        wanted = (*k.shape[:-3], "heads", *k.shape[-2:])
        raise VariantInputError(f"q of shape {wanted} beside k", tuple(q.shape), "align q and k")
    heads, groups = q.shape[-3], k.shape[-3]
    if heads % groups if groups else heads:
        raise VariantInputError(
            f"query heads in a multiple of the {groups} heads of k and v", heads, "repeat or drop"
        )
    if q.dtype not in UNIT_ROUNDOFF or not q.dtype == k.dtype == v.dtype:
        known = ", ".join(map(str, UNIT_ROUNDOFF))
        raise VariantInputError(
            f"q, k and v of one type out of {known}",
            f"{q.dtype}, {k.dtype} and {v.dtype}",
            "convert them first",
        )


def check_arithmetic(q: Tensor) -> None:
    """Refuse the modes in which torch multiplies float32 matrices in a shorter format.

    Raises:
        VariantInputError: for TF32 on CUDA, or autocast.
    """
    if torch.compiler.is_compiling():
        return
    kind = q.device.type
    if kind == "cuda" and torch.get_float32_matmul_precision() != "highest":
        raise VariantInputError(
            "float32 products in full precision",
            repr(torch.get_float32_matmul_precision()),
            'torch.set_float32_matmul_precision("highest")',
        )
    if torch.is_autocast_enabled(kind):
        raise VariantInputError("arithmetic in the types given", "autocast", "leave autocast")


def check_gate(name: str, gate: Array, shape: Sequence[int], types: set[torch.dtype]) -> None:
    """One gate's shape and type.

    Raises:
        VariantInputError: when one is another.
    """
    if tuple(gate.shape) != tuple(shape):
        raise VariantInputError(
            f"{name} of shape {tuple(shape)}", tuple(gate.shape), "expand or cut it"
        )
    if gate.dtype not in types:
        wanted = " or ".join(sorted(map(str, types)))
        raise VariantInputError(f"{name} of type {wanted}", gate.dtype, "convert it first")


def check_range(name: str, gate: Array, allowed: Range) -> None:
    """One gate's values, where reading them is cheap: on a CPU, outside vmap and compile.

    Raises:
        VariantInputError: for a value outside its range, or NaN.
    """
    bounded = pair(gate)
    data = gate if bounded is None else bounded.value
    if torch.compiler.is_compiling() or data.device.type != "cpu" or not data.numel():
        return
    if torch._C._functorch.is_functorch_wrapped_tensor(data):  # no public question asks this
        return
    low, high = (float(x) for x in torch.aminmax(data.detach()))
    if not (allowed[0] <= low and high <= allowed[1]):  # NaN fails both
        raise VariantInputError(
            f"{name} in {list(allowed)}", f"values in [{low}, {high}]", "clamp it"
        )


def check_names(given: Mapping[str, Any], wanted: Sequence[str]) -> None:
    """The gates by name.

    Raises:
        VariantInputError: when one is missing or not known.
    """
    if set(given) != set(wanted):
        raise VariantInputError(f"the gates {sorted(wanted)}", sorted(given), "pass these by name")


def check_positive(name: str, number: int) -> None:
    """A count of at least one.

    Raises:
        VariantInputError: for another.
    """
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise VariantInputError(f"{name} of at least 1", number, "pass a positive integer")


def check_state(given: Sequence[Array], zero: Sequence[Array], growing: Sequence[bool]) -> None:
    """A state's leaves against the zero state's; a growing leaf may hold any number of tokens.

    Raises:
        VariantInputError: for another number of leaves, another shape or another type.
    """
    if len(given) != len(zero):
        raise VariantInputError(
            f"a state of {len(zero)} tensors", len(given), "start from initial_state"
        )
    for got, want, grows in zip(given, zero, growing, strict=True):
        shape = list(want.shape)
        if grows and len(got.shape) == len(shape):
            shape[-2] = got.shape[-2]
        if list(got.shape) != shape:
            raise VariantInputError(
                f"a state of shape {tuple(shape)}", tuple(got.shape), "start from initial_state"
            )
        if got.dtype != want.dtype:
            raise VariantInputError(
                f"a state of type {want.dtype}", got.dtype, "keep the state's type"
            )


def check_number(name: str, number: float, allowed: Range) -> None:
    """A plain number in its range.

    Raises:
        VariantInputError: for a tensor, a number outside, or NaN.
    """
    if not isinstance(number, float | int) or not allowed[0] <= number <= allowed[1]:
        raise VariantInputError(f"{name} a number in {list(allowed)}", number, "pass a float")


def check_ridge(ridge: Array, shape: Sequence[int], types: set[torch.dtype]) -> None:
    """Positive, of a shape [..., G, d_k] whose leading axes broadcast.

    Raises:
        VariantInputError: for another shape or type, or, where reading is cheap, another sign.
    """
    axes = tuple(ridge.shape)
    fits = (
        2 <= len(axes) <= len(shape)
        and axes[-1] == shape[-1]
        and all(a in (1, s) for a, s in zip(axes[::-1], tuple(shape)[::-1], strict=False))
    )
    if not fits:
        raise VariantInputError(
            f"ridge that broadcasts to {tuple(shape)}", axes, "expand or cut it"
        )
    if ridge.dtype not in types:
        wanted = " or ".join(sorted(map(str, types)))
        raise VariantInputError(f"ridge of type {wanted}", ridge.dtype, "convert it first")
    check_range("ridge", ridge, (torch.finfo(ridge.dtype).tiny, torch.inf))
