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
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from empirical.core.errors import UserError
from empirical.core.json_files import dumps, file_name, read_object, whole_bytes, write_text
from empirical.core.undefined import Number, Undefined
from empirical.results.record import Provenance, Reader

SCHEMA = 1
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


def _plain(finding: ConditionResult) -> dict[str, Any]:
    return {
        "series": {
            name: {
                "per_layer": s.per_layer, "low": s.low, "high": s.high, "mean": s.mean,
                "excluded": s.excluded, "total": s.total,
            }
            for name, s in finding.series.items()
        },
        "predictions": sorted(finding.predictions),
        "numbers": finding.numbers, "tables": finding.tables, "note": finding.note,
        "absent": finding.absent,
    }  # fmt: skip


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
    value = {
        "schema": SCHEMA, "task": evidence.task, "provenance": made, "counts": evidence.counts,
        "words": evidence.words,
        "findings": {name: _plain(f) for name, f in evidence.findings.items()},
    }  # fmt: skip
    text = dumps(value)
    whole_bytes(path.with_suffix(".safetensors"), save(dict(sorted(arrays.items()))))
    write_text(path, text)
    return path


def read(path: Path) -> ControlResults:
    """Parse and validate one file and its arrays.

    Raises:
        UserError: for a missing, truncated or foreign file, another schema, or missing arrays.
    """
    path = Path(path)
    value, reader = read_object(path), Reader(path=path)
    if value.get("schema") != SCHEMA:
        raise reader.fail("schema", f"version {SCHEMA}", value.get("schema"))
    wanted = {"schema", "task", "provenance", "counts", "words", "findings"}
    v = reader.keys("the top level", value, wanted)
    arrays = _arrays(path.with_suffix(".safetensors"))
    counts = reader.mapping("counts", v["counts"])
    findings = reader.mapping("findings", v["findings"])
    return ControlResults(
        task=reader.text("task", v["task"]),
        provenance=reader.provenance(v["provenance"]),
        counts={k: reader.integer(k, x) for k, x in counts.items()},
        words=tuple(reader.text("words", x) for x in reader.sequence("words", v["words"])),
        labels=_taken(arrays, "labels", path),
        findings={k: _finding(reader, k, f, arrays, path) for k, f in findings.items()},
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


def _taken(arrays: Mapping[str, NDArray[Any]], name: str, path: Path) -> NDArray[Any]:
    if name not in arrays:
        raise UserError(
            f"expected the array {name} beside {path}, got none; run the command that wrote it "
            "again"
        )
    return arrays[name]


def _finding(
    reader: Reader, name: str, value: Any, arrays: Mapping[str, NDArray[Any]], path: Path
) -> ConditionResult:
    wanted = {"series", "predictions", "numbers", "tables", "note", "absent"}
    v = reader.keys(name, value, wanted)
    numbers = reader.mapping("numbers", v["numbers"])
    return ConditionResult(
        series={
            metric: _series(reader, s, _taken(arrays, f"{name}/series/{metric}", path))
            for metric, s in reader.mapping("series", v["series"]).items()
        },
        predictions={
            setting: _taken(arrays, f"{name}/predictions/{setting}", path)
            for setting in reader.sequence("predictions", v["predictions"])
        },
        numbers={k: reader.number(k, x) for k, x in numbers.items()},
        tables={k: unplain(x) for k, x in reader.mapping("tables", v["tables"]).items()},
        note=reader.text("note", v["note"]),
        absent=None if v["absent"] is None else reader.text("absent", v["absent"]),
    )


def unplain(value: Any) -> Any:
    """JSON values with `Undefined` where they say so."""
    if isinstance(value, list):
        return [unplain(x) for x in value]
    if isinstance(value, dict):
        if set(value) == {"undefined"}:
            return Undefined(str(value["undefined"]))
        return {k: unplain(x) for k, x in value.items()}
    return value


def _series(reader: Reader, value: Any, values: NDArray[Any]) -> Series:
    wanted = {"per_layer", "low", "high", "mean", "excluded", "total"}
    v = reader.keys("series", value, wanted)
    lists = {
        k: tuple(reader.number(k, x) for x in reader.sequence(k, v[k]))
        for k in ("per_layer", "low", "high")
    }
    return Series(
        values=values, mean=reader.number("mean", v["mean"]),
        excluded=reader.integer("excluded", v["excluded"]),
        total=reader.integer("total", v["total"]), **lists,
    )  # fmt: skip
