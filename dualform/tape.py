"""Reverse-mode differentiation of error-tracking tensors.

The gradient of a scalar is computed by the same adjoint products that autograd forms, each with its
rounding bound, so that a statement about gradients can be compared under a derived bound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dualform.rounding import Tracked

Pullback = Callable[[Tracked], Tracked]


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A matrix that depends on the variable: its value, and how cotangents flow back."""

    value: Tracked
    parents: tuple[tuple[Node, Pullback], ...] = ()

    @property
    def T(self) -> Node:
        """The transpose."""
        return Node(self.value.T, ((self, lambda c: c.T),))

    def __matmul__(self, other: Node | Tracked) -> Node:
        b = value_of(other)
        parents: tuple[tuple[Node, Pullback], ...] = ((self, lambda c: c @ b.T),)
        if isinstance(other, Node):
            parents += ((other, lambda c: self.value.T @ c),)
        return Node(self.value @ b, parents)

    def __rmatmul__(self, other: Tracked) -> Node:
        return Node(other @ self.value, ((self, lambda c: other.T @ c),))

    def __add__(self, other: Node | Tracked) -> Node:
        return self._sum(other, self.value + value_of(other), lambda c: c)

    def __radd__(self, other: Tracked) -> Node:
        return Node(other + self.value, ((self, lambda c: c),))

    def __sub__(self, other: Node | Tracked) -> Node:
        return self._sum(other, self.value - value_of(other), lambda c: -c)

    def __rsub__(self, other: Tracked) -> Node:
        return Node(other - self.value, ((self, lambda c: -c),))

    def __neg__(self) -> Node:
        return Node(-self.value, ((self, lambda c: -c),))

    def _sum(self, other: Node | Tracked, value: Tracked, back: Pullback) -> Node:
        parents: tuple[tuple[Node, Pullback], ...] = ((self, lambda c: c),)
        if isinstance(other, Node):
            parents += ((other, back),)
        return Node(value, parents)


@dataclass(frozen=True, slots=True)
class Cost:
    """A scalar, as the cotangents that it sends to the matrices it depends on."""

    sends: tuple[tuple[Node, Tracked], ...] = ()

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.sends + other.sends)

    def __neg__(self) -> Cost:
        return Cost(tuple((node, -c) for node, c in self.sends))

    def __sub__(self, other: Cost) -> Cost:
        return self + (-other)

    def scaled(self, c: Tracked) -> Cost:
        """c times the scalar, c [..., 1, 1] being data."""
        return Cost(tuple((node, c.times(cotangent)) for node, cotangent in self.sends))


def value_of(a: Node | Tracked) -> Tracked:
    """The tensor without its history."""
    return a.value if isinstance(a, Node) else a


def send(a: Node | Tracked, cotangent: Tracked) -> Cost:
    """The cost that sends `cotangent` to `a`, if `a` depends on the variable."""
    return Cost(((a, cotangent),)) if isinstance(a, Node) else Cost()


def gradient(f: Callable[[Node], Cost], at: Tracked) -> Tracked:
    """The gradient of `f` at a matrix [..., r, c], with its rounding bound."""
    root = Node(at)
    arrived: list[Tracked] = []

    def flow(node: Node, cotangent: Tracked) -> None:
        if node is root:
            arrived.append(cotangent)
        for parent, pull in node.parents:
            flow(parent, pull(cotangent))

    for node, cotangent in f(root).sends:
        flow(node, cotangent)
    if not arrived:
        return Tracked(at.value.new_zeros(at.value.shape))
    total = arrived[0]
    for other in arrived[1:]:
        total = total + other
    return total
