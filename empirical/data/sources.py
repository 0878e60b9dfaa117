"""Where rows come from: the generator and JSON Lines files (the hub: `empirical.data.hub`)."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from empirical.core.errors import UserError
from empirical.data.task import (
    PLAIN,
    Layout,
    Row,
    Source,
    Split,
    Task,
    hold_out,
    kept,
    pool_rule,
    to_row,
)


@dataclass(frozen=True, kw_only=True)
class GeneratedSource:
    """Rows drawn from the package's own grammar; train and evaluation have separate streams."""

    seed: int
    train_rows: int = 400
    evaluation_rows: int = 500

    def rows(self, task: Task, split: Split) -> list[Row]:
        """Rows of one split, a function of (seed, task, split) only.

        Raises:
            UserError: for a task that the grammar does not have.
        """
        from empirical.data.synthetic import LEXICON, generate_rows

        if task.name not in LEXICON:
            raise UserError(
                f"expected data for task {task.name} (only {', '.join(LEXICON)} can be generated), "
                "got none; pass a folder with --data DIR, or --data hub"
            )
        n = self.train_rows if split == "train" else self.evaluation_rows
        stream = (self.seed, list(LEXICON).index(task.name), int(split == "evaluation"))
        records = generate_rows(task.name, n, np.random.default_rng(stream))
        return [to_row(task, r, f"generated {split} row {i}") for i, r in enumerate(records)]

    def published_draw(self, task: Task, seed: int) -> None:
        """None: nobody published a draw of generated rows."""

    def pool(self, task: Task) -> str:
        """Empty: there are training rows."""
        return ""

    def revision(self, task: Task) -> None:
        """None: the rows follow from the seed and the commit."""


class ReadOnce:
    """A source whose rows are read, or drawn, once for all seeds."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._rows: dict[tuple[str, Split], list[Row]] = {}

    def rows(self, task: Task, split: Split) -> list[Row]:
        """Rows of one split; the caller does not change the list."""
        key = (task.name, split)
        if key not in self._rows:
            self._rows[key] = self.source.rows(task, split)
        return self._rows[key]

    def published_draw(self, task: Task, seed: int) -> tuple[int, ...] | None:
        """As the source."""
        return self.source.published_draw(task, seed)

    def pool(self, task: Task) -> str:
        """As the source."""
        return self.source.pool(task)

    def revision(self, task: Task) -> str | None:
        """As the source."""
        return self.source.revision(task)


def read_rows(file: Path, task: Task, layout: Layout, split: Split) -> list[Row]:
    """Rows of one JSON Lines file.

    Raises:
        UserError: for a missing or empty file, broken JSON, a missing column, a bad label.
    """
    if not file.is_file():
        raise UserError(
            f"expected a file {file}, got none; put the {split} rows of {task.name} there"
        )
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"expected UTF-8 text in {file}, got {error}; convert the file to UTF-8"
        ) from error
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{file} line {number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = getattr(error, "msg", type(error).__name__)
            raise UserError(
                f"expected one JSON object in {where}, got text that does not parse "
                f"({reason}); the file may be truncated, copy it again"
            ) from error
        rows.append(to_row(task, record, where, layout))
    if not rows:
        raise UserError(f"expected rows in {file}, got an empty file; copy it again")
    return kept(task, rows, str(file))


@dataclass(frozen=True, kw_only=True)
class FileSource:
    """Two JSON Lines files; without a file of training rows, rows are held out of the other."""

    train: Path | None
    evaluation: Path
    layout: Layout = PLAIN

    def rows(self, task: Task, split: Split) -> list[Row]:
        """Rows of one split.

        Raises:
            UserError: as `read_rows` and `hold_out`.
        """
        if self.train is not None:
            file = self.train if split == "train" else self.evaluation
            return read_rows(file, task, self.layout, split)
        every = read_rows(self.evaluation, task, self.layout, "evaluation")
        return hold_out(task, every, split, str(self.evaluation))

    def published_draw(self, task: Task, seed: int) -> None:
        """None: nobody published a draw of a user's own rows."""

    def pool(self, task: Task) -> str:
        """What the training rows are where there is no file of them."""
        return pool_rule(task, self.train is None)

    def revision(self, task: Task) -> None:
        """None: a file has no history; the hash of its rows is recorded."""


@dataclass(frozen=True, kw_only=True)
class FolderSource:
    """JSON Lines files `path/TASK/train.jsonl` and `path/TASK/validation.jsonl`.

    Without the former, a task whose `held_out` is not 0 has those rows held out of the latter.
    """

    path: Path

    def _files(self, task: Task) -> FileSource:
        folder = Path(self.path) / task.name
        train = folder / "train.jsonl"
        absent = task.held_out > 0 and not train.is_file()
        return FileSource(train=None if absent else train, evaluation=folder / "validation.jsonl")

    def rows(self, task: Task, split: Split) -> list[Row]:
        """Rows of one split.

        Raises:
            UserError: as `read_rows` and `hold_out`.
        """
        return self._files(task).rows(task, split)

    def pool(self, task: Task) -> str:
        """What the training rows are where there is no file of them."""
        return self._files(task).pool(task)

    def revision(self, task: Task) -> None:
        """None: a file has no history; the hash of its rows is recorded."""

    def published_draw(self, task: Task, seed: int) -> tuple[int, ...] | None:
        """The list of `seed` under `paper_first32_by_seed` of `path/TASK/meta.json`, if there.

        Raises:
            UserError: for a meta.json that does not parse, or a list that does not hold integers.
        """
        file = Path(self.path) / task.name / "meta.json"
        if not file.is_file():
            return None
        try:
            meta = json.loads(file.read_text(encoding="utf-8"))
            known = meta.get("paper_first32_by_seed", {}).get(str(seed))
        except (ValueError, AttributeError) as error:
            raise UserError(
                f"expected a JSON object in {file}, got text that does not parse ({error}); "
                "copy it again or remove it"
            ) from error
        if known is None:
            return None
        if not isinstance(known, list) or not all(type(i) is int for i in known):
            raise UserError(
                f"expected a list of whole numbers for seed {seed} in {file}, got {known!r}; "
                "copy it again or remove it"
            )
        return tuple(known)
