"""A statement's gradients as Coq lemmas, each the linear term of an exact expansion."""

from __future__ import annotations

from collections.abc import Iterable

from proofs.formal.binders import LOSSES, plain_printer, ring
from proofs.formal.coq import Lemmas, Printer, adjoint, carried_out, parts
from proofs.formal.expansion import remainder
from proofs.statements import Statement
from proofs.terms import Term, contains, internal, substitute


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
    printer, binders = plain_printer((bound, direction, body))
    doubled = contains(body, lambda a: a.kind in ("half_square", "weighted_square"))
    moved = _moved(body, bound, direction)
    rest = remainder(body, bound, direction, printer, doubled)
    twice = " *+ 2" if doubled else ""
    losses = LOSSES if contains(body, lambda a: a.kind == "loss") else ()
    proof = [f"rewrite {line}." for line in _loss_lines(rest.losses, bound, direction, printer)]
    moved_text = printer_with_step(printer, bound, direction).scalar(moved, doubled=doubled)
    slope = f"inner {printer.at(found, 3)} H'{twice}"
    return "\n".join(
        [
            "Section Gradient.",
            f"Variable R : {ring((body,))}.",
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
