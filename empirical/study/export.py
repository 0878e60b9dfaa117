"""Captures that a run has kept -> the files of the released analysis scripts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from empirical.core.errors import UserError
from empirical.core.progress import SILENT, Reporter
from empirical.inference.batches import Part
from empirical.inference.capture_store import CAPTURES, Store
from empirical.study import kept_captures
from empirical.study.kept_captures import KeptCaptures
from empirical.study.released_format import (
    TOP_DEMONSTRATIONS,
    TOP_TOKENS,
    CapturedExample,
    task_folder,
    write_setting,
    write_training,
)


def export(
    folder: Path, out: Path, seed: int | None = None, reporter: Reporter = SILENT
) -> tuple[Path, ...]:
    """`OUT/ana_rlt/en_dense_lm_MODEL/TASK/...` for every cell; the folders of the tasks.

    Raises:
        UserError: without captures, with several seeds and none named, or for captures that are
            damaged or were recorded at another position than the label.
    """
    cells = kept_captures.of_seed(folder, seed)
    for kept in cells:
        if kept.position != "label":
            raise UserError(
                f"expected captures at the label word for {kept.task}, got position "
                f"{kept.position}: the released scripts know no other; run with --position label"
            )
    return tuple(_cell(kept, folder, out, reporter) for kept in cells)


def _cell(kept: KeptCaptures, folder: Path, out: Path, reporter: Reporter) -> Path:
    where = Path(folder) / CAPTURES
    target = task_folder(Path(out), kept.model, kept.task)
    with reporter.stage(f"{kept.task}: export", 4) as advance:
        for setting, name in (("zs", kept.zsl), ("icl", kept.icl), ("ftzs", kept.ft)):
            write_setting(target, setting, _examples(Store(folder=where / name), setting))
            advance(1)
        queries = Store(folder=where / kept.ft).read_training()
        if queries is None:
            raise UserError(_missing(where / kept.ft))
        if len(queries) < TOP_DEMONSTRATIONS or sum(len(q[0]) - 1 for q in queries) < TOP_TOKENS:
            reporter.say(
                f"{kept.task}: no ft is written, on fewer than {TOP_DEMONSTRATIONS} demonstrations "
                f"or {TOP_TOKENS} tokens the released Kendall script fails"
            )
        else:
            write_training(target, queries, kept.context)
        advance(1)
    return target


def _missing(folder: Path) -> str:
    return (
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
        raise UserError(_missing(store.folder))
    recent: dict[int, Part] = {}
    for i in range(len(place)):
        number, j = place[i]
        if number not in recent:
            found = store.read(number)
            if found is None:
                raise UserError(_missing(store.folder))
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
