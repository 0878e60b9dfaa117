"""Induction over the examples of a recurrence: what its two chains may use, and what is refused.

The claim has to be `fold == right side`, where everything that the right side collects is collected
along the very same recurrence; else "the state after n examples" would mean two things.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from proofs.rules import hypothesis
from proofs.statements import Side, Statement
from proofs.steps import Derivation, Direct, Induction, Part, WrongStep, check_chain
from proofs.terms import BLOCK, Dim, Term, TermOps, contains, internal, variables

EMPTY: Dim = ()


class BaseOps(TermOps):
    """Recurrences over no examples."""

    def fold(self, step: Callable[..., Any], start: Term, *columns: Term) -> Term:
        """The start."""
        return start

    def collect(
        self, column: Callable[..., Any], step: Callable[..., Any], start: Term, *columns: Term
    ) -> Term:
        """A matrix without columns."""
        made = super().collect(column, step, start, *columns)
        return internal("E_0", made.shape[0], EMPTY)


class NextOps(TermOps):
    """Recurrences over n examples and a block more, given the state after n."""

    def __init__(self, n: Dim, blocks: Mapping[str, Term]) -> None:
        self.n, self.blocks = n, blocks

    def _new(self, columns: tuple[Term, ...]) -> list[Term]:
        return [self.blocks[c.args[0].name] for c in columns]

    def fold(self, step: Callable[..., Any], start: Term, *columns: Term) -> Term:
        """One step from S_n."""
        made: Term = step(internal("S_n", *start.shape), *self._new(columns))
        return made

    def collect(
        self, column: Callable[..., Any], step: Callable[..., Any], start: Term, *columns: Term
    ) -> Term:
        """The columns so far, and those of the new block."""
        made: Term = column(internal("S_n", *start.shape), *self._new(columns))
        return self.hcat(internal("E_n", made.shape[0], self.n), made)


class SoFarOps(TermOps):
    """The first n examples: what the induction hypothesis is about."""

    def fold(self, step: Callable[..., Any], start: Term, *columns: Term) -> Term:
        """S_n."""
        return internal("S_n", *start.shape)

    def collect(
        self, column: Callable[..., Any], step: Callable[..., Any], start: Term, *columns: Term
    ) -> Term:
        """E_n."""
        made = super().collect(column, step, start, *columns)
        return internal("E_n", made.shape[0], columns[0].shape[1])


def _recurrences(term: Term) -> list[Term]:
    own = [term] if term.kind in ("fold", "collect") else []
    return own + [found for a in term.args for found in _recurrences(a)]


def check_claim(statement: Statement, rhs: Side, columns: tuple[str, ...]) -> None:
    """Refuse a claim that the induction would not prove.

    Raises:
        WrongStep: when the left side is no recurrence, it or its start mentions all examples at
            once, the right side has another recurrence, or examples are left out of `columns`.
    """
    v, where = variables(statement), f"the induction of {statement.id}"
    left, right = statement.lhs(TermOps(), v), rhs(TermOps(), v)
    if left.kind != "fold":
        raise WrongStep(f"expected a recurrence alone on the left side of {where}, got {left.kind}")
    folded = {pair.name for pair in left.args[4::2]}
    if folded != set(columns):
        raise WrongStep(f"expected {where} over {sorted(folded)}, got {sorted(columns)}")
    others = [name for name, t in v.items() if name not in folded and _shares(t, v[columns[0]])]
    if others:
        raise WrongStep(f"expected no other matrix of n examples in {where}, got {others}")
    found = _recurrences(right)
    if any(f.kind != "collect" or f.args[1:] != left.args for f in found):
        raise WrongStep(f"expected a closed form along the same recurrence in {where}")
    if len(set(found)) > 1:
        raise WrongStep(f"expected one thing to be collected in {where}, got {len(set(found))}")
    walk = [*left.args[:3], *(f.args[0] for f in found)]
    if any(contains(part, lambda t: t.kind == "symbol" and t.name in folded) for part in walk):
        raise WrongStep(f"expected a start and steps that do not see all examples in {where}")


def _shares(a: Term, b: Term) -> bool:
    """Whether `a` has the column size of `b`."""
    return bool(set(b.shape[1]) & {*a.shape[0], *a.shape[1]})


def _joined(v: Mapping[str, Term], extra: Mapping[str, Term], where: str) -> dict[str, Term]:
    clash = sorted(set(v) & set(extra))
    if clash:
        raise WrongStep(f"expected other names than {clash} in {where}, the induction uses them")
    return {**v, **extra}


def check(
    statement: Statement, derivation: Derivation, rhs: Side | None = None
) -> tuple[Part, ...]:
    """The derivation's chains, checked; `rhs` in place of the statement's own right side.

    Raises:
        WrongStep: see `proofs.steps.check_chain` and `check_claim`.
    """
    ends = (statement.lhs, rhs or statement.rhs)
    if isinstance(derivation, Direct):
        lines = check_chain(TermOps(), variables(statement), ends, derivation.steps, statement.id)
        return (Part(heading="", lines=lines),)
    check_claim(statement, ends[1], derivation.columns)
    return (_base(statement, derivation, ends), _next(statement, derivation, ends))


def _base(statement: Statement, derivation: Induction, ends: tuple[Side, Side]) -> Part:
    """The chain for no examples."""
    v, where = variables(statement), f"{statement.id} (no examples)"
    empty = {c: internal(f"{c}_0", v[c].shape[0], EMPTY) for c in derivation.columns}
    rows = ends[0](TermOps(), v).shape[0]
    seen = _joined(v, {"E_0": internal("E_0", rows, EMPTY)}, where) | empty
    lines = check_chain(BaseOps(), seen, ends, derivation.base, where)
    return Part(heading="no examples", lines=lines)


def _next(statement: Statement, derivation: Induction, ends: tuple[Side, Side]) -> Part:
    """The chain for one more block, given the claim for the examples so far."""
    v, where = variables(statement), f"{statement.id} (one more block)"
    columns = derivation.columns
    if len({c.lower() for c in columns}) < len(columns):
        raise WrongStep(f"expected columns that differ in more than case in {where}")
    n = v[columns[0]].shape[1]
    blocks = {c: internal(c.lower(), v[c].shape[0], BLOCK) for c in columns}
    ops = NextOps(n, blocks)
    state = internal("S_n", *ends[0](TermOps(), v).shape)
    closed = ends[1](SoFarOps(), v)
    extra = {c.lower(): block for c, block in blocks.items()}
    extra |= {f"{c}_n": v[c] for c in columns}
    extra |= {"S_n": state, "E_n": internal("E_n", state.shape[0], n)}
    seen = _joined(v, extra, where) | {c: ops.hcat(v[c], blocks[c]) for c in columns}
    lines = check_chain(ops, seen, ends, derivation.step, where, hypothesis(state, closed))
    return Part(heading="one more block", lines=lines)
