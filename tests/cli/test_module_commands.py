"""The commands of single modules, `python -m NAME`: their options, and errors in one line."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from empirical.analysis import interval_coverage
from empirical.cli.fuzz import fuzz
from empirical.cli.train_momentum import train_momentum
from empirical.core.command_line import single
from empirical.core.errors import Refused, UserError
from empirical.training import embedded, evaluate, learning_curve, reader, reader_tasks
from empirical.verification import api_page, identities_page
from empirical.verification.conformance import run
from tests.support.study import error_line

COMMANDS: dict[Callable[..., None], str] = {
    embedded.main: "out seed rate prose_weight threads",
    reader.main: "data out seed rate direct prose repeated named threads",
    reader_tasks.main: "data out",
    evaluate.main: "out model data seed k examples assignments",
    learning_curve.main: "log out",
    interval_coverage.main: "out repetitions seed",
    identities_page.main: "out",
    api_page.main: "out",
    run.main: "out only",
    fuzz: "cases seed out device workers only",
    train_momentum: "scale text out kind eta learned seed rows device",
}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: f"{c.__module__}")
def test_the_options_are_named_and_an_unknown_one_is_refused_in_one_line(
    command: Callable[..., None],
) -> None:
    assert " ".join(inspect.signature(command).parameters) == COMMANDS[command]
    refused = CliRunner().invoke(single(command), ["--nope"])
    assert "No such option: --nope" in error_line(refused)


def stops(kind: str) -> None:
    """Ends in one way or another."""
    errors = {
        "user": UserError("expected two\nlines"),
        "refused": Refused("no"),
        "import": ModuleNotFoundError("no", name="transformers.utils"),
        "key": KeyError("x"),
        "own": ModuleNotFoundError("no", name="empirical.nothing"),
        "stop": KeyboardInterrupt(),
    }
    raise errors[kind]


@pytest.mark.parametrize(
    ("kind", "status", "line"),
    [
        ("user", 2, "error: expected two lines"),
        ("refused", 1, "refused: no"),
        ("stop", 130, "stopped; the same command goes on where it was"),
        (
            "import",
            2,
            "error: expected transformers to be installed, got none; "
            'run `pip install "dualform[study]"`',
        ),
    ],
)
def test_every_end_is_one_line_and_a_status(kind: str, status: int, line: str) -> None:
    assert error_line(CliRunner().invoke(single(stops), [kind]), status) == line


@pytest.mark.parametrize("kind", ["key", "own"])
def test_a_fault_of_the_code_is_not_dressed_up(kind: str) -> None:
    done = CliRunner().invoke(single(stops), [kind])
    assert isinstance(done.exception, KeyError | ModuleNotFoundError)
