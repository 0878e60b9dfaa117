"""Rows, splits and shuffles; bad files say where."""

import json
from pathlib import Path

import numpy as np
import pytest

from empirical.errors import UserError
from empirical.tasks import (
    TASKS,
    FolderSource,
    GeneratedSource,
    HubSource,
    Row,
    evaluation,
    get_task,
)

ROWS = [Row(fields={"text": str(i)}, label=0) for i in range(50)]


def write(folder: Path, task: str, text: str) -> FolderSource:
    (folder / task).mkdir()
    (folder / task / "train.jsonl").write_text(text, encoding="utf-8")
    return FolderSource(path=folder)


def test_an_unknown_task_lists_the_six() -> None:
    with pytest.raises(UserError, match="sst2, sst5, mr, subj, agnews, cb, got 'qqp'"):
        get_task("qqp")


@pytest.mark.parametrize("name", TASKS)
def test_templates_use_exactly_their_columns(name: str) -> None:
    task = TASKS[name]
    assert "{" not in task.template.format(**dict.fromkeys(task.columns, "x"))


def test_sixteen_label_words() -> None:
    assert len({w for t in TASKS.values() for w in t.labels}) == 16


def test_evaluation_is_shuffled_with_seed_one() -> None:
    want = np.random.default_rng(1).permutation(50)[:7]
    assert [r.fields["text"] for r in evaluation(ROWS, 7)] == [str(i) for i in want]


@pytest.mark.parametrize("name", TASKS)
def test_generated_rows_repeat_and_splits_differ(name: str) -> None:
    source = GeneratedSource(seed=0, train_rows=40, evaluation_rows=40)
    task = TASKS[name]
    train = source.rows(task, "train")
    assert train == source.rows(task, "train") and len(train) == 40
    assert train != source.rows(task, "evaluation")
    assert {r.label for r in train} == set(range(len(task.labels)))


def test_text_serves_the_sentence_and_unicode_breaks_stay(tmp_path: Path) -> None:
    line = json.dumps({"text": "a\u2028b ", "label": 1}, ensure_ascii=False)
    (row,) = write(tmp_path, "sst2", line + "\n").rows(TASKS["sst2"], "train")
    assert row == Row(fields={"sentence": "a\u2028b "}, label=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"text": "a", "label": 0}\n{"text": "b', r"train.jsonl line 2.*truncated"),
        ('{"label": 0}\n', r"text column 'text' for task mr.*got columns \['label'\]"),
        ('{"text": "a", "label": 2}\n', r"label in 0\.\.1 for task mr.*got 2"),
        ('{"text": "a", "label": true}\n', "got True"),
        ("[1]\n", "expected one object"),
        ("\n", "got an empty file"),
    ],
)
def test_bad_rows_say_where_and_what(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        write(tmp_path, "mr", text).rows(TASKS["mr"], "train")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected a file .*validation.jsonl, got none"):
        FolderSource(path=tmp_path).rows(TASKS["cb"], "evaluation")


def test_the_hub_falls_back_to_parquet_and_then_explains(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []

    def refuse(*_args: object, revision: str | None, **_kwargs: object) -> None:
        asked.append(revision)
        raise ConnectionError("offline")

    monkeypatch.setattr("datasets.load_dataset", refuse)
    with pytest.raises(UserError, match="from the hub, got ConnectionError: offline"):
        HubSource().rows(TASKS["cb"], "train")
    assert asked == [None, "refs/convert/parquet"]
