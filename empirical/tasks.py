"""The six classification tasks of the paper and where their rows come from.

Source: arXiv 2212.10559 and its released code (microsoft/LMOps, understand_icl).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from empirical.errors import UserError

Split = Literal["train", "evaluation"]
EVALUATION_SEED = 1
EVALUATION_LIMIT = 2000


@dataclass(frozen=True, kw_only=True)
class Task:
    """A prompt template, its label words (class 0 first) and the paper's number of examples."""

    name: str
    template: str
    labels: tuple[str, ...]
    k: int
    columns: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Row:
    """Template fields, the 0-based class, and the row's `idx` in the full split where known."""

    fields: Mapping[str, str]
    label: int
    idx: int | None = None


class Source(Protocol):
    """Anything that yields the rows of a task in their original order."""

    def rows(self, task: Task, split: Split) -> list[Row]:
        """Rows of one split."""

    def published_draw(self, task: Task, seed: int) -> tuple[int, ...] | None:
        """`idx` of the demonstrations that the paper's code draws with `seed`, where known."""


_NEWS = (
    "Classify the news articles into the categories of World, Sports, Business, and Technology. "
    "Article: {text} Answer:"
)
_CB = "{premise} Question: {hypothesis}. True, False, or Neither? Answer:"


def _task(name: str, template: str, labels: str, k: int, *columns: str) -> Task:
    return Task(name=name, template=template, labels=tuple(labels.split()), k=k, columns=columns)


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        _task("sst2", "Sentence: {sentence} Label:", "Negative Positive", 32, "sentence"),
        _task("sst5", "Sentence: {text} Label:", "terrible bad neutral good great", 32, "text"),
        _task("mr", "Review: {text} Sentiment:", "Negative Positive", 32, "text"),
        _task("subj", "Input: {text} Type:", "objective subjective", 32, "text"),
        _task("agnews", _NEWS, "World Sports Business Technology", 22, "text"),
        _task("cb", _CB, "True False Neither", 19, "premise", "hypothesis"),
    )
}


def get_task(name: str) -> Task:
    """The task called `name`.

    Raises:
        UserError: when there is none.
    """
    if name not in TASKS:
        raise UserError(
            f"expected a task among {', '.join(TASKS)}, got {name!r}; choose one of them"
        )
    return TASKS[name]


def _row(task: Task, record: Any, where: str) -> Row:
    """Check one record and turn it into a `Row`.

    Raises:
        UserError: for a missing column or a label out of range.
    """
    if not isinstance(record, Mapping):
        raise UserError(
            f"expected one object in {where}, got {type(record).__name__}; fix that row"
        )
    fields = {}
    for column in task.columns:
        key = "text" if column not in record and column == "sentence" else column
        if not isinstance(record.get(key), str):
            raise UserError(
                f"expected a text column {column!r} for task {task.name} in {where}, "
                f"got columns {sorted(record)}; add or rename the column"
            )
        if any("\ud800" <= c <= "\udfff" for c in record[key]):
            raise UserError(
                f"expected whole characters in column {column!r} of {where}, got half of a "
                "surrogate pair; fix that row"
            )
        fields[column] = record[key]
    label: Any = record.get("label")
    ok = isinstance(label, (int, np.integer)) and not isinstance(label, bool)
    if not ok or not 0 <= int(label) < len(task.labels):
        raise UserError(
            f"expected a label in 0..{len(task.labels) - 1} for task {task.name} in {where}, "
            f"got {label!r}; number the classes from 0 as in {task.labels}"
        )
    idx: Any = record.get("idx")
    if idx is not None and (not isinstance(idx, (int, np.integer)) or isinstance(idx, bool)):
        raise UserError(
            f"expected a whole number as idx for task {task.name} in {where}, got {idx!r}; "
            "number the rows, or leave idx out"
        )
    return Row(fields=fields, label=int(label), idx=None if idx is None else int(idx))


