"""A task and its rows: template, label words or answers, and what makes a row of a record."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from empirical.core.errors import UserError

Split = Literal["train", "evaluation"]
Record = Mapping[str, Any]
HOLD_OUT_SEED = 0


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The columns of a data set: template field -> column where named otherwise, and the class.

    `values` maps the text of a raw label to its class; without it labels are integers from 0.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    label: str = "label"
    values: Mapping[str, int] | None = None


PLAIN = Layout()


@dataclass(frozen=True, kw_only=True)
class Hub:
    """A hub data set, the names of its splits, and what makes a row of one of its records."""

    path: str
    config: str | None = None
    train: str | None = "train"
    evaluation: str = "validation"
    layout: Layout = PLAIN
    reshape: Callable[[Record], Record] | None = None


@dataclass(frozen=True, kw_only=True)
class TaskFile:
    """The TOML file that a task was read from, as it was named, and the hash of its bytes."""

    path: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Task:
    """A prompt template, its label words (class 0 first) and the paper's number of examples.

    `choices` names the column that holds the answers of each row; `labels` is then empty, and the
    class of a row is the place of its right answer. Rows with another number of answers than
    `answers` are left out. Where a data set has no training split, `held_out` rows of its
    evaluation split take that place and are evaluated no more (`hold_out`); 0 refuses such data.
    `hub` is where `HubSource` finds the rows; `source` the data that a user's own task brings.
    """

    name: str
    template: str
    labels: tuple[str, ...]
    k: int
    columns: tuple[str, ...]
    choices: str | None = None
    answers: int | None = None
    held_out: int = 0
    hub: Hub | None = None
    source: "Source | None" = None
    file: TaskFile | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """Template fields, the 0-based class, the row's `idx` in the full split where known.

    `choices` are the answers to choose from, where the task has them in its rows.
    """

    fields: Mapping[str, str]
    label: int
    idx: int | None = None
    choices: tuple[str, ...] = ()


class Source(Protocol):
    """Anything that yields the rows of a task in their original order."""

    def rows(self, task: Task, split: Split) -> list[Row]:
        """Rows of one split."""

    def published_draw(self, task: Task, seed: int) -> tuple[int, ...] | None:
        """`idx` of the demonstrations that the paper's code draws with `seed`, where known."""

    def pool(self, task: Task) -> str:
        """What the training rows are where they are no training split; empty otherwise."""

    def revision(self, task: Task) -> str | None:
        """The commit of the data set that was read, where there is one."""


def to_row(task: Task, record: Any, where: str, layout: Layout = PLAIN) -> Row:
    """Check one record and turn it into a `Row`.

    Raises:
        UserError: for a missing column, answers that are none, or a label out of range.
    """
    if not isinstance(record, Mapping):
        raise UserError(
            f"expected one object in {where}, got {type(record).__name__}; fix that row"
        )
    fields = {}
    for name in task.columns:
        column = layout.columns.get(name, name)
        # SST-2 is also around with the column name of the other five tasks.
        other = name == "sentence" and name not in layout.columns and name not in record
        key = "text" if other else column
        if not isinstance(record.get(key), str):
            raise UserError(
                f"expected a text column {column!r} for task {task.name} in {where}, "
                f"got columns {sorted(record)}; add or rename the column"
            )
        fields[name] = _whole(record[key], column, where)
    choices = () if task.choices is None else _choices(task, task.choices, record, where)
    idx: Any = record.get("idx")
    if idx is not None and (not isinstance(idx, (int, np.integer)) or isinstance(idx, bool)):
        raise UserError(
            f"expected a whole number as idx for task {task.name} in {where}, got {idx!r}; "
            "number the rows, or leave idx out"
        )
    return Row(
        fields=fields,
        label=_label(task, record, where, layout, choices or task.labels),
        idx=None if idx is None else int(idx),
        choices=choices,
    )


