"""A true statement as Coq lemmas: its gradients as expansions, its recurrences by induction."""

from __future__ import annotations

from collections.abc import Iterable

from proofs.formal.binders import opaque_binders, plain_printer, ring
from proofs.formal.coq import Lemmas, NotFormal, Printer, carried_out, lemma_name, parts
from proofs.formal.gradients import gradients
from proofs.formal.recurrences import Recurrence
from proofs.statements import Side, Statement
from proofs.steps import Derivation, Induction
from proofs.terms import Term, TermOps, variables as variables_of

_OPS = TermOps()


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
        text, names = Recurrence(statement, folds).section(derivation, left, right)
    module = lemma_name(statement.id)
    parts_ = [_heading(statement), f"Module {module}.", found.text, text, f"End {module}."]
    return Lemmas(
        text="\n".join(p for p in parts_ if p),
        names=tuple(f"{module}.{name}" for name in (*found.names, *names)),
    )


def _heading(statement: Statement) -> str:
    plain = f"{statement.id}: {statement.title}".replace("(*", "( *").replace("*)", "* )")
    return f"(* {plain} *)"


def _units(terms: Iterable[Term], printer: Printer) -> list[str]:
    """Hypotheses: what is inverted is invertible."""
    found: dict[Term, None] = {}
    for term in terms:
        found |= {node.args[0]: None for node in parts(term, "inverse")}
    return [f"{printer.at(a, 3)} \\in unitmx" for a in found]


def _direct(statement: Statement, left: Term, right: Term) -> tuple[str, tuple[str, ...]]:
    name = "equality"
    left, right = carried_out(left), carried_out(right)
    printer, binders = plain_printer((left, right))
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
        f"Variable R : {ring((left, right))}.",
        "Add Ring R_ring : (ring_of R).",
        *([f"Variables {opaque}."] if (opaque := opaque_binders((left, right))) else []),
        f"Lemma {name} {binders} :",
        f"{hypotheses}  {printer.term(left)}",
        f"  = {printer.term(right)}.",
        f"Proof. {proof}. Qed.",
        "End Statement.",
    ]
    return "\n".join(lines), (name,)
