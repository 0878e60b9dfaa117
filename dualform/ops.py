"""Interpreters of a statement's `ops` on torch tensors; letters: matrices [..., r, c]."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, TypeVar

import torch
from torch import Tensor

from dualform import elementary, tape
from dualform.losses import Loss, cross_entropy, output_gradient
from dualform.rounding import Tracked
from dualform.tape import Cost, Node

Block = int | tuple[int, ...]
Matrix = TypeVar("Matrix")
States = Mapping[str, Matrix]


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
    step: Callable[..., States[Matrix]], start: States[Matrix], blocks: Sequence[list[Matrix]]
) -> States[Matrix]:
    """The states of a recurrence after all blocks."""
    states = start
    for block in blocks:
        states = step(states, *block)
    return states


@dataclass(frozen=True, slots=True)
class TensorOps:
    """Plain tensors; gradients by autograd. `block` examples a step of a recurrence."""

    block: Block = 1
    loss_function: Loss = cross_entropy

    @staticmethod
    def hcat(*blocks: Tensor) -> Tensor:
        """Blocks side by side."""
        return torch.cat(_alike(blocks), -1)

    @staticmethod
    def vcat(*blocks: Tensor) -> Tensor:
        """Blocks over each other."""
        return torch.cat(_alike(blocks), -2)

    def scale(self, c: Tensor, a: Tensor) -> Tensor:
        """c A for c [..., 1, 1]; for a scalar A, summed over leading dimensions, c is [1, 1]."""
        return c * a if a.dim() else c.reshape(()) * a

    def zeros_like(self, a: Tensor) -> Tensor:
        """Zeros of A's shape."""
        return torch.zeros_like(a)

    def empty(self, a: Tensor) -> Tensor:
        """A's rows, no columns."""
        return a[..., :0]

    def identity(self, a: Tensor) -> Tensor:
        """I [r, r] for A [..., r, c]."""
        return torch.eye(a.shape[-2], dtype=a.dtype, device=a.device)

    def ones(self, a: Tensor) -> Tensor:
        """A row of ones [1, c] for A [..., r, c]."""
        return a.new_ones(1, a.shape[-1])

    def diag(self, a: Tensor) -> Tensor:
        """[..., r, r] for a column [..., r, 1]."""
        return torch.diag_embed(a.squeeze(-1))

    def times(self, a: Tensor, b: Tensor) -> Tensor:
        """The entry-wise product."""
        return a * b

    def khatri_rao(self, a: Tensor, b: Tensor) -> Tensor:
        """[..., r s, n] for A [..., r, n] and B [..., s, n]."""
        return (a.unsqueeze(-2) * b.unsqueeze(-3)).flatten(-3, -2)

    def causal(self, a: Tensor) -> Tensor:
        """Entries (s, t) with s <= t."""
        return a.triu()

    def exp(self, a: Tensor) -> Tensor:
        """exp."""
        return a.exp()

    def activation(self, a: Tensor) -> Tensor:
        """The positive part, which stands for any function."""
        return a.clamp(min=0)

    def inverse(self, a: Tensor) -> Tensor:
        """The inverse, in float32 for the half types."""
        if a.dtype in (torch.bfloat16, torch.float16):
            made: Tensor = torch.linalg.inv_ex(a.float()).inverse
            return made.to(a.dtype)
        made = torch.linalg.inv_ex(a).inverse
        return made

    def trace(self, a: Tensor) -> Tensor:
        """[..., 1, 1]."""
        return a.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]

    def inner(self, a: Tensor, b: Tensor) -> Tensor:
        """<A, B>, summed over leading dimensions."""
        return (a * b).sum()

    def half_square(self, a: Tensor, weights: Tensor | None = None) -> Tensor:
        """|A|^2 / 2, or with weights, summed over leading dimensions."""
        square = a * a
        return (square if weights is None else square * weights.mT).sum() / 2

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

    def fold(
        self, step: Callable[..., States[Tensor]], start: States[Tensor], *columns: Tensor
    ) -> States[Tensor]:
        """The last states of a recurrence over blocks of columns."""
        cuts = blocks_of(columns[0].shape[-1], self.block)
        return walk(step, start, [[c[..., at] for c in columns] for at in cuts])

    def scan(
        self, step: Callable[..., States[Tensor]], start: States[Tensor], *columns: Tensor
    ) -> States[Tensor]:
        """The last states of a recurrence over single columns."""
        cuts = blocks_of(columns[0].shape[-1], 1)
        return walk(step, start, [[c[..., at] for c in columns] for at in cuts])


