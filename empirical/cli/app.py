"""The app behind `dualform`, the options that commands share, and errors of one line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from empirical.cli import options
from empirical.core.errors import Refused, UserError

if TYPE_CHECKING:
    from empirical.core.terminal import TerminalReporter


# The error of the parser behind typer, which is click's or typer's own copy of it.
UsageError: Any = typer.BadParameter.__bases__[0]


STOPPED = 130  # the exit status of what Ctrl-C stopped


def _fail(message: str, status: int) -> NoReturn:
    typer.echo(" ".join(message.split()), err=True)
    sys.exit(status)


class OneLine(TyperGroup):
    """A group whose every error is one line on standard error: 2 for bad input, 1 for a refusal."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run; what the parser or a command refuses becomes one line and an exit status."""
        extra["standalone_mode"] = False
        try:
            status = super().main(*args, **extra) or 0
            if status != STOPPED:
                sys.exit(status)
        except UserError as error:
            _fail(f"error: {error}", 2)
        except Refused as refused:
            _fail(f"refused: {refused}", 1)
        except OSError as error:
            what = error.strerror or type(error).__name__
            _fail(
                f"error: expected files that can be read and written, got {what}"
                f"{f' at {error.filename}' if error.filename else ''}; what was finished is kept, "
                "put that right and run the same command again",
                2,
            )
        except UsageError as error:
            if not error.format_message():  # a bare `dualform`: its message is the help
                error.show()
                sys.exit(2)
            asked = error.ctx.command_path if error.ctx else "dualform"
            _fail(
                f"error: expected options of `{asked}`, got this: {error.format_message()} "
                f"See `{asked} --help`",
                2,
            )
        except (typer.Abort, KeyboardInterrupt):
            pass
        _fail("stopped; the same command goes on where it was", STOPPED)


app = typer.Typer(
    cls=OneLine,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Check the claim that in-context learning is implicit gradient descent.",
)


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
