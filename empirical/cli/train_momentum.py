"""`python -m empirical.cli.train_momentum`: one momentum model, on one device or several.

`accelerate launch -m empirical.cli.train_momentum` shares its training between devices.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from empirical.cli import options
from empirical.core.command_line import single

if TYPE_CHECKING:
    from empirical.core.progress import Reporter


def train_momentum(
    scale: Annotated[str, typer.Option(help="`nano`, `small` or `paper`.")],
    text: Annotated[str, typer.Option(help="Folder of books, `hub:OWNER/NAME` or `generated`.")],
    out: Annotated[Path, typer.Option(help="Results folder; a run in it goes on.")],
    kind: Annotated[str, typer.Option(help="Kind of attention.")] = "plain",
    eta: Annotated[float | None, typer.Option(help="Its eta.")] = None,
    learned: Annotated[bool, typer.Option("--learned", help="Learn eta, from there.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of weights and data order.")] = 1,
    rows: Annotated[int | None, typer.Option(help="Windows at once on a device.")] = None,
    device: Annotated[str, typer.Option(help="`cpu`, `cuda` or `cuda:N`.")] = "cuda",
) -> None:
    """Train one momentum model, on one device or, by `accelerate launch`, on several."""
    from transformers.utils import logging

    from empirical.momentum import Layer
    from empirical.momentum.corpus import read_books, windows
    from empirical.momentum.scales import scale as scale_of
    from empirical.momentum.train import MODELS, begin, train
    from empirical.results.language_models import run_name

    logging.disable_progress_bar()  # type: ignore[no-untyped-call] # transformers' own gap
    at, where = scale_of(scale), options.device(device)
    layer = Layer(kind=kind, eta=eta, learned=learned)
    data = windows(read_books(text), at.vocabulary, at.length)
    folder = out / MODELS / run_name(at.name, layer, seed)
    begin(at, layer, seed, data, folder)
    train(at, layer, seed, data, folder, device=where, rows=rows, reporter=_reporter())


def _reporter() -> Reporter:
    """A terminal for the first process, silence for the others."""
    from rich.console import Console

    from empirical.core.progress import SILENT
    from empirical.core.terminal import TerminalReporter

    return SILENT if int(os.environ.get("RANK", "0")) else TerminalReporter(Console())


app = single(train_momentum)

if __name__ == "__main__":
    app()
