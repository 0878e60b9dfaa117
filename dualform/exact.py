"""Rational matrices: the slow, obvious twin in which no rounding happens.

Gradients come from a five-point difference, which is exact for polynomials of degree four or less;
no rule of calculus is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from torch import Tensor

from dualform.ops import Block, blocks_of


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

    def scale(self, c: Exact, a: Exact) -> Exact:
        """c A."""
        _alike(c.shape == (1, 1), "a scalar times a matrix", c, a)
        return _matrix(a.shape, lambda i, j: c.rows[0][0] * a.rows[i][j])

    def zeros_like(self, a: Exact) -> Exact:
        """Zeros of A's shape."""
        return _matrix(a.shape, lambda i, j: Fraction(0))

    def inner(self, a: Exact, b: Exact) -> Fraction:
        """tr(A^T B)."""
        _alike(a.shape == b.shape, "an inner product", a, b)
        return sum((x * y for x, y in zip(_entries(a), _entries(b), strict=True)), Fraction(0))

    def half_square(self, a: Exact) -> Fraction:
        """tr(A^T A) / 2."""
        return self.inner(a, a) / 2

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

    def _walk(
        self, step: Callable[..., Exact], start: Exact, columns: Sequence[Exact]
    ) -> list[tuple[Exact, list[Exact]]]:
        states: list[tuple[Exact, list[Exact]]] = []
        state = start
        for at in blocks_of(columns[0].shape[1], self.block):
            width = at.stop - at.start
            block = [Exact(tuple(row[at] for row in c.rows), (c.shape[0], width)) for c in columns]
            states.append((state, block))
            state = step(state, *block)
        return [*states, (state, [])]

    def fold(self, step: Callable[..., Exact], start: Exact, *columns: Exact) -> Exact:
        """The last state of the recurrence."""
        return self._walk(step, start, columns)[-1][0]

    def collect(
        self,
        column: Callable[..., Exact],
        step: Callable[..., Exact],
        start: Exact,
        *columns: Exact,
    ) -> Exact:
        """What `column` gives at every step, side by side."""
        *walked, _ = self._walk(step, start, columns)
        none = Exact(tuple(() for _ in start.rows), (start.shape[0], 0))
        return self.hcat(none, *(column(s, *b) for s, b in walked))
