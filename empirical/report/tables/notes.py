"""Notes below a grid: reasons that cells share, numbered once."""

from __future__ import annotations


class Reasons:
    """Why cells are empty: each reason once, by number, as notes below the grid."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def mark(self, word: str, reason: str) -> str:
        """A short cell that points to its note."""
        return f"{word} ({self.numbers.setdefault(reason, len(self.numbers) + 1)})"

    def notes(self) -> tuple[str, ...]:
        """In the order of their numbers."""
        return tuple(f"({number}) {reason}" for reason, number in self.numbers.items())
