"""A user's own task from a TOML file (guide: `docs/tasks.md`)."""

import hashlib
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any

from empirical.core.errors import UserError
from empirical.data.hub import HubSource
from empirical.data.sources import FileSource
from empirical.data.task import Hub, Layout, Task, TaskFile

TOP = ("name", "template", "labels", "choices", "k", "label", "label_values", "columns", "data")
IN_FOLDER = ("path", "train", "evaluation", "held_out")
ON_HUB = ("hub", "config", "train", "evaluation", "held_out")


@dataclass(frozen=True, kw_only=True)
class _Table:
    """One table of the file; every mistake names the file and the key."""

    file: Path
    values: Mapping[str, Any]
    prefix: str = ""

    def error(self, key: str, expected: str, got: str, advice: str) -> UserError:
        """What is wrong at `key`."""
        at = f"{self.prefix}{key}"
        return UserError(f"expected {expected} at {at} of {self.file}, got {got}; {advice}")

    def only(self, known: Collection[str]) -> None:
        """Refuse any other key.

        Raises:
            UserError: naming the first.
        """
        for key in self.values:
            if key not in known:
                raise self.error(
                    key, f"only the keys {', '.join(known)}", "an unknown key", "correct or drop it"
                )

    def need(self, key: str, what: str) -> Any:
        """The value of a key that must be there.

        Raises:
            UserError: when it is not.
        """
        if key not in self.values:
            raise self.error(key, what, "none", "add that key")
        return self.values[key]

    def text(self, key: str, what: str) -> str:
        """A text that is not blank.

        Raises:
            UserError: for anything else, or none.
        """
        value = self.need(key, what)
        if not isinstance(value, str) or not value.strip():
            raise self.error(key, what, repr(value), "write a text between quotes")
        return value

    def whole(self, key: str, what: str) -> int:
        """A whole number of at least 1.

        Raises:
            UserError: for anything else, or none.
        """
        value = self.need(key, what)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.error(key, what, repr(value), "write a whole number of at least 1")
        return value

    def table(self, key: str, what: str) -> "_Table":
        """A table within this one.

        Raises:
            UserError: for anything else, none, or an empty one.
        """
        value = self.need(key, what)
        if not isinstance(value, dict) or not value:
            raise self.error(key, what, repr(value), f"write it below a line [{key}]")
        return _Table(file=self.file, values=value, prefix=f"{self.prefix}{key}.")


