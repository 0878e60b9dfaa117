"""The whole study of a model: identities on every task, then every cell and its controls, in order.

Each result is written as soon as it is there, so that a run that was stopped goes on where it was:
records and checks by `empirical.results.reuse`, captures batch by batch, rates trial by trial.
"""

from pathlib import Path
from typing import Any

from empirical.core.progress import SILENT, Reporter
from empirical.identities.applicability import NOT_APPLICABLE
from empirical.results import identity_checks
from empirical.results.identity_checks import CheckProvenance
from empirical.results.record import Record
from empirical.study.cell import Cell, cells_of
from empirical.study.check_identities import all_statements, run_checks, trained_on
from empirical.study.controls.run_controls import run_controls
from empirical.study.request import Request, Study, open_study
from empirical.study.run_study import run_cells

__all__ = [
    "Request",
    "Study",
    "check_all",
    "check_cell",
    "open_study",
    "run_cells",
    "run_cells_and_controls",
]


def check_cell(
    cell: Cell,
    *,
    rate: float,
    queries: int = 1,
    arithmetic: str = "float64",
    again: bool = False,
    reporter: Reporter = SILENT,
) -> dict[str, Any]:
    """The identities on every layer and head while the model reads one task; written to its folder.

    The document is written, and returned, also when a check is refused. Checks that held with the
    same inputs are reused unless asked for `again`.

    Raises:
        UserError: for a bad rate, arithmetic or number of queries, or a finetuning that diverges.
    """
    wanted = _provenance(cell, rate, queries, arithmetic, again)
    if not again:
        old = identity_checks.find(cell.folder, cell.task, wanted)
        if old.line:
            reporter.say(old.line)
        if old.value is not None:
            return old.value
    checks = run_checks(
        cell.model,
        cell.prepared,
        queries=queries,
        rate=rate,
        arithmetic=arithmetic,
        reporter=reporter,
    )
    value = identity_checks.document(checks, cell.task, wanted, NOT_APPLICABLE)
    identity_checks.write(value, cell.folder)
    return value


def _provenance(
    cell: Cell, rate: float, queries: int, arithmetic: str, again: bool
) -> CheckProvenance:
    """What checks depend on; the command names all its options where it asks for them `again`."""
    more = ("--rate", repr(rate), "--queries", str(queries), "--dtype", arithmetic)
    command = cell.command_with("--seed", str(cell.seed), *more) if again else cell.command
    return CheckProvenance(
        **cell.inputs,
        queries=queries,
        rate=rate,
        steps=len(trained_on(cell.prepared)),
        states=cell.study.dtype,
        arithmetic=arithmetic,
        statements=all_statements(cell.prepared),
        command=command,
    )


def check_all(
    study: Study, folder: Path, reporter: Reporter = SILENT
) -> tuple[dict[str, Any], ...]:
    """`check_cell` for the first seed of every task; finetuning is that of the smallest rate.

    Raises:
        UserError: when finetuning diverges even at the smallest rate.
    """
    cells = [Cell(study=study, prepared=p, folder=Path(folder)) for p in study.tasks]
    return tuple(check_cell(c, rate=min(c.settings.rates), reporter=reporter) for c in cells)


def run_cells_and_controls(
    study: Study, folder: Path, reporter: Reporter = SILENT
) -> tuple[Record, ...]:
    """`run_cells`, then the controls that were asked for beside each record.

    Raises:
        UserError: when every rate diverges on a task.
    """
    made = run_cells(study, folder, reporter)
    if study.request.controls:
        run_controls(cells_of(study, folder), made, reporter)
    return made
