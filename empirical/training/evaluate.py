"""What a GPT that we train learned: in-context answers under re-assigned label words.

`python -m empirical.training.evaluate [--model DIR] [--data DIR] --out FILE [--seed S]`. Label
words are re-assigned at random, so that zero-shot answers can only be at chance; in-context answers
must be read from k demonstrations. Every draw comes from the seed. Rows are generated (training
draws come from other streams), or those of a folder: evaluation rows, and as demonstrations the
training rows that the reader's training leaves out (`reader_episodes.kept_apart`).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from empirical.core import provenance
from empirical.core.command_line import single
from empirical.core.json_files import write_text
from empirical.data.paper_tasks import (
    LABEL_WORDS,
    TASKS,
    FolderSource,
    GeneratedSource,
    Row,
    Task,
    evaluation,
    shuffled,
)
from empirical.data.prompts import label_tokens, pack, query
from empirical.inference.settings import in_context, zero_shot
from empirical.metrics import similarity as metrics
from empirical.metrics.similarity import Proportion
from empirical.models import digest
from empirical.models.loading import LoadedModel, load
from empirical.training.reader_episodes import HELD_OUT, kept_apart


@dataclass(frozen=True, slots=True, kw_only=True)
class Reassigned:
    """Accuracy (percent, with Wilson interval) of one task under re-assigned label words.

    `assignments` holds the zero-shot accuracy under each draw of words, whose spread is wider than
    that of examples alone: a model prefers some words.
    """

    task: str
    classes: int
    k: int
    zero_shot: Proportion
    in_context: Proportion
    assignments: tuple[float, ...]


def reassigned(task: Task, generator: np.random.Generator) -> Task:
    """The task with label words drawn without replacement from all sixteen."""
    drawn = generator.permutation(len(LABEL_WORDS))[: len(task.labels)]
    return replace(task, labels=tuple(LABEL_WORDS[int(i)] for i in drawn))


def held_out_rows(task: Task, n: int, seed: int, data: Path | None) -> tuple[list[Row], list[Row]]:
    """Rows to show and at most `n` rows to ask, none of which was trained on."""
    if data is None:
        source = GeneratedSource(seed=seed, evaluation_rows=n)
        return source.rows(task, "train"), source.rows(task, "evaluation")
    folder = FolderSource(path=data)
    train = folder.rows(task, "train")
    if task.name not in HELD_OUT:
        apart = kept_apart(folder, task, train)
        train = [train[i] for i in sorted(apart)]
    return train, evaluation(folder.rows(task, "evaluation"), n)


def evaluate_task(
    model: LoadedModel,
    task: Task,
    k: int,
    n: int,
    assignments: int,
    seed: int,
    data: Path | None = None,
) -> Reassigned:
    """Accuracies under re-assigned label words, over `n` held-out examples in all.

    They are spread over `assignments` draws of label words and of the k demonstrations.

    Raises:
        ValueError: when `n` is not a multiple of `assignments`.
    """
    if n % assignments:
        raise ValueError(f"expected n to be a multiple of {assignments}, got {n}")
    train, rows = held_out_rows(task, n, seed, data)
    right: dict[str, list[bool]] = {"zsl": [], "icl": []}
    each = []
    generator = np.random.default_rng((seed, list(TASKS).index(task.name)))
    for i in range(assignments):
        named = reassigned(task, generator)
        labels = label_tokens(model.encoder, named)
        shown = [query(model.encoder, named, r) for r in shuffled(train, i)[:k]]
        queries = [query(model.encoder, named, r) for r in rows[i::assignments]]
        packed = pack(shown, queries, labels, model.encoder, model.max_length, "strict")
        zsl = zero_shot(model, queries, labels, named.labels, record=False)
        icl = in_context(model, queries, labels, named.labels, packed.context, record=False)
        each.append(100 * float((zsl.predictions == zsl.labels).mean()))
        right["zsl"] += (zsl.predictions == zsl.labels).tolist()
        right["icl"] += (icl.predictions == icl.labels).tolist()
    found = {name: metrics.accuracy(np.array(x)) for name, x in right.items()}
    if not all(isinstance(x, Proportion) for x in found.values()):
        raise ValueError("expected at least one evaluation example, got none")
    return Reassigned(
        task=task.name,
        classes=len(task.labels),
        k=k,
        assignments=tuple(each),
        zero_shot=found["zsl"],  # type: ignore[arg-type] # checked above
        in_context=found["icl"],  # type: ignore[arg-type] # checked above
    )


def main(
    out: Annotated[Path, typer.Option(help="The JSON file to write.")],
    model: Annotated[str, typer.Option(help="`embedded`, or a folder.")] = "embedded",
    data: Annotated[Path | None, typer.Option(help="Folder of tasks; generated rows.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of every draw.")] = 0,
    k: Annotated[int, typer.Option(help="Demonstrations.")] = 16,
    examples: Annotated[int, typer.Option(help="Evaluation rows of a task.")] = 500,
    assignments: Annotated[int, typer.Option(help="Label words drawn for a task.")] = 50,
) -> None:
    """Measure in-context answers under re-assigned label words."""
    loaded = load(model)
    named = "" if model == "embedded" else f" --model {Path(model).name}"
    named += "" if data is None else f" --data {data.name}"
    rows = []
    for task in TASKS.values():
        row = evaluate_task(loaded, task, k, examples, assignments, seed, data)
        rows.append(row)
        print(
            f"{row.task}: chance {100 / row.classes:.1f}, zero-shot {row.zero_shot.value:.1f}, "
            f"in-context {row.in_context.value:.1f}",
            flush=True,
        )
    found = {
        "command": f"python -m empirical.training.evaluate{named} --seed {seed} "
        f"--k {k} --examples {examples} --assignments {assignments}",
        "weights_sha256": digest.weights_sha256(loaded.model),
        "versions": provenance.versions(),
        "label_words": "re-assigned at random",
        "chance": float(np.mean([100 / r.classes for r in rows])),
        "zero_shot_mean": float(np.mean([r.zero_shot.value for r in rows])),
        "in_context_mean": float(np.mean([r.in_context.value for r in rows])),
        "tasks": [asdict(r) for r in rows],
    }
    write_text(out, json.dumps(found, indent=1, sort_keys=True) + "\n")
    print(
        f"mean: zero-shot {found['zero_shot_mean']:.1f}, in-context {found['in_context_mean']:.1f}"
    )


if __name__ == "__main__":
    single(main)()
