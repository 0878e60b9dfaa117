"""From the caller's tensors to a form's axes and back, with every input checked on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from dualform.variants import _checks as check
from dualform.variants.arithmetic import Array, full, moved, pair, to_type
from dualform.variants.layout import (
    computing_type,
    grouped,
    in_computing_type,
    leaves,
    on_leaves,
    per_token,
    shared,
    ungrouped,
    unshared,
)

Form = Callable[..., tuple[Tensor, Any]]
Core = Callable[..., tuple[Array, Any]]
Zero = Callable[[Tensor, Tensor, Tensor], Any]


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One number a token [..., G, T], or a channel of the key [..., G, T, d_k], in its range."""

    per: Literal["token", "channel"] = "token"
    low: float = 0.0
    high: float = 1.0


def form(
    core: Core, zero: Zero, gates: Mapping[str, Gate], options: Mapping[str, Any], *, chunked: bool
) -> Form:
    """`core`, which works on grouped axes in the computing type, for the caller's tensors."""

    def run(q: Tensor, k: Tensor, v: Tensor, *, state: Any = None, **given: Any) -> Any:
        check.check_tokens(q, k, v)
        check.check_arithmetic(_tensor(q))
        keywords = _options({n: given.pop(n, default) for n, default in options.items()}, k)
        if chunked:
            keywords["chunk"] = given.pop("chunk", 64)
            check.check_positive("chunk", keywords["chunk"])
        inside = _gates(given, gates, k)
        start = _start(zero(q, k, v), state)
        tokens = (in_computing_type(a) for a in (grouped(q, k.shape[-3]), shared(k), shared(v)))
        o, last = core(*tokens, inside, on_leaves(shared, start), **keywords)
        return ungrouped(to_type(o, q.dtype)), on_leaves(unshared, last)

    return run


def _tensor(a: Array) -> Tensor:
    bounded = pair(a)
    return a if bounded is None else bounded.value


def _gates(given: Mapping[str, Array], gates: Mapping[str, Gate], k: Array) -> dict[str, Array]:
    """Checked, in the computing type, [..., G, 1, T, 1 or d_k]."""
    check.check_names(given, list(gates))
    inside = {}
    for name, gate in gates.items():
        shape = k.shape if gate.per == "channel" else k.shape[:-1]
        check.check_gate(name, given[name], shape, {k.dtype, computing_type(k.dtype)})
        check.check_range(name, given[name], (gate.low, gate.high))
        row = given[name] if gate.per == "channel" else per_token(given[name])
        inside[name] = shared(in_computing_type(row))
    return inside


def _start(zero: Any, state: Any) -> Any:
    """The given state, checked against the zero state."""
    if state is None:
        return zero
    shapes = leaves(zero)
    check.check_state(leaves(state), shapes, [leaf.shape[-2] == 0 for leaf in shapes])
    return state


def _options(given: dict[str, Any], k: Array) -> dict[str, Any]:
    """The keywords that are not gates."""
    if "batch" in given:
        check.check_positive("batch", given["batch"])
    if "eta" in given:
        check.check_number("eta", given["eta"], (0.0, 1.0))
    if "ridge" in given:
        ridge = given["ridge"]
        if ridge is None:
            ridge = full(in_computing_type(k), (k.shape[-3], k.shape[-1]), 1.0)
        check.check_ridge(ridge, (*k.shape[:-2], k.shape[-1]), {k.dtype, computing_type(k.dtype)})
        rows = moved(lambda t: t.unsqueeze(-2).unsqueeze(-2), ridge)
        given["ridge"] = in_computing_type(rows)  # [..., G, 1, 1, d_k]
    return given
