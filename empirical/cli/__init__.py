"""The console script `dualform`: arguments come in; files, lines and an exit status go out.

Heavy imports happen inside the commands that need them, and typer's when the app is asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from empirical.cli.commands import app

__all__ = ["app"]


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from empirical.cli.commands import app

    return app
