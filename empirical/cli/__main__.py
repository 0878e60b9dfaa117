"""`python -m empirical.cli`: the commands of the console script `dualform`."""

from empirical.cli import app

app()
