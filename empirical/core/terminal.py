"""Progress on a terminal: bars, and plain lines where there is none."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from empirical.core.progress import Advance

EVERY = 30.0  # seconds between lines of a stage that is not shown on a terminal


class TerminalReporter:
    """Bars on a terminal; elsewhere a line at the end of a stage, and now and then inside."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.perf_counter) -> None:
        self.console, self.clock = console, clock

    def say(self, line: str) -> None:
        """One line, never taken for markup."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Advance]:
        """Count `total` steps; what ends early says how far it came."""
        start, done = self.clock(), 0
        shown = self._bar(title, total) if self.console.is_terminal else self._lines(title, total)
        with shown as advance:

            def count(steps: int) -> None:
                nonlocal done
                done += steps
                advance(steps)

            yield count
        of = f"{total}" if done == total else f"{done} of {total}"
        self.say(f"  {title}: {of} in {self.clock() - start:.1f} s")

    @contextmanager
    def _bar(self, title: str, total: int) -> Iterator[Advance]:
        columns = (
            TextColumn("  {task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as bar:
            task = bar.add_task(title, total=total)
            yield lambda steps: bar.advance(task, steps)

    @contextmanager
    def _lines(self, title: str, total: int) -> Iterator[Advance]:
        last, done = self.clock(), 0

        def count(steps: int) -> None:
            nonlocal last, done
            done += steps
            if self.clock() - last >= EVERY and done < total:
                last = self.clock()
                self.say(f"  {title}: {done} of {total}")

        yield count
