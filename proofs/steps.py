"""Derivations: chains of steps, each with its rule, checked by that rule and by SymPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from proofs.rules import Rule
from proofs.rules import hypothesis as hypothesis_rule
from proofs.statements import Side, Statement
from proofs.symbolic import equal
from proofs.terms import Dim, Term, TermOps, dim, symbol, variables

EMPTY: Dim = ()


class WrongStep(AssertionError):
    """A step of a derivation does not hold, or does not hold by its rule."""


@dataclass(frozen=True, slots=True)
class Step:
    """`after` follows from the expression before it by `rule`; "hypothesis" stands for the IH."""

    rule: Rule | str
    after: Side


@dataclass(frozen=True, slots=True)
class Direct:
    """A chain from the left side to the right side."""

    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Induction:
    """Chains for no examples and for one more block of b examples.

    In them a recurrence is what it is by definition: its start, or one step from the state `S_n`
    after the first n examples; `v["x"]` etc. are the new blocks, `v["E_n"]` the errors so far.
    """

    columns: tuple[str, ...]
    base: tuple[Step, ...]
    step: tuple[Step, ...]


Derivation = Direct | Induction


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One checked line: the expression, and the rule that gave it (none for the first)."""

    term: Term
    rule: Rule | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A checked chain with its heading ("", "no examples", "one more block")."""

    heading: str
    lines: tuple[Line, ...]


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
        return symbol("E_0", made.shape[0], EMPTY)


class NextOps(TermOps):
    """Recurrences over n examples and a block of b more, given the state after n."""

    def __init__(self, blocks: Mapping[str, Term]) -> None:
        self.blocks = blocks

    def _new(self, columns: tuple[Term, ...]) -> list[Term]:
        return [self.blocks[c.args[0].name] for c in columns]

    def fold(self, step: Callable[..., Any], start: Term, *columns: Term) -> Term:
        """One step from S_n."""
        made: Term = step(symbol("S_n", *start.shape), *self._new(columns))
        return made

    def collect(
        self, column: Callable[..., Any], step: Callable[..., Any], start: Term, *columns: Term
    ) -> Term:
        """The columns so far, and those of the new block."""
        made: Term = column(symbol("S_n", *start.shape), *self._new(columns))
        return self.hcat(symbol("E_n", made.shape[0], dim("n")), made)


class _SoFarOps(TermOps):
    """The closed form for the first n examples."""

    def fold(self, step: Callable[..., Any], start: Term, *columns: Term) -> Term:
        return symbol("S_n", *start.shape)

    def collect(
        self, column: Callable[..., Any], step: Callable[..., Any], start: Term, *columns: Term
    ) -> Term:
        made = super().collect(column, step, start, *columns)
        return symbol("E_n", made.shape[0], dim("n"))


def check_chain(
    ops: TermOps,
    v: Mapping[str, Any],
    ends: tuple[Side, Side],
    steps: tuple[Step, ...],
    where: str,
    given: Rule | None = None,
) -> tuple[Line, ...]:
    """The lines of a chain that runs from one end to the other, each step checked twice.

    Raises:
        WrongStep: naming the first step that its rule or SymPy refuses, or a chain that ends
            elsewhere.
    """
    first: Term = ends[0](ops, v)
    lines = [Line(term=first, rule=None)]
    for number, step in enumerate(steps, 1):
        rule = given if isinstance(step.rule, str) else step.rule
        if rule is None:
            raise WrongStep(f"expected an induction for step {number} of {where}, got none")
        before, after = lines[-1].term, step.after(ops, v)
        if not rule.allows(before, after):
            raise WrongStep(
                f"expected step {number} of {where} to follow by the rule {rule.name!r}, "
                "and it does not"
            )
        given_both = map(rule.prepare, (before, after)) if rule.assumes else (before, after)
        if not equal(*given_both):
            raise WrongStep(f"expected SymPy to agree with step {number} of {where}, it does not")
        lines.append(Line(term=after, rule=rule))
    if lines[-1].term != ends[1](ops, v):
        raise WrongStep(f"expected {where} to end at the right side, it ends elsewhere")
    return tuple(lines)


def check(
    statement: Statement, derivation: Derivation, rhs: Side | None = None
) -> tuple[Part, ...]:
    """The derivation's chains, checked; `rhs` in place of the statement's own right side.

    Raises:
        WrongStep: see `check_chain`.
    """
    ends = (statement.lhs, rhs or statement.rhs)
    v = variables(statement)
    if isinstance(derivation, Direct):
        lines = check_chain(TermOps(), v, ends, derivation.steps, statement.id)
        return (Part(heading="", lines=lines),)
    base_v = dict(v)
    for c in derivation.columns:
        base_v[c] = symbol(f"{c}_0", v[c].shape[0], EMPTY)
    base = check_chain(BaseOps(), base_v, ends, derivation.base, f"{statement.id} (no examples)")
    blocks = {c: symbol(c.lower(), v[c].shape[0], dim("b")) for c in derivation.columns}
    ops = NextOps(blocks)
    joined = {c: ops.hcat(v[c], blocks[c]) for c in derivation.columns}
    state = symbol("S_n", *ends[0](TermOps(), v).shape)
    closed = ends[1](_SoFarOps(), v)
    extra = {b.name: b for b in blocks.values()} | {"S_n": state, "closed": closed}
    extra |= {f"{c}_n": v[c] for c in derivation.columns}
    extra["E_n"] = symbol("E_n", state.shape[0], dim("n"))
    if _mentions(closed, state):
        raise WrongStep(f"expected a closed form in {statement.id}, got the recurrence itself")
    lines = check_chain(
        ops, {**v, **joined, **extra}, ends, derivation.step,
        f"{statement.id} (one more block)", hypothesis_rule(state, closed),
    )  # fmt: skip
    return (
        Part(heading="no examples", lines=base),
        Part(heading="one more block", lines=lines),
    )


def _mentions(term: Term, other: Term) -> bool:
    return term == other or any(_mentions(a, other) for a in term.args)
