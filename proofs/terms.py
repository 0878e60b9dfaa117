"""Statements as typed trees, kept exactly as they were written.

`TermOps` interprets the vocabulary of the catalogue by building trees; shapes are checked while
they are built, so that an ill-typed equation (as eq. 8 of the paper is printed) is refused.
A tree is printed by `proofs.tex`, rewritten by `proofs.rules`, judged by `proofs.symbolic`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from proofs.statements import Statement, States, Step

Kind = Literal[
    "symbol", "zero", "identity", "ones", "sum", "negative", "product", "transpose", "hcat", "vcat",
    "scale", "diag", "times", "khatri_rao", "causal", "exp", "activation", "inverse", "trace",
    "gradient", "output_gradient", "inner", "half_square", "weighted_square", "loss", "fold",
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
        """The transpose."""
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


def rebuild(term: Term, new: Mapping[Term, Term], over: Dim, columns: Term) -> Term:
    """`term` built again with parts replaced whose width `over` is another now.

    `columns` is a matrix of that other width: a row of ones over all examples is one over its
    columns.

    Raises:
        ShapeError: for a node that depends on the examples in another way.
    """
    if term in new:
        return new[term]
    if not term.args:
        if not set(over) & {*term.shape[0], *term.shape[1]}:
            return term
        if term.kind == "ones":
            return TermOps().ones(columns)
        raise ShapeError(f"expected a closed form without {term.kind} over all examples")
    args = [rebuild(a, new, over, columns) for a in term.args]
    plain: dict[str, Callable[[], Term]] = {
        "sum": lambda: args[0] + args[1],
        "negative": lambda: -args[0],
        "product": lambda: args[0] @ args[1],
        "transpose": lambda: args[0].T,
    }
    if term.kind in plain:
        return plain[term.kind]()
    if term.kind in ("gradient", "fold", "half_square", "weighted_square", "inner", "loss"):
        raise ShapeError(f"expected a closed form of matrix algebra, got {term.kind}")
    made: Term = getattr(TermOps(), term.kind)(*args)
    return made


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

    def vcat(self, *blocks: Term) -> Term:
        """Blocks over each other."""
        self._matrices(*blocks)
        for other in blocks[1:]:
            _fit(blocks[0].shape[1] == other.shape[1], "over each other", blocks[0], other)
        rows = tuple(sorted(d for b in blocks for d in b.shape[0]))
        return Term("vcat", blocks, (rows, blocks[0].shape[1]))

    def scale(self, c: Term, a: Term) -> Term:
        """c A."""
        _fit(c.shape == (ONE, ONE), "a scalar times a matrix", c, a)
        return Term("scale", (c, a), a.shape)

    def zeros_like(self, a: Term) -> Term:
        """The zero matrix of A's shape."""
        self._matrices(a)
        return Term("zero", (), a.shape)

    def empty(self, a: Term) -> Term:
        """The matrix with A's rows and no columns."""
        self._matrices(a)
        return Term("zero", (), (a.shape[0], ()))

    def identity(self, a: Term) -> Term:
        """The identity of as many rows as A has."""
        self._matrices(a)
        return Term("identity", (), (a.shape[0], a.shape[0]))

    def ones(self, a: Term) -> Term:
        """A row of ones; over blocks side by side it is made of as many blocks."""
        self._matrices(a)
        if a.kind == "hcat":
            return self.hcat(*map(self.ones, a.args))
        if a.kind in ("product", "exp", "activation", "negative", "sum"):
            return self.ones(a.args[-1])  # which has the same columns
        return Term("ones", (), (ONE, a.shape[1]))

    def diag(self, a: Term) -> Term:
        """The diagonal matrix of a column."""
        _fit(a.shape[1] == ONE and not a.is_scalar, "a diagonal (of a column)", a, a)
        return Term("diag", (a,), (a.shape[0], a.shape[0]))

    def times(self, a: Term, b: Term) -> Term:
        """The entry-wise product."""
        self._matrices(a, b)
        _fit(a.shape == b.shape, "an entry-wise product", a, b)
        return Term("times", (a, b), a.shape)

    def khatri_rao(self, a: Term, b: Term) -> Term:
        """The column-wise Kronecker product; its rows are written "r*s"."""
        self._matrices(a, b)
        _fit(a.shape[1] == b.shape[1], "a column-wise Kronecker product", a, b)
        rows = tuple(sorted(f"{r}*{s}" for r in a.shape[0] for s in b.shape[0]))
        return Term("khatri_rao", (a, b), (rows, a.shape[1]))

    def causal(self, a: Term) -> Term:
        """Entries (s, t) with s <= t of a square matrix."""
        self._square(a, "a causal mask")
        return Term("causal", (a,), a.shape)

    def exp(self, a: Term) -> Term:
        """exp, entry by entry."""
        self._matrices(a)
        return Term("exp", (a,), a.shape)

    def activation(self, a: Term) -> Term:
        """Any function, entry by entry."""
        self._matrices(a)
        return Term("activation", (a,), a.shape)

    def inverse(self, a: Term) -> Term:
        """The inverse of a square matrix."""
        self._square(a, "an inverse")
        return Term("inverse", (a,), a.shape)

    def trace(self, a: Term) -> Term:
        """The trace as a 1 x 1 matrix."""
        self._square(a, "a trace")
        return Term("trace", (a,), (ONE, ONE))

    def _square(self, a: Term, what: str) -> None:
        self._matrices(a)
        _fit(a.shape[0] == a.shape[1], f"{what} (square)", a, a)

    def inner(self, a: Term, b: Term) -> Term:
        """<A, B>."""
        self._matrices(a, b)
        _fit(a.shape == b.shape, "an inner product", a, b)
        return Term("inner", (a, b), SCALAR)

    def half_square(self, a: Term, weights: Term | None = None) -> Term:
        """|A|^2 / 2, or tr(A diag(w) A^T) / 2."""
        self._matrices(a)
        if weights is None:
            return Term("half_square", (a,), SCALAR)
        _fit(weights.shape == (a.shape[1], ONE), "a column of weights", a, weights)
        return Term("weighted_square", (a, weights), SCALAR)

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
        if contains(body, lambda t: t.kind == "gradient"):
            raise ShapeError("expected a scalar without a gradient in it, got a nested one")
        return Term("gradient", (bound, body, at), at.shape)

    def fold(self, step: Step, start: States, *columns: Term) -> Mapping[str, Term]:
        """The recurrence over blocks, kept as such."""
        return _recurrence(step, start, columns, BLOCK)

    def scan(self, step: Step, start: States, *columns: Term) -> Mapping[str, Term]:
        """The recurrence over single columns, kept as such."""
        return _recurrence(step, start, columns, ONE)


