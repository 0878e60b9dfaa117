"""`python -m empirical.cli.train_momentum`: one momentum model, on one device or several.

`accelerate launch -m empirical.cli.train_momentum` shares its training between devices.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from transformers.utils import logging

from empirical.cli import options
from empirical.core.errors import UserError
from empirical.core.progress import SILENT, Reporter
from empirical.core.terminal import TerminalReporter
from empirical.momentum.corpus import read_books, windows
from empirical.momentum.scales import scale
from empirical.momentum.train import MODELS, begin, train
from empirical.results.attention_kinds import Layer
from empirical.results.language_models import run_name


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of one model, for `accelerate launch`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", required=True)
    parser.add_argument("--kind", default="plain")
    parser.add_argument("--eta", type=float)
    parser.add_argument("--learned", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--text", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, help="windows at once on a device")
    parser.add_argument("--device", default="cuda")
    asked = parser.parse_args(argv)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call] # transformers' own gap
    first = int(os.environ.get("RANK", "0")) == 0
    reporter: Reporter = TerminalReporter(Console()) if first else SILENT
    try:
        at, device = scale(asked.scale), options.device(asked.device)
        layer = Layer(kind=asked.kind, eta=asked.eta, learned=asked.learned)
        text = windows(read_books(asked.text), at.vocabulary, at.length)
        folder = asked.out / MODELS / run_name(at.name, layer, asked.seed)
        begin(at, layer, asked.seed, text, folder)
        train(
            at, layer, asked.seed, text, folder, device=device, rows=asked.rows,
            reporter=reporter,
        )  # fmt: skip
    except UserError as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()
