"""A statement's recurrences as Coq fixpoints, with their invariants by induction."""

from __future__ import annotations

from collections.abc import Iterable

from proofs.formal.binders import PlainSizes, opaque_binders, sizes
from proofs.formal.coq import NotFormal, Printer, carried_out, identifier, parts, symbols
from proofs.statements import Statement
from proofs.steps import Induction
from proofs.terms import (
    ONE,
    Component,
    Dim,
    Term,
    TermOps,
    components,
    grows,
    variables as variables_of,
)

_OPS = TermOps()


class Recurrence:
    """The section of a statement with recurrences over one sequence of examples."""

    def __init__(self, statement: Statement, folds: Iterable[Term]) -> None:
        self.statement = statement
        self.folds = list(folds)
        self.states: dict[str, Component] = {}
        self.symbols: dict[str, Term] = {}
        for fold in self.folds:
            _, own = components(fold)
            for i, c in enumerate(own):
                if self.states.setdefault(c.name, c) != c:
                    raise NotFormal(f"two recurrences for the state {c.name}")
                self.symbols[c.name] = fold.args[i]
        pairs = [p for c in self.states.values() for p in c.pairs]
        self.columns = {column.name: column for _, column in pairs}
        if any(column.kind != "symbol" for _, column in pairs):
            raise NotFormal("a recurrence over joined blocks of examples")
        self.blocks = {block.name: column for block, column in pairs}
        self.examples = next(iter(self.columns.values())).shape[1]
        self.single = pairs[0][0].shape[1] == ONE
        v = variables_of(statement)
        self.plain = {n: t for n, t in v.items() if n not in self.columns}
        if any(set(self.examples) & set(d) for t in self.plain.values() for d in t.shape):
            raise NotFormal("a matrix of all examples that no recurrence walks over")
        names = {identifier(n) for n in v}
        self.size_of = PlainSizes(frozenset(names))

    @property
    def width(self) -> str:
        """The sizes of the blocks."""
        return "(fun=> 1%N)" if self.single else "w'"

    def printer(self, t: str) -> Printer:
        """A printer of trees about the examples of the first `t` blocks."""

        def size(dims: Dim) -> str:
            rest = [d for d in dims if d not in self.examples and d != ".b"]
            made = ["1" if self.single else f"w' {t}"] if ".b" in dims else []
            made += [self.size_of((d,)) for d in rest if d == "1" and self.examples[0] in dims]
            made += [f"width {self.width} {t}"] if self.examples[0] in dims else []
            others = [d for d in rest if d != "1" or self.examples[0] not in dims]
            return " + ".join([*made, *([self.size_of(tuple(others))] if others else [])]) or "0"

        def symbol(term: Term) -> str:
            if term.name in self.columns:
                return f"(cols (w := {self.width}) {identifier(term.name)} {t})"
            if term.name in self.blocks:
                return f"({identifier(self.blocks[term.name].name)} {t})"
            if term.name.removeprefix(".") in self.states and term.name.startswith("."):
                return f"({identifier(term.name)} {t})"
            return identifier(term.name)

        def fold(term: Term) -> str:
            index, own = components(term)
            return f"({identifier('.' + own[index].name)} {t})"

        return Printer(
            symbol=symbol, size=size, fold=fold, newest_first=True, examples=self.examples
        )

    def section(
        self, derivation: Induction, left: Term, right: Term
    ) -> tuple[str, tuple[str, ...]]:
        """The recurrences, their invariants by induction, and the statement.

        Raises:
            NotFormal: for an inverse, or an invariant of a state that no side has.
        """
        for side in (left, right):
            if parts(side, "inverse"):
                raise NotFormal("an inverse inside a recurrence")
        invariants = self._invariants(derivation)
        printer = self.printer("t'")
        lines = [
            "Section Recurrence.",
            "Variable R : comRingType.",
            *self._variables((left, right)),
        ]
        lines += self._fixpoints()
        claims = [f"{printer.term(a)} = {printer.term(carried_out(b))}" for a, b in invariants]
        lines += [
            "Lemma invariant t' :",
            "  " + "\n  /\\ ".join(claims) + ".",
            "Proof.",
            "elim: t' => [|t' IH] /=; first by repeat split; finite_algebra.",
            *self._step(len(claims)),
            "Qed.",
            "Lemma equality t' :",
            f"  {printer.term(carried_out(left))}",
            f"  = {printer.term(carried_out(right))}.",
            self._final(len(claims)),
            "End Recurrence.",
        ]
        return "\n".join(lines), ("invariant", "equality")

    def _step(self, count: int) -> list[str]:
        names = [f"IH{i}" for i in range(1, count + 1)]
        made = [f"case: IH => {_pattern(names)}."] if count > 1 else ["move: IH => IH1."]
        rewrites = " ".join(f"?{n}" for n in names)
        return [*made, f"rewrite {rewrites}.", "repeat split; finite_algebra."]

    def _final(self, count: int) -> str:
        names = [f"E{i}" for i in range(1, count + 1)]
        invariant = "(invariant t')"
        opened = (
            f"have {_pattern(names)} := {invariant}." if count > 1 else f"have E1 := {invariant}."
        )
        rewrites = " ".join(f"?{n}" for n in names)
        return f"Proof. {opened} rewrite {rewrites}; finite_algebra. Qed."

    def _invariants(self, derivation: Induction) -> list[tuple[Term, Term]]:
        """Every state with an invariant, and its closed form in the final states.

        Raises:
            NotFormal: for an invariant of a state that no side has.
        """
        v = variables_of(self.statement)
        final: dict[str, Term] = {}
        for fold in self.folds:
            _, own = components(fold)
            for i, c in enumerate(own):
                shape = (c.start.shape[0], self.examples if grows(c.start) else c.start.shape[1])
                final[c.name] = Term("fold", fold.args, shape, f"{i}/{len(own)}")
        try:
            return [
                (final[name], invariant.closed(_OPS, v, final))
                for name, invariant in derivation.invariants.items()
            ]
        except KeyError as missing:
            raise NotFormal(f"an invariant of a state {missing} that no side has") from missing

    def _variables(self, sides: Iterable[Term]) -> list[str]:
        listed = list(sides)
        names = sizes([*self.plain.values(), *self.columns.values()])
        names = [n for n in names if n not in self.examples]
        printer = self.printer("t'")
        made = ["Add Ring R_ring : (ring_of R)."]
        if names:
            made.append(f"Variables ({' '.join(map(self.size_of.one, names))} : nat).")
        opaque = opaque_binders(listed)
        if opaque:
            made.append(f"Variables {opaque}.")
        if not self.single:
            made.append("Variable w' : nat -> nat.")
        used = {s.name for s in symbols(listed)}
        for name, t in self.plain.items():
            if name in used:
                made.append(f"Variable {identifier(name)} : {printer.matrix_type(t)}.")
        width = "1" if self.single else "w' t'"
        for name, t in self.columns.items():
            rows = printer.size(t.shape[0])
            made.append(f"Variable {identifier(name)} : forall t' : nat, 'M[R]_({rows},{width}).")
        return made

    def _fixpoints(self) -> list[str]:
        printer = self.printer("t'")
        made, head = [], "Fixpoint"
        for name, c in self.states.items():
            state = self.symbols[name]
            kind = printer.matrix_type(state)
            start, step = (printer.term(carried_out(a)) for a in (c.start, c.step))
            made.append(
                f"{head} {identifier('.' + name)} (t' : nat) {{struct t'}} : {kind} :=\n"
                f"  match t' return {kind} with\n  | 0 => {start}\n  | t'.+1 => {step}\n  end"
            )
            head = "with"
        return ["\n".join(made) + "."]


def _pattern(names: list[str]) -> str:
    if len(names) == 1:
        return names[0]
    return f"[{names[0]} {_pattern(names[1:])}]"
