"""The vocabulary of the catalogue, interpreted by building trees."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from proofs.statements import States, Step
from proofs.terms.recurrences import recurrence
from proofs.terms.term import (
    BLOCK,
    ONE,
    SCALAR,
    Dim,
    ShapeError,
    Term,
    contains,
    fit,
    internal,
    shape_words,
)


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
            fit(blocks[0].shape[0] == other.shape[0], "side by side", blocks[0], other)
        columns = tuple(sorted(d for b in blocks for d in b.shape[1]))
        return Term("hcat", blocks, (blocks[0].shape[0], columns))

    def vcat(self, *blocks: Term) -> Term:
        """Blocks over each other."""
        self._matrices(*blocks)
        for other in blocks[1:]:
            fit(blocks[0].shape[1] == other.shape[1], "over each other", blocks[0], other)
        rows = tuple(sorted(d for b in blocks for d in b.shape[0]))
        return Term("vcat", blocks, (rows, blocks[0].shape[1]))

    def scale(self, c: Term, a: Term) -> Term:
        """c A."""
        fit(c.shape == (ONE, ONE), "a scalar times a matrix", c, a)
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
        fit(a.shape[1] == ONE and not a.is_scalar, "a diagonal (of a column)", a, a)
        return Term("diag", (a,), (a.shape[0], a.shape[0]))

    def times(self, a: Term, b: Term) -> Term:
        """The entry-wise product."""
        self._matrices(a, b)
        fit(a.shape == b.shape, "an entry-wise product", a, b)
        return Term("times", (a, b), a.shape)

    def khatri_rao(self, a: Term, b: Term) -> Term:
        """The column-wise Kronecker product; its rows are written "r*s"."""
        self._matrices(a, b)
        fit(a.shape[1] == b.shape[1], "a column-wise Kronecker product", a, b)
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
        fit(a.shape[0] == a.shape[1], f"{what} (square)", a, a)

    def inner(self, a: Term, b: Term) -> Term:
        """<A, B>."""
        self._matrices(a, b)
        fit(a.shape == b.shape, "an inner product", a, b)
        return Term("inner", (a, b), SCALAR)

    def half_square(self, a: Term, weights: Term | None = None) -> Term:
        """|A|^2 / 2, or tr(A diag(w) A^T) / 2."""
        self._matrices(a)
        if weights is None:
            return Term("half_square", (a,), SCALAR)
        fit(weights.shape == (a.shape[1], ONE), "a column of weights", a, weights)
        return Term("weighted_square", (a, weights), SCALAR)

    def loss(self, outputs: Term, targets: Term) -> Term:
        """l(Y; T)."""
        fit(outputs.shape == targets.shape, "outputs and targets", outputs, targets)
        return Term("loss", (outputs, targets), SCALAR)

    def output_gradient(self, outputs: Term, targets: Term) -> Term:
        """The gradient of l(Y; T) in Y."""
        fit(outputs.shape == targets.shape, "outputs and targets", outputs, targets)
        return Term("output_gradient", (outputs, targets), outputs.shape)

    def grad(self, f: Callable[[Term], Term], at: Term) -> Term:
        """The gradient of f, kept as such.

        Raises:
            ShapeError: for a function whose value is no scalar, or that takes a gradient itself.
        """
        bound = internal("U", *at.shape)
        body = f(bound)
        if not body.is_scalar:
            raise ShapeError(f"expected a scalar function, got {shape_words(body.shape)}")
        if contains(body, lambda t: t.kind == "gradient"):
            raise ShapeError("expected a scalar without a gradient in it, got a nested one")
        return Term("gradient", (bound, body, at), at.shape)

    def fold(self, step: Step, start: States, *columns: Term) -> Mapping[str, Term]:
        """The recurrence over blocks, kept as such."""
        return recurrence(step, start, columns, BLOCK)

    def scan(self, step: Step, start: States, *columns: Term) -> Mapping[str, Term]:
        """The recurrence over single columns, kept as such."""
        return recurrence(step, start, columns, ONE)


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
