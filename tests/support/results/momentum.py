"""Made-up runs of momentum attention and its controls, whose right answers are planted.

Standard library and numpy. Windows and questions are the same for every model; a seed moves all of
its models together, and a layer moves its models by `World.gain` (nats) and `World.right` (share).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from empirical.results import language_models as files
from empirical.results.attention_kinds import Layer
from empirical.results.language_models import Equal, Origin, Scores, Trained

PLAIN = Layer()
LENGTH = 64
WINDOWS = {"training-64": 24, "choosing-64": 16, "validation-16": 64, "validation-32": 32,
           "validation-64": 16}  # fmt: skip
QUESTIONS = {"sst5": (5, 4), "cb": (3, 2)}  # classes, demonstrations that fit
ABSENT = {"imdb": "no demonstration fits beside a question into 64 tokens"}


def nothing(layer: Layer) -> float:
    """No layer differs from plain attention."""
    return 0.0


@dataclass(frozen=True, kw_only=True)
class World:
    """`gain`: nats of loss that a layer saves; `right`: by how much its share of right answers is
    above that of plain attention, which is 0.5 in context and 0.3 without demonstrations.
    """

    gain: Callable[[Layer], float] = nothing
    right: Callable[[Layer], float] = nothing
    in_context: float = 0.5
    zero_shot: float = 0.3
    questions: int = 60
    noise: float = 0.002
    windows: Mapping[str, int] = field(default_factory=lambda: WINDOWS)


def _stream(*key: int) -> np.random.Generator:
    return np.random.default_rng((2212, 10559, *key))


def _losses(world: World, layer: Layer, seed: int) -> dict[str, tuple[float, ...]]:
    """Of windows that are hard or easy for all, of a seed, of a layer, and a little of its own."""
    found = {}
    own = _stream(1, seed, *map(ord, layer.name))
    for place, count in world.windows.items():
        text = _stream(2, *map(ord, place)).normal(3.0, 0.2, count)
        shift = _stream(3, seed).normal(0.0, 0.01)
        noise = own.normal(0.0, world.noise, count)
        found[place] = tuple(map(float, text + shift - world.gain(layer) + noise))
    return found


def _answers(g: np.random.Generator, gold: np.ndarray, classes: int, share: float) -> list[int]:
    """`share` of the questions are answered rightly, the others with the next class."""
    right = g.random(len(gold)) < share
    return [int(x) for x in np.where(right, gold, (gold + 1) % classes)]


def _scores(world: World, layer: Layer, seed: int) -> dict[str, Scores]:
    found = {}
    for i, (task, (classes, k)) in enumerate(QUESTIONS.items()):
        gold = np.arange(world.questions) % classes
        g = _stream(4, i, seed)  # the same draw for all layers: paired
        shot = _answers(g, gold, classes, world.zero_shot)
        shown = _answers(g, gold, classes, world.in_context + world.right(layer))
        found[task] = Scores(
            task=task, k=k, classes=classes, gold=tuple(map(int, gold)), zero_shot=tuple(shot),
            in_context=tuple(shown), rows_sha256=f"{i}{seed}" * 8,
        )  # fmt: skip
    return found | {t: Scores(task=t, absent=why) for t, why in ABSENT.items()}


def equal(seed: int, **changed: object) -> Equal:
    """What the models of one seed share."""
    known: dict[str, object] = {
        "parameters": 12345, "steps": 30, "tokens": 61440, "initial_sha256": f"{seed:02d}ab" * 16,
        "order_sha256": f"{seed:02d}cd" * 16, "settings": {"width": "16", "peak_rate": "0.001"},
    }  # fmt: skip
    return Equal(**{**known, **changed})  # type: ignore[arg-type] # tests pass what fits


ORIGIN = Origin(
    text="made-up books", text_sha256="9" * 64, device="cpu", dtype="float32", threads=1,
    versions={"torch": "2.0", "transformers": "5.0"}, code_sha256="0" * 64, commit=None,
    command=("dualform", "momentum", "--scale", "nano", "--text", "BOOKS", "--out", "DIR"),
)  # fmt: skip


def trained(
    layer: Layer = PLAIN, seed: int = 1, world: World | None = None, scale: str = "nano"
) -> Trained:
    """One made-up model."""
    world = world or World()
    steps = range(1, 31)
    own = _stream(5, seed)
    fall = [7.0 - 0.1 * s - world.gain(layer) + float(own.normal(0, 0.02)) for s in steps]
    rates = ((0.25, 0.5), (0.75, 0.125)) if layer.learned else ()
    return Trained(
        scale=scale, layer=layer, seed=seed, length=LENGTH, equal=equal(seed),
        curve=tuple(zip(steps, fall, strict=True)),
        held_out_curve=tuple((s, fall[s - 1] + 0.1) for s in (10, 20, 30)),
        losses=_losses(world, layer, seed), scores=_scores(world, layer, seed), rates=rates,
        origin=ORIGIN,
    )  # fmt: skip


ETAS = (0.3, 0.9)
SWEPT = ("momentum", "averaged_values", "recency_bias")


def layers(etas: Sequence[float] = ETAS, learned: bool = True) -> tuple[Layer, ...]:
    """Plain attention, three kinds over their etas, and momentum with learned etas."""
    swept = [Layer(kind=k, eta=e) for k in SWEPT for e in etas]
    more = [Layer(kind="momentum", eta=0.5, learned=True)] if learned else []
    return (PLAIN, *swept, *more)


def sweep(
    seeds: Sequence[int] = (1, 2, 3), world: World | None = None, etas: Sequence[float] = ETAS
) -> tuple[Trained, ...]:
    """Every layer with every seed."""
    return tuple(trained(x, seed, world) for x in layers(etas) for seed in seeds)


def write_sweep(folder: Path, runs: Sequence[Trained]) -> Path:
    """A folder that holds these runs."""
    for run in runs:
        files.write(run, folder)
    return folder
