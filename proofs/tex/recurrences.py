"""The recurrences of a claim: a letter for each last value, and the starts and steps below it."""

from __future__ import annotations

from dataclasses import dataclass

from proofs.terms import (
    ONE,
    Component,
    Shape,
    Term,
    components,
    grows,
    internal,
    substitute,
    symbol,
)
from proofs.tex.terms import symbol_name, tex


@dataclass(frozen=True, slots=True)
class Walks:
    """The recurrences of a claim: a letter for the last value of every state."""

    letters: dict[Component, Term]
    beside: dict[Component, tuple[Component, ...]]  # all states of its recurrence

    def named(self, term: Term) -> Term:
        """`term` with a letter for every recurrence."""
        if term.kind == "fold":
            index, parts = components(term)
            return self.letters[parts[index]]
        return Term(term.kind, tuple(map(self.named, term.args)), term.shape, term.name)

    def rows(self) -> str:
        """The starts and steps, one row a state, for an aligned display."""
        lines = []
        for c, letter in self.letters.items():
            here = letter.name.removeprefix(".").removesuffix("_n")
            state = symbol_name("." + here)
            step = tex(self._renamed(c))
            lines.append(
                rf"& {state} = {tex(c.start)}, && {state} \leftarrow \fitstep{{{step}}} \\"
            )
        return "\n".join(lines).removesuffix(r" \\")

    def _renamed(self, c: Component) -> Term:
        """A step in the letters of this claim."""
        step = c.step
        for other in self.beside[c]:
            letter = self.letters[other].name.removesuffix("_n")
            state = internal(other.name, *_state_shape(other))
            step = substitute(step, state, symbol(letter, *state.shape))
        return step

    def over(self) -> str:
        """What the recurrences walk over."""
        pairs: dict[str, str] = {}
        for c in self.letters:
            pairs |= {tex(b): tex(column) for b, column in c.pairs}
        single = all(b.shape[1] == ONE for c in self.letters for b, _ in c.pairs)
        kind = "columns" if single else "blocks of columns (of any sizes)"
        return rf"{kind} $({', '.join(pairs)})$ of $({', '.join(pairs.values())})$"


def _state_shape(c: Component) -> Shape:
    return c.start.shape[0], c.pairs[0][1].shape[1] if grows(c.start) else c.start.shape[1]


def walks(*sides: Term) -> Walks:
    """Letters for all states of all recurrences in some sides; a hat where a name means two."""
    letters: dict[Component, Term] = {}
    beside: dict[Component, tuple[Component, ...]] = {}

    def visit(term: Term) -> None:
        if term.kind == "fold":
            for c in components(term)[1]:
                beside[c] = components(term)[1]
                taken = {t.name for t in letters.values()}
                if c not in letters:
                    name = f".{c.name}_n" if f".{c.name}_n" not in taken else f".hat{c.name}_n"
                    letters[c] = symbol(name, *_state_shape(c))
        for a in term.args:
            visit(a)

    for side in sides:
        visit(side)
    return Walks(letters, beside)