def _whole(text: str, column: str, where: str) -> str:
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise UserError(
            f"expected whole characters in column {column!r} of {where}, got half of a "
            "surrogate pair; fix that row"
        )
    return text


def _choices(task: Task, column: str, record: Record, where: str) -> tuple[str, ...]:
    """The answers of a record, in one of its columns.

    Raises:
        UserError: unless there is a list of two texts or more.
    """
    found = record.get(column)
    many = isinstance(found, Sequence) and not isinstance(found, str) and len(found) > 1
    if not many or not all(isinstance(text, str) and text.strip() for text in found or ()):
        raise UserError(
            f"expected a list of two or more answers, none blank, in column {column!r} for task "
            f"{task.name} in {where}, got {found!r}; fix that row, or name the column of answers"
        )
    return tuple(_whole(text, column, where) for text in found or ())


def _label(task: Task, record: Record, where: str, layout: Layout, classes: Sequence[str]) -> int:
    """The class of a record.

    Raises:
        UserError: for a missing column, or a value that is no class.
    """
    if layout.label not in record:
        raise UserError(
            f"expected a label column {layout.label!r} for task {task.name} in {where}, "
            f"got columns {sorted(record)}; add or rename the column"
        )
    raw: Any = record[layout.label]
    label: Any = raw
    if layout.values is not None:
        spelled = _text_of(raw)
        label = None if spelled is None else layout.values.get(spelled)
        if label is None:
            raise UserError(
                f"expected a label among {', '.join(map(repr, layout.values))} for task "
                f"{task.name} in {where}, got {raw!r}; add it to label_values, or fix that row"
            )
    ok = isinstance(label, (int, np.integer)) and not isinstance(label, bool)
    if not ok or not 0 <= int(label) < len(classes):
        hint = f"the classes from 0 as in {task.labels}" if task.labels else "the answers from 0"
        raise UserError(
            f"expected a label in 0..{len(classes) - 1} for task {task.name} in {where}, "
            f"got {raw!r}; number {hint}"
        )
    return int(label)


def _text_of(raw: Any) -> str | None:
    """A raw label as `label_values` of a task file spells it (TOML keys are texts), if it can."""
    if isinstance(raw, bool):
        return str(raw).lower()
    if isinstance(raw, (int, np.integer)):
        return str(int(raw))
    return raw if isinstance(raw, str) else None


def kept(task: Task, rows: Sequence[Row], where: str) -> list[Row]:
    """The rows with the number of answers that the task asks for.

    Raises:
        UserError: when none is left.
    """
    found = [row for row in rows if task.answers in (None, len(row.choices))]
    if rows and not found:
        raise UserError(
            f"expected rows of {task.name} with {task.answers} answers in {where}, got none among "
            f"{len(rows)}; check the data set"
        )
    return found


def hold_out(task: Task, rows: Sequence[Row], split: Split, where: str) -> list[Row]:
    """The rows of an evaluation split that stand in for a training split, or all others.

    The former are the first `task.held_out` of `default_rng(0).permutation(n)`, whatever the seed
    of a run, so that no seed shows a row that another evaluates. Both keep their original order.

    Raises:
        UserError: when no row would be left to evaluate.
    """
    if task.held_out >= len(rows):
        raise UserError(
            f"expected more than the {task.held_out} rows that {task.name} holds out for "
            f"demonstrations in {where}, got {len(rows)}; add rows, or training rows of their own"
        )
    order = np.random.default_rng(HOLD_OUT_SEED).permutation(len(rows))
    chosen = order[: task.held_out] if split == "train" else order[task.held_out :]
    return [rows[i] for i in sorted(chosen)]


def pool_rule(task: Task, held: bool) -> str:
    """What the training rows are where they are `held` out; empty otherwise."""
    if not held:
        return ""
    rule = f"numpy default_rng({HOLD_OUT_SEED}).permutation(n)[:{task.held_out}]"
    return f"the {task.held_out} rows held out of the evaluation split ({rule})"
