"""Verdicts: a derivation checked step by step for all sizes, or a false claim's witness."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sympy as sp

from proofs.derivations import DERIVATIONS
from proofs.facts import LEMMAS, REFUTED, Lemma
from proofs.induction import check
from proofs.statements import Fact, Side, Statement
from proofs.steps import Part, WrongStep
from proofs.symbolic import ExplicitOps, GradientDisagreement
from proofs.terms import ShapeError


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`status` is proved(all sizes), refuted(witness) or undecided.

    `parts` are the checked chains of a proof, or `lemmas` those of a fact; `seconds` the time.
    """

    id: str
    status: str
    detail: str
    seconds: float
    parts: tuple[Part, ...] = ()
    lemmas: tuple[Lemma, ...] = ()


def as_claimed(statement: Statement | Fact, verdict: Verdict) -> bool:
    """Whether the verdict is what the catalogue claims; undecided never is."""
    wanted = "proved(all sizes)" if statement.claim == "true" else "refuted(witness)"
    return verdict.status == wanted


def prove_fact(fact: Fact) -> Verdict:
    """Check every lemma of a fact, or a false one's value at its witness."""
    start = time.perf_counter()
    value = sp.Rational(fact.value)
    lemmas = LEMMAS[fact.id](value) if fact.id in LEMMAS else ()
    if fact.claim == "false":
        found = sp.nsimplify(REFUTED[fact.id]())
        status = "undecided" if found == value else "refuted(witness)"
        detail = f"the value is {found} at the witness"
    else:
        wrong = [i for i, lemma in enumerate(lemmas, 1) if not lemma.check()]
        status = "undecided" if wrong or not lemmas else "proved(all sizes)"
        detail = (
            f"lemma {wrong[0]} of {fact.id} does not hold"
            if wrong
            else "; ".join(lemma.why for lemma in lemmas)
        )
    seconds = time.perf_counter() - start
    return Verdict(id=fact.id, status=status, detail=detail, seconds=seconds, lemmas=lemmas)


def prove(statement: Statement | Fact, rhs: Side | None = None) -> Verdict:
    """Prove a true claim for all sizes, or refute a false one by its witness.

    `rhs` takes the place of the statement's own right side, as its near miss does in tests.
    """
    if isinstance(statement, Fact):
        return prove_fact(statement)
    start = time.perf_counter()
    parts: tuple[Part, ...] = ()
    if statement.claim == "false":
        gap = witness_gap(statement)
        status = "undecided" if gap == sp.zeros(*gap.shape) else "refuted(witness)"
        detail = f"lhs - rhs = {gap.tolist()} at the witness"
    elif statement.id not in DERIVATIONS:
        status, detail = "undecided", f"no derivation for {statement.id}"
    else:
        try:
            parts = check(statement, DERIVATIONS[statement.id], rhs)
            status, detail = "proved(all sizes)", _rules(parts)
        except (WrongStep, GradientDisagreement, ShapeError, NotImplementedError) as error:
            status, detail = "undecided", str(error)
        except RecursionError:
            status, detail = "undecided", f"a rule did not come to an end in {statement.id}"
    seconds = time.perf_counter() - start
    return Verdict(id=statement.id, status=status, detail=detail, seconds=seconds, parts=parts)


def witness_gap(statement: Statement) -> Any:
    """lhs - rhs of a false claim at its witness, an explicit SymPy matrix."""
    witness: Mapping[str, Any] = statement.witness or {}
    v = {name: sp.Matrix(rows) for name, rows in witness.items()}
    return statement.lhs(ExplicitOps(), v) - statement.rhs(ExplicitOps(), v)


def _rules(parts: tuple[Part, ...]) -> str:
    """The rules of a proof in order, chains separated by a bar."""
    chains = [
        ", ".join(line.rule.name for line in part.lines if line.rule is not None) for part in parts
    ]
    return " | ".join(chains)
