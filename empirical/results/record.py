"""One Record per model and task: what was run, and what came out.

The same run on the same machine gives the same bytes.

Seconds vary between runs and therefore live in `timing.json` beside the records, never inside.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from empirical.core.errors import UserError
from empirical.core.json_files import dumps, file_name, read_object, write_text
from empirical.core.undefined import Number, Undefined

SCHEMA = 3
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
    """Everything that the numbers depend on; `selection` pairs rates with accuracies (percent).

    `weights_sha256` covers configuration and tokenizer as well as weights.
    `protocol` names how seed and rate are chosen; `rates_on` the rows for the rate (training or
    evaluation), `seed_selection` pairs the seeds to choose from with ICL accuracies. `k_asked` is
    None for the paper's own k; `k` of them fit. `rule` drew the demonstrations. `source_sha256`
    covers the rows of the task, `revision` is that of a hub's data set where it is known, and
    `limit` the evaluation rows at most.
    """

    model: str
    weights_sha256: str
    source: str
    source_sha256: str
    revision: str | None
    rule: str
    protocol: str
    seed: int
    seed_selection: tuple[tuple[int, Number], ...]
    k_asked: int | None
    k: int
    limit: int
    context_length: int
    position: str
    rates: tuple[float, ...]
    rates_on: str
    rate: float
    selection: tuple[tuple[float, Number], ...]
    dtype: str
    device: str
    threads: int
    versions: Mapping[str, str]
    code_sha256: str
    commit: str | None
    command: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Record:
    """The result of one task and seed on one model; `counts`: examples, layers, heads."""

    task: str
    provenance: Provenance
    counts: Mapping[str, int]
    metrics: Mapping[str, Measurement]
    schema: int = field(default=SCHEMA)


@dataclass(frozen=True, kw_only=True)
class Reader:
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

    def pairs(self, where: str, value: Any) -> list[list[Any]]:
        rows = [self.sequence(where, x) for x in self.sequence(where, value)]
        if any(len(r) != 2 for r in rows):
            raise self.fail(where, "pairs", rows)
        return rows

    def provenance(self, value: Any) -> Provenance:
        w = "provenance"
        v = self.keys(w, value, {f.name for f in fields(Provenance)})
        rows, seeds = (self.pairs(name, v[name]) for name in ("selection", "seed_selection"))
        return Provenance(
            model=self.text("model", v["model"]),
            weights_sha256=self.text("weights_sha256", v["weights_sha256"]),
            source=self.text("source", v["source"]),
            source_sha256=self.text("source_sha256", v["source_sha256"]),
            revision=None if v["revision"] is None else self.text("revision", v["revision"]),
            protocol=self.text("protocol", v["protocol"]),
            rates_on=self.text("rates_on", v["rates_on"]),
            seed_selection=tuple(
                (self.integer("seed_selection", a), self.number("seed_selection", b))
                for a, b in seeds
            ),
            rule=self.text("rule", v["rule"]),
            seed=self.integer("seed", v["seed"]),
            k_asked=None if v["k_asked"] is None else self.integer("k_asked", v["k_asked"]),
            k=self.integer("k", v["k"]),
            limit=self.integer("limit", v["limit"]),
            rates=tuple(self.real("rates", x) for x in self.sequence("rates", v["rates"])),
            context_length=self.integer("context_length", v["context_length"]),
            position=self.text("position", v["position"]),
            dtype=self.text("dtype", v["dtype"]),
            device=self.text("device", v["device"]),
            threads=self.integer("threads", v["threads"]),
            rate=self.real("rate", v["rate"]),
            selection=tuple(
                (self.real("selection", a), self.number("selection", b)) for a, b in rows
            ),
            **self.origin(v),
        )

    def origin(self, v: Mapping[str, Any]) -> dict[str, Any]:
        """Versions, hash of the code, commit and command of a provenance."""
        versions = self.mapping("versions", v["versions"])
        return {
            "versions": {k: self.text("versions", x) for k, x in versions.items()},
            "code_sha256": self.text("code_sha256", v["code_sha256"]),
            "commit": None if v["commit"] is None else self.text("commit", v["commit"]),
            "command": tuple(
                self.text("command", x) for x in self.sequence("command", v["command"])
            ),
        }

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


def cell_name(model: str, task: str, seed: int) -> str:
    """`record-MODEL-TASK-sSEED`, safe as a file name."""
    return file_name("record", model, f"{task}-s{seed}")


def write(record: Record, folder: Path, seconds: Mapping[str, float] | None = None) -> Path:
    """Write `FOLDER/record-MODEL-TASK-sSEED.json`, and `seconds` under that name in timing.json.

    Raises:
        ValueError: for a number that is not finite.
    """
    name = cell_name(record.provenance.model, record.task, record.provenance.seed)
    path = Path(folder) / f"{name}.json"
    write_text(path, dumps(record))
    if seconds is not None:
        note_seconds(folder, name, seconds)
    return path


def note_seconds(folder: Path, name: str, seconds: Mapping[str, float]) -> None:
    """Add to the file of timings; a damaged one is begun anew, since no result depends on it."""
    timing = Path(folder) / TIMING
    try:
        known = read_object(timing)
    except UserError:
        known = {}
    known[name] = {k: float(v) for k, v in seconds.items()}
    write_text(timing, dumps(known))


def read(path: Path) -> Record:
    """Parse and validate one record.

    Raises:
        UserError: for a missing, truncated or foreign file, or another schema version.
    """
    return Reader(path=Path(path)).record(read_object(Path(path)))


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
