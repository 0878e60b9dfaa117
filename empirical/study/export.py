"""Captures that a run has kept -> the files of the released analysis scripts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from empirical.core import json_reading
from empirical.core.errors import UserError
from empirical.core.json_files import dumps, file_name, write_text
from empirical.core.progress import SILENT, Reporter
from empirical.inference.batches import Part
from empirical.inference.capture_store import CAPTURES, Store
from empirical.study.released_format import (
    TOP_DEMONSTRATIONS,
    TOP_TOKENS,
    CapturedExample,
    task_folder,
    write_setting,
    write_training,
)


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Which folders of captures belong to a cell; `context` is T_c."""

    model: str
    task: str
    seed: int
    position: str
    context: int
    zsl: str
    icl: str
    ft: str


def write_kept(kept: Kept, folder: Path) -> None:
    """Note a cell's captures beside them."""
    write_text(kept_path(kept.model, kept.task, kept.seed, folder), dumps(kept))


def kept_path(model: str, task: str, seed: int, folder: Path) -> Path:
    """Where the note of a cell lies."""
    return Path(folder) / CAPTURES / f"{file_name('cell', model, f'{task}-s{seed}')}.json"


def read_kept(folder: Path) -> tuple[Kept, ...]:
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
    return tuple(read_note(path) for path in paths)


def read_note(path: Path) -> Kept:
    """One note.

    Raises:
        UserError: when it is damaged.
    """
    return json_reading.read(path, Kept)


def chosen(folder: Path, seed: int | None) -> tuple[Kept, ...]:
    """The cells of one seed; of all where each model and task has one.

    Raises:
        UserError: where there are several seeds and none is named, or none of that seed.
    """
    kept = read_kept(folder)
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


def export(
    folder: Path, out: Path, seed: int | None = None, reporter: Reporter = SILENT
) -> tuple[Path, ...]:
    """`OUT/ana_rlt/en_dense_lm_MODEL/TASK/...` for every cell; the folders of the tasks.

    Raises:
        UserError: without captures, with several seeds and none named, or for captures that are
            damaged or were recorded at another position than the label.
    """
    kept = chosen(folder, seed)
    for cell in kept:
        if cell.position != "label":
            raise UserError(
                f"expected captures at the label word for {cell.task}, got position "
                f"{cell.position}: the released scripts know no other; run with --position label"
            )
    return tuple(_cell(cell, folder, out, reporter) for cell in kept)


def _cell(cell: Kept, folder: Path, out: Path, reporter: Reporter) -> Path:
    where = Path(folder) / CAPTURES
    target = task_folder(Path(out), cell.model, cell.task)
    with reporter.stage(f"{cell.task}: export", 4) as advance:
        for setting, name in (("zs", cell.zsl), ("icl", cell.icl), ("ftzs", cell.ft)):
            write_setting(target, setting, _examples(Store(folder=where / name), setting))
            advance(1)
        queries = Store(folder=where / cell.ft).read_training()
        if queries is None:
            raise _missing(where / cell.ft)
        if len(queries) < TOP_DEMONSTRATIONS or sum(len(q[0]) - 1 for q in queries) < TOP_TOKENS:
            reporter.say(
                f"{cell.task}: no ft is written, on fewer than {TOP_DEMONSTRATIONS} demonstrations "
                f"or {TOP_TOKENS} tokens the released Kendall script fails"
            )
        else:
            write_training(target, queries, cell.context)
        advance(1)
    return target


def _missing(folder: Path) -> UserError:
    return UserError(
        f"expected whole captures in {folder}, got missing or damaged files; run `dualform "
        "reproduce --keep-captures` again"
    )


def _examples(store: Store, setting: str) -> Iterator[CapturedExample]:
    """Every example in the order of the queries, one batch in memory at a time or a few.

    Raises:
        UserError: for captures that are not whole.
    """
    place: dict[int, tuple[int, int]] = {}
    for number, part in enumerate(store.read_all()):
        place |= {i: (number, j) for j, i in enumerate(part.index)}
    if not place or sorted(place) != list(range(len(place))):
        raise _missing(store.folder)
    recent: dict[int, Part] = {}
    for i in range(len(place)):
        number, j = place[i]
        if number not in recent:
            found = store.read(number)
            if found is None:
                raise _missing(store.folder)
            if len(recent) >= 8:
                recent.pop(next(iter(recent)))
            recent[number] = found
        yield _example(recent[number], j, i, setting)


def _example(part: Part, j: int, i: int, setting: str) -> CapturedExample:
    wide = part.wide.index(i) if i in part.wide else None
    given = {"icl": part.c, "ftzs": part.q}.get(setting)
    extra = None if wide is None or given is None else given[wide]
    return CapturedExample(
        h=part.h[j],
        m=part.m[j],
        c=extra if setting == "icl" else None,
        q=extra if setting == "ftzs" else None,
        gold=int(part.labels[j]),
        predicted=int(part.predictions[j]),
    )
