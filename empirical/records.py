"""One Record per model and task: what was run, and what came out; the same run, the same bytes.

Seconds vary between runs and therefore live in `timing.json` beside the records, never inside.
"""

import json
import math
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from empirical.errors import UserError
from empirical.metrics import Number, Undefined

SCHEMA = 1
TIMING = "timing.json"


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One metric: value, interval, counts, and the value per layer; None where not applicable.

    Accuracies, recalls and rates are percentages; similarities are cosines.
    """

    value: Number
    low: Number | None = None
    high: Number | None = None
    numerator: int | None = None
    denominator: int | None = None
    excluded: int = 0
    per_layer: tuple[Number, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Everything that the numbers depend on; `selection` pairs rates with held-out accuracies."""

    model: str
    weights_sha256: str
    source: str
    source_sha256: str
    seed: int
    k: int
    context_length: int
    position: str
    rate: float
    selection: tuple[tuple[float, Number], ...]
    dtype: str
    device: str
    versions: Mapping[str, str]
    commit: str | None
    command: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Record:
    """The result of one task on one model; `counts` holds numbers of examples, layers, heads."""

    task: str
    provenance: Provenance
    counts: Mapping[str, int]
    metrics: Mapping[str, Measurement]
    schema: int = field(default=SCHEMA)