@dataclass(frozen=True, kw_only=True)
class GeneratedSource:
    """Rows drawn from the package's own grammar; train and evaluation have separate streams."""

    seed: int
    train_rows: int = 400
    evaluation_rows: int = 500

    def rows(self, task: Task, split: Split) -> list[Row]:
        """Rows of one split, a function of (seed, task, split) only."""
        from empirical.grammar import generate_rows

        n = self.train_rows if split == "train" else self.evaluation_rows
        stream = (self.seed, list(TASKS).index(task.name), int(split == "evaluation"))
        records = generate_rows(task.name, n, np.random.default_rng(stream))
        return [_row(task, r, f"generated {split} row {i}") for i, r in enumerate(records)]

    def published_draw(self, task: Task, seed: int) -> None:
        """None: nobody published a draw of generated rows."""


@dataclass(frozen=True, kw_only=True)
class FolderSource:
    """JSON Lines files `path/TASK/train.jsonl` and `path/TASK/validation.jsonl`."""

    path: Path

    def rows(self, task: Task, split: Split) -> list[Row]:
        """Rows of one file.

        Raises:
            UserError: for a missing or empty file, broken JSON, a missing column, a bad label.
        """
        name = "train" if split == "train" else "validation"
        file = Path(self.path) / task.name / f"{name}.jsonl"
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
            except json.JSONDecodeError as error:
                raise UserError(
                    f"expected one JSON object in {where}, got text that does not parse "
                    f"({error.msg}); the file may be truncated, copy it again"
                ) from error
            rows.append(_row(task, record, where))
        if not rows:
            raise UserError(f"expected rows in {file}, got an empty file; copy it again")
        return rows

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


_HUB: dict[str, tuple[str, str | None, str]] = {
    "sst2": ("nyu-mll/glue", "sst2", "validation"),
    "sst5": ("SetFit/sst5", None, "validation"),
    "mr": ("cornell-movie-review-data/rotten_tomatoes", None, "validation"),
    "subj": ("SetFit/subj", None, "test"),
    "agnews": ("fancyzhx/ag_news", None, "test"),
    "cb": ("aps/super_glue", "cb", "validation"),
}


@dataclass(frozen=True, kw_only=True)
class HubSource:
    """The hub data sets the paper used; script-only ones through their parquet revision."""

    def rows(self, task: Task, split: Split) -> list[Row]:
        """Rows of one split.

        Raises:
            UserError: when neither the data set nor its parquet revision can be read.
        """
        from datasets import load_dataset

        path, config, evaluation = _HUB[task.name]
        name = "train" if split == "train" else evaluation
        failure: Exception | None = None
        for revision in (None, "refs/convert/parquet"):
            try:
                data = load_dataset(path, config, split=name, revision=revision)
            except Exception as error:  # noqa: BLE001 - the hub client raises many kinds
                failure = error
                continue
            return [_row(task, r, f"{path} {name} row {i}") for i, r in enumerate(data)]
        raise UserError(
            f"expected to read {path} ({name}) from the hub, "
            f"got {type(failure).__name__}: {str(failure).splitlines()[0]}; "
            "check the network or use a folder of JSON Lines files"
        ) from failure

    def published_draw(self, task: Task, seed: int) -> None:
        """None: the full training split is there, and the shuffle draws what the paper drew."""


def shuffled(rows: Sequence[Row], seed: int) -> list[Row]:
    """Rows in the order `numpy.random.default_rng(seed).permutation(n)`."""
    return [rows[i] for i in np.random.default_rng(seed).permutation(len(rows))]


def evaluation(rows: Sequence[Row], limit: int | None = EVALUATION_LIMIT) -> list[Row]:
    """Evaluation rows shuffled with seed 1 whatever the run's seed, the first `limit` of them.

    Raises:
        UserError: when the limit is not positive.
    """
    if limit is not None and limit < 1:
        raise UserError(f"expected a limit of at least 1, got {limit}; choose another limit")
    return shuffled(rows, EVALUATION_SEED)[:limit]
