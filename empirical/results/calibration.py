"""The file `calibration.json`: what the instrument read of models whose answer is known (no torch).

Written whole or not at all; the same run gives the same bytes on the
same machine. Readings are cosines or rank
correlations, `rec2ftp` is in percent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from empirical.core.json_files import dumps, read_object, write_text
from empirical.core.undefined import Number
from empirical.results.control_results import unplain
from empirical.results.record import Reader

SCHEMA = 1
NAME = "calibration.json"
KINDS = ("constructed", "trained", "unrelated")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One metric of one case.

    `right`: whether it was read as it has to be; None where it is not judged, `why` says the
    reason. Constructed: |value - 1| <= `bound` (100 for rec2ftp). Trained: `value` above `high`,
    the highest of `draws` unrelated updates. Unrelated: `value` is the mean of `readings`, of which
    `inside` lay in the band; `low` and `high` are its ends (their means where every reading has a
    band of its own), and so few inside have `probability` if all is well.
    """

    value: Number
    right: bool | None
    why: str = ""
    bound: Number | None = None
    low: Number | None = None
    high: Number | None = None
    draws: int | None = None
    readings: tuple[Number, ...] = ()
    inside: int | None = None
    probability: float | None = None


@dataclass(frozen=True, kw_only=True)
class Case:
    """One known model: metrics by name, and single figures by name."""

    kind: str
    title: str
    checks: Mapping[str, Check]
    numbers: Mapping[str, Number] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Source:
    """What the numbers depend on."""

    seed: int
    dtype: str
    threads: int
    versions: Mapping[str, str]
    code_sha256: str
    commit: str | None
    command: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """All cases by name; `curves`: by name of a case, the tables of `dose` on its captures.

    A table holds `dose`, values by metric, METRIC_low and METRIC_high; `null` holds [low, mean,
    high] of each metric under unrelated updates, or why there is none.
    """

    provenance: Source
    cases: Mapping[str, Case]
    curves: Mapping[str, Mapping[str, Any]]
    schema: int = SCHEMA

    def wrong(self) -> list[tuple[str, str]]:
        """Case and metric of everything that was judged and read wrong."""
        return [
            (name, metric)
            for name, case in self.cases.items()
            for metric, check in case.checks.items()
            if check.right is False
        ]


def write(found: Calibration, folder: Path) -> Path:
    """Write `FOLDER/calibration.json`.

    Raises:
        ValueError: for a number that is not finite.
    """
    path = Path(folder) / NAME
    write_text(path, dumps(found))
    return path


def read(path: Path) -> Calibration:
    """Parse and validate the file.

    Raises:
        UserError: for a missing, truncated or foreign file, or another schema version.
    """
    path = Path(path)
    value, reader = read_object(path), Reader(path=path)
    if value.get("schema") != SCHEMA:
        raise reader.fail("schema", f"version {SCHEMA}", value.get("schema"))
    v = reader.keys("the top level", value, {f.name for f in fields(Calibration)})
    return Calibration(
        provenance=_source(reader, v["provenance"]),
        cases={k: _case(reader, k, x) for k, x in reader.mapping("cases", v["cases"]).items()},
        curves={
            k: unplain(_curve(reader, k, x))
            for k, x in reader.mapping("curves", v["curves"]).items()
        },
    )


def _source(reader: Reader, value: Any) -> Source:
    v = reader.keys("provenance", value, {f.name for f in fields(Source)})
    return Source(
        seed=reader.integer("seed", v["seed"]),
        dtype=reader.text("dtype", v["dtype"]),
        threads=reader.integer("threads", v["threads"]),
        **reader.origin(v),
    )


def _case(reader: Reader, name: str, value: Any) -> Case:
    v = reader.keys(name, value, {f.name for f in fields(Case)})
    if v["kind"] not in KINDS:
        raise reader.fail(f"kind of {name}", f"one of {', '.join(KINDS)}", v["kind"])
    checks = reader.mapping(name, v["checks"])
    numbers = reader.mapping(name, v["numbers"])
    return Case(
        kind=v["kind"],
        title=reader.text("title", v["title"]),
        checks={k: _check(reader, f"{k} of {name}", x) for k, x in checks.items()},
        numbers={k: reader.number(k, x) for k, x in numbers.items()},
    )


def _check(reader: Reader, where: str, value: Any) -> Check:
    v = reader.keys(where, value, {f.name for f in fields(Check)})
    if not (v["right"] is None or isinstance(v["right"], bool)):
        raise reader.fail(f"right of {where}", "true, false or null", v["right"])
    ends: dict[str, Any] = {
        k: None if v[k] is None else reader.number(where, v[k]) for k in ("bound", "low", "high")
    }
    counts: dict[str, Any] = {
        k: None if v[k] is None else reader.integer(where, v[k]) for k in ("draws", "inside")
    }
    return Check(
        value=reader.number(where, v["value"]),
        right=v["right"],
        why=reader.text(where, v["why"]),
        readings=tuple(reader.number(where, x) for x in reader.sequence(where, v["readings"])),
        probability=None if v["probability"] is None else reader.real(where, v["probability"]),
        **ends,
        **counts,
    )


def _curve(reader: Reader, name: str, value: Any) -> dict[str, Any]:
    """Lists of numbers, one for each dose, beside the nulls."""
    tables = reader.mapping(name, value)
    length = len(reader.sequence(f"dose of {name}", tables.get("dose")))
    for key, column in tables.items():
        if key == "null":
            reader.mapping(f"null of {name}", column)
            continue
        found = [reader.number(key, x) for x in reader.sequence(key, column)]
        if len(found) != length:
            raise reader.fail(f"{key} of {name}", f"{length} values", len(found))
    return tables
