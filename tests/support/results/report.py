"""A results folder with every kind of finding: real records and checks, made-up evidence."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from empirical.analysis.published import TASKS
from empirical.core.undefined import Undefined
from empirical.metrics.delta_w import Head, Moved, Tokens, measured, rotations
from empirical.metrics.delta_w_tables import Heads, finding
from empirical.metrics.series import RANKS, SIMILARITIES
from empirical.results import calibration as files
from empirical.results import control_results
from empirical.results import record as records
from empirical.results.calibration import Calibration, Case, Check, Source
from empirical.results.control_results import ConditionResult, ControlResults, Series
from empirical.results.record import Record
from tests.support.paths import ROOT

RESULTS = ROOT / "docs" / "results" / "embedded"
REPLACING = (
    "ft_random", "ft_other_task", "ft_shuffled_labels", "ft_other_seed", "icl_random_tokens",
    "icl_wrong_labels", "icl_other_task", "position_shift", "position_only", "position_prompt",
    "untrained", "random_blocks",
)  # fmt: skip
WORDS = {
    "sst5": ("terrible", "bad", "neutral", "good", "great"),
    "agnews": ("World", "Sports", "Business", "Technology"),
    "cb": ("True", "False", "Neither"),
}
CENTRE = {"sim_aou": 0.3, "sim_am_before": 0.5, "sim_am_after": 0.6, "kendall": 0.2}
DIVERGED = Undefined("finetuning diverges at this rate")


def series(g: np.random.Generator, centre: float, n: int, layers: int) -> Series:
    """Values around `centre`, and the same for every layer."""
    per_layer = centre + g.normal(0, 0.05, layers)
    ends = [tuple(map(float, per_layer + d)) for d in (-0.02, 0.02)]
    return Series(
        values=(per_layer.mean() + g.normal(0, 0.05, n)).astype(np.float32),
        per_layer=tuple(map(float, per_layer)), low=ends[0], high=ends[1],
        mean=float(per_layer.mean()), excluded=0, total=n * layers,
    )  # fmt: skip


def replaced(g: np.random.Generator, record: Record, classes: int, share: float) -> ConditionResult:
    """As a control that replaces a setting leaves it; `share` of what is measured remains."""
    n, layers = record.counts["examples"], record.counts["layers"]
    labels = np.arange(n) % classes
    answered = {
        name: np.where(g.random(n) < right, labels, g.integers(0, classes, n))
        for name, right in (("zsl", 0.4), ("icl", 0.5 + 0.4 * share), ("ft", 0.8))
    }
    return ConditionResult(
        series={
            name: series(g, share * CENTRE.get(name, 0.1), 100 if name in RANKS else n, layers)
            for name in (*SIMILARITIES, *RANKS)
        },
        predictions=answered,
        numbers={f"{k}_accuracy": 100 * float((x == labels).mean()) for k, x in answered.items()},
        note="made up",
    )


def ranks(g: np.random.Generator, layers: int) -> ConditionResult:
    return ConditionResult(
        series={k: series(g, 0.05, 100, layers) for k in ("kendall", "kendall_examples")}
    )


def rate(g: np.random.Generator, chosen: float) -> ConditionResult:
    names = (*SIMILARITIES, "kendall", "kendall_examples")
    columns = {name: [*map(float, np.sort(g.random(4))), DIVERGED] for name in names}
    return ConditionResult(
        tables={"rate": [chosen * x for x in (0.1, 0.3, 1.0, 3.0, 10.0)],
                "ft_accuracy": [60.0, 70.0, 80.0, 75.0, DIVERGED], **columns}
    )  # fmt: skip


def order(g: np.random.Generator) -> ConditionResult:
    spread = {f"order_{k}": series(g, x, 100, 1) for k, x in (("icl", 0.15), ("ft", 0.06))}
    return ConditionResult(
        series=spread,
        tables={f"{k}_accuracy": list(map(float, g.uniform(80, 95, 10))) for k in ("icl", "ft")},
        numbers={"orders": 10.0, "examples": 100.0},
    )


def weight_changes(g: np.random.Generator, layers: int, heads: int) -> ConditionResult:
    """With the tables and numbers that the real finding has, from the same code."""
    table = Heads(8, layers, heads, 20)
    by = rotations(4, 20, g)
    for query, layer, head in product(range(8), range(layers), range(heads)):
        table.add(query, layer, head, measured(random_head(g), by))
    return finding(table, g)


def random_head(g: np.random.Generator) -> Head:
    def tokens(count: int) -> Tokens:
        return Tokens(
            K=g.normal(size=(4, count)), V=g.normal(size=(4, count)), bias=np.zeros(count)
        )

    moved = Moved(dK=0.1 * g.normal(size=(4, 3)), dV=0.1 * g.normal(size=(4, 3)))
    gone = Undefined("no finetuning on other examples was given")
    return Head(shown=tokens(6), own=tokens(3), ft=moved, other=gone, q=g.normal(size=4),
                scaling=0.5, softcap=None)  # fmt: skip


def maps(g: np.random.Generator, k: int) -> ConditionResult:
    own, shown = g.dirichlet(np.ones(13), size=(4, 2)), g.dirichlet(np.ones(13 + k), size=4)
    return ConditionResult(
        tables={
            "heads": [[1, 0], [3, 2], [0, 1], [2, 3]],
            "tokens": [f"t{i + 1}" for i in range(12)],
            "zsl": own[:, 0, 1:].tolist(), "ft": own[:, 1, 1:].tolist(),
            "icl": shown[:, 1 + k :].tolist(), "demonstrations": shown[:, 1 : 1 + k].tolist(),
            "bos": np.stack([own[:, 0, 0], own[:, 1, 0], shown[:, 0]], -1).tolist(),
            "moved": (np.abs(own[:, 0] - own[:, 1]).sum(-1) / 2).tolist(),
            "lambda": shown[:, 1 : 1 + k].sum(-1).tolist(),
        }
    )  # fmt: skip


def dose(g: np.random.Generator) -> ConditionResult:
    names = (*SIMILARITIES, "kendall", "kendall_examples")
    doses = [0.0, 0.25, 0.5, 0.75, 1.0]
    tops = dict(zip(names, g.uniform(0.6, 0.9, len(names)), strict=True))
    return ConditionResult(
        tables={"dose": doses} | {m: [0.05 + d * t for d in doses] for m, t in tops.items()}
    )


def findings(record: Record, seed: int, classes: int) -> dict[str, ConditionResult]:
    g = np.random.default_rng((seed, TASKS.index(record.task)))
    layers = record.counts["layers"]
    found = {"base": replaced(g, record, classes, 1.0)}
    for i, name in enumerate(REPLACING):
        found[name] = replaced(g, record, classes, 0.1 + 0.05 * i)
    found["layer_causal"] = ConditionResult(
        absent="finetuning layer by layer diverges at this rate"
    )
    found["kendall_unfinetuned"], found["kendall_inputs"] = ranks(g, layers), ranks(g, layers)
    found["rate"], found["order"] = rate(g, record.provenance.rate), order(g)
    found["delta_w"] = weight_changes(g, layers, record.counts["heads"])
    found["attention_maps"], found["dose"] = maps(g, record.provenance.k), dose(g)
    return found


def calibration() -> Calibration:
    """One known model of each kind, one reading of them wrong, and a curve over its null."""
    right = Check(value=1.0, right=True, bound=1e-14)
    wrong = Check(value=0.5, right=False, bound=1e-14, why="half of what it has to be")
    above = Check(value=0.9, right=True, high=0.5, low=0.1, draws=99)
    inside = Check(value=0.31, right=True, low=0.2, high=0.4, draws=99, readings=(0.3, 0.32),
                   inside=2, probability=1.0)  # fmt: skip
    gone = Check(value=Undefined("no score changes in a first layer"), right=None)
    doses = [0.0, 0.5, 1.0]
    return Calibration(
        provenance=Source(seed=7, dtype="float64", threads=1, versions={"torch": "2"},
                          code_sha256="0" * 64, commit=None,
                          command=("dualform", "calibrate", "--seed", "7")),
        cases={
            "one_step": Case(kind="constructed", title="one step on least squares",
                             checks={"sim_aou": right, "sim_am_delta": gone, "kendall": wrong}),
            "trained": Case(kind="trained", title="trained on regression",
                            checks={"sim_aou": above}, numbers={"rate": 0.25}),
            "random": Case(kind="unrelated", title="random weights", checks={"sim_aou": inside}),
        },
        curves={"one_step": {"dose": doses, "sim_aou": [0.3, 0.5, 1.0],
                             "sim_aou_low": [0.2, 0.4, 1.0], "sim_aou_high": [0.4, 0.6, 1.0],
                             "null": {"sim_aou": [0.25, 0.3, 0.35]}}},
    )  # fmt: skip


def full_folder(folder: Path, seeds: Sequence[int] = (1,), tasks: Sequence[str] = TASKS) -> Path:
    """Records, checks, evidence, calibration; every seed's record has the numbers of seed 1."""
    folder.mkdir(parents=True, exist_ok=True)
    files.write(calibration(), folder)
    for task in tasks:
        for kind, end in (("record", "-s1"), ("checks", "")):
            shutil.copy(RESULTS / f"{kind}-embedded-{task}{end}.json", folder)
        one = records.read(folder / f"record-embedded-{task}-s1.json")
        for seed in seeds:
            made = replace(one, provenance=replace(one.provenance, seed=seed))
            records.write(made, folder, {"total": 2.0, "peak_memory_gib": 0.5})
            words = WORDS.get(task, ("Negative", "Positive"))
            command = (*made.provenance.command, "--control", "all")
            control_results.write(
                ControlResults(
                    task=task, provenance=replace(made.provenance, command=command),
                    counts=made.counts, words=words,
                    labels=np.arange(made.counts["examples"]) % len(words),
                    findings=findings(made, seed, len(words)),
                ),
                folder,
            )  # fmt: skip
    return folder
