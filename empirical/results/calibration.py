"""The file `calibration.json`: what the instrument read of models whose answer is known (no torch).

Written whole or not at all; the same run gives the same bytes on the
same machine. Readings are cosines or rank
correlations, `rec2ftp` is in percent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, get_args

from empirical.core import json_reading
from empirical.core.errors import UserError
from empirical.core.json_files import dumps, write_text
from empirical.core.json_reading import AnyJson, unexpected
from empirical.core.undefined import Number, Undefined

SCHEMA: Final = 1
NAME = "calibration.json"
Kind = Literal["constructed", "trained", "unrelated"]
KINDS: tuple[Kind, ...] = get_args(Kind)


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

    kind: Kind
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
    curves: Mapping[str, Mapping[str, AnyJson]]
    schema: Literal[1] = SCHEMA

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
    found = json_reading.read(path, Calibration)
    for name, tables in found.curves.items():
        _check_curve(path, f"curves.{name}", tables)
    return found


def _check_curve(path: Path, where: str, tables: Mapping[str, Any]) -> None:
    """Lists of numbers, one for each dose, beside the nulls.

    Raises:
        UserError: for anything else.
    """
    doses = tables.get("dose")
    if not isinstance(doses, list):
        raise UserError(unexpected(path, f"{where}.dose", "a list", doses))
    for key, column in tables.items():
        if key == "null":
            if not isinstance(column, Mapping):
                raise UserError(unexpected(path, f"{where}.null", "an object", column))
        elif not isinstance(column, list) or len(column) != len(doses):
            got = len(column) if isinstance(column, list) else column
            raise UserError(unexpected(path, f"{where}.{key}", f"{len(doses)} values", got))
        else:
            for value in column:
                if isinstance(value, bool) or not isinstance(value, float | int | Undefined):
                    raise UserError(unexpected(path, f"{where}.{key}", "a number", value))
