"""Exact values of trees at random integers: a judge of steps that uses no rule and no SymPy.

Two different rational functions of the variables agree at random integers with small probability
(Schwartz 1980; Zippel 1979), so agreement at several draws of sizes and integers is evidence, for
those sizes; disagreement is proof. Here exp is 2^x on integers, which has its functional equation;
an activation is a function without structure; the loss is the sum of y^3 - t y; gradients are
five-point differences, exact for polynomials of degree four or less.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from proofs.terms import Dim, Term, components, contains

Rows = list[list[Fraction]]
Scalar = Fraction
LARGEST, REACH = 3, 3  # sizes and integers of most points; some have larger ones
WIDE_SIZES, WIDE_REACH = 5, 10**4


class NotEvaluated(ArithmeticError):
    """A value does not exist at these integers, or is not rational."""


def size_names(dims: Dim) -> list[str]:
    """The names of sizes in a sum such as n + h*h + 1."""
    return [name for d in dims for name in d.split("*") if name != "1"]


class Point:
    """Sizes and integers drawn with `generator`, drawn once for each size name and symbol."""

    def __init__(
        self, generator: random.Random, largest: int = LARGEST, reach: int = REACH
    ) -> None:
        self.generator, self.largest, self.reach = generator, largest, reach
        self.sizes: dict[str, int] = {}
        self.values: dict[Term, Rows] = {}
        self.cuts: dict[Dim, list[int]] = {}  # the block sizes of every recurrence over n examples
        self.salt = generator.randrange(10**6)

    def size(self, dims: Dim) -> int:
        """A sum of products of sizes as a number."""
        total = 0
        for d in dims:
            product = 1
            for name in size_names((d,)):
                product *= self.sizes.setdefault(name, self.generator.randint(1, self.largest))
            total += product
        return total

    def value(self, term: Term, bound: Mapping[Term, Rows] | None = None) -> Rows:
        """The matrix of `term`; `bound` symbols have the values given.

        Raises:
            NotEvaluated: for a singular inverse, or exp of what is no integer.
        """
        known = bound or {}
        if term in known:
            return known[term]
        if term.kind == "symbol":
            if term not in self.values:
                self.values[term] = self._drawn(*map(self.size, term.shape))
            return self.values[term]
        if term.kind == "fold":
            return self._fold(term, known)
        if term.kind == "gradient":
            return self._gradient(term, known)
        if term.kind in ("zero", "identity", "ones"):
            r, c = map(self.size, term.shape)
            full = Fraction(term.kind == "ones")
            own = Fraction(term.kind != "zero")
            return [[own if i == j else full for j in range(c)] for i in range(r)]
        args = [self.value(a, known) for a in term.args]
        shapes = [(self.size(a.shape[0]), self.size(a.shape[1])) for a in term.args]
        return self._matrix(term.kind, args, shapes)

    def scalar(self, term: Term, bound: Mapping[Term, Rows]) -> Scalar:
        """The number of a scalar tree."""
        kind, args = term.kind, term.args
        if kind == "sum":
            return self.scalar(args[0], bound) + self.scalar(args[1], bound)
        if kind == "negative":
            return -self.scalar(args[0], bound)
        if kind == "scale":
            return self.value(args[0], bound)[0][0] * self.scalar(args[1], bound)
        made = [self.value(a, bound) for a in args]
        pairs = list(zip(_entries(made[0]), _entries(made[-1]), strict=False))
        if kind == "inner":
            return sum((x * y for x, y in pairs), Fraction(0))
        if kind == "loss":
            return sum((x**3 - t * x for x, t in pairs), Fraction(0))
        weights = [w for (w,) in made[1]] if kind == "weighted_square" else None
        total = Fraction(0)
        for row in made[0]:
            for j, x in enumerate(row):
                total += x * x * (1 if weights is None else weights[j])
        return total / 2

    def _drawn(self, r: int, c: int) -> Rows:
        reach = self.reach
        return [
            [Fraction(self.generator.randint(-reach, reach)) for _ in range(c)] for _ in range(r)
        ]

    def _matrix(self, kind: str, args: Sequence[Rows], shapes: Sequence[tuple[int, int]]) -> Rows:
        a, (r, c) = args[0], shapes[0]
        b = args[-1]
        entrywise: dict[str, Callable[[int, int], Fraction]] = {
            "sum": lambda i, j: a[i][j] + b[i][j],
            "times": lambda i, j: a[i][j] * b[i][j],
            "negative": lambda i, j: -a[i][j],
            "causal": lambda i, j: a[i][j] if i <= j else Fraction(0),
            "exp": lambda i, j: _power(a[i][j]),
            "activation": lambda i, j: self._activation(a[i][j]),
            "output_gradient": lambda i, j: 3 * a[i][j] ** 2 - b[i][j],
        }
        if kind in entrywise:
            entry = entrywise[kind]
            return [[entry(i, j) for j in range(c)] for i in range(r)]
        if kind == "scale":
            return [[a[0][0] * x for x in row] for row in b]
        if kind == "product":
            columns = shapes[1][1]
            return [
                [sum((row[x] * b[x][j] for x in range(c)), Fraction(0)) for j in range(columns)]
                for row in a
            ]
        if kind == "transpose":
            return [[a[i][j] for i in range(r)] for j in range(c)]
        if kind == "hcat":
            return [[x for part in args for x in part[i]] for i in range(r)]
        if kind == "vcat":
            return [row for part in args for row in part]
        if kind == "diag":
            return [[a[i][0] if i == j else Fraction(0) for j in range(r)] for i in range(r)]
        if kind == "trace":
            return [[sum((a[i][i] for i in range(r)), Fraction(0))]]
        if kind == "khatri_rao":
            return [[x * y for x, y in zip(p, q, strict=True)] for p in a for q in b]
        if kind == "inverse":
            return _inverted(a)
        raise NotEvaluated(f"expected a matrix of the vocabulary, got {kind}")

    def _activation(self, x: Fraction) -> Fraction:
        return Fraction(random.Random(f"{self.salt}:{x}").randint(-(10**6), 10**6))

    def _fold(self, term: Term, known: Mapping[Term, Rows]) -> Rows:
        index, parts = components(term)
        states = [term.args[i] for i in range(len(parts))]
        values = [self.value(p.start, known) for p in parts]
        columns = [self.value(c, known) for _, c in parts[0].pairs]
        blocks = [b for b, _ in parts[0].pairs]
        single = all(b.shape[1] == ("1",) for b in blocks)
        over = parts[0].pairs[0][1].shape[1]
        n, at = self.size(over), 0
        kept = self.sizes.get(".b")
        for width in [1] * n if single else self._blocks(over, n):
            inside = dict(known) | dict(zip(states, values, strict=True))
            inside |= {
                b: [row[at : at + width] for row in c] for b, c in zip(blocks, columns, strict=True)
            }
            self.sizes[".b"] = width
            inner = _Grown(self, over, at)
            values = [inner.value(p.step, inside) for p in parts]
            at += width
        if kept is None:
            self.sizes.pop(".b", None)
        else:
            self.sizes[".b"] = kept
        return values[index]

    def _blocks(self, over: Dim, n: int) -> list[int]:
        """Random block sizes that add up to n, the same for every recurrence over these."""
        if over not in self.cuts:
            made: list[int] = []
            while sum(made) < n:
                made.append(self.generator.randint(1, n - sum(made)))
            self.cuts[over] = made
        return self.cuts[over]

    def _gradient(self, term: Term, known: Mapping[Term, Rows]) -> Rows:
        bound, body, point = term.args
        at = self.value(point, known)

        def moved(i: int, j: int, by: int) -> Scalar:
            rows = [list(row) for row in at]
            rows[i][j] += by
            return self.scalar(body, {**known, bound: rows})

        return [
            [
                (moved(i, j, -2) - 8 * moved(i, j, -1) + 8 * moved(i, j, 1) - moved(i, j, 2)) / 12
                for j in range(len(row))
            ]
            for i, row in enumerate(at)
        ]


class _Grown(Point):
    """A point inside a recurrence, where the column size n means the columns so far."""

    def __init__(self, outer: Point, over: Dim, so_far: int) -> None:
        self.generator, self.salt, self.cuts = outer.generator, outer.salt, outer.cuts
        self.largest, self.reach = outer.largest, outer.reach
        self.values, self.sizes = outer.values, outer.sizes
        self._n, self._so_far = over, so_far

    def size(self, dims: Dim) -> int:
        """As outside, but for the examples so far."""
        rest = list(dims)
        if all(d in rest for d in self._n):
            for d in self._n:
                rest.remove(d)
            return self._so_far + super().size(tuple(rest))
        return super().size(dims)


def _entries(a: Rows) -> list[Fraction]:
    return [x for row in a for x in row]


def _power(x: Fraction) -> Fraction:
    if x.denominator != 1 or abs(x) > 4000:
        raise NotEvaluated(f"expected a small integer as an exponent, got {x}")
    return Fraction(2) ** int(x)


def _inverted(a: Rows) -> Rows:
    """Gauss-Jordan elimination.

    Raises:
        NotEvaluated: for a singular matrix.
    """
    n = len(a)
    rows = [[*row, *(Fraction(i == j) for j in range(n))] for i, row in enumerate(a)]
    for j in range(n):
        pivot = next((i for i in range(j, n) if rows[i][j] != 0), None)
        if pivot is None:
            raise NotEvaluated("expected a matrix with an inverse, got a singular one")
        rows[j], rows[pivot] = rows[pivot], rows[j]
        rows[j] = [x / rows[j][j] for x in rows[j]]
        for i in range(n):
            if i != j and rows[i][j] != 0:
                rows[i] = [x - rows[i][j] * y for x, y in zip(rows[i], rows[j], strict=True)]
    return [row[n:] for row in rows]


def agree(left: Term, right: Term, seed: int = 0, points: int = 6) -> bool:
    """Whether two trees have one value at `points` random points at which both exist.

    Raises:
        NotEvaluated: when too few points could be found.
    """
    generator, seen = random.Random(seed), 0
    small = any(contains(t, lambda a: a.kind == "exp") for t in (left, right))
    for attempt in range(8 * points):
        try:
            wide = attempt % 3 == 2  # exponents have to stay small
            point = Point(
                generator,
                WIDE_SIZES if wide else LARGEST,
                WIDE_REACH if wide and not small else REACH,
            )
            if point.value(left) != point.value(right):
                return False
        except NotEvaluated:
            continue
        seen += 1
        if seen == points:
            return True
    raise NotEvaluated(f"expected {points} points at which both sides exist, got {seen}")
