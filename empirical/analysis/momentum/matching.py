"""Trained models by scale, layer and seed, after everything that forbids a comparison. No torch.

A difference of two models means something only where they are equal in all but their layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from empirical.core.errors import UserError
from empirical.results.attention_kinds import KINDS, PLAIN, Layer
from empirical.results.language_models import CHOOSING, TRAINING, VALIDATION, Equal, Scores, Trained

PLAIN_LAYER = Layer(kind=PLAIN)
SEEDED = ("initial_sha256", "order_sha256")  # fields of `Equal` that every seed has its own of


@dataclass(frozen=True, kw_only=True)
class Matched:
    """The runs of one scale that may be compared: layer -> seed -> run."""

    scale: str
    length: int
    runs: Mapping[Layer, Mapping[int, Trained]]

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Plain attention first, then by kind, etas rising, learned ones last."""
        return tuple(sorted(self.runs, key=_place))

    @property
    def seeds(self) -> tuple[int, ...]:
        """Every seed that some layer has."""
        return tuple(sorted({seed for runs in self.runs.values() for seed in runs}))

    @property
    def every(self) -> tuple[Trained, ...]:
        """All runs, layer by layer."""
        return tuple(self.runs[x][s] for x in self.layers for s in sorted(self.runs[x]))

    @property
    def equal(self) -> Mapping[int, Equal]:
        """What the runs of each seed share."""
        return {run.seed: run.equal for run in sorted(self.every, key=lambda r: r.seed)}

    @property
    def texts(self) -> tuple[tuple[str, int], ...]:
        """Place and length of the windows of table 6: of training, then held out, rising."""
        known = [_text(name) for name in self.every[0].losses]
        return tuple(sorted(x for x in known if x[0] in (TRAINING, VALIDATION)))

    @property
    def tasks(self) -> tuple[str, ...]:
        """Each once, in the order they came."""
        return tuple(dict.fromkeys(task for run in self.every for task in run.scores))

    def shared(self, *layers: Layer) -> tuple[int, ...]:
        """The seeds that all of these layers have."""
        held = [set(self.runs.get(x, {})) for x in layers]
        return tuple(sorted(set.intersection(*held))) if held else ()

    def scores(self, layer: Layer, task: str) -> Mapping[int, Scores] | str:
        """By seed; or why there are none: a layer is scored with all of its seeds, or not."""
        found = {s: run.scores.get(task) for s, run in sorted(self.runs[layer].items())}
        absent = {s: _absent(x) for s, x in found.items()}
        reasons = {s: why for s, why in absent.items() if why}
        if len(set(reasons.values())) == 1 and len(reasons) == len(found):
            return next(iter(reasons.values()))
        if reasons:
            return "; ".join(f"seed {s}: {why}" for s, why in reasons.items())
        return {s: x for s, x in found.items() if x is not None}


def _absent(found: Scores | None) -> str:
    if found is None:
        return "the model was not asked"
    return found.absent or ""


def _place(layer: Layer) -> tuple[int, bool, float]:
    return list(KINDS).index(layer.kind), layer.learned, layer.eta or 0.0


def _text(name: str) -> tuple[str, int]:
    """`validation-256` -> ("validation", 256).

    Raises:
        UserError: for another form.
    """
    place, _, length = name.rpartition("-")
    if place not in (TRAINING, CHOOSING, VALIDATION) or not length.isdecimal():
        raise UserError(
            f"expected losses by place and length as validation-256, got {name!r}; train again "
            "with this version"
        )
    return place, int(length)


def matched(runs: Sequence[Trained]) -> tuple[Matched, ...]:
    """The runs of every scale, the smallest model first.

    Raises:
        UserError: for duplicates, or runs that differ in more than layer and seed.
    """
    found = []
    smallest = sorted(runs, key=lambda run: (run.equal.parameters, run.scale))
    for scale in dict.fromkeys(run.scale for run in smallest):
        mine = [run for run in runs if run.scale == scale]
        _unique(mine)
        _same_study(mine)
        for seed in sorted({run.seed for run in mine}):
            _same_seed([run for run in mine if run.seed == seed])
        _seeds_differ(mine)
        layers = dict.fromkeys(run.layer for run in mine)
        by_layer = {x: {r.seed: r for r in mine if r.layer == x} for x in layers}
        found.append(Matched(scale=scale, length=mine[0].length, runs=by_layer))
    return tuple(found)


def _unique(runs: Sequence[Trained]) -> None:
    names = [run.name for run in runs]
    for name in names:
        if names.count(name) > 1:
            raise UserError(
                f"expected one run of each layer and seed, got {names.count(name)} of {name}; "
                "remove all but one"
            )


def _same_study(runs: Sequence[Trained]) -> None:
    """Refuse runs of one scale, of any seeds, that are of another study."""
    first = runs[0]
    for one in runs[1:]:
        pairs = {
            "training length": (first.length, one.length),
            "text or tokenizer": (first.origin.text_sha256, one.origin.text_sha256),
            "arithmetic": (first.origin.dtype, one.origin.dtype),
            "windows": (_windows(first), _windows(one)),
        }
        for field in fields(Equal):
            if field.name not in SEEDED:
                a, b = (getattr(run.equal, field.name) for run in (first, one))
                pairs[field.name] = (a, b)
        _refuse(first, one, pairs, "in layer and seed alone")
        for task, scores in one.scores.items():
            _same_questions(first, one, first.scores.get(task), scores)


def _windows(run: Trained) -> dict[str, int]:
    return {name: len(values) for name, values in sorted(run.losses.items())}


def _same_questions(a: Trained, b: Trained, first: Scores | None, one: Scores) -> None:
    if first is None or _absent(first) or _absent(one):
        return
    pairs: dict[str, tuple[object, object]] = {
        f"questions of {one.task}": (first.gold, one.gold),
        f"classes of {one.task}": (first.classes, one.classes),
    }
    if a.seed == b.seed:
        pairs[f"rows of {one.task}"] = (first.rows_sha256, one.rows_sha256)
        pairs[f"demonstrations of {one.task}"] = (first.k, one.k)
    _refuse(a, b, pairs, "in layer and seed alone")


def _same_seed(runs: Sequence[Trained]) -> None:
    """Refuse runs of one seed whose first weights, data order or demonstrations differ."""
    first = runs[0]
    for one in runs[1:]:
        pairs = {n: (getattr(first.equal, n), getattr(one.equal, n)) for n in SEEDED}
        _refuse(first, one, pairs, "in their layer alone")
        for task, scores in one.scores.items():
            _same_questions(first, one, first.scores.get(task), scores)


def _seeds_differ(runs: Sequence[Trained]) -> None:
    """Refuse two seeds that are one: their spread would say nothing.

    Raises:
        UserError: for two of them.
    """
    seen: dict[tuple[str, str], Trained] = {}
    for run in runs:
        key = (run.equal.initial_sha256, run.equal.order_sha256)
        other = seen.setdefault(key, run)
        if other.seed != run.seed:
            raise UserError(
                f"expected seeds with first weights or a data order of their own, got the same for "
                f"{other.name} and {run.name}; remove one of them, or train it again"
            )


def _refuse(
    a: Trained, b: Trained, pairs: Mapping[str, tuple[object, object]], wanted: str
) -> None:
    for what, (x, y) in pairs.items():
        if x != y:
            raise UserError(
                f"expected runs that differ {wanted}, got {a.name} and {b.name} with different "
                f"{what} ({_short(x)}, {_short(y)}); train both with one command into an empty "
                "folder"
            )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
