"""Induction over the examples of recurrences: what its chains may use, and what is refused.

All recurrences in a claim walk over the same examples and are followed together: their states are
one list, in which a name means one thing. Each state with an invariant equals its closed form in
the other states, the variables and the examples so far. The claim has to be that one of those
states equals its closed form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from proofs.rules import Rule, hypothesis
from proofs.statements import Side, Statement, States
from proofs.statements import Step as Walk
from proofs.steps import Derivation, Direct, Induction, Invariant, Part, WrongStep, check_chain
from proofs.terms import (
    Component,
    Dim,
    Term,
    TermOps,
    components,
    contains,
    grows,
    internal,
    substitute,
    variables,
)

EMPTY: Dim = ()


class BaseOps(TermOps):
    """Recurrences over no examples: their starts."""

    def fold(self, step: Walk, start: States, *columns: Term) -> Mapping[str, Term]:
        """The start."""
        return start

    scan = fold


class NextOps(TermOps):
    """Recurrences over n examples and a block more, given the states after n."""

    def __init__(self, states: Mapping[str, Term], blocks: Mapping[str, Term]) -> None:
        self.states, self.blocks = states, blocks

    def fold(self, step: Walk, start: States, *columns: Term) -> Mapping[str, Term]:
        """One step from the states so far."""
        blocks = [self.blocks[c.args[0].name] for c in columns]
        return step({name: self.states[name] for name in start}, *blocks)

    scan = fold


@dataclass(frozen=True, slots=True)
class Recurrences:
    """All states of a claim by name, and the examples they walk over with a block of each."""

    states: Mapping[str, Component]
    blocks: Mapping[str, Term]
    so_far: Mapping[str, Term]


def _folds(term: Term) -> list[Term]:
    own = [term] if term.kind == "fold" else []
    return own + [found for a in term.args for found in _folds(a)]


def recurrences(statement: Statement, sides: Sequence[Term]) -> Recurrences:
    """The recurrences of a claim, joined.

    Raises:
        WrongStep: when one name means two things, the recurrences walk over other examples, a
            start or a step sees all examples at once, or a matrix of n examples is left out.
    """
    v, where = variables(statement), f"the induction of {statement.id}"
    found: dict[str, Component] = {}
    pairs: dict[str, Term] = {}
    widths: set[Dim] = set()
    for fold in (f for side in sides for f in _folds(side)):
        for c in components(fold)[1]:
            if found.setdefault(c.name, c) != c:
                raise WrongStep(f"expected one recurrence for the state {c.name} in {where}")
            for block, column in c.pairs:
                if column.kind != "symbol" or column.name.startswith("."):
                    raise WrongStep(f"expected recurrences over variables in {where}")
                if pairs.setdefault(column.name, block) != block:
                    raise WrongStep(f"expected one kind of block of {column.name} in {where}")
                widths.add(column.shape[1])
                widths.add(("block", *block.shape[1]))
    if not found:
        raise WrongStep(f"expected a recurrence in {where}, got none")
    if len(widths) != 2:
        raise WrongStep(f"expected recurrences over the same examples in {where}")
    _sees_no_example(v, found, pairs, where)
    so_far = {
        name: internal(f"{name}_n", *_so_far_shape(c, v[next(iter(pairs))].shape[1]))
        for name, c in found.items()
    }
    blocks = {
        name: internal(block_name(name), v[name].shape[0], b.shape[1]) for name, b in pairs.items()
    }
    return Recurrences(states=found, blocks=blocks, so_far=so_far)


def block_name(columns: str) -> str:
    """What a step calls the new block of a matrix: x for X, g_t for g."""
    return columns.lower() if columns.lower() != columns else f"{columns}_t"


def _so_far_shape(c: Component, n: Dim) -> tuple[Dim, Dim]:
    return c.start.shape[0], n if grows(c.start) else c.start.shape[1]


def _sees_no_example(
    v: Mapping[str, Term], found: Mapping[str, Component], pairs: Mapping[str, Term], where: str
) -> None:
    n = v[next(iter(pairs))].shape[1]
    others = [
        name for name, t in v.items() if name not in pairs and set(n) & {*t.shape[0], *t.shape[1]}
    ]
    if others:
        raise WrongStep(f"expected no other matrix of n examples in {where}, got {others}")
    if any(set(n) & set(v[name].shape[0]) for name in pairs):
        raise WrongStep(f"expected examples in columns alone in {where}")
    for c in found.values():
        for part in (c.step, c.start):
            if contains(part, lambda t: t.kind == "symbol" and t.name in pairs):
                raise WrongStep(
                    f"expected a start and steps that do not see all examples in {where}"
                )


def check(
    statement: Statement, derivation: Derivation, rhs: Side | None = None
) -> tuple[Part, ...]:
    """The derivation's chains, checked; `rhs` in place of the statement's own right side.

    Raises:
        WrongStep: see `proofs.steps.check_chain` and `recurrences`, and for a claim that the
            invariants do not contain.
    """
    ends = (statement.lhs, rhs or statement.rhs)
    if isinstance(derivation, Direct):
        lines = check_chain(TermOps(), variables(statement), ends, derivation.steps, statement.id)
        return (Part(heading="", lines=lines),)
    v, ops = variables(statement), TermOps()
    left, right = ends[0](ops, v), ends[1](ops, v)
    joined = recurrences(statement, (left, right))
    _check_claim(statement, derivation, joined, (left, right))
    parts = []
    for name, invariant in derivation.invariants.items():
        label = f" for {name}" if len(derivation.invariants) > 1 else ""
        parts.append(_base(statement, joined, name, invariant, label))
        parts.append(_next(statement, joined, derivation, name, label))
    return tuple(parts)


def _check_claim(
    statement: Statement, derivation: Induction, joined: Recurrences, sides: tuple[Term, Term]
) -> None:
    """The left side is a state with an invariant, and the right side is its closed form.

    Raises:
        WrongStep: when it is not, or an invariant is for no state or uses one that has its own.
    """
    where, (left, right) = f"the induction of {statement.id}", sides
    if left.kind != "fold":
        raise WrongStep(f"expected a recurrence alone on the left side of {where}, got {left.kind}")
    index, parts = components(left)
    unknown = sorted(set(derivation.invariants) - set(joined.states))
    if unknown or parts[index].name not in derivation.invariants:
        raise WrongStep(
            f"expected invariants of states, {parts[index].name} among them, in {where}"
        )
    final = {}
    for side in sides:
        for fold in _folds(side):
            _, own = components(fold)
            for j, c in enumerate(own):
                shape = _so_far_shape(c, c.pairs[0][1].shape[1])
                final[c.name] = Term("fold", fold.args, shape, f"{j}/{len(own)}")
    for name, invariant in derivation.invariants.items():
        try:
            form = invariant.closed(TermOps(), variables(statement), final)
        except KeyError as missing:
            raise WrongStep(f"expected a recurrence with a state {missing} in {where}") from None
        if any(
            contains(form, lambda t, other=final[other]: t == other)  # type: ignore[misc]
            for other in derivation.invariants
        ):
            raise WrongStep(f"expected a closed form of {name} in states without one in {where}")
        if name == parts[index].name and form != right:
            raise WrongStep(f"expected a closed form along the same recurrence in {where}")


def _joined(v: Mapping[str, Term], extra: Mapping[str, Term], where: str) -> dict[str, Term]:
    clash = sorted(set(v) & set(extra))
    if clash:
        raise WrongStep(f"expected other names than {clash} in {where}, the induction uses them")
    return {**v, **extra}


def _base(
    statement: Statement, joined: Recurrences, name: str, invariant: Invariant, label: str
) -> Part:
    """The chain for no examples."""
    v, where = variables(statement), f"{statement.id} (no examples{label})"
    starts = {n: c.start for n, c in joined.states.items()}
    empty = {c: internal(f"{c}_0", v[c].shape[0], EMPTY) for c in joined.blocks}
    seen = {**v, **empty}
    closed = invariant.closed(BaseOps(), seen, starts)
    lines = check_chain(
        BaseOps(), seen, (lambda *_: starts[name], lambda *_: closed), invariant.base, where
    )
    return Part(heading=f"no examples{label}", lines=lines)


def _next(
    statement: Statement, joined: Recurrences, derivation: Induction, name: str, label: str
) -> Part:
    """The chain for one more block, given the invariants for the examples so far."""
    v, where = variables(statement), f"{statement.id} (one more block{label})"
    if len(set(map(block_name, joined.blocks))) < len(joined.blocks):
        raise WrongStep(f"expected columns that differ in more than case in {where}")
    ops = NextOps(joined.so_far, joined.blocks)
    after = _after(joined, v)
    whole = {c: ops.hcat(v[c], block) for c, block in joined.blocks.items()}
    extra = {block_name(c): block for c, block in joined.blocks.items()}
    extra |= {f"{c}_n": v[c] for c in joined.blocks}
    extra |= {f"{n}_n": state for n, state in joined.so_far.items()}
    seen = _joined(v, extra, where) | whole
    invariants = derivation.invariants
    rule = _hypotheses(joined, {n: i.closed(ops, v, joined.so_far) for n, i in invariants.items()})
    closed = invariants[name].closed(ops, seen, after)
    lines = check_chain(
        ops, seen, (lambda *_: after[name], lambda *_: closed), invariants[name].step, where, rule
    )
    return Part(heading=f"one more block{label}", lines=lines)


def _after(joined: Recurrences, v: Mapping[str, Term]) -> Mapping[str, Term]:
    """Every state after one more block, by its own step."""
    renamed = {}
    for name, c in joined.states.items():
        step = c.step
        for block, column in c.pairs:
            step = substitute(step, block, joined.blocks[column.name])
        for other, state in joined.so_far.items():
            step = substitute(step, internal(other, *state.shape), state)
        renamed[name] = step
    return renamed


def _hypotheses(joined: Recurrences, closed: Mapping[str, Term]) -> Rule:
    return hypothesis({n: (joined.so_far[n], form) for n, form in closed.items()})
