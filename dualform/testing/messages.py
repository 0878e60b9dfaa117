"""What a failed conformance check says: the identity, the smallest example, the place, the gap."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One violated identity at its worst entry.

    `identity` names the statement and `formula` states it; `example` lists the smallest failing
    shapes; `place` is the entry; `bound` is what rounding can explain there.
    """

    identity: str
    formula: str
    example: str
    convention: str
    place: str
    got: str
    expected: str
    gap: str
    bound: str
    hints: tuple[str, ...] = ()

    def __str__(self) -> str:
        rows = [
            ("smallest example", self.example),
            ("convention", self.convention),
            ("place", self.place),
            ("got", self.got),
            ("expected", self.expected),
            ("gap", self.gap),
            ("bound", self.bound),
        ]
        lines = [f"{self.identity}: {self.formula} does not hold"]
        lines += [f"  {name:<18}{value}" for name, value in rows if value]
        lines += [f"  {'hint':<18}{hint}" for hint in self.hints]
        return "\n".join(lines)


class ConformanceError(AssertionError):
    """An implementation breaks an identity; `finding` has the parts of the message."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(str(finding))
        self.finding = finding


class Uninformative(AssertionError):
    """Too few examples could have told a wrong implementation from a right one."""


class Unusable(TypeError):
    """What was given cannot be called as an implementation of the variant."""


def number(value: float) -> str:
    """Nine significant digits, which tell any two float32 numbers apart."""
    return f"{value:.9g}"
