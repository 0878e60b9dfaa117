"""The app behind `dualform`, and the options that its commands share."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from empirical.cli import options
from empirical.core.command_line import OneLine
from empirical.core.errors import UserError

if TYPE_CHECKING:
    from empirical.core.terminal import TerminalReporter


app = typer.Typer(
    cls=OneLine,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Check the claim that in-context learning is implicit gradient descent.",
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"dualform {metadata.version('dualform')}")
        raise typer.Exit


@app.callback()
def of_all_commands(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Options that stand before the name of a command."""


Tokenizer = Annotated[
    Path | None,
    typer.Option(help="Folder with tokenizer.json, or vocab.json and merges.txt; the model's own."),
]


Data = Annotated[
    str | None,
    typer.Option(
        metavar="DIR", help="Folder of JSON Lines tasks, or `hub`; generated tasks by default."
    ),
]


Seed = Annotated[
    int, typer.Option(parser=options.Whole("--seed", 1), help="Seed of the demonstrations.")
]


K = Annotated[
    int | None,
    typer.Option(
        parser=options.Whole("--k", 16),
        help="Demonstrations, all of which must fit; by default the paper's, or as many as fit.",
    ),
]


Limit = Annotated[
    int | None,
    typer.Option(
        parser=options.Whole("--limit", 500),
        help="Most evaluation rows of a task; by default the paper's 2000.",
    ),
]


Draw = Annotated[
    str,
    typer.Option(
        metavar="RULE",
        help="`published`: where the data folder lists the rows that the paper's code draws with "
        "this seed, take those; `shuffled`: always shuffle the training rows at hand.",
    ),
]


Threads = Annotated[
    int,
    typer.Option(
        parser=options.Whole("--threads", 1, least=1),
        help="Threads of the arithmetic; the last bits of the results depend on it.",
    ),
]


Out = Annotated[Path, typer.Option(help="Results folder.")]


def writable_folder(folder: Path) -> Path:
    """`folder`, created.

    Raises:
        UserError: when it cannot be created or written to.
    """
    import os

    reason = "no write permission"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError as error:
        reason = error.strerror or type(error).__name__
    raise UserError(
        f"expected a folder that can be written at {folder}, got: {reason}; name another one"
    )


def terminal_reporter(threads: int) -> TerminalReporter:
    """A reporter on standard output; the libraries' own bars and warnings silenced."""
    import torch
    from huggingface_hub.utils import logging as hub_logging
    from rich.console import Console
    from transformers.utils import logging

    from empirical.core.terminal import TerminalReporter

    torch.set_num_threads(threads)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call] # transformers' own gap
    hub_logging.set_verbosity_error()  # type: ignore[no-untyped-call] # the hub client's own gap
    logging.set_verbosity_error()  # type: ignore[no-untyped-call] # as above
    return TerminalReporter(Console())
