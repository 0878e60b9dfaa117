"""A statement's tree: nodes with shapes, checked while they are built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from proofs.statements import Statement

Kind = Literal[
    "symbol",
    "zero",
    "identity",
    "ones",
    "sum",
    "negative",
    "product",
    "transpose",
    "hcat",
    "vcat",
    "scale",
    "diag",
    "times",
    "khatri_rao",
    "causal",
    "exp",
    "activation",
    "inverse",
    "trace",
    "gradient",
    "output_gradient",
    "inner",
    "half_square",
    "weighted_square",
    "loss",
    "fold",
]
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


def shape_words(shape: Shape) -> str:
    """Rows x columns, as an error prints them."""
    rows, columns = ("+".join(d) or "0" for d in shape)
    return f"{rows} x {columns}"


def fit(ok: bool, what: str, a: Term, b: Term) -> None:
    """Refuse shapes that do not fit.

    Raises:
        ShapeError: with both shapes, unless `ok`.
    """
    if not ok:
        raise ShapeError(
            f"expected shapes that fit in {what}, got {shape_words(a.shape)} and "
            f"{shape_words(b.shape)}; check transposes and outer products"
        )


@dataclass(frozen=True, slots=True)
class Term:
    """A node; `shape` is (rows, columns) as sums of size names, SCALAR for scalars.

    `name` is that of a symbol. A gradient's arguments are (bound symbol, body, at). Those of a fold
    with m states are m state symbols, m steps, m starts, then (block symbol, columns) pairs; its
    name "i/m" says that it stands for the last value of state i.
    """

    kind: Kind
    args: tuple[Term, ...]
    shape: Shape
    name: str = ""

    @property
    def T(self) -> Term:
        """The transpose.

        Raises:
            ShapeError: for a scalar.
        """
        if self.is_scalar:
            raise ShapeError("expected a matrix to transpose, got a scalar")
        return Term("transpose", (self,), (self.shape[1], self.shape[0]))

    @property
    def is_scalar(self) -> bool:
        """Whether the node is a number, as losses are."""
        return self.kind in ("inner", "half_square", "weighted_square", "loss") or (
            self.kind in ("sum", "negative", "scale") and self.args[-1].is_scalar
        )

    def __matmul__(self, other: Term) -> Term:
        fit(not (self.is_scalar or other.is_scalar), "a product", self, other)
        fit(self.shape[1] == other.shape[0], "a product", self, other)
        return Term("product", (self, other), (self.shape[0], other.shape[1]))

    def __add__(self, other: Term) -> Term:
        fit(self.is_scalar == other.is_scalar, "a sum", self, other)
        fit(self.shape == other.shape, "a sum", self, other)
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
    bad = [name for name in names if name.startswith(".") or "*" in name]
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
    return substitute_all(term, {old: new})


def substitute_all(term: Term, new: Mapping[Term, Term]) -> Term:
    """`term` with several terms replaced at once; each has the shape of what stands for it."""
    if term in new:
        return new[term]
    return Term(term.kind, tuple(substitute_all(a, new) for a in term.args), term.shape, term.name)
