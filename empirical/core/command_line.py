"""Command lines whose every error is one line on standard error, and their exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from dualform.extras import missing
from empirical.core.errors import Refused, UserError

# The error of the parser behind typer, which is click's or typer's own copy of it.
UsageError: Any = typer.BadParameter.__bases__[0]

STOPPED = 130  # the exit status of what Ctrl-C stopped


class OneLine(TyperGroup):
    """A group whose every error is one line: status 2 for bad input, 1 for a refusal."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run; what the parser or a command refuses becomes one line and an exit status."""
        _run(partial(super().main, *args, **extra | {"standalone_mode": False}))


class OneLineCommand(TyperCommand):
    """A command on its own, with the errors of `OneLine`."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """As that of `OneLine`."""
        _run(partial(super().main, *args, **extra | {"standalone_mode": False}))


def single(command: Callable[..., None]) -> typer.Typer:
    """The app of a module that has one command, for `python -m`."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(cls=OneLineCommand)(command)
    return app


def _fail(message: str, status: int) -> NoReturn:
    typer.echo(" ".join(message.split()), err=True)
    sys.exit(status)


def _run(main: Callable[[], Any]) -> NoReturn:
    """Run a command line to its exit status.

    Raises:
        ImportError: when a module fails to load that no extra would bring.
    """
    try:
        status = main() or 0
        if status != STOPPED:
            sys.exit(status)
    except UserError as error:
        _fail(f"error: {error}", 2)
    except Refused as refused:
        _fail(f"refused: {refused}", 1)
    except ImportError as error:
        lacking = missing(error)
        if lacking is None:
            raise
        _fail(f"error: {lacking}", 2)
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
