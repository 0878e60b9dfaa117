"""The console script `dualform`: arguments come in; files, lines and an exit status go out.

Heavy imports happen inside the commands that need them.
"""

from empirical.cli.commands import app as app

__all__ = ["app"]
