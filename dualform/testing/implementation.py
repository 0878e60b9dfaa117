"""Anyone's function, called with this project's axes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from dualform.testing.canonical import Inputs, Outputs
from dualform.testing.conventions import Axes, Convention
from dualform.testing.messages import Unusable
from dualform.variants.layout import leaves, on_leaves

Accumulate = Literal["at least float32", "float32", "input"]
STATE_NAMES = ("state", "initial_state")
CHUNK_NAMES = ("chunk", "chunk_size")


@dataclass(frozen=True, kw_only=True)
class Implementation:
    """A function (q, k, v, **gates) -> o or (o, final state), and what it means by them.

    call: the function. q, k and v are passed by position, the rest by name.
    convention: its axes, scales and order of decay, write and read.
    names: their name of a gate, of `state` (a given first state) and of `chunk`, by ours; `state`
        and `chunk` are found in the signature where they have a usual name, and left out where
        the function has none.
    constants: further arguments, passed as they are.
    accumulate: "at least float32" computes half precision in float32; "float32" everything in
        float32, float64 too; "input" rounds every operation to the inputs' type.
    dtypes, multiple, longest, widest, square, grouped: what it accepts. Lengths are multiples of
        `multiple` up to `longest`, widths at most `widest`, d_v = d_k where `square`, more query
        heads than key heads where `grouped`.
    chunks: chunk sizes to try; the usual ones where it takes a chunk.

    Raises:
        Unusable: when `call` is not callable.
    """

    call: Callable[..., Any]
    convention: Convention = field(default_factory=Convention)
    names: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)
    accumulate: Accumulate = "at least float32"
    dtypes: Sequence[torch.dtype] = (torch.float64, torch.float32, torch.bfloat16)
    multiple: int = 1
    longest: int = 9
    widest: int = 4
    square: bool = False
    grouped: bool = False
    positive: bool = False
    chunks: Sequence[int] = (1, 2, 3, 16)

    def __post_init__(self) -> None:
        if not callable(self.call):
            raise Unusable(f"expected a callable, got {type(self.call).__name__}; pass a function")

    def their_name(self, ours: str) -> str | None:
        """The function's name for `state` or `chunk`; None where it takes none."""
        if ours in self.names:
            return self.names[ours]
        known = STATE_NAMES if ours == "state" else CHUNK_NAMES
        try:
            parameters = inspect.signature(self.call).parameters
        except (TypeError, ValueError):
            return None
        return next((name for name in known if name in parameters), None)

    def __call__(self, given: Inputs, chunk: int | None = None) -> Outputs:
        """Its answer in this project's axes; `state` None where it returns none.

        Raises:
            Unusable: when it returns neither a tensor nor a tuple that starts with one.
        """
        if self.convention.axes == "time":
            return self._one_by_one(given, chunk)
        put, get = _axes(self.convention.axes)
        named = {self.names.get(n, n): put(x) for n, x in given.gates.items()}
        return self._called([put(x) for x in (given.q, given.k, given.v)], named, given, chunk, get)

    def _called(
        self,
        tokens: list[Tensor],
        named: dict[str, Any],
        given: Inputs,
        chunk: int | None,
        get: Callable[[Tensor], Tensor],
    ) -> Outputs:
        options = {self.names.get(n, n): x for n, x in given.options.items()}
        named = {**named, **options, **self.constants}
        if given.state is not None and (name := self.their_name("state")):
            named[name] = on_leaves(self._turned, given.state)
        if chunk is not None and (name := self.their_name("chunk")):
            named[name] = chunk
        answer = self.call(*tokens, **named)
        parts = answer if isinstance(answer, tuple) else (answer,)
        if not parts or not isinstance(parts[0], Tensor):
            raise Unusable(
                f"expected a tensor o or a tuple (o, state), got {type(answer).__name__}; "
                "wrap the function"
            )
        state = parts[1] if len(parts) > 1 else None
        return Outputs(
            o=get(parts[0]), state=None if state is None else on_leaves(self._turned, state)
        )

    def _turned(self, leaf: Tensor) -> Tensor:
        """A state leaf to or from their axes."""
        return leaf.mT if self.convention.state == "key value" else leaf

    def _one_by_one(self, given: Inputs, chunk: int | None) -> Outputs:
        """Batches and heads one at a time, for functions of one head [time, dim]."""
        batch, heads = given.q.shape[:2]
        repeat = heads // given.k.shape[1]
        answers = []
        for b in range(batch):
            for h in range(heads):
                g = h // repeat
                named = {self.names.get(n, n): x[b, g] for n, x in given.gates.items()}
                tokens = [given.q[b, h], given.k[b, g], given.v[b, g]]
                one = None if given.state is None else on_leaves(lambda s: s[b, g], given.state)  # noqa: B023 # called at once
                part = Inputs(
                    q=given.q, k=given.k, v=given.v, gates={}, state=one, options=given.options
                )
                answers.append(self._called(tokens, named, part, chunk, lambda t: t))
        shape = (batch, heads)
        o = _stacked([a.o for a in answers], shape)
        if repeat > 1 or answers[0].state is None:
            return Outputs(o=o, state=None)
        by_leaf = zip(*(leaves(a.state) for a in answers), strict=True)
        turned = iter([_stacked(list(part), shape) for part in by_leaf])
        return Outputs(o=o, state=on_leaves(lambda s: next(turned), answers[0].state))


def _stacked(parts: list[Tensor], shape: tuple[int, int]) -> Tensor:
    """[B H tensors] to [B, H, ...]."""
    return torch.stack(parts).reshape(*shape, *parts[0].shape)


def _axes(axes: Axes) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """To their axes, and back; token gates [B, H, T] have no width to move."""
    if axes == "time head":
        return lambda t: t.transpose(1, 2), lambda t: t.transpose(1, 2)
    if axes == "head column":
        return lambda t: t.mT if t.dim() == 4 else t, lambda t: t.mT
    return lambda t: t, lambda t: t


def as_implementation(given: Any) -> Implementation:
    """`given` itself, or a function with this project's own conventions.

    Raises:
        Unusable: when it is neither.
    """
    return given if isinstance(given, Implementation) else Implementation(call=given)
