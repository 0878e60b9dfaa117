"""One Record per model and task: what was run, and what came out.

The same run on the same machine gives the same bytes.

Seconds vary between runs and therefore live in `timing.json` beside the records, never inside.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from empirical.core import json_reading
from empirical.core.errors import UserError
from empirical.core.json_files import dumps, file_name, read_object, write_text
from empirical.core.undefined import Number

SCHEMA: Final = 3
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
    schema: Literal[3] = SCHEMA


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
    return json_reading.read(Path(path), Record)


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
