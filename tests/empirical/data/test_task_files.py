"""A user's own task: what a file becomes, and every mistake in one line with file and key."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from empirical.core.errors import UserError
from empirical.data.paper_tasks import FileSource, Hub, HubSource, Layout, Row, Task, get_task
from empirical.data.prompts import query
from tests.empirical.data.test_prompts import Letters
from tests.support.paths import ROOT

GUIDE = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```toml\n(.*?)^```", GUIDE, re.M | re.S)
LINES = re.findall(r"^```json\n(.*?)^```", GUIDE, re.M | re.S)

TOP = {
    "name": '"mine"',
    "template": '"T: {text} L:"',
    "labels": '["no", "yes"]',
    "k": "2",
}
DATA = {"path": '"rows"'}


def toml(top: Mapping[str, str | None] = {}, data: Mapping[str, str | None] | None = {}) -> str:  # noqa: B006 - read alone
    """The file of a good task, some of its keys changed or (None) left out."""
    lines = [f"{key} = {value}" for key, value in (TOP | dict(top)).items() if value is not None]
    if data is None:
        return "\n".join(lines)
    lines += ["[data]"]
    lines += [f"{key} = {value}" for key, value in (DATA | dict(data)).items() if value is not None]
    return "\n".join(lines)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder `rows` with four rows in each file, beside which the task file goes."""
    (tmp_path / "rows").mkdir()
    for name in ("train", "validation"):
        rows = [{"text": f"{name} {i}", "label": i % 2, "idx": i} for i in range(4)]
        text = "\n".join(map(json.dumps, rows))
        (tmp_path / "rows" / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return tmp_path


def load(folder: Path, text: str) -> Task:
    (folder / "mine.toml").write_text(text, encoding="utf-8")
    return get_task(str(folder / "mine.toml"))


def rows_of(task: Task, split: str = "train") -> list[Row]:
    assert task.source is not None
    return task.source.rows(task, split)  # type: ignore[arg-type] # one of two literals


def test_a_file_becomes_a_task_with_its_own_data(folder: Path) -> None:
    text = toml()
    task = load(folder, text)
    plain = Layout(columns={"text": "text"})
    assert task == Task(
        name="mine",
        template="T: {text} L:",
        labels=("no", "yes"),
        k=2,
        columns=("text",),
        source=FileSource(
            train=folder / "rows" / "train.jsonl",
            evaluation=folder / "rows" / "validation.jsonl",
            layout=plain,
        ),
        file=task.file,
    )
    assert task.file is not None and task.file.path == str(folder / "mine.toml")
    assert task.file.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert rows_of(task)[3] == Row(fields={"text": "train 3"}, label=1, idx=3)
    assert rows_of(task, "evaluation")[3].fields == {"text": "validation 3"}
    assert task.source is not None and task.source.published_draw(task, 1) is None


def test_columns_and_raw_labels_are_those_the_file_names(folder: Path) -> None:
    rows = [
        {"body": "a", "kind": "spam", "label": 7},
        {"body": "b", "kind": 4, "label": 7},
        {"body": "c", "kind": True, "label": 7},
    ]
    (folder / "rows" / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    top = {
        "label": '"kind"',
        "label_values": '{spam = 1, "4" = 0, true = 1}',
        "columns": '{text = "body"}',
    }
    task = load(folder, toml(top, {"train": '"x.jsonl"'}))
    assert rows_of(task) == [
        Row(fields={"text": t}, label=label) for t, label in (("a", 1), ("b", 0), ("c", 1))
    ]
    for bad in ("ham", 1, None, False, ""):
        (folder / "rows" / "x.jsonl").write_text(json.dumps({"body": "a", "kind": bad}))
        with pytest.raises(UserError, match=rf"x.jsonl line 1, got {bad!r}; add it to label_val"):
            rows_of(task)


def test_the_sentence_of_an_own_task_is_never_read_from_text(folder: Path) -> None:
    task = load(folder, toml({"template": '"{sentence} L:"'}))
    with pytest.raises(UserError, match="text column 'sentence' for task mine in .* line 1"):
        rows_of(task)


def test_held_out_rows_take_the_place_of_a_file_of_training_rows(folder: Path) -> None:
    task = load(folder, toml(data={"held_out": "3"}))
    assert task.held_out == 3
    shown, asked = rows_of(task), rows_of(task, "evaluation")
    assert [r.idx for r in shown] == sorted(np.random.default_rng(0).permutation(4)[:3].tolist())
    assert len(asked) == 1 and {r.idx for r in (*shown, *asked)} == {0, 1, 2, 3}
    assert task.source is not None and task.source.pool(task).startswith("the 3 rows held out of")


def test_a_data_set_of_the_hub(folder: Path) -> None:
    data = {"path": None, "hub": '"o/n"', "config": '"c"', "train": '"a"', "evaluation": '"b"'}
    task = load(folder, toml(data=data))
    layout = Layout(columns={"text": "text"})
    assert task.hub == Hub(path="o/n", config="c", train="a", evaluation="b", layout=layout)
    assert task.source == HubSource()
    task = load(folder, toml(data=data | {"train": None, "held_out": "5"}))
    assert task.hub is not None and task.hub.train is None and task.held_out == 5


def test_hub_rows_go_through_the_columns_of_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    asked = []

    def read(*where: object, split: str, revision: str | None) -> object:
        asked.append((*where, split))
        return datasets.Dataset.from_dict({"body": ["x", "y", "z"], "label": [1, 0, 1]})

    monkeypatch.setattr("datasets.load_dataset", read)
    data = {"path": None, "hub": '"o/n"', "evaluation": '"b"', "held_out": "2"}
    task = load(folder, toml({"columns": '{text = "body"}'}, data))
    found = rows_of(task) + rows_of(task, "evaluation")
    assert asked == [("o/n", None, "b")] * 2
    assert sorted((r.fields["text"], r.label) for r in found) == [("x", 1), ("y", 0), ("z", 1)]


# Every mistake: keys at the top, keys of [data], and what the line says.
FIELDS = "expected a prompt with fields such as {text} at template of F, got"
CHOICE = {"labels": None, "choices": '"o"'}
HUB = {"path": None, "hub": '"o/n"', "train": '"a"', "evaluation": '"b"'}
MISTAKES: list[tuple[dict[str, str | None], dict[str, str | None], str]] = [
    ({"lables": "1"}, {}, "only the keys name, template, labels, choices, k, label, label_values, "
     "columns, data at lables of F, got an unknown key; correct or drop it"),
    ({"name": None}, {}, "a name of the task at name of F, got none; add that key"),
    ({"name": "3"}, {}, "a name of the task at name of F, got 3; write a text between quotes"),
    ({"name": '"a b"'}, {}, "digits, _ and - alone at name of F, got 'a b'; choose another name"),
    ({"name": '"cb"'}, {}, "cb, imdb, arc_easy, piqa) at name of F, got 'cb'; choose one, results"),
    ({"template": None}, {}, f"{FIELDS} none; add that key"),
    ({"template": '" "'}, {}, f"{FIELDS} ' '; write a text between quotes"),
    ({"template": '"T"'}, {}, f"{FIELDS} 'T'; name each field in plain braces"),
    ({"template": '"{}"'}, {}, f"{FIELDS} '{{}}'; name each field in plain braces"),
    ({"template": '"{0} L"'}, {}, f"{FIELDS} '{{0}} L'; name each field in plain braces"),
    ({"template": '"{t.x} L"'}, {}, f"{FIELDS} '{{t.x}} L'; name each field in plain braces"),
    ({"template": '"{t!r} L"'}, {}, f"{FIELDS} '{{t!r}} L'; name each field in plain braces"),
    ({"template": '"{t:>9} L"'}, {}, f"{FIELDS} '{{t:>9}} L'; name each field in plain braces"),
    ({"template": '"{t L"'}, {}, f"{FIELDS} '{{t L' (expected '}}' before end of string); write"),
    ({"template": '"{t} "'}, {}, "no white space at the end (one space precedes the label) at "
     "template of F, got '{t} '; remove it"),
    ({"labels": None}, {}, "either labels (words) or choices (the column of answers) at labels of "
     "F, got neither; keep one of the two"),
    ({"choices": '"o"'}, {}, "at labels of F, got both; keep one of the two"),
    ({"labels": '["a"]'}, {}, "two or more label words, class 0 first at labels of F, got ['a']; "),
    ({"labels": '"ab"'}, {}, "two or more label words, class 0 first at labels of F, got 'ab'; wr"),
    ({"labels": '["a", 2]'}, {}, "single spaces between them at labels of F, got 2; write the bar"),
    ({"labels": '["a", ""]'}, {}, "spaces between them at labels of F, got ''; write the bare"),
    ({"labels": '["a", " b"]'}, {}, "between them at labels of F, got ' b'; write the bare word"),
    ({"labels": '["a", "b", "a"]'}, {}, "different words at labels of F, got 'a' twice; name each"),
    ({"labels": '["so so", "so"]'}, {}, "words of which none begins with another at labels of F, "
     "got 'so so' and 'so'; choose words that differ from the start"),
    ({"labels": '["so", "bad", "so so"]'}, {}, "at labels of F, got 'so' and 'so so'; choose wor"),
    (CHOICE | {"choices": "1"}, {}, "the name of the column with the answers of a row at choices "
     "of F, got 1; write a text"),
    ({"k": None}, {}, "a number of demonstrations at k of F, got none; add that key"),
    ({"k": "0"}, {}, "a number of demonstrations at k of F, got 0; write a whole number of at l"),
    ({"k": "1.5"}, {}, "a number of demonstrations at k of F, got 1.5; write a whole number of at"),
    ({"k": "true"}, {}, "a number of demonstrations at k of F, got True; write a whole number of"),
    ({"label": '""'}, {}, "the column of the class at label of F, got ''; write a text between qu"),
    ({"label": '"text"'}, {}, "a prompt without the answer at template of F, got {text} filled "
     "from 'text', the column of the class; name another column"),
    ({"columns": '{text = "label"}'}, {}, "{text} filled from 'label', the column of the class;"),
    (CHOICE | {"choices": '"text"'}, {}, "{text} filled from 'text', the column of the answers;"),
    (CHOICE | {"choices": '"label"'}, {}, "another column than that of the class at choices of F, "
     "got 'label'; correct one of them"),
    ({"columns": '"text"'}, {}, "a column for each template field at columns of F, got 'text'; "
     "write it below a line [columns]"),
    ({"columns": "{}"}, {}, "a column for each template field at columns of F, got {}; write it"),
    ({"columns": '{text = "t", x = "y"}'}, {}, "only the keys text at columns.x of F, got an unkn"),
    ({"template": '"{a} {b}"', "columns": '{a = "t"}'}, {},
     "the column of {b} at columns.b of F, got none; add that key"),
    ({"label_values": "3"}, {}, "a class for each raw label at label_values of F, got 3; write it"),
    ({"label_values": "{a = 0, b = 2}"}, {}, "a class in 0..1 at label_values.b of F, got 2; coun"),
    ({"label_values": "{a = 0, b = -1}"}, {}, "a class in 0..1 at label_values.b of F, got -1; co"),
    ({"label_values": "{a = 0, b = true}"}, {}, "in 0..1 at label_values.b of F, got True; count"),
    ({"label_values": "{a = 0}"}, {}, "a raw label of every class in 0..1 at label_values of F, "
     "got none of class 1; add it, or drop the label word"),
    (CHOICE | {"label_values": "{a = -1}"}, {}, "a class of at least 0 at label_values.a of F, "),
    ({}, {"path": None, "train": '"a"'}, "a folder (or hub, a data set) at data.path of F, got "
     "none; add that key"),
    ({}, {"path": None}, "a table with path or hub at data of F, got {}; write it below a line [d"),
    ({}, {"path": "3"}, "a folder (or hub, a data set) at data.path of F, got 3; write a text"),
    ({}, {"path": '"nix"'}, "/nix, which is none; correct the path"),
    ({}, {"hub": '"o/n"'}, "either path or hub at data.hub of F, got both; keep one of the two"),
    ({}, {"config": '"c"'}, "only the keys path, train, evaluation, held_out at data.config of F"),
    ({}, {"train": '"t"'}, "/rows/t, which is none; correct the name"),
    ({}, {"evaluation": '"e"'}, "/rows/e, which is none; correct the name"),
    ({}, {"train": '"validation.jsonl"'}, "other rows than the training rows at data.evaluation "
     "of F, got 'validation.jsonl'; name another, or set held_out in place of train"),
    ({}, {"train": '"../rows/validation.jsonl"'}, "another file than train at data.evaluation of"),
    ({}, {"train": '"train.jsonl"', "held_out": "2"}, "either train or held_out at data.held_out "
     "of F, got both; keep one of the two"),
    ({}, {"held_out": "0"}, "a number of rows at data.held_out of F, got 0; write a whole number"),
    ({}, HUB | {"hub": '"a b"'}, "a data set as OWNER/NAME at data.hub of F, got 'a b'; for a fol"),
    ({}, HUB | {"config": "1"}, "a configuration at data.config of F, got 1; write a text between"),
    ({}, HUB | {"limit": "1"}, "only the keys hub, config, train, evaluation, held_out at data.li"),
    ({}, HUB | {"train": None}, "(or held_out, a number of rows) at data.train of F, got none; "),
    ({}, HUB | {"evaluation": None}, "the evaluation rows at data.evaluation of F, got none; add"),
    ({}, HUB | {"train": '"b"'}, "other rows than the training rows at data.evaluation of F, got"),
]  # fmt: skip


@pytest.mark.parametrize(("top", "data", "message"), MISTAKES)
def test_a_mistake_is_one_line_that_names_file_and_key(
    folder: Path, top: dict[str, str | None], data: dict[str, str | None], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        load(folder, toml(top, data))
    line = str(caught.value).replace(str(folder / "mine.toml"), "F")
    assert message in line
    assert line.startswith("expected ") and " of F, got " in line and "; " in line
    assert "\n" not in line


def test_without_data_a_task_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="a table with path or hub at data of .*, got none; add"):
        load(folder, toml(data=None))


@pytest.mark.parametrize("content", [b"name = ", b'name = "caf\xe9"', b"k = 1\nk = 2"])
def test_a_file_that_does_not_parse_is_named(folder: Path, content: bytes) -> None:
    (folder / "x.toml").write_bytes(content)
    with pytest.raises(
        UserError, match=r"a TOML file in UTF-8 at .*x.toml, got text that does not"
    ):
        get_task(str(folder / "x.toml"))


def test_a_file_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(UserError, match="a task file at none.toml, got No such file"):
        get_task("none.toml")
    (folder / "d.toml").mkdir()
    with pytest.raises(UserError, match="a task file at .*d.toml, got Is a directory"):
        get_task(str(folder / "d.toml"))


def test_the_files_of_the_guide_load_and_give_the_prompts_it_shows(tmp_path: Path) -> None:
    (tmp_path / "tickets").mkdir()
    for name in ("old", "new"):
        (tmp_path / "tickets" / f"{name}.jsonl").write_text(LINES[0], encoding="utf-8")
    (tmp_path / "riddles.jsonl").write_text(LINES[1] * 21, encoding="utf-8")
    tickets, riddles = (load(tmp_path, text) for text in EXAMPLES)
    rows = rows_of(tickets)
    assert [r.label for r in rows] == [0, 1, 2] and len(rows_of(tickets, "evaluation")) == 3
    prompt = "Customer: Paid twice. Two charges on my card Department:"
    assert f"`{prompt}`" in " ".join(GUIDE.split())
    assert query(Letters(), tickets, rows[0]).prompt == tuple(map(ord, prompt))
    assert (len(rows_of(riddles)), len(rows_of(riddles, "evaluation"))) == (20, 1)
    asked = query(Letters(), riddles, rows_of(riddles)[0])
    assert asked.choices[0] == tuple(map(ord, " A piano")) and asked.label == 0
    for key in (
        "name",
        "template",
        "labels",
        "choices",
        "k",
        "label",
        "label_values",
        "columns",
        "path",
        "train",
        "evaluation",
        "hub",
        "config",
        "held_out",
    ):
        assert re.search(rf"^\|[^|]*`{key}`", GUIDE, re.M)
