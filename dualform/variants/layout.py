"""Between the caller's tensors and the forms' axes: groups, types, chunks, states.

Inside a form q is [..., G, R, T, d_k] with R = H / G query heads a group, k, v and gates are
[..., G, 1, T, d], and every leaf of a state has the same extra axis: what a group shares is
broadcast over its heads. bfloat16 and float16 are computed in float32, which holds them exactly;
the state stays in float32, and outputs are rounded once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from dualform.variants.arithmetic import Array, cat, full, moved, to_type


def computing_type(dtype: torch.dtype) -> torch.dtype:
    """The type a form computes and keeps its state in."""
    return torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype


def grouped(q: Array, groups: int) -> Array:
    """[..., H, T, d] to [..., G, H / G, T, d]: head h reads group h // (H / G)."""
    each = q.shape[-3] // groups if groups else 1
    return moved(lambda t: torch.unflatten(t, -3, (groups, each)), q)


def ungrouped(o: Array) -> Array:
    """[..., G, R, T, d] to [..., H, T, d]."""
    return moved(lambda t: t.flatten(-4, -3), o)


def shared(a: Array) -> Array:
    """[..., G, r, c] to [..., G, 1, r, c]."""
    return moved(lambda t: t.unsqueeze(-3), a)


def unshared(a: Array) -> Array:
    """[..., G, 1, r, c] to [..., G, r, c]."""
    return moved(lambda t: t.squeeze(-3), a)


def per_token(gate: Array) -> Array:
    """[..., G, T] to [..., G, T, 1]."""
    return moved(lambda t: t.unsqueeze(-1), gate)


def in_computing_type(a: Array) -> Array:
    """Exactly `a`, in the type that the form computes in."""
    return to_type(a, computing_type(a.dtype))


def leaves(state: Any) -> list[Any]:
    """The tensors of a state."""
    return list(state) if isinstance(state, tuple) else [state]


def on_leaves(f: Callable[[Any], Any], state: Any) -> Any:
    """The state with f done to each of its tensors; tuples without names too."""
    if not isinstance(state, tuple):
        return f(state)
    made = map(f, state)
    return type(state)(*made) if hasattr(state, "_fields") else tuple(made)


def pieces(tokens: int, chunk: int) -> Iterator[slice]:
    """Consecutive slices of `chunk` tokens, the last one perhaps shorter."""
    for start in range(0, tokens, chunk):
        yield slice(start, min(start + chunk, tokens))


def rows(a: Array, at: slice) -> Array:
    """Some tokens of [..., T, d]."""
    return a[..., at, :]


def joined(outputs: Sequence[Array], q: Array, width: int) -> Array:
    """Outputs [..., t, d_v] end to end; no rows where there are none."""
    none = full(q, (*q.shape[:-2], 0, width), 0.0)
    return cat([none, *outputs], -2)


def zeros(like: Array, *shape: int) -> Array:
    """A zero leaf in the computing type of `like`."""
    return full(in_computing_type(like[..., :0, :]), shape, 0.0)
