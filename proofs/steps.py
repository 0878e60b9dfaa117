"""Derivations: chains of steps, each with its rule, checked by that rule and by SymPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from proofs.rules import Rule
from proofs.statements import Side
from proofs.symbolic import judge
from proofs.terms import Term, TermOps


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


Closed = Callable[[Any, Mapping[str, Any], Mapping[str, Any]], Any]


@dataclass(frozen=True, slots=True)
class Invariant:
    """A state of a recurrence after any number of examples equals `closed(ops, v, states)`.

    `base` and `step` are the chains for no examples and for one more block of b examples. In them
    a recurrence is what it is by definition: its start, or one step from the state `S_n` after the
    first n examples. The steps see, beside the statement's variables, every state so far as
    `v["S_n"]`, the examples so far as `v["X_n"]` and the new block as `v["x"]`.
    """

    closed: Closed
    base: tuple[Step, ...]
    step: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Induction:
    """Induction over the examples, proving `invariants` (by state) together.

    See `proofs.induction`.
    """

    invariants: Mapping[str, Invariant]


Derivation = Direct | Induction


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One checked line: the expression, the rule that gave it (none for the first), its judge."""

    term: Term
    rule: Rule | None
    judge: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A checked chain with its heading ("", "no examples", "one more block", ...)."""

    heading: str
    lines: tuple[Line, ...]


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
        seen = judge(*given_both)
        if seen is None:
            raise WrongStep(f"expected SymPy to agree with step {number} of {where}, it does not")
        lines.append(Line(term=after, rule=rule, judge=seen))
    if lines[-1].term != ends[1](ops, v):
        raise WrongStep(f"expected {where} to end at the right side, it ends elsewhere")
    return tuple(lines)
