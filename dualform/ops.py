"""Interpreters of a statement's `ops` on torch tensors; letters: matrices [..., r, c]."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, TypeVar

import torch
from torch import Tensor

from dualform import tape
from dualform.losses import Loss, cross_entropy, output_gradient
from dualform.rounding import Tracked
from dualform.tape import Cost, Node

Block = int | tuple[int, ...]
Matrix = TypeVar("Matrix")


def blocks_of(columns: int, block: Block) -> list[slice]:
    """Consecutive blocks of `block` columns, the last one perhaps smaller; or of given sizes.

    Raises:
        ValueError: when given sizes do not add up to the columns.
    """
    if isinstance(block, int):
        return [slice(i, min(i + block, columns)) for i in range(0, columns, block)]
    if sum(block) != columns:
        raise ValueError(f"expected blocks of {columns} columns in all, got {sum(block)}")
    ends = list(accumulate(block, initial=0))
    return [slice(a, b) for a, b in pairwise(ends)]


def walk(
    step: Callable[..., Matrix], start: Matrix, blocks: Sequence[list[Matrix]]
) -> list[tuple[Matrix, list[Matrix]]]:
    """(state before the step, its blocks) for every step, then (last state, [])."""
    states: list[tuple[Matrix, list[Matrix]]] = []
    state = start
    for block in blocks:
        states.append((state, block))
        state = step(state, *block)
    return [*states, (state, [])]


@dataclass(frozen=True, slots=True)
class TensorOps:
    """Plain tensors; gradients by autograd. `block` examples a step of a recurrence."""

    block: Block = 1
    loss_function: Loss = cross_entropy

    @staticmethod
    def hcat(*blocks: Tensor) -> Tensor:
        """Blocks side by side."""
        return torch.cat(blocks, -1)

    def scale(self, c: Tensor, a: Tensor) -> Tensor:
        """c A for c [..., 1, 1]."""
        return c * a

    def zeros_like(self, a: Tensor) -> Tensor:
        """Zeros of A's shape."""
        return torch.zeros_like(a)

    def inner(self, a: Tensor, b: Tensor) -> Tensor:
        """<A, B>, summed over leading dimensions."""
        return (a * b).sum()

    def half_square(self, a: Tensor) -> Tensor:
        """|A|^2 / 2, summed over leading dimensions."""
        return (a * a).sum() / 2

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The concrete loss."""
        return self.loss_function(outputs, targets)

    def output_gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Its gradient in the outputs."""
        return output_gradient(self.loss_function, outputs, targets)

    def grad(self, f: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
        """The gradient of f, by autograd."""
        made: Tensor = torch.func.grad(f)(at)
        return made

    def _walk(
        self, step: Callable[..., Tensor], start: Tensor, columns: tuple[Tensor, ...]
    ) -> list[tuple[Tensor, list[Tensor]]]:
        cuts = blocks_of(columns[0].shape[-1], self.block)
        return walk(step, start, [[c[..., at] for c in columns] for at in cuts])

    def fold(self, step: Callable[..., Tensor], start: Tensor, *columns: Tensor) -> Tensor:
        """The last state of the recurrence."""
        return self._walk(step, start, columns)[-1][0]

    def collect(
        self,
        column: Callable[..., Tensor],
        step: Callable[..., Tensor],
        start: Tensor,
        *columns: Tensor,
    ) -> Tensor:
        """What `column` gives at every step, side by side; no columns for no examples."""
        *walked, _ = self._walk(step, start, columns)
        return torch.cat([start[..., :0], *(column(s, *b) for s, b in walked)], -1)


@dataclass(frozen=True, slots=True)
class TrackedOps:
    """Error-tracking tensors; gradients by `dualform.tape`.

    The output gradient of a generic loss is data: both sides of a statement see the very same
    values, and the bound is on what is done with them.
    """

    block: Block = 1
    loss_function: Loss = cross_entropy

    @staticmethod
    def hcat(*blocks: Tracked) -> Tracked:
        """Blocks side by side."""
        return Tracked(
            torch.cat([b.value for b in blocks], -1), torch.cat([b.error for b in blocks], -1)
        )

    def scale(self, c: Tracked, a: Tracked) -> Tracked:
        """c A for c [..., 1, 1]."""
        return c.times(a)

    def zeros_like(self, a: Tracked) -> Tracked:
        """Zeros of A's shape."""
        return Tracked(torch.zeros_like(a.value))

    def inner(self, a: Node | Tracked, b: Node | Tracked) -> Cost:
        """<A, B>."""
        return tape.send(a, tape.value_of(b)) + tape.send(b, tape.value_of(a))

    def half_square(self, a: Node | Tracked) -> Cost:
        """|A|^2 / 2."""
        return tape.send(a, tape.value_of(a))

    def loss(self, outputs: Node | Tracked, targets: Tracked) -> Cost:
        """The concrete loss."""
        return tape.send(outputs, self.output_gradient(tape.value_of(outputs), targets))

    def output_gradient(self, outputs: Tracked, targets: Tracked) -> Tracked:
        """The loss's gradient in the outputs, taken as data."""
        return Tracked(output_gradient(self.loss_function, outputs.value, targets.value))

    def grad(self, f: Callable[[Any], Cost], at: Tracked) -> Tracked:
        """The gradient of f with its bound, output gradients being data."""
        return tape.gradient(f, at)

    def _walk(
        self, step: Callable[..., Tracked], start: Tracked, columns: tuple[Tracked, ...]
    ) -> list[tuple[Tracked, list[Tracked]]]:
        cuts = blocks_of(columns[0].value.shape[-1], self.block)
        blocks = [[Tracked(c.value[..., at], c.error[..., at]) for c in columns] for at in cuts]
        return walk(step, start, blocks)

    def fold(self, step: Callable[..., Tracked], start: Tracked, *columns: Tracked) -> Tracked:
        """The last state of the recurrence."""
        return self._walk(step, start, columns)[-1][0]

    def collect(
        self,
        column: Callable[..., Tracked],
        step: Callable[..., Tracked],
        start: Tracked,
        *columns: Tracked,
    ) -> Tracked:
        """What `column` gives at every step, side by side; no columns for no examples."""
        *walked, _ = self._walk(step, start, columns)
        none = Tracked(start.value[..., :0], start.error[..., :0])
        return self.hcat(none, *(column(s, *b) for s, b in walked))
