"""Whether a result that lies in the folder already answers the same question.

A result is reused when it is complete and every input it depends on is the same. One that is
damaged, or was made with other inputs, is computed again and replaced: the folder then holds what
the last command asked for. Inputs exclude the commit and the command line, which are provenance,
and include the code that computes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from empirical.core.errors import UserError
from empirical.core.json_files import plain
from empirical.results import record as records
from empirical.results.record import Provenance, Record

# What a record's numbers follow from; the other fields of its provenance are outcomes or origin.
INPUTS = (
    "model", "weights_sha256", "source", "source_sha256", "revision", "rule", "protocol", "seed",
    "k_asked", "k", "limit", "context_length", "position", "rates", "rates_on", "dtype", "device",
    "threads", "versions", "code_sha256",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Found:
    """The record to reuse, or None; `line` says why, and is empty where there was nothing."""

    record: Record | None
    line: str


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], names: tuple[str, ...]
) -> tuple[str, ...]:
    """A text "NAME OLD, now NEW" for every named input that differs, both given as JSON values."""
    return tuple(_differences(old, new, names))


def _differences(
    old: Mapping[str, Any], new: Mapping[str, Any], names: tuple[str, ...], within: str = ""
) -> Iterator[str]:
    for name in names:
        before, now = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(now, dict):
            yield from _differences(before, now, tuple(sorted({*before, *now})), f"{name} of ")
        elif before != now:
            yield f"{within}{name} {_short(before)}, now {_short(now)}"


def _short(value: Any) -> str:
    text = "absent" if value is None else str(value)
    return f"{text[:12]}..." if len(text) == 64 and " " not in text else text


def find(folder: Path, task: str, wanted: Provenance, metrics: frozenset[str]) -> Found:
    """The record of this cell in `folder`, if it has all `metrics` and the inputs of `wanted`."""
    path = Path(folder) / f"{records.cell_name(wanted.model, task, wanted.seed)}.json"
    if not path.exists():
        return Found(record=None, line="")
    try:
        old = records.read(path)
    except UserError as error:
        return Found(record=None, line=f"{task}: computed again, {path.name} is damaged ({error})")
    changed = differences(plain(old.provenance), plain(wanted), INPUTS)
    if old.task != task or set(old.metrics) != metrics:
        changed = (*changed, "its task or metrics are others")
    if changed:
        line = f"{task}: computed again, {path.name} was made with {'; '.join(changed)}"
        return Found(record=None, line=line)
    return Found(record=old, line=f"{task}: reused {path.name}, made with the same settings")
