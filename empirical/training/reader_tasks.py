"""The reader's tasks under label words that mean nothing, from rows that it never read.

`python -m empirical.training.reader_tasks --data DIR --out DIR` writes, for every task of the
study, a task file and its rows. Zero-shot, the reader knows the tasks' own words from training;
under words such as "cat" and "silver" only demonstrations tell what they stand for. Training rows
are those that the reader's training kept apart (all rows of a task that it never read), evaluation
rows those of the validation file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from empirical.core import random_streams
from empirical.core.command_line import single
from empirical.core.json_files import write_text
from empirical.data.paper_tasks import TASKS, FolderSource
from empirical.data.task import Row, Task
from empirical.training.reader_episodes import HELD_OUT, MORE_LABELS, kept_apart

SHOWN = 16  # demonstrations, but for CB, whose texts are long
LONG = {"cb": 10}


def words_of(task: Task) -> tuple[str, ...]:
    """Its label words, drawn by the task's place among the tasks."""
    drawn = random_streams.generator(
        random_streams.READER_WORDS, list(TASKS).index(task.name)
    ).permutation(len(MORE_LABELS))
    return tuple(MORE_LABELS[int(i)] for i in drawn[: len(task.labels)])


def file_of(task: Task) -> str:
    """The task file, in TOML."""
    columns = "\n".join(f'{name} = "{name}"' for name in task.columns)
    return f"""name = "{task.name}_words"
template = {json.dumps(task.template)}
labels = {json.dumps(words_of(task))}
k = {LONG.get(task.name, SHOWN)}
label = "label"

[columns]
{columns}

[data]
path = "{task.name}"
train = "train.jsonl"
evaluation = "evaluation.jsonl"
"""


def _lines(rows: Sequence[Row]) -> str:
    return "".join(
        json.dumps({**row.fields, "label": row.label}, ensure_ascii=False) + "\n" for row in rows
    )


def write(data: Path, out: Path) -> list[Path]:
    """All task files, each with its two files of rows.

    Raises:
        UserError: for a folder without the tasks.
    """
    source, found = FolderSource(path=data), []
    for task in TASKS.values():
        train = source.rows(task, "train")
        if task.name not in HELD_OUT:
            train = [train[i] for i in sorted(kept_apart(source, task, train))]
        write_text(out / task.name / "train.jsonl", _lines(train))
        rows = source.rows(task, "evaluation")
        write_text(out / task.name / "evaluation.jsonl", _lines(rows))
        path = out / f"{task.name}_words.toml"
        write_text(path, file_of(task))
        found.append(path)
    return found


def main(
    data: Annotated[Path, typer.Option(help="Folder with the reader's tasks.")],
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
) -> None:
    """Write the reader's tasks under label words that mean nothing."""
    for path in write(data, out):
        print(path)


if __name__ == "__main__":
    single(main)()
