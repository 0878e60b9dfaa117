"""What the controls of one task and seed left: findings by name, with values of every example.

Beside `record-MODEL-TASK-sSEED.json` lie `evidence-MODEL-TASK-sSEED.json`, which a person can read,
and `evidence-MODEL-TASK-sSEED.safetensors` with one value per example: enough to pair every metric
with its controls and to bootstrap over examples and seeds without a model (no torch here). Letters:
n examples, L layers, H heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from empirical.core import json_reading
from empirical.core.errors import UserError
from empirical.core.json_files import dumps, file_name, whole_bytes, write_text
from empirical.core.json_reading import AnyJson
from empirical.core.undefined import Number
from empirical.results.record import Provenance

SCHEMA: Final = 1
BASE = "base"  # the finding of the settings themselves, without any control
Values = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Series:
    """One metric under one condition.

    `values` [n]: of each example, its mean over layers; nan where it is undefined. `per_layer` [L]
    with the 95 % bootstrap interval of each, `mean` over examples, then layers. `excluded` of
    `total` cosines or taus were undefined. For a metric that is taken of the first examples only, n
    is their number.
    """

    values: Values
    per_layer: tuple[Number, ...]
    low: tuple[Number, ...]
    high: tuple[Number, ...]
    mean: Number
    excluded: int
    total: int


@dataclass(frozen=True, kw_only=True)
class ConditionResult:
    """What one condition gave; `absent` says why there is nothing, and is None otherwise.

    `series`: by name of the metric. `predictions`: by setting ("zsl", "icl", "ft"), the class that
    was answered, [n]. `numbers`: single figures by name (accuracies in percent). `tables`: nested
    lists of numbers by name, whose axes the control documents. `note`: a sentence for readers.
    """

    series: Mapping[str, Series] = field(default_factory=dict)
    predictions: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    numbers: Mapping[str, Number] = field(default_factory=dict)
    tables: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    absent: str | None = None


@dataclass(frozen=True, kw_only=True)
class ControlResults:
    """All findings of a cell; `labels` [n] are the right classes, `words` their names."""

    task: str
    provenance: Provenance
    counts: Mapping[str, int]
    words: tuple[str, ...]
    labels: NDArray[np.int64]
    findings: Mapping[str, ConditionResult]

    def adding(self, name: str, finding: ConditionResult) -> ControlResults:
        """With one more finding."""
        return replace(self, findings={**self.findings, name: finding})


def evidence_name(model: str, task: str, seed: int) -> str:
    """`evidence-MODEL-TASK-sSEED`."""
    return file_name("evidence", model, f"{task}-s{seed}")


@dataclass(frozen=True, kw_only=True)
class _StoredSeries:
    """A `Series` without its values, which lie beside the JSON."""

    per_layer: tuple[Number, ...]
    low: tuple[Number, ...]
    high: tuple[Number, ...]
    mean: Number
    excluded: int
    total: int


@dataclass(frozen=True, kw_only=True)
class _StoredResult:
    """A `ConditionResult` without its arrays; `predictions` names the settings."""

    series: Mapping[str, _StoredSeries]
    predictions: tuple[str, ...]
    numbers: Mapping[str, Number]
    tables: Mapping[str, AnyJson]
    note: str
    absent: str | None


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """The JSON of a cell."""

    task: str
    provenance: Provenance
    counts: Mapping[str, int]
    words: tuple[str, ...]
    findings: Mapping[str, _StoredResult]
    schema: Literal[1] = SCHEMA


def _stored(finding: ConditionResult) -> _StoredResult:
    return _StoredResult(
        series={
            name: _StoredSeries(
                per_layer=s.per_layer,
                low=s.low,
                high=s.high,
                mean=s.mean,
                excluded=s.excluded,
                total=s.total,
            )
            for name, s in finding.series.items()
        },
        predictions=tuple(sorted(finding.predictions)),
        numbers=finding.numbers,
        tables=finding.tables,
        note=finding.note,
        absent=finding.absent,
    )


def write(evidence: ControlResults, folder: Path) -> Path:
    """Write both files, each whole or not at all, the arrays first.

    Raises:
        ValueError: for a number that is not finite (nan is allowed in `Series.values` alone).
    """
    made = evidence.provenance
    path = Path(folder) / f"{evidence_name(made.model, evidence.task, made.seed)}.json"
    arrays: dict[str, NDArray[Any]] = {"labels": np.asarray(evidence.labels, dtype=np.int64)}
    for name, finding in evidence.findings.items():
        for metric, series in finding.series.items():
            arrays[f"{name}/series/{metric}"] = np.asarray(series.values, dtype=np.float32)
        for setting, answered in finding.predictions.items():
            arrays[f"{name}/predictions/{setting}"] = np.asarray(answered, dtype=np.int64)
    stored = _Stored(
        task=evidence.task,
        provenance=made,
        counts=evidence.counts,
        words=evidence.words,
        findings={name: _stored(f) for name, f in evidence.findings.items()},
    )
    text = dumps(stored)
    whole_bytes(path.with_suffix(".safetensors"), save(dict(sorted(arrays.items()))))
    write_text(path, text)
    return path


def read(path: Path) -> ControlResults:
    """Parse and validate one file and its arrays.

    Raises:
        UserError: for a missing, truncated or foreign file, another schema, or missing arrays.
    """
    path = Path(path)
    stored = json_reading.read(path, _Stored)
    arrays = _Arrays(path=path, found=_arrays(path.with_suffix(".safetensors")))
    return ControlResults(
        task=stored.task,
        provenance=stored.provenance,
        counts=stored.counts,
        words=stored.words,
        labels=arrays.take("labels"),
        findings={name: _finding(name, f, arrays) for name, f in stored.findings.items()},
    )


def read_all(folder: Path) -> tuple[ControlResults, ...]:
    """Every `evidence-*.json` of a folder, in name order; none is no error.

    Raises:
        UserError: when one is damaged.
    """
    return tuple(read(p) for p in sorted(Path(folder).glob("evidence-*.json")))


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        return dict(load_file(str(path)))
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"expected whole arrays at {path}, got {type(error).__name__}: {error}; "
            "run the command that wrote it again"
        ) from error


@dataclass(frozen=True, kw_only=True)
class _Arrays:
    """What lies beside the JSON at `path`."""

    path: Path
    found: Mapping[str, NDArray[Any]]

    def take(self, name: str) -> NDArray[Any]:
        """The array of that name.

        Raises:
            UserError: when it is not there.
        """
        if name not in self.found:
            raise UserError(
                f"expected the array {name} beside {self.path}, got none; run the command that "
                "wrote it again"
            )
        return self.found[name]


def _finding(name: str, stored: _StoredResult, arrays: _Arrays) -> ConditionResult:
    return ConditionResult(
        series={
            metric: Series(values=arrays.take(f"{name}/series/{metric}"), **vars(s))
            for metric, s in stored.series.items()
        },
        predictions={
            setting: arrays.take(f"{name}/predictions/{setting}") for setting in stored.predictions
        },
        numbers=stored.numbers,
        tables=stored.tables,
        note=stored.note,
        absent=stored.absent,
    )
