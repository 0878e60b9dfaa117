"""What an implementation should have answered, and what rounding allows it to differ.

Expected: the slow twin in float64 on exactly the values given, with its own running bound.

Allowed: the running bounds of the slow and of the fast form in the arithmetic that the
implementation declares, on the same values, the larger of both, times two. Each is a sum over the
paths from the inputs to an entry, at most (1 + u)^m - 1 of a path for its m roundings. Code in
another order of the same operations walks the same paths; with m' <= 2 m roundings on each it errs
by at most (1 + u)^(2m) - 1 of it, which is twice as much to first order (compare
`Tracked.elsewhere`). Code that cancels what neither form adds has no such bound.

Outputs that come back in a shorter type are rounded once more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dualform.rounding import UNIT_ROUNDOFF, Tracked
from dualform.testing.canonical import Inputs, Outputs, run
from dualform.testing.implementation import Implementation
from dualform.variants import Variant, arithmetic as A
from dualform.variants.layout import on_leaves

CHUNK = 4
_ROOM = 0.5  # m u of the longest path, past which a bound scaled from another type means nothing


def mapped(given: Inputs, f: Callable[[Any], Any]) -> Inputs:
    """f on every array of the inputs."""
    state = None if given.state is None else on_leaves(f, given.state)
    gates = {name: f(x) for name, x in given.gates.items()}
    options = {n: f(x) if isinstance(x, Tensor) else x for n, x in given.options.items()}
    tokens = {name: f(getattr(given, name)) for name in "qkv"}
    return Inputs(**tokens, gates=gates, state=state, options=options)


def in_arithmetic(dtype: torch.dtype) -> Callable[[Tensor], Any]:
    """To bounded arrays of another type; what a shorter one loses is an error of theirs."""

    def convert(x: Tensor | Tracked) -> Any:
        if isinstance(x, Tracked):
            return A.lift(x)
        made = x.detach().to(dtype)
        return A.lift(Tracked(made, (made.double() - x.detach().double()).abs()))

    return convert


def expected(variant: Variant, given: Inputs, kernel: Implementation) -> Outputs:
    """The slow twin in float64, bounded."""
    return run(variant.slow, mapped(given, in_arithmetic(torch.float64)), kernel.convention)


def computing_type(kernel: Implementation, dtype: torch.dtype) -> torch.dtype:
    """The type that the declared arithmetic computes in, as far as the forms can follow it."""
    half = dtype in (torch.bfloat16, torch.float16)
    return torch.float32 if half or kernel.accumulate == "float32" else dtype


def allowed(
    variant: Variant,
    given: Inputs,
    kernel: Implementation,
    dtype: torch.dtype,
    chunk: int | None = None,
) -> Outputs:
    """As `expected`, in the declared arithmetic: values of the slow form, errors as above."""
    narrow = mapped(given, in_arithmetic(computing_type(kernel, dtype)))
    slow = run(variant.slow, narrow, kernel.convention)
    fast = run(variant.fast, narrow, kernel.convention, chunk=chunk or CHUNK)
    wider = _wider(kernel, given, dtype)
    pairs = zip(_flat(slow), _flat(fast), strict=True)
    made = [A.lift(Tracked(s.value, 2 * wider * torch.maximum(s.error, f.error))) for s, f in pairs]
    return Outputs(o=made[0], state=_rebuilt(slow.state, made[1:]))


def _flat(outputs: Outputs) -> list[Any]:
    state = outputs.state
    return [outputs.o, *(state if isinstance(state, tuple) else [state])]


def _rebuilt(like: Any, leaves: list[Any]) -> Any:
    return type(like)(*leaves) if isinstance(like, tuple) else leaves[0]


def _wider(kernel: Implementation, given: Inputs, dtype: torch.dtype) -> float:
    """The factor from the forms' arithmetic to one that rounds every operation to `dtype`.

    gamma_m(u') / gamma_m(u) <= (u' / u) / (1 - m u').
    """
    u, narrow = UNIT_ROUNDOFF[dtype], UNIT_ROUNDOFF[computing_type(kernel, dtype)]
    if kernel.accumulate != "input" or u <= narrow:
        return 1.0
    most = roundings(given) * u
    return u / narrow / (1 - most) if most <= _ROOM else torch.inf


def roundings(given: Inputs) -> int:
    """At most so many roundings lie on a path through the slow form, forwards and back.

    A token's step reads the state (d_k), forms and adds the write (4 with gates) and is read
    (d_k + 2); the products of a chunk add one term per token; the way back is as long.
    """
    tokens, width = given.k.shape[-2:]
    return 2 * (tokens + 1) * (2 * width + given.v.shape[-1] + 8) + 2 * tokens


def bound(want: Any, error: Tensor, kept: torch.dtype) -> Tensor:
    """The largest difference from `want` that rounding explains, in float64.

    `error` is what the implementation's arithmetic may do before it rounds to the type `kept`.
    """
    total: Tensor = want.error + error
    if kept in UNIT_ROUNDOFF:
        u, size = UNIT_ROUNDOFF[kept], want.value.abs() + total
        total = total + u * size + torch.finfo(kept).smallest_normal
        over = size > torch.finfo(kept).max / 2
        total = torch.where(over, torch.inf, total)
    return total


def cut(given: Inputs, at: slice, state: Any = None) -> Inputs:
    """Some of the tokens, from a state."""
    by_gate = {n: g[..., at] if g.dim() == 3 else g[..., at, :] for n, g in given.gates.items()}
    rows = {name: getattr(given, name)[..., at, :] for name in "qkv"}
    return replace(given, gates=by_gate, state=state, **rows)
