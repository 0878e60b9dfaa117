"""Everything a results folder holds, read once; what is absent is empty (no torch)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from empirical.analysis.published import TASKS
from empirical.core.errors import UserError
from empirical.core.json_files import read_object
from empirical.results import (
    calibration,
    control_results as evidence,
    identity_checks,
    language_models as momentum,
    record as records,
)
from empirical.results.calibration import Calibration
from empirical.results.control_results import BASE, ConditionResult, ControlResults
from empirical.results.language_models import Trained
from empirical.results.record import TIMING, Record


@dataclass(frozen=True, kw_only=True)
class Results:
    """`checks`: documents of the identities; `timing`: seconds and memory by file name.

    `momentum`: the models trained with momentum attention and its controls; where there are some,
    records of a study may be absent.
    """

    records: tuple[Record, ...]
    evidence: tuple[ControlResults, ...]
    checks: tuple[Mapping[str, Any], ...]
    calibration: Calibration | None
    timing: Mapping[str, Mapping[str, float]]
    momentum: tuple[Trained, ...] = ()

    def cells(self) -> tuple[tuple[str, str], ...]:
        """(model, task) of the records: models by name, tasks in the paper's order."""
        return _ordered({(r.provenance.model, r.task) for r in self.records})

    def evidence_of(self, model: str, task: str) -> tuple[ControlResults, ...]:
        """The seeds of one model and task, ascending."""
        found = [e for e in self.evidence if (e.provenance.model, e.task) == (model, task)]
        return tuple(sorted(found, key=lambda e: e.provenance.seed))

    def with_finding(self, name: str) -> tuple[tuple[str, str, tuple[ControlResults, ...]], ...]:
        """(model, task, seeds) wherever a finding of that name is there."""
        found = []
        for model, task in self.cells():
            seeds = tuple(e for e in self.evidence_of(model, task) if present(e, name))
            if seeds:
                found.append((model, task, seeds))
        return tuple(found)

    def absent(self, name: str) -> tuple[str, ...]:
        """Why there is no finding of that name, in the cells where there is a reason."""
        lines = []
        for e in self.evidence:
            finding = e.findings.get(name)
            if finding is not None and finding.absent:
                made = e.provenance
                lines.append(f"{made.model}, {e.task}, seed {made.seed}: {finding.absent}")
        return tuple(lines)


def _ordered(pairs: set[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    def place(pair: tuple[str, str]) -> tuple[str, int, str]:
        model, task = pair
        return model, TASKS.index(task) if task in TASKS else len(TASKS), task

    return tuple(sorted(pairs, key=place))


def present(cell: ControlResults, name: str = BASE) -> bool:
    """Whether a cell has that finding, with something in it."""
    finding = cell.findings.get(name)
    return finding is not None and finding.absent is None


def findings(seeds: Sequence[ControlResults], name: str) -> tuple[ConditionResult, ...]:
    """The findings of that name, in the order of the seeds."""
    return tuple(e.findings[name] for e in seeds if present(e, name))


def _timing(folder: Path) -> Mapping[str, Mapping[str, float]]:
    """The timings; a damaged file says nothing, as no result depends on it."""
    try:
        found = read_object(folder / TIMING)
        return {k: {a: float(b) for a, b in v.items()} for k, v in found.items()}
    except (UserError, AttributeError, TypeError, ValueError):
        return {}


def _calibration(folder: Path) -> Calibration | None:
    path = folder / calibration.NAME
    return calibration.read(path) if path.exists() else None


def read_results(folder: Path) -> Results:
    """Read a results folder.

    Raises:
        UserError: when there is neither a record nor a trained model, or a file is damaged.
    """
    folder = Path(folder)
    trained = momentum.read_all(folder)
    alone = bool(trained) and not any(folder.glob("record-*.json"))
    return Results(
        records=() if alone else records.read_all(folder),
        evidence=evidence.read_all(folder),
        checks=tuple(identity_checks.read(p) for p in sorted(folder.glob("checks-*.json"))),
        calibration=_calibration(folder),
        timing=_timing(folder),
        momentum=trained,
    )
