"""A true statement as Coq lemmas: its gradients as expansions, its recurrences by induction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from proofs.formal.coq import (
    NotFormal,
    Printer,
    adjoint,
    carried_out,
    identifier,
    lemma_name,
    parts,
    symbols,
)
from proofs.formal.expansion import remainder
from proofs.statements import Side, Statement
from proofs.steps import Derivation, Induction
from proofs.terms import (
    ONE,
    Component,
    Dim,
    Term,
    TermOps,
    components,
    contains,
    grows,
    internal,
    substitute,
)
from proofs.terms import variables as variables_of

_OPS = TermOps()
_LOSSES = (
    "(loss : forall m n, 'M[R]_(m,n) -> 'M[R]_(m,n) -> R)",
    "(G : forall m n, 'M[R]_(m,n) -> 'M[R]_(m,n) -> 'M[R]_(m,n))",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lemmas:
    """Coq text for one statement, and the names of the lemmas it proves."""

    text: str
    names: tuple[str, ...]


def lemmas(
    statement: Statement, derivation: Derivation | None = None, rhs: Side | None = None
) -> Lemmas:
    """The statement's lemmas; `rhs` takes the place of its right side.

    Raises:
        NotFormal: saying why there is none.
    """
    v = variables_of(statement)
    left, right = statement.lhs(_OPS, v), (rhs or statement.rhs)(_OPS, v)
    found = gradients(statement, (left, right))
    folds = [*parts(left, "fold"), *parts(right, "fold")]
    if not folds:
        text, names = _direct(statement, left, right)
    else:
        if not isinstance(derivation, Induction):
            raise NotFormal("a recurrence without invariants to prove it by")
        text, names = _Recurrence(statement, folds).section(derivation, left, right)
    module = lemma_name(statement.id)
    parts_ = [_heading(statement), f"Module {module}.", found.text, text, f"End {module}."]
    return Lemmas(
        text="\n".join(p for p in parts_ if p),
        names=tuple(f"{module}.{name}" for name in (*found.names, *names)),
    )


def _heading(statement: Statement) -> str:
    plain = f"{statement.id}: {statement.title}".replace("(*", "( *").replace("*)", "* )")
    return f"(* {plain} *)"


def _ring(terms: Iterable[Term]) -> str:
    inverse = any(contains(t, lambda a: a.kind == "inverse") for t in terms)
    return "comUnitRingType" if inverse else "comRingType"


def _size_names(dims: Dim) -> list[str]:
    return [name for d in dims for name in d.split("*") if name != "1"]


def sizes(terms: Iterable[Term]) -> list[str]:
    """The size names in the shapes of symbols, each once."""
    return list(dict.fromkeys(n for t in terms for d in t.shape for n in _size_names(d)))


@dataclass(frozen=True, slots=True)
class _Plain:
    """Names of sizes where none means the examples of a recurrence."""

    taken: frozenset[str]

    def one(self, name: str) -> str:
        """A size; one that a variable is called too has a prime."""
        if name.startswith("."):
            return name.removeprefix(".") + "'"
        return f"{name}'" if identifier(name) in self.taken else identifier(name)

    def __call__(self, dims: Dim) -> str:
        """A sum of products of sizes."""
        made = [" * ".join("1" if p == "1" else self.one(p) for p in d.split("*")) for d in dims]
        return " + ".join(made) or "0"


def _no_fold(term: Term) -> str:
    raise NotFormal(f"a recurrence inside {term.kind}")


def _plain_printer(terms: Iterable[Term]) -> tuple[Printer, str]:
    """A printer for trees without recurrences, and the binders of their sizes and symbols."""
    seen = symbols(terms)
    taken = frozenset(identifier(s.name) for s in seen)
    size = _Plain(taken)
    printer = Printer(symbol=lambda t: identifier(t.name), size=size, fold=_no_fold)
    names = " ".join(size.one(n) for n in sizes(seen))
    binders = f"({names} : nat) " if names else ""
    binders += " ".join(f"({identifier(s.name)} : {printer.matrix_type(s)})" for s in seen)
    return printer, binders


def _opaque(terms: Iterable[Term]) -> str:
    """Binders of the opaque functions in trees."""
    listed = list(terms)

    def has(*kinds: str) -> bool:
        return any(contains(t, lambda a: a.kind in kinds) for t in listed)

    made = [*_LOSSES] if has("loss", "output_gradient") else []
    made += [f"({f} : R -> R)" for f in ("exp", "activation") if has(f)]
    return " ".join(made)


def gradients(statement: Statement, sides: Iterable[Term]) -> Lemmas:
    """Every gradient in a statement as the linear term of an exact expansion.

    2 f(U + t H) = 2 f(U) + t 2 <gradient, H> + t^2 ..., for every direction H and number t; where a
    loss enters, what it leaves itself beyond its linear term is added.
    """
    nodes: dict[tuple[Term, Term], None] = {}
    for side in sides:
        for node in parts(side, "gradient"):
            nodes[(node.args[0], carried_out(node.args[1]))] = None
    texts, names = [], []
    for number, (bound, body) in enumerate(nodes, 1):
        name = f"gradient_{number}"
        texts.append(_gradient(name, bound, body))
        names.append(name)
    return Lemmas(text="\n".join(texts), names=tuple(names))


def _gradient(name: str, bound: Term, body: Term) -> str:
    found = adjoint(Term("gradient", (bound, body, bound), bound.shape))
    direction = internal("H", *bound.shape)
    printer, binders = _plain_printer((bound, direction, body))
    doubled = contains(body, lambda a: a.kind in ("half_square", "weighted_square"))
    moved = _moved(body, bound, direction)
    rest = remainder(body, bound, direction, printer, doubled)
    twice = " *+ 2" if doubled else ""
    losses = _LOSSES if contains(body, lambda a: a.kind == "loss") else ()
    proof = [f"rewrite {line}." for line in _loss_lines(rest.losses, bound, direction, printer)]
    moved_text = printer_with_step(printer, bound, direction).scalar(moved, doubled=doubled)
    slope = f"inner {printer.at(found, 3)} H'{twice}"
    return "\n".join(
        [
            "Section Gradient.",
            f"Variable R : {_ring((body,))}.",
            "Add Ring R_ring : (ring_of R).",
            *([f"Variables {' '.join(losses)}."] if losses else []),
            f"Lemma {name} {binders} (t' : R) :",
            f"  {moved_text}",
            f"  = {printer.scalar(body, doubled=doubled)}",
            f"    + t' * ({slope})",
            f"    + {rest.text() if rest.powers or rest.own else '0'}.",
            f"Proof. {' '.join(proof)} expansion H'. Qed.",
            "End Gradient.",
        ]
    )


STEP = "step"


def _moved(body: Term, bound: Term, direction: Term) -> Term:
    """The body at U + t H; t H is an internal symbol that prints so."""
    return substitute(body, bound, bound + internal(STEP, *direction.shape))


def printer_with_step(printer: Printer, bound: Term, direction: Term) -> Printer:
    """A printer that prints t H for the step from U."""

    def symbol(term: Term) -> str:
        if term.name == f".{STEP}":
            return f"(t' *: {printer.symbol(direction)})"
        return printer.symbol(term)

    return Printer(symbol=symbol, size=printer.size, fold=printer.fold)


def _loss_lines(
    losses: Iterable[tuple[Term, Term, Term, Term]], bound: Term, direction: Term, printer: Printer
) -> list[str]:
    """Rewrites that take every loss apart at Y(U + t H) = Y(U) + t Y_1(H)."""
    moved = printer_with_step(printer, bound, direction)
    made = []
    for outputs, y, d, t in losses:
        before = moved.at(_moved(outputs, bound, direction), 3)
        after = f"{printer.at(y, 3)} + t' *: {printer.at(d, 3)}"
        made.append(f"(_ : {before} = {after}); last by finite_algebra")
        made.append(
            f"(loss_beside loss G {printer.at(y, 3)} (t' *: {printer.at(d, 3)}) {printer.at(t, 3)})"
        )
    return made


def _units(terms: Iterable[Term], printer: Printer) -> list[str]:
    """Hypotheses: what is inverted is invertible."""
    found: dict[Term, None] = {}
    for term in terms:
        found |= {node.args[0]: None for node in parts(term, "inverse")}
    return [f"{printer.at(a, 3)} \\in unitmx" for a in found]


def _direct(statement: Statement, left: Term, right: Term) -> tuple[str, tuple[str, ...]]:
    name = "equality"
    left, right = carried_out(left), carried_out(right)
    printer, binders = _plain_printer((left, right))
    units = _units((left, right), printer)
    shifted = any(
        node.args[0].kind == "sum" for side in (left, right) for node in parts(side, "exp")
    )
    shift = "rewrite ?(exp_shift _ _ exp_add); " if shifted else ""
    adds = "(forall x y : R, exp (x + y) = exp x * exp y)"
    hypotheses = "".join(f"  {u} ->\n" for u in [*([adds] if shifted else []), *units])
    proof = "inverse_algebra" if units else "finite_algebra"
    if shifted:
        proof = f"move=> exp_add; {shift}{proof}"
    lines = [
        "Section Statement.",
        f"Variable R : {_ring((left, right))}.",
        "Add Ring R_ring : (ring_of R).",
        *([f"Variables {opaque}."] if (opaque := _opaque((left, right))) else []),
        f"Lemma {name} {binders} :",
        f"{hypotheses}  {printer.term(left)}",
        f"  = {printer.term(right)}.",
        f"Proof. {proof}. Qed.",
        "End Statement.",
    ]
    return "\n".join(lines), (name,)


class _Recurrence:
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
        self.size_of = _Plain(frozenset(names))

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
        """The recurrences, their invariants by induction, and the statement."""
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
        """Every state with an invariant, and its closed form in the final states."""
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
        opaque = _opaque(listed)
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