def grows(start: Term) -> bool:
    """Whether a state that starts so grows by the block's width in every step."""
    return start.shape[1] == ()


def _recurrence(
    step: Step, start: States, columns: tuple[Term, ...], width: Dim
) -> Mapping[str, Term]:
    n = columns[0].shape[1]
    for c in columns:
        _fit(c.shape[1] == n and c.kind in ("symbol", "hcat"), "a recurrence", columns[0], c)
    names = [_letter(c).lower() for c in columns]
    _apart(list(start), names)
    blocks = tuple(
        internal(f"{a}_t", c.shape[0], width) for a, c in zip(names, columns, strict=True)
    )
    states = {
        name: internal(name, s.shape[0], n if grows(s) else s.shape[1]) for name, s in start.items()
    }
    after = step(states, *blocks)
    if list(after) != list(start):
        raise ShapeError(f"expected a step that gives {list(start)}, got {list(after)}")
    if any(contains(after[name], lambda t: t.kind == "fold") for name in start):
        raise ShapeError("expected a step without a recurrence in it, got a nested one")
    for name, s in start.items():
        more = width if grows(s) else ()
        wanted = (s.shape[0], tuple(sorted((*states[name].shape[1], *more))))
        if after[name].shape != wanted:
            raise ShapeError(
                f"expected the state {name} to be {_shape(wanted)} after a step, "
                f"got {_shape(after[name].shape)}"
            )
    pairs = tuple(x for pair in zip(blocks, columns, strict=True) for x in pair)
    args = (*states.values(), *after.values(), *start.values(), *pairs)
    return {
        name: Term("fold", args, states[name].shape, f"{i}/{len(start)}")
        for i, name in enumerate(start)
    }


def _apart(states: list[str], blocks: list[str]) -> None:
    """Refuse names that could be taken for each other, or for a bound variable.

    Raises:
        ShapeError: for a state that is no single letter other than U, or a name that comes twice.
    """
    if any(len(s) != 1 or s == "U" for s in states):
        raise ShapeError(f"expected states called by single letters other than U, got {states}")
    if len({*states, *blocks}) < len(states) + len(blocks) or any(b.endswith("_n") for b in blocks):
        raise ShapeError(f"expected states {states} and blocks {blocks} with names of their own")


def _letter(columns: Term) -> str:
    """A name for the blocks of a matrix: its own, or that of its first part."""
    return columns.name if columns.kind == "symbol" else _letter(columns.args[0])


@dataclass(frozen=True, slots=True)
class Component:
    """What a fold node stands for: state `name`, its step and start, over (block, columns)."""

    name: str
    step: Term
    start: Term
    pairs: tuple[tuple[Term, Term], ...]


def components(fold: Term) -> tuple[int, tuple[Component, ...]]:
    """The index of the state that a fold node stands for, and all states of its recurrence."""
    index, count = map(int, fold.name.split("/"))
    states, steps, starts = (fold.args[i * count : (i + 1) * count] for i in range(3))
    rest = fold.args[3 * count :]
    pairs = tuple(zip(rest[::2], rest[1::2], strict=True))
    made = (
        Component(name=s.name.removeprefix("."), step=after, start=at, pairs=pairs)
        for s, after, at in zip(states, steps, starts, strict=True)
    )
    return index, tuple(made)
