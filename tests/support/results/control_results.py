"""Made-up evidence with known answers, for the tests of comparisons, verdicts and the report.

A `World` says what is true: how far the settings score above every control. `evidence` draws one
cell of it, `cells` several tasks and seeds, `write_folder` writes them beside matching records.
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from empirical.core.undefined import Undefined
from empirical.results import control_results as files
from empirical.results import record as records
from empirical.results.control_catalogue import CONTROLS
from empirical.results.control_results import BASE, ConditionResult, ControlResults, Series
from tests.support.results.records import provenance, record

MODEL = "tiny_model|1"
LAYERS = 3
WORDS = {"sst2": ("Negative", "Positive"), "cb": ("True", "False", "Neither")}
# The series of a finding: the metric it is a base line of, or itself, and its level.
METRICS = {
    "sim_aou": 0.4, "sim_aou_unnormalised": 0.3, "sim_am_after": 0.6, "sim_am_delta": 0.35,
    "sim_am_centred_after": 0.5, "sim_am_softmax_after": 0.55, "kendall": 0.3,
    "kendall_examples": 0.4,
}  # fmt: skip
BASE_LINES = {
    "sim_aou_floor": "sim_aou", "sim_aou_matched": "sim_aou", "sim_aou_random": "sim_aou",
    "sim_am_before": "sim_am_after", "sim_am_centred_before": "sim_am_centred_after",
    "sim_am_softmax_before": "sim_am_softmax_after", "kendall_random": "kendall",
    "kendall_lengths": "kendall_examples", "kendall_examples_random": "kendall_examples",
}  # fmt: skip
RANKS = tuple(name for name in (*METRICS, *BASE_LINES) if name.startswith("kendall"))
FINETUNED = ("ft_random", "ft_other_task", "ft_shuffled_labels", "ft_other_seed", "layer_causal")
CONTEXTS = ("icl_random_tokens", "icl_wrong_labels", "icl_other_task", "position_only")
MODELS = ("untrained", "random_blocks")
REPLACED = (*FINETUNED, *CONTEXTS, *MODELS, "position_shift", "position_prompt")
WITHOUT_RANKS = ("ft_other_task", "ft_other_seed", "icl_random_tokens", "icl_other_task",
                 "position_only")  # fmt: skip
DOSES = [0.0, 0.25, 0.5, 0.75, 1.0]


@dataclass(frozen=True, kw_only=True)
class World:
    """What is true. `effects`: settings minus control, by "metric/control", "metric" or "control".

    `effect` is that of all others. `recall`: P(ICL right) among the zero-shot errors that
    finetuning corrects, minus that among the others, under the settings; `recalls` by control (0).
    `left_out`: controls that were not run; `absent`: their reasons; `extra`: findings to put in.
    """

    effect: float = 0.15
    effects: Mapping[str, float] = field(default_factory=dict)
    recall: float = 0.5
    recalls: Mapping[str, float] = field(default_factory=dict)
    n: int = 120
    zsl: float = 0.5
    icl: float = 0.85
    ft: float = 0.7
    sd_examples: float = 0.1
    sd_seeds: float = 0.01
    sd_noise: float = 0.03
    left_out: Sequence[str] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, ConditionResult] = field(default_factory=dict)
    inert: bool = False  # finetuning changes no answer

    def lead(self, metric: str, control: str) -> float:
        """How far the settings are above a control in truth."""
        for key in (f"{metric}/{control}", control, metric):
            if key in self.effects:
                return self.effects[key]
        return self.effect


def draws(*names: object) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(str(x).encode()) for x in names])


def series(values: np.ndarray) -> Series:
    """A series whose layers lie around its mean."""
    known = values[~np.isnan(values)]
    if known.size == 0:
        gone = Undefined("a vector of the cosine is zero in every example")
        return Series(values=values.astype(np.float32), per_layer=(gone,) * LAYERS,
                      low=(gone,) * LAYERS, high=(gone,) * LAYERS, mean=gone,
                      excluded=len(values) * LAYERS, total=len(values) * LAYERS)  # fmt: skip
    mean = float(known.mean())
    layers = [mean + 0.05 * (i - (LAYERS - 1) / 2) for i in range(LAYERS)]
    return Series(
        values=values.astype(np.float32), per_layer=tuple(layers),
        low=tuple(x - 0.03 for x in layers), high=tuple(x + 0.03 for x in layers), mean=mean,
        excluded=(len(values) - known.size) * LAYERS, total=len(values) * LAYERS,
    )  # fmt: skip


def no_series(reason: str) -> Series:
    return Series(values=np.empty(0, dtype=np.float32), per_layer=(), low=(), high=(),
                  mean=Undefined(reason), excluded=0, total=0)  # fmt: skip


def _value(world: World, key: tuple[object, ...], metric: str, control: str) -> np.ndarray:
    """Examples and seeds share their effects between the settings and the controls."""
    model, task, seed = key
    n = min(world.n, 100) if metric in RANKS else world.n
    own = world.sd_noise * draws(*key, metric, control).normal(size=n)
    example = world.sd_examples * draws(model, task, metric).normal(size=n)
    between = world.sd_seeds * draws(*key, metric).normal()
    lead = 0.0 if control == BASE else world.lead(metric, control)
    return METRICS[metric] + example + between + own - lead


def _all_series(world: World, key: tuple[object, ...], control: str) -> dict[str, Series]:
    found = {m: series(_value(world, key, m, control)) for m in METRICS}
    found |= {b: series(_value(world, key, m, b)) for b, m in BASE_LINES.items()}
    if control in WITHOUT_RANKS:
        found |= dict.fromkeys(RANKS, no_series("finetuning read other tokens"))
    return found


def _answers(labels: np.ndarray, right: np.ndarray, classes: int) -> np.ndarray:
    return np.where(right, labels, (labels + 1) % classes)


def _predictions(
    world: World, key: tuple[object, ...], control: str, labels: np.ndarray, classes: int
) -> dict[str, np.ndarray]:
    model, task, _ = key
    kind = control if control in (*MODELS, "position_shift", "position_prompt") else BASE
    zsl = draws(model, task, "zsl", kind).random(labels.size) < world.zsl
    g = draws(*key, "answers", control if control in REPLACED else BASE)
    ft = np.where(zsl, 0.9, world.ft) > g.random(labels.size)
    lead = world.recall if control == BASE else world.recalls.get(control, 0.0)
    mean = world.icl * (0.6 if control in (*CONTEXTS, *MODELS) else 1.0)
    mean = min(mean, 1 - abs(lead) / 2)
    icl = mean + np.where(zsl, 0.0, np.where(ft, lead / 2, -lead / 2)) > g.random(labels.size)
    if world.inert and control == BASE:
        ft = zsl
    return {k: _answers(labels, x, classes) for k, x in (("zsl", zsl), ("icl", icl), ("ft", ft))}


def _finding(
    world: World, key: tuple[object, ...], control: str, labels: np.ndarray, classes: int
) -> ConditionResult:
    answered = _predictions(world, key, control, labels, classes)
    return ConditionResult(
        series=_all_series(world, key, control),
        predictions=answered,
        numbers={f"{k}_accuracy": 100 * float((x == labels).mean()) for k, x in answered.items()},
        note=f"made up: {control}",
    )


def _study(world: World, key: tuple[object, ...], control: str) -> ConditionResult:
    g = draws(*key, control)
    if control == "order":
        spreads = {f"order_{x}": series(0.2 * g.random(min(world.n, 100))) for x in ("icl", "ft")}
        return ConditionResult(
            series=spreads,
            numbers={"orders": 10.0},
            tables={"icl_accuracy": [80.0, 82.0], "ft_accuracy": [70.0, 71.0]},
        )
    if control == "rate":
        curves = {m: [x, x + 0.1, Undefined("finetuning diverges at this rate")]
                  for m, x in METRICS.items()}  # fmt: skip
        return ConditionResult(tables={"rate": [0.001, 0.01, 0.1], "ft_accuracy": [60.0, 70.0,
        71.0],
                               **curves})  # fmt: skip
    if control == "dose":
        curves = {m: [0.6 * d for d in DOSES] for m in METRICS}
        return ConditionResult(tables={"dose": DOSES, **curves})
    return ConditionResult(absent="made-up evidence has none")


def evidence(
    task: str = "sst2", seed: int = 1, model: str = MODEL, world: World | None = None
) -> ControlResults:
    """One cell of a world, with every control of the catalogue that is not left out."""
    world = World() if world is None else world
    words = WORDS.get(task, ("one", "two"))
    labels = draws(task, "labels").integers(0, len(words), world.n)
    key = (model, task, seed)
    found = {BASE: _finding(world, key, BASE, labels, len(words))}
    for control in CONTROLS:
        if control in world.absent:
            found[control] = ConditionResult(absent=world.absent[control])
        elif control in world.left_out:
            continue
        elif control in REPLACED:
            found[control] = _finding(world, key, control, labels, len(words))
        elif CONTROLS[control].kind == "ranks":
            ranks = {m: s for m, s in _all_series(world, key, control).items() if m in RANKS}
            found[control] = ConditionResult(series=ranks)
        else:
            found[control] = _study(world, key, control)
    return ControlResults(
        task=task, provenance=replace(provenance(model), seed=seed),
        counts={"evaluation": world.n, "layers": LAYERS, "heads": 2}, words=words,
        labels=labels.astype(np.int64), findings={**found, **world.extra},
    )  # fmt: skip


def cells(
    tasks: Iterable[str] = ("sst2", "cb"), seeds: Iterable[int] = (1, 2, 3), model: str = MODEL,
    world: World | None = None,
) -> tuple[ControlResults, ...]:  # fmt: skip
    """Every task with every seed."""
    return tuple(evidence(t, s, model, world) for t in tasks for s in seeds)


def write_folder(
    folder: Path, tasks: Iterable[str] = ("sst2", "cb"), seeds: Iterable[int] = (1, 2, 3),
    model: str = MODEL, world: World | None = None,
) -> tuple[ControlResults, ...]:  # fmt: skip
    """Evidence and records of the same cells, as a run leaves them."""
    made = cells(tasks, seeds, model, world)
    for one in made:
        files.write(one, folder)
        beside = record(one.task, one.provenance.seed, model)
        records.write(replace(beside, provenance=one.provenance), folder, {"total": 1.0})
    return made
