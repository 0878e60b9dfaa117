"""Recurrences as nodes: built from a step and a start, and taken apart again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from proofs.statements import States, Step
from proofs.terms.term import Dim, ShapeError, Term, contains, fit, internal, shape_words


def grows(start: Term) -> bool:
    """Whether a state that starts so grows by the block's width in every step."""
    return start.shape[1] == ()


def recurrence(
    step: Step, start: States, columns: tuple[Term, ...], width: Dim
) -> Mapping[str, Term]:
    """The last values of all states of a recurrence over `columns`, in blocks of `width` columns.

    Raises:
        ShapeError: for columns, names or steps that do not fit, or a recurrence inside the step.
    """
    n = columns[0].shape[1]
    for c in columns:
        fit(c.shape[1] == n and c.kind in ("symbol", "hcat"), "a recurrence", columns[0], c)
    names = [_letter(c).lower() for c in columns]
    _apart(list(start), names)
    blocks = tuple(
        internal(f"{a}_t", c.shape[0], width) for a, c in zip(names, columns, strict=True)
    )
    states = {
        name: internal(name, s.shape[0], n if grows(s) else s.shape[1]) for name, s in start.items()
    }
    after = step(states, *blocks)
    if list(after) != list(start):
        raise ShapeError(f"expected a step that gives {list(start)}, got {list(after)}")
    if any(contains(after[name], lambda t: t.kind == "fold") for name in start):
        raise ShapeError("expected a step without a recurrence in it, got a nested one")
    for name, s in start.items():
        more = width if grows(s) else ()
        wanted = (s.shape[0], tuple(sorted((*states[name].shape[1], *more))))
        if after[name].shape != wanted:
            raise ShapeError(
                f"expected the state {name} to be {shape_words(wanted)} after a step, "
                f"got {shape_words(after[name].shape)}"
            )
    pairs = tuple(x for pair in zip(blocks, columns, strict=True) for x in pair)
    args = (*states.values(), *after.values(), *start.values(), *pairs)
    return {
        name: Term("fold", args, states[name].shape, f"{i}/{len(start)}")
        for i, name in enumerate(start)
    }


def _apart(states: list[str], blocks: list[str]) -> None:
    """Refuse names that could be taken for each other, or for a bound variable.

    Raises:
        ShapeError: for a state that is no single letter other than U, or a name that comes twice.
    """
    if any(len(s) != 1 or s == "U" for s in states):
        raise ShapeError(f"expected states called by single letters other than U, got {states}")
    if len({*states, *blocks}) < len(states) + len(blocks) or any(b.endswith("_n") for b in blocks):
        raise ShapeError(f"expected states {states} and blocks {blocks} with names of their own")


def _letter(columns: Term) -> str:
    """A name for the blocks of a matrix: its own, or that of its first part."""
    return columns.name if columns.kind == "symbol" else _letter(columns.args[0])


@dataclass(frozen=True, slots=True)
class Component:
    """What a fold node stands for: state `name`, its step and start, over (block, columns)."""

    name: str
    step: Term
    start: Term
    pairs: tuple[tuple[Term, Term], ...]


def components(fold: Term) -> tuple[int, tuple[Component, ...]]:
    """The index of the state that a fold node stands for, and all states of its recurrence."""
    index, count = map(int, fold.name.split("/"))
    states, steps, starts = (fold.args[i * count : (i + 1) * count] for i in range(3))
    rest = fold.args[3 * count :]
    pairs = tuple(zip(rest[::2], rest[1::2], strict=True))
    made = (
        Component(name=s.name.removeprefix("."), step=after, start=at, pairs=pairs)
        for s, after, at in zip(states, steps, starts, strict=True)
    )
    return index, tuple(made)