def _plain(value: Any) -> Any:
    """JSON values only; dataclasses become objects, Undefined becomes {"undefined": reason}.

    Raises:
        ValueError: for a number that is not finite.
        TypeError: for anything else that JSON does not hold.
    """
    if isinstance(value, Undefined):
        return {"undefined": value.reason}
    if isinstance(value, Measurement | Provenance | Record):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"expected a finite number or Undefined, got {value}")
        return float(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    raise TypeError(f"expected a value that JSON holds, got {type(value).__name__}")


def dumps(record: Record) -> str:
    """The record as JSON: sorted keys, two spaces, newline at the end.

    Raises:
        ValueError: for a number that is not finite.
        TypeError: for a value that JSON does not hold.
    """
    text = json.dumps(_plain(record), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return text + "\n"


def _write(path: Path, text: str) -> None:
    """Write to a temporary name in the same folder, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def cell_name(model: str, task: str) -> str:
    """`record-MODEL-TASK` with everything outside [A-Za-z0-9._-] replaced by `_`."""
    return "-".join(["record", *(re.sub(r"[^A-Za-z0-9._-]", "_", x) for x in (model, task))])


def write(record: Record, folder: Path, seconds: Mapping[str, float] | None = None) -> Path:
    """Write `FOLDER/record-MODEL-TASK.json`, and `seconds` under that name in timing.json.

    Raises:
        ValueError: for a number that is not finite.
        UserError: when an existing timing.json is unreadable.
    """
    name = cell_name(record.provenance.model, record.task)
    path = Path(folder) / f"{name}.json"
    _write(path, dumps(record))
    if seconds is not None:
        timing = Path(folder) / TIMING
        known = _json(timing) if timing.is_file() else {}
        known[name] = {k: float(v) for k, v in seconds.items()}
        _write(timing, json.dumps(known, sort_keys=True, indent=2, allow_nan=False) + "\n")
    return path


def _json(path: Path) -> dict[str, Any]:
    def refuse(text: str) -> Any:
        raise ValueError(f"{text} is no JSON number")

    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    except (OSError, ValueError) as error:
        raise UserError(
            f"expected a complete JSON file at {path}, got {type(error).__name__}: {error}; "
            "run the command that wrote it again"
        ) from error
    if not isinstance(value, dict):
        raise UserError(
            f"expected a JSON object in {path}, got {type(value).__name__}; "
            "run the command that wrote it again"
        )
    return value


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """Checks of the parsed JSON; every failure names the file and the place in it."""

    path: Path

    def fail(self, where: str, expected: str, got: Any) -> UserError:
        return UserError(
            f"expected {expected} at {where} of {self.path}, got {got!r}; "
            "run the command that wrote it again"
        )

    def keys(self, where: str, value: Any, wanted: set[str]) -> dict[str, Any]:
        if not isinstance(value, dict) or set(value) != wanted:
            got = sorted(value) if isinstance(value, dict) else value
            raise self.fail(where, f"the keys {sorted(wanted)}", got)
        return value

    def mapping(self, where: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.fail(where, "an object", value)
        return value

    def sequence(self, where: str, value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise self.fail(where, "a list", value)
        return value

    def text(self, where: str, value: Any) -> str:
        if not isinstance(value, str):
            raise self.fail(where, "text", value)
        return value

    def integer(self, where: str, value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.fail(where, "an integer", value)
        return value

    def real(self, where: str, value: Any) -> float:
        if not isinstance(value, float | int) or isinstance(value, bool):
            raise self.fail(where, "a number", value)
        return float(value)

    def number(self, where: str, value: Any) -> Number:
        if isinstance(value, dict):
            reason = self.keys(where, value, {"undefined"})["undefined"]
            return Undefined(self.text(where, reason))
        return self.real(where, value)

    def measurement(self, where: str, value: Any) -> Measurement:
        v = self.keys(where, value, {f.name for f in fields(Measurement)})
        bound = {k: None if v[k] is None else self.number(where, v[k]) for k in ("low", "high")}
        count = {
            k: None if v[k] is None else self.integer(where, v[k])
            for k in ("numerator", "denominator")
        }
        return Measurement(
            value=self.number(where, v["value"]),
            low=bound["low"],
            high=bound["high"],
            numerator=count["numerator"],
            denominator=count["denominator"],
            excluded=self.integer(where, v["excluded"]),
            per_layer=tuple(self.number(where, x) for x in self.sequence(where, v["per_layer"])),
        )

    def provenance(self, value: Any) -> Provenance:
        w = "provenance"
        v = self.keys(w, value, {f.name for f in fields(Provenance)})
        rows = [self.sequence("selection", x) for x in self.sequence("selection", v["selection"])]
        if any(len(r) != 2 for r in rows):
            raise self.fail("selection", "pairs", rows)
        versions = self.mapping("versions", v["versions"])
        return Provenance(
            model=self.text("model", v["model"]),
            weights_sha256=self.text("weights_sha256", v["weights_sha256"]),
            source=self.text("source", v["source"]),
            source_sha256=self.text("source_sha256", v["source_sha256"]),
            seed=self.integer("seed", v["seed"]),
            k=self.integer("k", v["k"]),
            context_length=self.integer("context_length", v["context_length"]),
            position=self.text("position", v["position"]),
            dtype=self.text("dtype", v["dtype"]),
            device=self.text("device", v["device"]),
            rate=self.real("rate", v["rate"]),
            selection=tuple(
                (self.real("selection", a), self.number("selection", b)) for a, b in rows
            ),
            versions={k: self.text("versions", x) for k, x in versions.items()},
            commit=None if v["commit"] is None else self.text("commit", v["commit"]),
            command=tuple(self.text("command", x) for x in self.sequence("command", v["command"])),
        )

    def record(self, value: dict[str, Any]) -> Record:
        if value.get("schema") != SCHEMA:
            raise self.fail("schema", f"version {SCHEMA}", value.get("schema"))
        v = self.keys("the top level", value, {f.name for f in fields(Record)})
        counts, metrics = self.mapping("counts", v["counts"]), self.mapping("metrics", v["metrics"])
        return Record(
            task=self.text("task", v["task"]),
            provenance=self.provenance(v["provenance"]),
            counts={k: self.integer(k, x) for k, x in counts.items()},
            metrics={k: self.measurement(k, x) for k, x in metrics.items()},
        )


def read(path: Path) -> Record:
    """Parse and validate one record.

    Raises:
        UserError: for a missing, truncated or foreign file, or another schema version.
    """
    return _Reader(path=Path(path)).record(_json(Path(path)))


def read_all(folder: Path) -> tuple[Record, ...]:
    """Every `record-*.json` of a folder, in name order.

    Raises:
        UserError: when there is none, or one is damaged.
    """
    paths = sorted(Path(folder).glob("record-*.json"))
    if not paths:
        raise UserError(
            f"expected files record-*.json in {folder}, got none; run the study into that folder"
        )
    return tuple(read(p) for p in paths)
