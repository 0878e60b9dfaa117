"""The console script `dualform`."""

from empirical.cli.study import app

__all__ = ["app"]
