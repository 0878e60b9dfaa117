"""Evidence files -> every metric paired with its controls, by model and task, with intervals.

A pair shares its examples and seeds: what both leave undefined in one of them is left out of both.
No torch. Letters: S seeds, n examples of a metric (those of Kendall are the first 100).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from empirical.analysis.claims import GAINS, QUALIFIES, RECALLS, Controls
from empirical.analysis.example_values import (
    NO_CORRECTION,
    NO_VALUE,
    NOT_RUN,
    Reading,
    minus,
    reading,
    table_of,
)
from empirical.analysis.intervals import Estimate, dose_of, estimates, nothing
from empirical.analysis.ratio_estimators import RatioTable
from empirical.core import random_streams
from empirical.core.errors import UserError
from empirical.core.undefined import Number, Undefined
from empirical.results.control_catalogue import CONTROLS, NO_POSITIONS
from empirical.results.control_results import BASE, ControlResults


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A metric under the settings and under a control, and their difference in the metric's units.

    `required`: a claim on this metric has to beat it. `set_aside`: why it has nothing to beat here.
    `dose`: the difference as a dose of the in-context update in finetuning.
    """

    model: str
    task: str
    metric: str
    control: str
    required: bool
    ours: Estimate
    theirs: Estimate
    difference: Estimate
    dose: Number
    set_aside: str | None = None


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What a task has to offer before anything is claimed about it.

    `icl_gain`, `ft_gain`: accuracy above zero-shot, points. `changed`: answers that finetuning
    changes, of all seeds together.
    """

    model: str
    task: str
    seeds: tuple[int, ...]
    examples: int
    icl_gain: Estimate
    ft_gain: Estimate
    changed: int


@dataclass(frozen=True, kw_only=True)
class Compared:
    """All comparisons and grounds of a folder, models and tasks in the order they came."""

    grounds: tuple[Ground, ...]
    comparisons: tuple[Comparison, ...]

    def of(self, model: str, metric: str) -> tuple[Comparison, ...]:
        """Those of one model and metric."""
        return tuple(c for c in self.comparisons if (c.model, c.metric) == (model, metric))

    @property
    def models(self) -> tuple[str, ...]:
        """Each once."""
        return tuple(dict.fromkeys(g.model for g in self.grounds))


def compare(evidence: Iterable[ControlResults]) -> Compared:
    """Every metric against every control.

    Raises:
        UserError: when seeds of one task were not made with the same model and examples.
    """
    ordered = sorted(evidence, key=lambda e: (e.provenance.model, e.task, e.provenance.seed))
    grounds: list[Ground] = []
    found: list[Comparison] = []
    for _, group in groupby(ordered, key=lambda e: (e.provenance.model, e.task)):
        cells = tuple(group)
        _check(cells)
        comparisons = _Task(cells=cells).comparisons()
        grounds.append(_ground(cells, comparisons))
        found += comparisons
    return Compared(grounds=tuple(grounds), comparisons=tuple(found))


def _check(cells: Sequence[ControlResults]) -> None:
    """Refuse cells that cannot be paired.

    Raises:
        UserError: for other weights, recorded positions, labels or repeated seeds.
    """
    first = cells[0]
    for one in cells[1:]:
        a, b = first.provenance, one.provenance
        differs = [
            name
            for name, same in (
                ("weights", a.weights_sha256 == b.weights_sha256),
                ("recorded position", a.position == b.position),
                ("evaluation examples", np.array_equal(first.labels, one.labels)),
                ("seed", a.seed != b.seed),
            )
            if not same
        ]
        if differs:
            raise UserError(
                f"expected seeds of {a.model}, {first.task} that differ in their seed alone, got "
                f"seeds {a.seed} and {b.seed} with another or the same {differs[0]}; run both "
                "with one command into an empty folder"
            )


def _ground(cells: Sequence[ControlResults], comparisons: Sequence[Comparison]) -> Ground:
    gains = {c.metric: c.difference for c in comparisons if c.control == "zsl_accuracy"}
    answered = [c.findings[BASE].predictions for c in cells if BASE in c.findings]
    changed = sum(int((p["ft"] != p["zsl"]).sum()) for p in answered if {"ft", "zsl"} <= set(p))
    first = cells[0]
    return Ground(
        model=first.provenance.model,
        task=first.task,
        seeds=tuple(c.provenance.seed for c in cells),
        examples=len(first.labels),
        icl_gain=gains["icl_accuracy"],
        ft_gain=gains["ft_accuracy"],
        changed=changed,
    )


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """What one comparison averages."""

    metric: str
    control: str
    required: bool
    ours: RatioTable | str
    theirs: RatioTable | str
    difference: RatioTable | str


@dataclass(frozen=True, kw_only=True)
class _Task:
    """All seeds of one model and task."""

    cells: tuple[ControlResults, ...]

    def comparisons(self) -> tuple[Comparison, ...]:
        pairs = [p for metric in QUALIFIES for p in self._pairs(metric, QUALIFIES[metric])]
        held = [
            t for p in pairs for t in (p.ours, p.theirs, p.difference) if not isinstance(t, str)
        ]
        found = _estimated(held)
        return tuple(self._comparison(p, found) for p in pairs)

    def rows(self, condition: str, metric: str) -> list[Reading]:
        """The reading of every seed under a condition."""
        return [reading(c.findings.get(condition), c.labels, metric) for c in self.cells]

    def _pairs(self, metric: str, by: Controls) -> list[_Pair]:
        ours = self.rows(by.where, metric)
        own = table_of(ours, metric)
        out = []
        for name, required in _marked(by.base_lines, by.shown_base_lines):
            theirs = self.rows(by.where, name)
            if metric in GAINS:  # a gain is a difference from its base line already
                raised = table_of(self.rows(by.where, GAINS[metric][0]), metric)
                out.append(_pair(metric, name, required, raised, theirs, ours))
            else:
                out.append(_pair(metric, name, required, own, theirs, _gaps(ours, theirs)))
        for name, required in _marked(by.required, by.shown):
            theirs = self.rows(name, metric)
            out.append(_pair(metric, name, required, own, theirs, _gaps(ours, theirs)))
        return out

    def _comparison(self, pair: _Pair, found: Mapping[int, Estimate]) -> Comparison:
        ours, theirs, gap = (
            nothing(t) if isinstance(t, str) else found[id(t)]
            for t in (pair.ours, pair.theirs, pair.difference)
        )
        first = self.cells[0]
        return Comparison(
            model=first.provenance.model,
            task=first.task,
            metric=pair.metric,
            control=pair.control,
            required=pair.required,
            ours=ours,
            theirs=theirs,
            difference=gap,
            dose=self._dose(pair.metric, gap.value),
            set_aside=_aside(pair, ours, theirs) or self._one_answer(pair),
        )

    def _one_answer(self, pair: _Pair) -> str | None:
        """Why recall says nothing of a control whose in-context answers are all one class."""
        if pair.metric not in RECALLS:
            return None
        found = [c.findings.get(pair.control) for c in self.cells]
        answered = [f.predictions.get("icl") for f in found if f is not None]
        known = [a for a in answered if a is not None and len(a)]
        if len(known) < len(self.cells) or any((a != a[0]).any() for a in known):
            return None
        return (
            "in context this control gives one answer to everything: recall is that class's share"
        )

    def _dose(self, metric: str, difference: Number) -> Number:
        """Against the dose curve of this task, the mean over its seeds."""
        name = GAINS[metric][0] if metric in GAINS else metric
        held = [c.findings["dose"].tables for c in self.cells if "dose" in c.findings]
        curves = [t for t in held if "dose" in t and name in t]
        if not curves or len({tuple(t["dose"]) for t in curves}) != 1:
            return Undefined("there is no dose curve of this metric")
        means = [_mean(column) for column in zip(*(t[name] for t in curves), strict=True)]
        return dose_of(difference, curves[0]["dose"], means)


def _mean(values: Sequence[Number]) -> Number:
    missing = [x for x in values if isinstance(x, Undefined)]
    return missing[0] if missing else float(np.mean([float(x) for x in values]))  # type: ignore[arg-type] # numbers only


def _marked(required: Sequence[str], shown: Sequence[str]) -> list[tuple[str, bool]]:
    return [*((n, True) for n in required), *((n, False) for n in shown)]


def _gaps(ours: Sequence[Reading], theirs: Sequence[Reading]) -> list[Reading]:
    return [minus(a, b) for a, b in zip(ours, theirs, strict=True)]


def _pair(
    metric: str,
    control: str,
    required: bool,
    ours: RatioTable | str,
    theirs: Sequence[Reading],
    gap: Sequence[Reading],
) -> _Pair:
    held = table_of(theirs, metric)
    ran = QUALIFIES[metric].where if control not in CONTROLS else control
    if held == NOT_RUN:
        held = f"the control was not run (--control {ran})"
    made = table_of(gap, metric)
    if isinstance(made, str) and isinstance(held, str):
        made = held
    return _Pair(
        metric=metric, control=control, required=required, ours=ours, theirs=held, difference=made
    )


def _aside(pair: _Pair, ours: Estimate, theirs: Estimate) -> str | None:
    """Why a control has nothing that could be beaten, without a fault of the run."""
    if isinstance(pair.theirs, str) and NO_POSITIONS in pair.theirs:
        return "attention of this model sees distances alone: a shift of positions changes nothing"
    if pair.control == "kendall_lengths" and isinstance(pair.theirs, str) and ours.seeds > 1:
        if NO_VALUE in pair.theirs:
            return "all demonstrations are equally long, so that their lengths rank nothing"
    known = ours.seeds > 1 and pair.metric in RECALLS
    if known and pair.theirs == NO_CORRECTION:
        return "finetuning as in this control corrects no zero-shot error that could be recalled"
    return None


def _estimated(tables: Sequence[RatioTable]) -> dict[int, Estimate]:
    """Estimates by identity; tables over as many examples share their draws."""
    out: dict[int, Estimate] = {}
    once = {id(t): t for t in tables}.values()
    for size in sorted({t.top.shape[-1] for t in once}):
        same = [t for t in once if t.top.shape[-1] == size]
        if size < 2:
            out |= {id(t): nothing("fewer than two examples") for t in same}
            continue
        draws = random_streams.generator(random_streams.COMPARISONS, size)
        out |= {id(t): e for t, e in zip(same, estimates(same, draws), strict=True)}
    return out
