"""The whole study of a model: identities on every task, then every cell, in order.

Each result is written as soon as it is there, so that a run that was stopped goes on where it was:
records and checks by `empirical.results.reuse`, captures batch by batch, rates trial by trial.
"""

from pathlib import Path
from typing import Any

from empirical.core.progress import SILENT, Reporter
from empirical.identities.applicability import NOT_APPLICABLE
from empirical.results import identity_checks
from empirical.results.identity_checks import CheckProvenance
from empirical.study.check_identities import all_statements, run_checks, trained_on
from empirical.study.preparation import Prepared
from empirical.study.request import (
    Request,
    Study,
    choices_of,
    command_of,
    dtype_of,
    inputs_of,
    open_study,
)
from empirical.study.run_study import run_cells

__all__ = ["Request", "Study", "check_all", "check_task", "open_study", "run_cells"]


def check_task(
    study: Study,
    ready: Prepared,
    folder: Path,
    *,
    rate: float,
    queries: int = 1,
    arithmetic: str = "float64",
    again: bool = False,
    reporter: Reporter = SILENT,
) -> dict[str, Any]:
    """The identities on every layer and head while the model reads one task; written to `folder`.

    The document is written, and returned, also when a check is refused. Checks that held with the
    same inputs are reused unless asked for `again`.

    Raises:
        UserError: for a bad rate, arithmetic or number of queries, or a finetuning that diverges.
    """
    more = ("--rate", repr(rate), "--queries", str(queries), "--dtype", arithmetic)
    choices = ("--seed", str(ready.seed), *more) if again else choices_of(study, ready)
    command = command_of(study, ready, *choices)
    wanted = CheckProvenance(
        **inputs_of(study, ready),
        queries=queries,
        rate=rate,
        steps=len(trained_on(ready)),
        states=dtype_of(study.model),
        arithmetic=arithmetic,
        statements=all_statements(ready),
        command=command,
    )
    old = identity_checks.Found(value=None, line="")
    if not again:
        old = identity_checks.find(folder, ready.task.name, wanted)
    if old.line:
        reporter.say(old.line)
    if old.value is not None:
        return old.value
    found = run_checks(
        study.model, ready, queries=queries, rate=rate, arithmetic=arithmetic, reporter=reporter
    )
    value = identity_checks.document(found, ready.task.name, wanted, NOT_APPLICABLE)
    identity_checks.write(value, folder)
    return value


def check_all(
    study: Study, folder: Path, reporter: Reporter = SILENT
) -> tuple[dict[str, Any], ...]:
    """`check_task` for every task; the finetuning update is that of the smallest rate.

    Raises:
        UserError: when finetuning diverges even at the smallest rate.
    """
    return tuple(
        check_task(study, ready, folder, rate=min(ready.rates), reporter=reporter)
        for ready in study.tasks
    )
