"""`python -m empirical.cli`: the console script `dualform`."""

from empirical.cli import app

app()