def _alike(blocks: Sequence[Tensor]) -> list[Tensor]:
    """Blocks with the leading dimensions of all of them, constants among them."""
    lead = torch.broadcast_shapes(  # type: ignore[no-untyped-call] # torch's own gap
        *(b.shape[:-2] for b in blocks)
    )
    return [b.expand(*lead, *b.shape[-2:]) for b in blocks]


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
        return _joined(blocks, -1)

    @staticmethod
    def vcat(*blocks: Tracked) -> Tracked:
        """Blocks over each other."""
        return _joined(blocks, -2)

    def scale(self, c: Tracked, a: Any) -> Any:
        """c A for c [..., 1, 1] and a matrix or a scalar."""
        return a.scaled(c) if isinstance(a, Cost) else c.times(a)

    def zeros_like(self, a: Tracked) -> Tracked:
        """Zeros of A's shape."""
        return Tracked(torch.zeros_like(a.value))

    def empty(self, a: Tracked) -> Tracked:
        """A's rows, no columns."""
        return Tracked(a.value[..., :0], a.error[..., :0])

    def identity(self, a: Tracked) -> Tracked:
        """I."""
        return Tracked(torch.eye(a.value.shape[-2], dtype=a.value.dtype, device=a.value.device))

    def ones(self, a: Tracked) -> Tracked:
        """A row of ones."""
        return Tracked(a.value.new_ones(1, a.value.shape[-1]))

    def diag(self, a: Tracked) -> Tracked:
        """The diagonal matrix of a column."""
        return Tracked(torch.diag_embed(a.value.squeeze(-1)), torch.diag_embed(a.error.squeeze(-1)))

    def times(self, a: Tracked, b: Tracked) -> Tracked:
        """The entry-wise product."""
        return a.times(b)

    def khatri_rao(self, a: Tracked, b: Tracked) -> Tracked:
        """The column-wise Kronecker product."""
        left = Tracked(a.value.unsqueeze(-2), a.error.unsqueeze(-2))
        made = left.times(Tracked(b.value.unsqueeze(-3), b.error.unsqueeze(-3)))
        return Tracked(made.value.flatten(-3, -2), made.error.flatten(-3, -2))

    def causal(self, a: Tracked) -> Tracked:
        """Entries (s, t) with s <= t."""
        return Tracked(a.value.triu(), a.error.triu())

    def exp(self, a: Tracked) -> Tracked:
        """exp."""
        return elementary.exp(a)

    def activation(self, a: Tracked) -> Tracked:
        """The positive part, which errs by what its operand errs at most."""
        return Tracked(a.value.clamp(min=0), a.error)

    def inverse(self, a: Tracked) -> Tracked:
        """The inverse."""
        return elementary.inverse(a)

    def trace(self, a: Tracked) -> Tracked:
        """The diagonal, summed as a product with ones."""
        one = Tracked(a.value.new_ones(a.value.shape[-1], 1))
        value = a.value.diagonal(dim1=-2, dim2=-1).unsqueeze(-2)
        return Tracked(value, a.error.diagonal(dim1=-2, dim2=-1).unsqueeze(-2)) @ one

    def inner(self, a: Node | Tracked, b: Node | Tracked) -> Cost:
        """<A, B>."""
        return tape.send(a, tape.value_of(b)) + tape.send(b, tape.value_of(a))

    def half_square(self, a: Node | Tracked, weights: Tracked | None = None) -> Cost:
        """|A|^2 / 2, or with weights."""
        value = tape.value_of(a)
        return tape.send(a, value if weights is None else value @ self.diag(weights))

    def loss(self, outputs: Node | Tracked, targets: Tracked) -> Cost:
        """The concrete loss."""
        return tape.send(outputs, self.output_gradient(tape.value_of(outputs), targets))

    def output_gradient(self, outputs: Tracked, targets: Tracked) -> Tracked:
        """The loss's gradient in the outputs, taken as data."""
        return Tracked(output_gradient(self.loss_function, outputs.value, targets.value))

    def grad(self, f: Callable[[Any], Cost], at: Tracked) -> Tracked:
        """The gradient of f with its bound, output gradients being data."""
        return tape.gradient(f, at)

    def fold(
        self, step: Callable[..., States[Tracked]], start: States[Tracked], *columns: Tracked
    ) -> States[Tracked]:
        """The last states of a recurrence over blocks of columns."""
        return walk(step, start, _cut(columns, self.block))

    def scan(
        self, step: Callable[..., States[Tracked]], start: States[Tracked], *columns: Tracked
    ) -> States[Tracked]:
        """The last states of a recurrence over single columns."""
        return walk(step, start, _cut(columns, 1))


def _cut(columns: Sequence[Tracked], block: Block) -> list[list[Tracked]]:
    cuts = blocks_of(columns[0].value.shape[-1], block)
    return [[Tracked(c.value[..., at], c.error[..., at]) for c in columns] for at in cuts]


def _joined(blocks: Sequence[Tracked], along: int) -> Tracked:
    values = torch.cat(_alike([b.value for b in blocks]), along)
    return Tracked(values, torch.cat(_alike([b.error for b in blocks]), along))
