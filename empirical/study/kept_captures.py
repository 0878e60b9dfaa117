"""Which captures of a results folder belong to which cell: a note for each, beside them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from empirical.core import json_reading
from empirical.core.errors import UserError
from empirical.core.json_files import dumps, file_name, write_text
from empirical.inference.capture_store import CAPTURES


@dataclass(frozen=True, kw_only=True)
class KeptCaptures:
    """Which folders of captures belong to a cell; `context` is T_c."""

    model: str
    task: str
    seed: int
    position: str
    context: int
    zsl: str
    icl: str
    ft: str


def path_of(kept: KeptCaptures, folder: Path) -> Path:
    """Where the note of a cell lies."""
    name = file_name("cell", kept.model, f"{kept.task}-s{kept.seed}")
    return Path(folder) / CAPTURES / f"{name}.json"


def write(kept: KeptCaptures, folder: Path) -> None:
    """Note a cell's captures beside them."""
    write_text(path_of(kept, folder), dumps(kept))


def read(path: Path) -> KeptCaptures:
    """One note.

    Raises:
        UserError: when it is damaged.
    """
    return json_reading.read(path, KeptCaptures)


def read_all(folder: Path) -> tuple[KeptCaptures, ...]:
    """Every cell whose captures lie in a results folder, in name order.

    Raises:
        UserError: when there is none, or a note is damaged.
    """
    paths = sorted((Path(folder) / CAPTURES).glob("cell-*.json"))
    if not paths:
        raise UserError(
            f"expected captures in {Path(folder) / CAPTURES}, got none; run `dualform reproduce "
            "--keep-captures` into that folder"
        )
    return tuple(read(path) for path in paths)


def of_seed(folder: Path, seed: int | None) -> tuple[KeptCaptures, ...]:
    """The cells of one seed; of all where each model and task has one.

    Raises:
        UserError: where there are several seeds and none is named, or none of that seed.
    """
    kept = read_all(folder)
    if seed is not None:
        kept = tuple(k for k in kept if k.seed == seed)
        if not kept:
            raise UserError(f"expected captures of seed {seed} in {folder}, got none; name another")
    if len({(k.model, k.task) for k in kept}) < len(kept):
        seeds = ", ".join(str(s) for s in sorted({k.seed for k in kept}))
        raise UserError(
            f"expected one seed for each task, got seeds {seeds}: the released layout has no place "
            "for several; choose one with --seed"
        )
    return kept
