"""Statements as typed trees, kept exactly as they were written.

`TermOps` interprets the vocabulary of the catalogue by building trees; shapes are checked while
they are built, so that an ill-typed equation (as eq. 8 of the paper is printed) is refused.
A tree is printed by `proofs.tex`, rewritten by `proofs.rules`, judged by `proofs.symbolic`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from proofs.statements import Statement

Kind = Literal[
    "symbol", "zero", "sum", "negative", "product", "transpose", "hcat", "scale", "gradient",
    "output_gradient", "inner", "half_square", "loss", "fold", "collect",
]  # fmt: skip
Dim = tuple[str, ...]
Shape = tuple[Dim, Dim]
ONE: Dim = ("1",)
SCALAR: Shape = ((), ())
BLOCK: Dim = (".b",)  # the size of a block of examples


class ShapeError(TypeError):
    """An operation's matrices do not fit."""


def dim(name: str) -> Dim:
    """A size: "0" is the empty sum of names."""
    return () if name == "0" else (name,)


def _shape(shape: Shape) -> str:
    rows, columns = ("+".join(d) or "0" for d in shape)
    return f"{rows} x {columns}"


def _fit(ok: bool, what: str, a: Term, b: Term) -> None:
    if not ok:
        raise ShapeError(
            f"expected shapes that fit in {what}, got {_shape(a.shape)} and {_shape(b.shape)}; "
            "check transposes and outer products"
        )


@dataclass(frozen=True, slots=True)
class Term:
    """A node; `shape` is (rows, columns) as sums of size names, SCALAR for scalars.

    `name` is that of a symbol. A gradient's arguments are (bound symbol, body, at); those of fold
    are (state symbol, step, start, (symbol, columns) pairs ...), collect has its column first.
    """

    kind: Kind
    args: tuple[Term, ...]
    shape: Shape
    name: str = ""

    @property
    def T(self) -> Term:
        """The transpose."""
        if self.is_scalar:
            raise ShapeError("expected a matrix to transpose, got a scalar")
        return Term("transpose", (self,), (self.shape[1], self.shape[0]))

    @property
    def is_scalar(self) -> bool:
        """Whether the node is a number, as losses are."""
        return self.kind in ("inner", "half_square", "loss") or (
            self.kind in ("sum", "negative") and self.args[0].is_scalar
        )

    def __matmul__(self, other: Term) -> Term:
        _fit(not (self.is_scalar or other.is_scalar), "a product", self, other)
        _fit(self.shape[1] == other.shape[0], "a product", self, other)
        return Term("product", (self, other), (self.shape[0], other.shape[1]))

    def __add__(self, other: Term) -> Term:
        _fit(self.is_scalar == other.is_scalar, "a sum", self, other)
        _fit(self.shape == other.shape, "a sum", self, other)
        return Term("sum", (self, other), self.shape)

    def __sub__(self, other: Term) -> Term:
        return self + (-other)

    def __neg__(self) -> Term:
        return Term("negative", (self,), self.shape)


def symbol(name: str, rows: Dim, columns: Dim) -> Term:
    """A matrix symbol of symbolic size."""
    return Term("symbol", (), (rows, columns), name)


def internal(name: str, rows: Dim, columns: Dim) -> Term:
    """A symbol of this package's own; its leading point keeps it apart from any variable."""
    return symbol(f".{name}", rows, columns)


def variables(statement: Statement) -> Mapping[str, Term]:
    """The statement's variables as symbols.

    Raises:
        ShapeError: for a name or size that could be taken for an internal one.
    """
    names = [*statement.variables, *(d for s in statement.variables.values() for d in s)]
    bad = [name for name in names if name.startswith(".")]
    if bad:
        raise ShapeError(f"expected names without a leading point in {statement.id}, got {bad}")
    return {
        name: symbol(name, dim(rows), dim(columns))
        for name, (rows, columns) in statement.variables.items()
    }


def contains(term: Term, wanted: Callable[[Term], bool]) -> bool:
    """Whether the term or any part of it is `wanted`."""
    return wanted(term) or any(contains(a, wanted) for a in term.args)


def substitute(term: Term, old: Term, new: Term) -> Term:
    """`term` with every occurrence of `old` replaced; `new` has the same shape."""
    if term == old:
        return new
    return Term(term.kind, tuple(substitute(a, old, new) for a in term.args), term.shape, term.name)


class TermOps:
    """Builds trees."""

    @staticmethod
    def _matrices(*terms: Term) -> None:
        if any(t.is_scalar for t in terms):
            raise ShapeError("expected matrices, got a scalar; only sums and signs take scalars")

    def hcat(self, *blocks: Term) -> Term:
        """Blocks side by side."""
        self._matrices(*blocks)
        for other in blocks[1:]:
            _fit(blocks[0].shape[0] == other.shape[0], "side by side", blocks[0], other)
        columns = tuple(sorted(d for b in blocks for d in b.shape[1]))
        return Term("hcat", blocks, (blocks[0].shape[0], columns))

    def scale(self, c: Term, a: Term) -> Term:
        """c A."""
        _fit(c.shape == (ONE, ONE), "a scalar times a matrix", c, a)
        return Term("scale", (c, a), a.shape)

    def zeros_like(self, a: Term) -> Term:
        """The zero matrix of A's shape."""
        self._matrices(a)
        return Term("zero", (), a.shape)

    def inner(self, a: Term, b: Term) -> Term:
        """<A, B>."""
        self._matrices(a, b)
        _fit(a.shape == b.shape, "an inner product", a, b)
        return Term("inner", (a, b), SCALAR)

    def half_square(self, a: Term) -> Term:
        """|A|^2 / 2."""
        self._matrices(a)
        return Term("half_square", (a,), SCALAR)

    def loss(self, outputs: Term, targets: Term) -> Term:
        """l(Y; T)."""
        _fit(outputs.shape == targets.shape, "outputs and targets", outputs, targets)
        return Term("loss", (outputs, targets), SCALAR)

    def output_gradient(self, outputs: Term, targets: Term) -> Term:
        """The gradient of l(Y; T) in Y."""
        _fit(outputs.shape == targets.shape, "outputs and targets", outputs, targets)
        return Term("output_gradient", (outputs, targets), outputs.shape)

    def grad(self, f: Callable[[Term], Term], at: Term) -> Term:
        """The gradient of f, kept as such."""
        bound = internal("U", *at.shape)
        body = f(bound)
        if not body.is_scalar:
            raise ShapeError(f"expected a scalar function, got {_shape(body.shape)}")
        return Term("gradient", (bound, body, at), at.shape)

    def _blocks(self, start: Term, columns: tuple[Term, ...]) -> tuple[Term, tuple[Term, ...]]:
        state = internal("S", *start.shape)
        block = tuple(internal(f"{c.name.lower()}_t", c.shape[0], BLOCK) for c in columns)
        return state, block

    def fold(self, step: Callable[..., Any], start: Term, *columns: Term) -> Term:
        """The recurrence, kept as such."""
        state, block = self._blocks(start, columns)
        pairs = tuple(x for pair in zip(block, columns, strict=True) for x in pair)
        return Term("fold", (state, step(state, *block), start, *pairs), start.shape)

    def collect(
        self, column: Callable[..., Any], step: Callable[..., Any], start: Term, *columns: Term
    ) -> Term:
        """The columns along a recurrence, kept as such."""
        state, block = self._blocks(start, columns)
        pairs = tuple(x for pair in zip(block, columns, strict=True) for x in pair)
        made = column(state, *block)
        shape = (made.shape[0], columns[0].shape[1])
        return Term("collect", (made, state, step(state, *block), start, *pairs), shape)
