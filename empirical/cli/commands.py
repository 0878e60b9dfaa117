"""The commands of `dualform`, in the order of its help page."""

from collections.abc import Callable

from empirical.cli import convert, momentum, proofs, report, study
from empirical.cli.console import app as app

COMMANDS: dict[str, Callable[..., None]] = {
    "prove": proofs.prove,
    "check": study.check,
    "reproduce": study.reproduce,
    "controls": study.list_controls,
    "export": convert.export,
    "convert": convert.convert,
    "calibrate": report.calibrate,
    "momentum": momentum.momentum,
    "report": report.report,
}

for _name, _command in COMMANDS.items():
    app.command(name=_name)(_command)
