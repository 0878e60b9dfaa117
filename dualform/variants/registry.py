"""The variants by name: each a fast and a slow form of one update, with its gates and its source.

Both forms take q [..., H, T, d_k], k [..., G, T, d_k], v [..., G, T, d_v], H a multiple of G, and
return o [..., H, T, d_v] and the state after the last token. o_t reads the state after token t is
written; q and k are not scaled, except in softmax.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from torch import Tensor

from dualform.variants import additive, delta, mesa, momentum, recurrent, titans, ttt
from dualform.variants._checks import (
    Range, check_arithmetic, check_gate, check_names, check_positive, check_range, check_state,
    check_tokens, refuse,
)  # fmt: skip
from dualform.variants.arithmetic import Array, full, pair
from dualform.variants.layout import (
    computing_type, grouped, in_computing_type, leaves, on_leaves, per_token, shared, to_type,
    ungrouped, unshared, zeros,
)  # fmt: skip

Form = Callable[..., tuple[Tensor, Any]]
Zero = Callable[[Tensor, Tensor, Tensor], Any]
UNIT: Range = (0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One number a token [..., G, T], or one a channel of the key [..., G, T, d_k]; its range."""

    kind: Literal["token", "channel"]
    range: Range = UNIT


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One rule in two forms.

    `fast(q, k, v, **gates, state=None, chunk=64)` works by chunks, `slow(q, k, v, **gates,
    state=None)` token by token. `initial_state(q, k, v)` is the zero state, which None stands for.
    `options` are the further keywords, with their defaults. bfloat16 and float16 are computed in
    float32: the state is float32 in and out, and outputs are rounded once. Both forms raise
    `VariantInputError` for inputs that do not fit.
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


def _form(
    core: Callable[..., tuple[Array, Any]], zero: Zero, gates: Mapping[str, Gate],
    options: Mapping[str, Any], *, chunked: bool,
) -> Form:  # fmt: skip
    """`core`, which works on grouped axes in its computing type, for the caller's tensors."""

    def run(q: Tensor, k: Tensor, v: Tensor, *, state: Any = None, **given: Any) -> Any:
        check_tokens(q, k, v)
        check_arithmetic(_tensor(q))
        own = {name: given.pop(name, default) for name, default in options.items()}
        keywords = _options(own, k)
        if chunked:
            keywords["chunk"] = given.pop("chunk", 64)
            check_positive("chunk", keywords["chunk"])
        inside = _gates(given, gates, k)
        start = zero(q, k, v)
        if state is not None:
            check_state(leaves(state), leaves(start), [x.shape[-2] == 0 for x in leaves(start)])
            start = state
        tokens = (in_computing_type(a) for a in (grouped(q, k.shape[-3]), shared(k), shared(v)))
        o, last = core(*tokens, *([inside] if gates or core in _GATED else []),
                       on_leaves(shared, start), **keywords)  # fmt: skip
        return ungrouped(to_type(o, q.dtype)), on_leaves(unshared, last)

    return run


_GATED = (additive.additive,)


def _tensor(a: Array) -> Tensor:
    bounded = pair(a)
    return a if bounded is None else bounded.value
