"""What a long computation tells whoever watches it (standard library only)."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], None]


class Reporter(Protocol):
    """Someone who watches: a terminal, a log, or nobody."""

    def stage(self, title: str, total: int) -> AbstractContextManager[Advance]:
        """A stage of `total` steps; inside, call what it yields with the steps just done."""

    def say(self, line: str) -> None:
        """One line of text."""


def ignore(_steps: int) -> None:
    """Nobody watches."""


class Silent:
    """A reporter that drops everything."""

    @contextmanager
    def stage(self, _title: str, _total: int) -> Iterator[Advance]:
        """Yield `ignore`."""
        yield ignore

    def say(self, _line: str) -> None:
        """Drop the line."""


SILENT = Silent()
