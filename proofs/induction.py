"""Induction over the examples of recurrences: what its chains may use, and what is refused.

All recurrences in a claim walk over the same examples and are followed together: their states are
one list, in which a name means one thing. Each state with an invariant equals its closed form in
the other states, the variables and the examples so far. The claim has to be that one of those
states equals its closed form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from proofs.rules import hypothesis
from proofs.statements import Side, Statement, States, Step as Walk
from proofs.steps import Derivation, Direct, Induction, Invariant, Part, WrongStep, check_chain
from proofs.terms import (
    ONE,
    Component,
    Dim,
    ShapeError,
    Term,
    TermOps,
    components,
    contains,
    grows,
    internal,
    rebuild,
    substitute_all,
    variables,
)

EMPTY: Dim = ()


class ChainOps(TermOps):
    """What the steps of a chain are built with: no recurrence of their own."""

    def fold(self, step: Walk, start: States, *columns: Term) -> Mapping[str, Term]:
        """Refused.

        Raises:
            WrongStep: always.
        """
        raise WrongStep("expected chains without recurrences of their own, got one")

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
    n = v[next(iter(pairs))].shape[1]
    if len(n) != 1 or n == ONE:
        raise WrongStep(f"expected any number of examples in {where}, got {'+'.join(n) or 0}")
    clash = sorted({*found} & {block_name(c) for c in pairs})
    if clash or any(block_name(c).endswith("_n") for c in pairs):
        raise WrongStep(f"expected other names than {clash} in {where}, the induction uses them")
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
    forms, final = _check_claim(statement, derivation, joined, (left, right))
    parts = []
    for name, invariant in derivation.invariants.items():
        label = f" for {name}" if len(derivation.invariants) > 1 else ""
        parts.append(_base(statement, joined, name, invariant, (forms, final), label))
        parts.append(_next(statement, joined, derivation, name, (forms, final), label))
    return tuple(parts)


def _check_claim(
    statement: Statement, derivation: Induction, joined: Recurrences, sides: tuple[Term, Term]
) -> tuple[dict[str, Term], dict[str, Term]]:
    """The left side is a state with an invariant, and the right side is its closed form.

    Gives the closed forms over all examples, and what stands for every state there.

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
    final: dict[str, Term] = {}
    for side in sides:
        for fold in _folds(side):
            _, own = components(fold)
            for j, c in enumerate(own):
                shape = _so_far_shape(c, c.pairs[0][1].shape[1])
                final[c.name] = Term("fold", fold.args, shape, f"{j}/{len(own)}")
    forms: dict[str, Term] = {}
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
        forms[name] = form
    return forms, final


def _joined(v: Mapping[str, Term], extra: Mapping[str, Term], where: str) -> dict[str, Term]:
    clash = sorted(set(v) & set(extra))
    if clash:
        raise WrongStep(f"expected other names than {clash} in {where}, the induction uses them")
    return {**v, **extra}


Forms = tuple[Mapping[str, Term], Mapping[str, Term]]  # closed forms; what stands for each state


def _base(
    statement: Statement,
    joined: Recurrences,
    name: str,
    invariant: Invariant,
    forms: Forms,
    label: str,
) -> Part:
    """The chain for no examples."""
    v, where = variables(statement), f"{statement.id} (no examples{label})"
    starts = {n: c.start for n, c in joined.states.items()}
    empty = {c: internal(f"{c}_0", v[c].shape[0], EMPTY) for c in joined.blocks}
    seen = {**v, **empty}
    closed = _with(statement, forms, name, starts, empty)
    lines = check_chain(
        ChainOps(), seen, (lambda *_: starts[name], lambda *_: closed), invariant.base, where
    )
    return Part(heading=f"no examples{label}", lines=lines)


def _with(
    statement: Statement,
    forms: Forms,
    name: str,
    states: Mapping[str, Term],
    columns: Mapping[str, Term],
) -> Term:
    """A closed form with other states and examples in it.

    Raises:
        WrongStep: when it depends on the examples in a way that cannot be carried over.
    """
    closed, final = forms
    v = variables(statement)
    new = {final[n]: states[n] for n in states} | {v[c]: t for c, t in columns.items()}
    try:
        n = v[next(iter(columns))].shape[1]
        return rebuild(closed[name], new, n, next(iter(columns.values())))
    except ShapeError as error:
        raise WrongStep(f"in the induction of {statement.id}: {error}") from None


def _next(
    statement: Statement,
    joined: Recurrences,
    derivation: Induction,
    name: str,
    forms: Forms,
    label: str,
) -> Part:
    """The chain for one more block, given the invariants for the examples so far.

    Raises:
        WrongStep: for columns that are told apart by case alone, or a line that does not follow.
    """
    v, where = variables(statement), f"{statement.id} (one more block{label})"
    if len(set(map(block_name, joined.blocks))) < len(joined.blocks):
        raise WrongStep(f"expected columns that differ in more than case in {where}")
    ops = ChainOps()
    after = _after(joined)
    whole = {c: ops.hcat(v[c], block) for c, block in joined.blocks.items()}
    extra = {block_name(c): block for c, block in joined.blocks.items()}
    extra |= {f"{c}_n": v[c] for c in joined.blocks}
    extra |= {f"{n}_n": state for n, state in joined.so_far.items()}
    seen = _joined(v, extra, where) | whole
    invariants = derivation.invariants
    before = {c: v[c] for c in joined.blocks}
    rule = hypothesis(
        {
            n: (joined.so_far[n], _with(statement, forms, n, joined.so_far, before))
            for n in invariants
        }
    )
    closed = _with(statement, forms, name, after, whole)
    lines = check_chain(
        ops, seen, (lambda *_: after[name], lambda *_: closed), invariants[name].step, where, rule
    )
    return Part(heading=f"one more block{label}", lines=lines)


def _after(joined: Recurrences) -> Mapping[str, Term]:
    """Every state after one more block, by its own step."""
    renamed = {}
    for name, c in joined.states.items():
        new = {block: joined.blocks[column.name] for block, column in c.pairs}
        new |= {internal(n, *state.shape): state for n, state in joined.so_far.items()}
        renamed[name] = substitute_all(c.step, new)
    return renamed
