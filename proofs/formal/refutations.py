"""Two sides that differ, shown by Coq at concrete integers: near misses and false claims.

A recurrence is written out one column at a time, each state a definition; gradients are those of
the adjoint rules. An opaque function is one for which numbers can be given: the loss is the sum of
y^3 - t y, an activation is x^2, and exp is 2^x at the integers x >= 0, which has its functional
equation there.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from fractions import Fraction

from proofs.evaluate import LARGEST, NotEvaluated, Point, Rows
from proofs.formal.coq import (
    Lemmas,
    NotFormal,
    Printer,
    carried_out,
    identifier,
    lemma_name,
    parts,
    symbols,
)
from proofs.statements import Side, Statement
from proofs.terms import Dim, Term, TermOps, components, contains, variables as variables_of

_OPS = TermOps()
_DRAWS = 400
_LARGE = 300


class _Small(Point):
    """A point of small integers at which every function is what `Dualform.v` takes for it."""

    def __init__(self, generator: random.Random, largest: int, reach: int = 1) -> None:
        super().__init__(generator)
        self.largest, self.reach = largest, reach

    def size(self, dims: Dim) -> int:
        """Sizes up to `largest`."""
        for d in dims:
            for name in d.split("*"):
                if name != "1":
                    self.sizes.setdefault(name, self.generator.randint(1, self.largest))
        return super().size(dims)

    def value(self, term: Term, bound: Mapping[Term, Rows] | None = None) -> Rows:
        """As any point's, with exp of integers from zero on alone.

        Raises:
            NotEvaluated: for exp of anything else.
        """
        made = super().value(term, bound)
        if any(abs(x) > _LARGE for row in made for x in row):
            raise NotEvaluated(f"expected numbers up to {_LARGE}, as Coq counts in ones here")
        if term.kind == "exp" and any(x.denominator != 1 or x < 1 for row in made for x in row):
            raise NotEvaluated("expected exp of integers from zero on")
        return made

    def _drawn(self, r: int, c: int) -> Rows:
        return [
            [Fraction(self.generator.randint(-self.reach, self.reach)) for _ in range(c)]
            for _ in range(r)
        ]

    def _activation(self, x: Fraction) -> Fraction:
        return x * x

    def _blocks(self, over: Dim, n: int) -> list[int]:
        return [1] * n


def refutation(statement: Statement, right: Side) -> Lemmas:
    """A lemma that the statement's left side is not `right` at some integers.

    Raises:
        NotFormal: when no integers were found, or there is no printed form.
    """
    v = variables_of(statement)
    left_term, right_term = (carried_out(side(_OPS, v)) for side in (statement.lhs, right))
    if any(contains(t, lambda a: a.kind == "khatri_rao") for t in (left_term, right_term)):
        raise NotFormal("a column-wise Kronecker product has no value in Dualform.v")
    point = _found(statement, left_term, right_term)
    return _Refutation(statement, point).lemmas(left_term, right_term)


def _found(statement: Statement, left: Term, right: Term) -> Point:
    """A point at which the sides differ, the smallest of some; a witness where there is one.

    Raises:
        NotFormal: where the sides are equal at all of them.
    """
    if statement.witness is not None:
        return _witness(statement)
    generator = random.Random(0)
    for draw in range(_DRAWS):
        point = _Small(generator, min(LARGEST, 1 + draw // 40), 1 + draw % 2)
        try:
            if point.value(left) != point.value(right):
                return point
        except NotEvaluated:
            continue
    raise NotFormal(f"no integers found at which the sides of {statement.id} differ")


def _witness(statement: Statement) -> Point:
    point = _Small(random.Random(0), 1)
    for name, term in variables_of(statement).items():
        rows = (statement.witness or {})[name]
        point.values[term] = [[Fraction(x) for x in row] for row in rows]
        for dims, size in ((term.shape[0], len(rows)), (term.shape[1], len(rows[0]))):
            if dims and dims != ("1",):
                point.sizes[dims[0]] = size
    return point


class _Refutation:
    """The definitions and the lemma of one refutation."""

    def __init__(self, statement: Statement, point: Point) -> None:
        self.statement, self.point = statement, point
        self.lines: list[str] = []
        self.folds: dict[tuple[Term, ...], list[str]] = {}
        self.ring = "int"
        self.over: set[str] = set()
        self.counter = 0

    def lemmas(self, left: Term, right: Term) -> Lemmas:
        """The module's text and the lemma's name."""
        inverse = any(contains(t, lambda a: a.kind == "inverse") for t in (left, right))
        self.ring = "rat" if inverse else "int"
        suffix = "near_miss" if self.statement.claim == "true" else "false"
        module = f"{lemma_name(self.statement.id)}_{suffix}"
        self._functions((left, right))
        for fold in (f for side in (left, right) for f in parts(side, "fold")):
            self.over |= {d for _, c in components(fold)[1][0].pairs for d in c.shape[1]}
        used = set(symbols((left, right)))
        for term in variables_of(self.statement).values():
            if term in used:
                self._number(term)
        printer = self._printer({}, 0, ())
        sides = [printer.term(side) for side in (left, right)]
        text = [
            f"(* {self.statement.id}: what differs, at integers *)",
            f"Module {module}.",
            *self.lines,
            f"Lemma differs : {sides[0]}",
            f"  <> {sides[1]}.",
            "Proof. different. Qed.",
            f"End {module}.",
        ]
        return Lemmas(text="\n".join(text), names=(f"{module}.differs",))

    def _functions(self, sides: tuple[Term, ...]) -> None:
        def has(kind: str) -> bool:
            return any(contains(t, lambda a: a.kind == kind) for t in sides)

        if has("exp"):
            power = "power_of_two_int" if self.ring == "int" else "power_of_two"
            self.lines.append(f"Definition exp := {power}.")
        if has("activation"):
            self.lines.append(f"Definition activation (x : {self.ring}) := x * x.")
        if has("output_gradient"):
            self.lines.append("Local Notation G := cubic_gradient.")

    def _number(self, term: Term) -> None:
        """A variable's definition."""
        rows = self.point.value(term)
        listed = "; ".join("[:: " + "; ".join(map(_integer, row)) + "]" for row in rows)
        printer = self._printer({}, 0, ())
        r, c = (f"({printer.size(d)})" for d in term.shape)
        kind = printer.matrix_type(term)
        self._define(identifier(term.name), kind, f"mx {r} {c} [:: {listed}]")

    def _define(self, name: str, kind: str, body: str) -> None:
        typed = f"({body} : {kind})"
        self.lines += [
            f"Definition {name} : {kind} := {body}.",
            f"Definition {name}_list := Eval vm_compute in list_of (_ : value {typed} _).",
            f"Global Instance {name}_value : value {name} {name}_list.",
            f"Proof. change (value {typed} {name}_list); evaluate. Qed.",
            f"#[global] Typeclasses Opaque {name}.",
        ]

    def _printer(self, known: Mapping[str, str], so_far: int, over: Dim) -> Printer:
        """A printer where symbols in `known` have those names and `so_far` examples were seen."""

        def size(dims: Dim) -> str:
            made, rest = [], list(dims)
            for name in self.over & set(rest):
                rest.remove(name)
                count = so_far if over == (name,) else self.point.size((name,))
                made.append(_sum_of_ones(count))
            if ".b" in rest:
                rest.remove(".b")
                made.append("1")
            if rest or not made:
                made.append(str(self.point.size(tuple(rest))))
            return " + ".join(made)

        return Printer(
            symbol=lambda t: known.get(t.name, identifier(t.name)),
            size=size,
            fold=self._fold,
            ring=self.ring,
            structure=f"[comRingType of {self.ring}]",
        )

    def _fold(self, term: Term) -> str:
        index, _ = components(term)
        if term.args not in self.folds:
            self.folds[term.args] = self._unrolled(term)
        return self.folds[term.args][index]

    def _unrolled(self, term: Term) -> list[str]:
        """Definitions of all states after each column; the names of the last ones."""
        _, own = components(term)
        states = term.args[: len(own)]
        over = own[0].pairs[0][1].shape[1]
        self.counter += 1
        tag = f"{self.counter}_" if self.counter > 1 else ""
        names = [self._state(f"{c.name}'{tag}0", c.start, {}, 0, over) for c in own]
        for t in range(self.point.size(over)):
            known = {s.name: name for s, name in zip(states, names, strict=True)}
            for block, column in own[0].pairs:
                known[block.name] = self._column(block, column, t, tag)
            names = [self._state(f"{c.name}'{tag}{t + 1}", c.step, known, t, over) for c in own]
        return names

    def _state(self, name: str, term: Term, known: Mapping[str, str], t: int, over: Dim) -> str:
        printer = self._printer(known, t, over)
        body = carried_out(term)
        rows, columns = (printer.structural(body, axis) for axis in (0, 1))
        self._define(name, f"'M[{self.ring}]_({rows},{columns})", printer.term(body))
        return name

    def _column(self, block: Term, column: Term, t: int, tag: str) -> str:
        """The definition of column t of a matrix."""
        rows = self.point.value(column)
        name = f"{identifier(block.name)}{tag}{t}"
        r = self.point.size(column.shape[0])
        listed = "; ".join(f"[:: {_integer(row[t])}]" for row in rows)
        self._define(name, f"'M[{self.ring}]_({r},1)", f"mx {r} 1 [:: {listed}]")
        return name


def _sum_of_ones(n: int) -> str:
    """A number of columns as blocks of one column give it."""
    return " + ".join(["0", *["1"] * n])


def _integer(x: Fraction) -> str:
    if x.denominator != 1:
        raise NotFormal(f"expected integers at a witness, got {x}")
    n = int(x)
    if n in (0, 1):
        return str(n)
    return f"{n}%:R" if n > 0 else f"- {-n}%:R"
