"""Rows, splits and shuffles; bad files say where; the hub's columns become rows."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from empirical.core.errors import UserError
from empirical.data.paper_tasks import (
    MORE_TASKS,
    TASKS,
    FileSource,
    FolderSource,
    GeneratedSource,
    HubSource,
    Row,
    TaskFile,
    evaluation,
    get_task,
    source_for,
    source_name,
)

ROWS = [Row(fields={"text": str(i)}, label=0) for i in range(50)]
ALL = TASKS | MORE_TASKS
PIQA = MORE_TASKS["piqa"]


def write(folder: Path, task: str, text: str, split: str = "train") -> FolderSource:
    (folder / task).mkdir(exist_ok=True)
    (folder / task / f"{split}.jsonl").write_text(text, encoding="utf-8")
    return FolderSource(path=folder)


def goals(n: int) -> str:
    rows = [{"goal": f"g{i}", "choices": ["a", "b"], "label": i % 2, "idx": i} for i in range(n)]
    return "\n".join(map(json.dumps, rows))


def test_an_unknown_task_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match="sst2, .*cb, imdb, arc_easy, piqa, got 'qqp'; .*toml"):
        get_task("qqp")


def test_all_six_stay_six_and_the_tasks_of_section_five_are_found_too() -> None:
    assert list(TASKS) == ["sst2", "sst5", "mr", "subj", "agnews", "cb"]
    assert list(MORE_TASKS) == ["imdb", "arc_easy", "piqa"]
    assert all(get_task(name) is task for name, task in ALL.items())


@pytest.mark.parametrize("name", ALL)
def test_templates_use_exactly_their_columns(name: str) -> None:
    task = ALL[name]
    assert "{" not in task.template.format(**dict.fromkeys(task.columns, "x"))
    for column in task.columns:
        assert "mark" in task.template.format(**dict.fromkeys(task.columns, "x") | {column: "mark"})


@pytest.mark.parametrize("name", ALL)
def test_a_task_has_label_words_or_a_column_of_answers(name: str) -> None:
    assert (ALL[name].labels == ()) == (ALL[name].choices is not None)


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


def test_what_cannot_be_generated_asks_for_data() -> None:
    with pytest.raises(UserError, match=r"data for task piqa \(only sst2, .*, got none; .*--data"):
        GeneratedSource(seed=0).rows(PIQA, "train")


def test_text_serves_the_sentence_and_unicode_breaks_stay(tmp_path: Path) -> None:
    line = json.dumps({"text": "a\u2028b ", "label": 1}, ensure_ascii=False)
    (row,) = write(tmp_path, "sst2", line + "\n").rows(TASKS["sst2"], "train")
    assert row == Row(fields={"sentence": "a\u2028b "}, label=1)


def test_rows_with_answers_keep_them(tmp_path: Path) -> None:
    line = json.dumps({"goal": "g", "choices": ["a ", "b"], "label": 1, "id": "x", "idx": 3})
    (row,) = write(tmp_path, "piqa", line).rows(PIQA, "train")
    assert row == Row(fields={"goal": "g"}, label=1, idx=3, choices=("a ", "b"))


def test_rows_of_arc_without_four_answers_are_left_out(tmp_path: Path) -> None:
    lines = [
        json.dumps({"question": f"q{n}", "choices": list("abcde"[:n]), "label": n - 1})
        for n in (3, 4, 5, 4)
    ]
    task = MORE_TASKS["arc_easy"]
    found = write(tmp_path, "arc_easy", "\n".join(lines)).rows(task, "train")
    assert [len(row.choices) for row in found] == [4, 4]
    source = write(tmp_path, "arc_easy", "\n".join(lines[::2]))
    with pytest.raises(UserError, match="rows of arc_easy with 4 answers in .*none among 2"):
        source.rows(task, "train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"text": "a", "label": 0}\n{"text": "b', r"train.jsonl line 2.*truncated"),
        ('{"label": 0}\n', r"text column 'text' for task mr.*got columns \['label'\]"),
        ('{"text": "a"}\n', r"label column 'label' for task mr.*got columns \['text'\]"),
        ('{"text": "a", "label": 2}\n', r"label in 0\.\.1 for task mr.*got 2"),
        ('{"text": "a", "label": true}\n', "got True"),
        ("[1]\n", "expected one object"),
        ("\n", "got an empty file"),
    ],
)
def test_bad_rows_say_where_and_what(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        write(tmp_path, "mr", text).rows(TASKS["mr"], "train")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"choices": ["a"]}, r"two or more answers, none blank, in column .* line 1, got \['a'\]"),
        ({"choices": "ab"}, "got 'ab'"),
        ({"choices": ["a", " \n"]}, "none blank"),
        ({"choices": ["a", 2]}, r"got \['a', 2\]"),
        ({"choices": ["a", "\ud800"]}, "half of a surrogate pair"),
        ({}, "two or more answers, none blank, in column 'choices' .*, got None"),
        (
            {"choices": ["a", "b"], "label": 2},
            r"label in 0\.\.1 .* got 2; number the answers from 0",
        ),
    ],
)
def test_bad_answers_say_where_and_what(
    tmp_path: Path, more: dict[str, object], message: str
) -> None:
    text = json.dumps({"goal": "g", "label": 0} | more)
    with pytest.raises(UserError, match=message):
        write(tmp_path, "piqa", text).rows(PIQA, "train")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected a file .*validation.jsonl, got none"):
        FolderSource(path=tmp_path).rows(TASKS["cb"], "evaluation")


def test_without_training_rows_piqa_holds_rows_out_and_shows_none_that_it_evaluates(
    tmp_path: Path,
) -> None:
    source = write(tmp_path, "piqa", goals(210), "validation")
    shown, asked = source.rows(PIQA, "train"), source.rows(PIQA, "evaluation")
    first = np.random.default_rng(0).permutation(210)[:200].tolist()
    assert [r.idx for r in shown] == sorted(first)
    assert [r.idx for r in asked] == sorted({*range(210)} - {*first})
    assert source.pool(PIQA) == (
        "the 200 rows held out of the evaluation split (numpy default_rng(0).permutation(n)[:200])"
    )


def test_training_rows_that_are_there_are_taken_and_nothing_is_held_out(tmp_path: Path) -> None:
    source = write(tmp_path, "piqa", goals(210), "validation")
    write(tmp_path, "piqa", goals(3))
    assert len(source.rows(PIQA, "train")) == 3 and len(source.rows(PIQA, "evaluation")) == 210
    assert source.pool(PIQA) == "" == source.pool(TASKS["mr"])


def test_nothing_is_held_out_unless_the_task_says_so(tmp_path: Path) -> None:
    source = write(tmp_path, "piqa", goals(210), "validation")
    with pytest.raises(UserError, match=r"expected a file .*piqa/train.jsonl, got none; put the"):
        source.rows(replace(PIQA, held_out=0), "train")
    source = write(tmp_path, "piqa", goals(200), "validation")
    with pytest.raises(UserError, match="more than the 200 rows .*validation.jsonl, got 200"):
        source.rows(PIQA, "evaluation")


def test_a_tasks_own_data_wins_and_its_file_names_the_source() -> None:
    given = FolderSource(path=Path("given"))
    own = FileSource(train=None, evaluation=Path("own"))
    file = TaskFile(path="t.toml", sha256="ab" * 32)
    task = replace(TASKS["mr"], name="mine", source=own, file=file)
    assert source_for(task, given) is own and source_for(TASKS["mr"], given) is given
    assert source_name(task, "DIR") == f"t.toml (sha256 {'ab' * 32})"
    assert [source_name(TASKS["mr"], d) for d in (None, "hub", "DIR")] == [
        "generated",
        "hub",
        "DIR",
    ]


TEXT = {"text": ["a", "b"], "label": [0, 1]}
ARC = {
    "id": ["x", "y", "z"],
    "question": ["q", "r", "s"],
    "choices": [
        {"text": ["a", "b", "c", "d"], "label": ["A", "B", "C", "D"]},
        {"text": ["e", "f", "g", "h"], "label": ["1", "2", "3", "4"]},
        {"text": ["i", "j", "k"], "label": ["A", "B", "C"]},
    ],
    "answerKey": ["C", "2", "A"],
}
PARQUET = "refs/convert/parquet"
# name: (data set, configuration, evaluation split, revision without a script), columns, last row
HUB: dict[str, tuple[tuple[str, str | None, str, str | None], dict[str, Any], Row]] = {
    "sst2": (
        ("nyu-mll/glue", "sst2", "validation", None),
        {"sentence": ["a ", "b "], "label": [0, 1], "idx": [0, 1]},
        Row(fields={"sentence": "b "}, label=1, idx=1),
    ),
    "sst5": (
        ("SetFit/sst5", None, "validation", None),
        TEXT | {"label_text": ["negative", "neutral"]},
        Row(fields={"text": "b"}, label=1),
    ),
    "mr": (
        ("cornell-movie-review-data/rotten_tomatoes", None, "validation", None),
        TEXT,
        Row(fields={"text": "b"}, label=1),
    ),
    "subj": (
        ("SetFit/subj", None, "test", None),
        TEXT | {"label_text": ["objective", "subjective"]},
        Row(fields={"text": "b"}, label=1),
    ),
    "agnews": (("fancyzhx/ag_news", None, "test", None), TEXT, Row(fields={"text": "b"}, label=1)),
    "cb": (
        ("aps/super_glue", "cb", "validation", PARQUET),
        {"premise": ["p"], "hypothesis": ["h"], "idx": [0], "label": [2]},
        Row(fields={"premise": "p", "hypothesis": "h"}, label=2, idx=0),
    ),
    "imdb": (("stanfordnlp/imdb", None, "test", None), TEXT, Row(fields={"text": "b"}, label=1)),
    "arc_easy": (
        ("allenai/ai2_arc", "ARC-Easy", "validation", None),
        ARC,
        Row(fields={"question": "r"}, label=1, choices=("e", "f", "g", "h")),
    ),
    "piqa": (
        ("ybisk/piqa", None, "validation", PARQUET),
        {"goal": ["g"], "sol1": ["a"], "sol2": ["b"], "label": [1]},
        Row(fields={"goal": "g"}, label=1, choices=("a", "b")),
    ),
}


def hub(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str) -> list[tuple[object, ...]]:
    """A stand-in for the hub that has this data set alone, as parquet; what was asked of it."""
    import datasets

    (path, config, evaluated, readable), columns, _ = HUB[name]
    (folder / "hub").mkdir(parents=True)
    file = folder / "hub" / "rows.parquet"
    datasets.Dataset.from_dict(columns).to_parquet(file)
    asked: list[tuple[object, ...]] = []

    def load(*where: object, split: str, revision: str | None) -> object:
        asked.append((*where, split, revision))
        if (*where, revision) != (path, config, readable) or split not in ("train", evaluated):
            raise RuntimeError("Dataset scripts are no longer supported, but found x.py")
        return datasets.Dataset.from_parquet(str(file), cache_dir=str(folder / "cache"))

    monkeypatch.setattr("datasets.load_dataset", load)
    return asked


@pytest.mark.parametrize("name", HUB)
def test_rows_of_the_hub_come_from_the_columns_that_its_data_sets_have(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = hub(monkeypatch, tmp_path, name)
    where, _, want = HUB[name]
    for split, theirs in (("evaluation", where[2]), ("train", "train")):
        rows = HubSource().rows(ALL[name], split)  # type: ignore[arg-type] # one of two literals
        assert rows[-1] == want
        assert asked[-1] == (where[0], where[1], theirs, where[3])
    assert HubSource().pool(ALL[name]) == "" and set(HUB) == set(ALL)
    if name == "arc_easy":
        assert rows[0].label == 2 and len(rows) == 2


def test_the_commit_of_a_hub_data_set_is_read_off_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub(monkeypatch, tmp_path, "mr")
    assert HubSource().revision(TASKS["mr"]) is None
    hub(monkeypatch, tmp_path / ("0a" * 20), "mr")
    assert HubSource().revision(TASKS["mr"]) == "0a" * 20


def test_columns_that_the_hub_changed_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(HUB, "piqa", (HUB["piqa"][0], {"goal": ["g"], "label": [1]}, ROWS[0]))
    hub(monkeypatch, tmp_path, "piqa")
    with pytest.raises(
        UserError, match=r"columns of piqa .* row 0, got \['goal', 'label'\] .*sol1"
    ):
        HubSource().rows(PIQA, "train")


def test_the_hub_falls_back_to_parquet_and_then_explains(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []

    def refuse(*_args: object, revision: str | None, **_kwargs: object) -> None:
        asked.append(revision)
        raise ConnectionError("offline" if revision is None else "")

    monkeypatch.setattr("datasets.load_dataset", refuse)
    with pytest.raises(UserError, match="from the hub, got ConnectionError: offline"):
        HubSource().rows(TASKS["cb"], "train")
    assert asked == [None, "refs/convert/parquet"]
    with pytest.raises(UserError, match="expected a hub data set of task mr, got none; .*--data"):
        HubSource().rows(replace(TASKS["mr"], hub=None), "train")


def test_where_only_a_script_is_there_the_parquet_revision_explains(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_args: object, revision: str | None, **_kwargs: object) -> None:
        raise RuntimeError("scripts are no longer" if revision is None else "no parquet\nmore")

    monkeypatch.setattr("datasets.load_dataset", refuse)
    with pytest.raises(UserError, match="RuntimeError: no parquet; check"):
        HubSource().rows(TASKS["cb"], "train")
