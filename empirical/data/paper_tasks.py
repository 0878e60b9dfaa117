"""The six classification tasks of the paper, three more of its section 5, and which rows they read.

Source: arXiv 2212.10559 and its released code (microsoft/LMOps, understand_icl).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from empirical.core.errors import UserError
from empirical.data.hub import HubSource
from empirical.data.sources import FileSource, FolderSource, GeneratedSource
from empirical.data.task import Hub, Layout, Record, Row, Source, Split, Task, TaskFile

__all__ = [
    "EVALUATION_LIMIT",
    "EVALUATION_SEED",
    "MORE_TASKS",
    "TASKS",
    "FileSource",
    "FolderSource",
    "GeneratedSource",
    "Hub",
    "HubSource",
    "Layout",
    "Row",
    "Source",
    "Split",
    "Task",
    "TaskFile",
    "evaluation",
    "get_task",
    "shuffled",
    "source_for",
    "source_name",
]

EVALUATION_SEED = 1
EVALUATION_LIMIT = 2000

_NEWS = (
    "Classify the news articles into the categories of World, Sports, Business, and Technology. "
    "Article: {text} Answer:"
)
_CB = "{premise} Question: {hypothesis}. True, False, or Neither? Answer:"
_IMDB = "Review: {text} Is the review positive or negative?"


def _task(
    name: str, template: str, labels: str, k: int, hub: Hub, *columns: str, **more: Any
) -> Task:
    words = tuple(labels.split())
    return Task(name=name, template=template, labels=words, k=k, hub=hub, columns=columns, **more)


_SST2 = Hub(path="nyu-mll/glue", config="sst2")
_SST5 = Hub(path="SetFit/sst5")
_MR = Hub(path="cornell-movie-review-data/rotten_tomatoes")
_SUBJ = Hub(path="SetFit/subj", evaluation="test")
_AGNEWS = Hub(path="fancyzhx/ag_news", evaluation="test")
_SUPER_GLUE = Hub(path="aps/super_glue", config="cb")

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        _task("sst2", "Sentence: {sentence} Label:", "Negative Positive", 32, _SST2, "sentence"),
        _task(
            "sst5", "Sentence: {text} Label:", "terrible bad neutral good great", 32, _SST5, "text"
        ),
        _task("mr", "Review: {text} Sentiment:", "Negative Positive", 32, _MR, "text"),
        _task("subj", "Input: {text} Type:", "objective subjective", 32, _SUBJ, "text"),
        _task("agnews", _NEWS, "World Sports Business Technology", 22, _AGNEWS, "text"),
        _task("cb", _CB, "True False Neither", 19, _SUPER_GLUE, "premise", "hypothesis"),
    )
}
"""The six tasks of the paper by name."""


def _arc(record: Record) -> Record:
    """Answers and the place of the right one, whose mark is A to D in most rows, 1 to 4 in some."""
    found = record["choices"]
    return {
        "question": record["question"],
        "choices": list(found["text"]),
        "label": list(found["label"]).index(record["answerKey"]),
    }


def _piqa(record: Record) -> Record:
    return {
        "goal": record["goal"],
        "choices": [record["sol1"], record["sol2"]],
        "label": record["label"],
    }


# Of section 5. The paper prints no template; these are those of its released code, which scores a
# bare question or goal and one answer after a space. k is "at most 32": as many as fit.
MORE_TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        _task(
            "imdb",
            _IMDB,
            "Negative Positive",
            32,
            Hub(path="stanfordnlp/imdb", evaluation="test"),
            "text",
        ),
        _task(
            "arc_easy",
            "{question}",
            "",
            32,
            Hub(path="allenai/ai2_arc", config="ARC-Easy", reshape=_arc),
            "question",
            choices="choices",
            answers=4,
        ),
        _task(
            "piqa",
            "{goal}",
            "",
            32,
            Hub(path="ybisk/piqa", reshape=_piqa),
            "goal",
            choices="choices",
            held_out=200,
        ),
    )
}


def get_task(name: str) -> Task:
    """The task called `name`, or the user's own task in a file whose name ends in `.toml`.

    Raises:
        UserError: when there is none, or the file has a mistake.
    """
    known = TASKS | MORE_TASKS
    if name.endswith(".toml"):
        from empirical.data.task_file import load_task

        return load_task(name, taken=tuple(known))
    if name not in known:
        raise UserError(
            f"expected a task among {', '.join(known)}, got {name!r}; choose one of them, or name "
            "a file of your own that ends in .toml"
        )
    return known[name]


def source_for(task: Task, default: Source) -> Source:
    """The data that a user's own task brings, whatever `--data` says; otherwise `default`."""
    return default if task.source is None else task.source


def source_name(task: Task, data: str | None) -> str:
    """The source as records name it: `generated`, `hub`, a folder, or a task file with its hash.

    The hash stands for template, labels and columns, which a record holds nowhere else.
    """
    if task.file is not None:
        return f"{task.file.path} (sha256 {task.file.sha256})"
    return data or "generated"


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


LABEL_WORDS = sorted({label for task in TASKS.values() for label in task.labels})
