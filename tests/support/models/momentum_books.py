"""Made-up books and a scale of a few hundred weights, for the tests that train."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from empirical.core.progress import Advance
from empirical.momentum.corpus import Books, Windows, windows
from empirical.momentum.scales import SCALES

WORDS = "the cat sat on a mat and saw nine red birds fly over hills".split()
TINY = replace(
    SCALES["nano"], layers=1, width=16, ffn=16, heads=2, vocabulary=300, length=16, rows=4, steps=6,
    warmup=2, every=2, save=2, windows=4, context=256,
)  # fmt: skip


def book(seed: int, lines: int = 60) -> str:
    """Lines of nine words."""
    rng = np.random.default_rng((99, seed))
    return "\n".join(" ".join(rng.choice(WORDS, 9)) for _ in range(lines))


BOOKS = Books(name="made up", training=(book(0), book(1)), validation=(book(2, 20),))


def made_windows(books: Books = BOOKS) -> Windows:
    """Windows of the tiny scale."""
    return windows(books, TINY.vocabulary, TINY.length)


def save_books(folder: Path, count: int = 3) -> Path:
    """`count` files, of which the last by name is held out."""
    folder.mkdir(parents=True)
    for i in range(count):
        (folder / f"book{i}.txt").write_text(book(i), encoding="utf-8")
    return folder


class Watcher:
    """A reporter that keeps what it is told, and does something at every step."""

    def __init__(self, then: Callable[[int], None] = lambda done: None) -> None:
        self.then, self.done = then, 0
        self.lines: list[str] = []
        self.totals: list[int] = []

    @contextmanager
    def stage(self, _title: str, total: int) -> Iterator[Advance]:
        """Count."""
        self.totals.append(total)

        def advance(steps: int) -> None:
            self.done += steps
            self.then(self.done)

        yield advance

    def say(self, line: str) -> None:
        """Keep the line."""
        self.lines.append(line)


def stop_at(step: int) -> Watcher:
    """A reporter that interrupts when `step` steps are done."""

    def then(done: int) -> None:
        if done >= step:
            raise KeyboardInterrupt

    return Watcher(then)
