"""`dualform calibrate` and `dualform report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from empirical.cli.console import Out, Seed, Threads, terminal_reporter, writable_folder


def calibrate(out: Out = Path("results"), seed: Seed = 0, threads: Threads = 1) -> None:
    """Read models whose answer is known: the instrument's calibration, into OUT."""
    reporter = terminal_reporter(threads)
    from empirical.calibration import run_calibration

    for line in run_calibration(writable_folder(out), seed, reporter):
        reporter.say(line)


def report(
    folder: Annotated[Path, typer.Argument(help="A results folder of `reproduce`.")],
) -> None:
    """Build page, tables and figures again from the records of a results folder alone."""
    from rich.console import Console

    from empirical.core.terminal import TerminalReporter
    from empirical.report import write_report

    console = Console()
    for path in write_report(folder, TerminalReporter(console)):
        console.print(str(path), highlight=False, soft_wrap=True)