def load_task(name: str, taken: Collection[str] = ()) -> Task:
    """The task in the TOML file `name`, with its own data; `taken` are names it may not have.

    Raises:
        UserError: for the first mistake, naming the file and the key.
    """
    file = Path(name)
    content = _read(file)
    try:
        values = tomllib.loads(content.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(
            f"expected a TOML file in UTF-8 at {file}, got text that does not parse ({error}); "
            "correct it, see docs/tasks.md"
        ) from error
    top = _Table(file=file, values=values)
    top.only(TOP)
    template, columns = _template(top)
    labels, choices = _classes(top)
    layout = _layout(top, columns, len(labels), choices)
    data = top.table("data", "a table with path or hub")
    held = data.whole("held_out", "a number of rows") if "held_out" in data.values else 0
    hub = _hub(data, layout) if "hub" in data.values else None
    return Task(
        name=_name(top, taken),
        template=template,
        labels=labels,
        k=top.whole("k", "a number of demonstrations"),
        columns=columns,
        choices=choices,
        held_out=held,
        hub=hub,
        source=_files(data, layout) if hub is None else HubSource(),
        file=TaskFile(path=name, sha256=hashlib.sha256(content).hexdigest()),
    )


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(
            f"expected a task file at {file}, got {error.strerror or type(error).__name__}; "
            "correct the path"
        ) from error


def _name(top: _Table, taken: Collection[str]) -> str:
    name = top.text("name", "a name of the task")
    if not re.fullmatch("[A-Za-z0-9_-]+", name):
        raise top.error("name", "letters, digits, _ and - alone", repr(name), "choose another name")
    if name in taken:
        raise top.error(
            "name",
            f"another name than those of the built-in tasks ({', '.join(taken)})",
            repr(name),
            "choose one, results are filed under it",
        )
    return name


def _template(top: _Table) -> tuple[str, tuple[str, ...]]:
    """The template, and its fields in order.

    Raises:
        UserError: when it has none, has one that is no plain name, or ends in white space.
    """
    what = "a prompt with fields such as {text}"
    template = top.text("template", what)
    try:
        parts = [part[1:] for part in Formatter().parse(template) if part[1] is not None]
    except ValueError as error:
        raise top.error(
            "template", what, f"{template!r} ({error})", "write {{ and }} for braces that stay"
        ) from error
    if not parts or not all(
        (name or "").isidentifier() and not form and not conversion
        for name, form, conversion in parts
    ):
        raise top.error("template", what, repr(template), "name each field in plain braces")
    if template != template.rstrip():
        raise top.error(
            "template",
            "no white space at the end (one space precedes the label)",
            repr(template),
            "remove it",
        )
    return template, tuple(dict.fromkeys(str(name) for name, _, _ in parts))


def _classes(top: _Table) -> tuple[tuple[str, ...], str | None]:
    """The label words, or () and the column of answers.

    Raises:
        UserError: for both or neither, or label words that cannot be told apart.
    """
    given = [key for key in ("labels", "choices") if key in top.values]
    if len(given) != 1:
        raise top.error(
            "labels",
            "either labels (words) or choices (the column of answers)",
            "both" if given else "neither",
            "keep one of the two",
        )
    if given == ["choices"]:
        return (), top.text("choices", "the name of the column with the answers of a row")
    what, labels = "two or more label words, class 0 first", top.values["labels"]
    if not isinstance(labels, list) or len(labels) < 2:
        raise top.error("labels", what, repr(labels), "write a list of texts")
    for word in labels:
        if not isinstance(word, str) or not word or word != " ".join(word.split()):
            raise top.error(
                "labels",
                "words with single spaces between them",
                repr(word),
                "write the bare word, the space before it is added",
            )
    for i, word in enumerate(labels):
        for other in labels[i + 1 :]:
            if word == other:
                raise top.error("labels", "different words", f"{word!r} twice", "name each once")
            if f"{word} ".startswith(f"{other} ") or f"{other} ".startswith(f"{word} "):
                raise top.error(
                    "labels",
                    "words of which none begins with another",
                    f"{word!r} and {other!r}",
                    "choose words that differ from the start",
                )
    return tuple(labels), None


def _layout(top: _Table, fields: tuple[str, ...], classes: int, choices: str | None) -> Layout:
    """Columns of the fields and of the class, and how raw labels become classes.

    Raises:
        UserError: for a field without a column or the reverse, or an answer in the prompt.
    """
    columns = {name: name for name in fields}
    if "columns" in top.values:
        table = top.table("columns", "a column for each template field")
        table.only(fields)
        columns = {name: table.text(name, f"the column of {{{name}}}") for name in fields}
    label = top.text("label", "the column of the class") if "label" in top.values else "label"
    for name, column in columns.items():
        if column in (label, choices):
            raise top.error(
                "template",
                "a prompt without the answer",
                f"{{{name}}} filled from {column!r}, the column of the "
                f"{'class' if column == label else 'answers'}",
                "name another column",
            )
    if choices == label:
        raise top.error(
            "choices", "another column than that of the class", repr(label), "correct one of them"
        )
    return Layout(columns=columns, label=label, values=_label_values(top, classes))


def _label_values(top: _Table, classes: int) -> dict[str, int] | None:
    """Raw labels -> classes, if given; `classes` is 0 where rows bring their answers.

    Raises:
        UserError: for a class out of range, or one that no raw label means.
    """
    if "label_values" not in top.values:
        return None
    table = top.table("label_values", "a class for each raw label")
    what = f"a class in 0..{classes - 1}" if classes else "a class of at least 0"
    for raw, number in table.values.items():
        whole = isinstance(number, int) and not isinstance(number, bool)
        if not whole or number < 0 or (classes and number >= classes):
            raise table.error(raw, what, repr(number), "count classes from 0")
    for number in range(classes):
        if number not in table.values.values():
            raise top.error(
                "label_values",
                f"a raw label of every class in 0..{classes - 1}",
                f"none of class {number}",
                "add it, or drop the label word",
            )
    return dict(table.values)


def _splits(data: _Table, train: str | None, evaluation: str | None) -> tuple[str | None, str]:
    """The names of the two splits; the training one is None where rows are held out.

    Raises:
        UserError: for none, for one name twice, or for both `train` and `held_out`.
    """
    held = "held_out" in data.values
    if held and "train" in data.values:
        raise data.error("held_out", "either train or held_out", "both", "keep one of the two")
    if "train" in data.values or (train is None and not held):
        train = data.text("train", "the training rows (or held_out, a number of rows)")
    if "evaluation" in data.values or evaluation is None:
        evaluation = data.text("evaluation", "the evaluation rows")
    if train == evaluation and not held:
        raise data.error(
            "evaluation",
            "other rows than the training rows",
            repr(evaluation),
            "name another, or set held_out in place of train",
        )
    return None if held else train, evaluation


def _files(data: _Table, layout: Layout) -> FileSource:
    """The two JSON Lines files, named relative to the task file.

    Raises:
        UserError: for an unknown key, a missing folder or file, or one file for both.
    """
    data.only(IN_FOLDER)
    folder = data.file.parent / data.text("path", "a folder (or hub, a data set)")
    if not folder.is_dir():
        raise data.error("path", "a folder", f"{folder}, which is none", "correct the path")
    train, evaluation = _splits(data, "train.jsonl", "validation.jsonl")
    found = {"train": train, "evaluation": evaluation}
    files = {key: folder / name for key, name in found.items() if name is not None}
    for key, file in files.items():
        if not file.is_file():
            raise data.error(key, "a JSON Lines file", f"{file}, which is none", "correct the name")
    if "train" in files and files["train"].samefile(files["evaluation"]):
        raise data.error(
            "evaluation",
            "another file than train",
            str(files["evaluation"]),
            "name another, or set held_out in place of train",
        )
    return FileSource(train=files.get("train"), evaluation=files["evaluation"], layout=layout)


def _hub(data: _Table, layout: Layout) -> Hub:
    """The hub data set.

    Raises:
        UserError: for an unknown key, both `hub` and `path`, or a name that is none.
    """
    if "path" in data.values:
        raise data.error("hub", "either path or hub", "both", "keep one of the two")
    data.only(ON_HUB)
    path = data.text("hub", "the name of a data set")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", path):
        raise data.error("hub", "a data set as OWNER/NAME", repr(path), "for a folder use path")
    config = data.text("config", "a configuration") if "config" in data.values else None
    train, evaluation = _splits(data, None, None)
    return Hub(path=path, config=config, train=train, evaluation=evaluation, layout=layout)
