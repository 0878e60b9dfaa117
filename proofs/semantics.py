"""Which semantics a statement has, beside its proof, and why one does not apply."""

from __future__ import annotations

from collections.abc import Set
from functools import cache

from proofs.statements import Statement, by_id as statement_by_id
from proofs.terms import Term, TermOps, variables


def _kinds(term: Term) -> Set[str]:
    return {term.kind}.union(*(_kinds(a) for a in term.args))


@cache
def kinds_by_id(name: str) -> Set[str]:
    """The kinds of nodes in both sides of a statement and in its near miss."""
    statement = statement_by_id(name)
    v, ops = variables(statement), TermOps()
    sides = [statement.lhs, statement.rhs]
    if statement.near_miss is not None:
        sides.append(statement.near_miss)
    return frozenset().union(*(_kinds(side(ops, v)) for side in sides))


def kinds(statement: Statement) -> Set[str]:
    """The kinds of nodes in a statement of the catalogue."""
    return kinds_by_id(statement.id)


def not_on_integers(statement: Statement) -> str | None:
    """Why float64 is not exact on small integers, or None where it is."""
    found = kinds(statement)
    if "exp" in found:
        return "exponentials are not integers"
    if "inverse" in found:
        return "quotients of integers are rounded"
    return None
