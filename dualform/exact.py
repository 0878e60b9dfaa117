"""Rational matrices: the slow, obvious twin in which no rounding happens.

Gradients come from a five-point difference, which is exact for polynomials of degree four or less;
no rule of calculus is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from torch import Tensor

from dualform.ops import Block, States, blocks_of, walk


@dataclass(frozen=True, slots=True)
class Exact:
    """A matrix of fractions with its shape, either size possibly 0."""

    rows: tuple[tuple[Fraction, ...], ...]
    shape: tuple[int, int]

    @property
    def T(self) -> Exact:
        """The transpose."""
        r, c = self.shape
        return Exact(tuple(tuple(self.rows[i][j] for i in range(r)) for j in range(c)), (c, r))

    def __matmul__(self, other: Exact) -> Exact:
        (r, k), (_, c) = self.shape, other.shape
        _alike(k == other.shape[0], "a product", self, other)
        return _matrix(
            (r, c),
            lambda i, j: sum((self.rows[i][x] * other.rows[x][j] for x in range(k)), Fraction(0)),
        )

    def __add__(self, other: Exact) -> Exact:
        _alike(self.shape == other.shape, "a sum", self, other)
        return _matrix(self.shape, lambda i, j: self.rows[i][j] + other.rows[i][j])

    def __sub__(self, other: Exact) -> Exact:
        _alike(self.shape == other.shape, "a difference", self, other)
        return _matrix(self.shape, lambda i, j: self.rows[i][j] - other.rows[i][j])

    def __neg__(self) -> Exact:
        return _matrix(self.shape, lambda i, j: -self.rows[i][j])


def _alike(fits: bool, what: str, *matrices: Exact) -> None:
    """Refuse matrices that do not fit.

    Raises:
        ValueError: naming the operation and the shapes.
    """
    if not fits:
        got = ", ".join(str(m.shape) for m in matrices)
        raise ValueError(f"expected shapes that fit in {what}, got {got}")


def _matrix(shape: tuple[int, int], entry: Callable[[int, int], Fraction]) -> Exact:
    r, c = shape
    return Exact(tuple(tuple(entry(i, j) for j in range(c)) for i in range(r)), shape)


def exact(value: Tensor) -> Exact:
    """The very numbers of a finite tensor [r, c]."""
    r, c = value.shape
    return _matrix((r, c), lambda i, j: Fraction(float(value[i, j])))


class CubicLoss:
    """sum of y^3 - t y, as `dualform.losses.cubic`, with its gradient 3 y^2 - t written out."""

    @staticmethod
    def value(outputs: Exact, targets: Exact) -> Fraction:
        """The scalar."""
        pairs = zip(_entries(outputs), _entries(targets), strict=True)
        return sum((y**3 - t * y for y, t in pairs), Fraction(0))

    @staticmethod
    def gradient(outputs: Exact, targets: Exact) -> Exact:
        """The partial derivatives in the outputs."""
        return _matrix(outputs.shape, lambda i, j: 3 * outputs.rows[i][j] ** 2 - targets.rows[i][j])


def _entries(a: Exact) -> list[Fraction]:
    return [x for row in a.rows for x in row]


@dataclass(frozen=True, slots=True)
class ExactOps:
    """The vocabulary of the catalogue on rational matrices."""

    block: Block = 1

    def hcat(self, *blocks: Exact) -> Exact:
        """Blocks side by side."""
        _alike(len({b.shape[0] for b in blocks}) == 1, "blocks side by side", *blocks)
        r, c = blocks[0].shape[0], sum(b.shape[1] for b in blocks)
        return Exact(tuple(tuple(x for b in blocks for x in b.rows[i]) for i in range(r)), (r, c))

    def scale(self, c: Exact, a: Any) -> Any:
        """c A for a matrix or a scalar."""
        if isinstance(a, Fraction):
            return c.rows[0][0] * a
        _alike(c.shape == (1, 1), "a scalar times a matrix", c, a)
        return _matrix(a.shape, lambda i, j: c.rows[0][0] * a.rows[i][j])

    def vcat(self, *blocks: Exact) -> Exact:
        """Blocks over each other."""
        return self.hcat(*(b.T for b in blocks)).T

    def zeros_like(self, a: Exact) -> Exact:
        """Zeros of A's shape."""
        return _matrix(a.shape, lambda i, j: Fraction(0))

    def empty(self, a: Exact) -> Exact:
        """A's rows, no columns."""
        return Exact(tuple(() for _ in a.rows), (a.shape[0], 0))

    def identity(self, a: Exact) -> Exact:
        """I."""
        return _matrix((a.shape[0], a.shape[0]), lambda i, j: Fraction(i == j))

    def ones(self, a: Exact) -> Exact:
        """A row of ones."""
        return _matrix((1, a.shape[1]), lambda i, j: Fraction(1))

    def diag(self, a: Exact) -> Exact:
        """The diagonal matrix of a column."""
        r = a.shape[0]
        return _matrix((r, r), lambda i, j: a.rows[i][0] if i == j else Fraction(0))

    def times(self, a: Exact, b: Exact) -> Exact:
        """The entry-wise product."""
        _alike(a.shape == b.shape, "an entry-wise product", a, b)
        return _matrix(a.shape, lambda i, j: a.rows[i][j] * b.rows[i][j])

    def khatri_rao(self, a: Exact, b: Exact) -> Exact:
        """The column-wise Kronecker product."""
        _alike(a.shape[1] == b.shape[1], "a column-wise Kronecker product", a, b)
        s = b.shape[0]
        shape = (a.shape[0] * s, a.shape[1])
        return _matrix(shape, lambda i, j: a.rows[i // s][j] * b.rows[i % s][j])

    def causal(self, a: Exact) -> Exact:
        """Entries (s, t) with s <= t."""
        return _matrix(a.shape, lambda s, t: a.rows[s][t] if s <= t else Fraction(0))

    def exp(self, a: Exact) -> Exact:
        """2^x on integers, which has the functional equation of exp and is rational.

        Raises:
            ValueError: for what is no integer.
        """
        if any(x.denominator != 1 for x in _entries(a)):
            raise ValueError("expected integers as exponents, got fractions; draw integers")
        return _matrix(a.shape, lambda i, j: Fraction(2) ** int(a.rows[i][j]))

    def activation(self, a: Exact) -> Exact:
        """The positive part."""
        return _matrix(a.shape, lambda i, j: max(a.rows[i][j], Fraction(0)))

    def inverse(self, a: Exact) -> Exact:
        """Gauss-Jordan elimination.

        Raises:
            ZeroDivisionError: for a singular matrix.
        """
        n = a.shape[0]
        rows = [[*row, *(Fraction(i == j) for j in range(n))] for i, row in enumerate(a.rows)]
        for j in range(n):
            pivot = next((i for i in range(j, n) if rows[i][j] != 0), None)
            if pivot is None:
                raise ZeroDivisionError("expected a matrix with an inverse, got a singular one")
            rows[j], rows[pivot] = rows[pivot], rows[j]
            rows[j] = [x / rows[j][j] for x in rows[j]]
            for i in (i for i in range(n) if i != j):
                factor = rows[i][j]
                rows[i] = [x - factor * y for x, y in zip(rows[i], rows[j], strict=True)]
        return Exact(tuple(tuple(row[n:]) for row in rows), (n, n))

    def trace(self, a: Exact) -> Exact:
        """1 x 1."""
        total = sum((a.rows[i][i] for i in range(a.shape[0])), Fraction(0))
        return Exact(((total,),), (1, 1))

    def inner(self, a: Exact, b: Exact) -> Fraction:
        """tr(A^T B)."""
        _alike(a.shape == b.shape, "an inner product", a, b)
        return sum((x * y for x, y in zip(_entries(a), _entries(b), strict=True)), Fraction(0))

    def half_square(self, a: Exact, weights: Exact | None = None) -> Fraction:
        """tr(A^T A) / 2, or with weights."""
        return self.inner(a if weights is None else a @ self.diag(weights), a) / 2

    def loss(self, outputs: Exact, targets: Exact) -> Fraction:
        """The cubic loss."""
        _alike(outputs.shape == targets.shape, "outputs and targets", outputs, targets)
        return CubicLoss.value(outputs, targets)

    def output_gradient(self, outputs: Exact, targets: Exact) -> Exact:
        """Its gradient in the outputs."""
        return CubicLoss.gradient(outputs, targets)

    def grad(self, f: Callable[[Exact], Fraction], at: Exact) -> Exact:
        """(f(-2) - 8 f(-1) + 8 f(1) - f(2)) / 12 along every entry."""

        def moved(i: int, j: int, by: int) -> Fraction:
            return f(_matrix(at.shape, lambda a, b: at.rows[a][b] + by * ((a, b) == (i, j))))

        return _matrix(
            at.shape,
            lambda i, j: (
                (moved(i, j, -2) - 8 * moved(i, j, -1) + 8 * moved(i, j, 1) - moved(i, j, 2)) / 12
            ),
        )

    def fold(
        self, step: Callable[..., States[Exact]], start: States[Exact], *columns: Exact
    ) -> States[Exact]:
        """The last states of a recurrence over blocks of columns."""
        return walk(step, start, _cut(columns, self.block))

    def scan(
        self, step: Callable[..., States[Exact]], start: States[Exact], *columns: Exact
    ) -> States[Exact]:
        """The last states of a recurrence over single columns."""
        return walk(step, start, _cut(columns, 1))


def _cut(columns: Sequence[Exact], block: Block) -> list[list[Exact]]:
    return [
        [Exact(tuple(row[at] for row in c.rows), (c.shape[0], at.stop - at.start)) for c in columns]
        for at in blocks_of(columns[0].shape[1], block)
    ]
