"""Trained models -> tables 6 and 7 with paired intervals, and what the verdicts need. No torch.

Pairs share their windows, questions and seeds. Intervals are those of the study: one bootstrap over
windows or rows, one over seeds. Letters: S seeds, n windows or rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from empirical.analysis.intervals import Estimate
from empirical.analysis.momentum.control_comparisons import comparisons, left_out
from empirical.analysis.momentum.eta_selection import choose, entries
from empirical.analysis.momentum.matching import PLAIN_LAYER, Matched, matched
from empirical.analysis.momentum.outcome import (
    MEAN,
    AtScale,
    Entry,
    Interval,
    Language,
    Learning,
    Momentum,
)
from empirical.analysis.momentum.tables import (
    ITSELF,
    PERCENT,
    Answered,
    accuracy_gap,
    answered,
    loss,
    loss_gap,
)
from empirical.analysis.momentum.task_means import estimated, mean_of_tasks
from empirical.analysis.ratio_estimators import RatioTable
from empirical.core.undefined import Undefined
from empirical.results.attention_kinds import Layer
from empirical.results.language_models import Trained

__all__ = ["MEAN", "AtScale", "Entry", "Interval", "Language", "Learning", "Momentum", "compare"]


def compare(runs: Sequence[Trained]) -> Momentum:
    """Every layer of every scale against plain attention.

    Raises:
        UserError: for runs that differ in more than layer and seed, and duplicates.
    """
    return Momentum(scales=tuple(map(_at_scale, matched(runs))))


def _at_scale(runs: Matched) -> AtScale:
    choice = choose(runs)
    learned = [x for x in runs.layers if x.learned]
    asked = [x for x in runs.layers if x in choice.chosen.values() or x in learned]
    learning = tuple(x for task in runs.tasks for x in _learning(runs, asked, task))
    return AtScale(
        scale=runs.scale,
        length=runs.length,
        seeds=runs.seeds,
        equal=runs.equal,
        entries=entries(runs, choice),
        learning=learning,
        means=_means(learning, asked),
        language=tuple(x for place, n in runs.texts for x in _language(runs, place, n)),
        comparisons=comparisons(runs, choice),
        left_out=left_out(learning, choice),
        unchosen=choice.unchosen,
    )


# -- table 6 --------------------------------------------------------------------------------------


def _language(runs: Matched, place: str, length: int) -> list[Language]:
    """Every layer on one text."""
    text = f"{place}-{length}"
    tables: dict[tuple[Layer, str], RatioTable | str] = {}
    for x in runs.layers:
        tables[x, "loss"] = loss(runs, x, text)
        tables[x, "gap"] = loss_gap(runs, x, PLAIN_LAYER, text)
    found = estimated(tables)
    return [
        Language(
            place=place,
            length=length,
            layer=x,
            windows=len(runs.every[0].losses[text]),
            loss=found[x, "loss"],
            perplexity=_interval(found[x, "loss"], _exp),
            difference=found[x, "gap"],
            percent=_interval(found[x, "gap"], _percent),
        )
        for x in runs.layers
    ]


def _exp(x: float) -> float:
    return float(np.exp(x))


def _percent(x: float) -> float:
    """A difference of log perplexities as a change of the perplexity in percent."""
    return float(PERCENT * np.expm1(x))


def _interval(found: Estimate, of: Callable[[float], float]) -> Interval:
    """Ends and value through a rising function."""
    ends = [x if isinstance(x, Undefined) else of(x) for x in (found.value, found.low, found.high)]
    return Interval(value=ends[0], low=ends[1], high=ends[2])


# -- table 7 --------------------------------------------------------------------------------------


def _learning(runs: Matched, layers: Sequence[Layer], task: str) -> list[Learning]:
    """The layers on one task."""
    plain = answered(runs, PLAIN_LAYER, task)
    held = {x: answered(runs, x, task) for x in layers}
    tables: dict[tuple[Layer, str], RatioTable | str] = {}
    for x, mine in held.items():
        for zero, name in ((False, "difference"), (True, "zero_shot_difference")):
            gap = ITSELF if x == PLAIN_LAYER else accuracy_gap(mine, plain, zero_shot=zero)
            tables[x, name] = gap
        tables[x, "accuracy"] = mine if isinstance(mine, str) else mine.accuracy()
        tables[x, "zero_shot"] = mine if isinstance(mine, str) else mine.accuracy(zero_shot=True)
        tables[x, "gain"] = mine if isinstance(mine, str) else mine.gain()
    found = estimated(tables)
    return [_one(task, x, mine, found) for x, mine in held.items()]


FIELDS = ("accuracy", "zero_shot", "gain", "difference", "zero_shot_difference")


def _one(
    task: str, layer: Layer, mine: Answered | str, found: Mapping[tuple[Layer, str], Estimate]
) -> Learning:
    scores = {} if isinstance(mine, str) else mine.scores
    first = next(iter(scores.values()), None)
    return Learning(
        task=task,
        tasks=(task,),
        layer=layer,
        k={s: x.k for s, x in scores.items()},
        classes=0 if first is None else first.classes,
        rows=0 if first is None else len(first.gold),
        absent=mine if isinstance(mine, str) else None,
        **{f: found[layer, f] for f in FIELDS},
    )


def _means(learning: Sequence[Learning], layers: Sequence[Layer]) -> tuple[Learning, ...]:
    """The mean over the tasks that all layers were scored on."""
    absent = {x.task for x in learning if x.absent is not None}
    tasks = tuple(dict.fromkeys(x.task for x in learning if x.task not in absent))
    if not tasks:
        return ()
    out = []
    for layer in layers:
        mine = [x for x in learning if x.layer == layer and x.task in tasks]
        means = {f: mean_of_tasks([getattr(x, f) for x in mine]) for f in FIELDS}
        rows = sum(x.rows for x in mine)
        out.append(
            Learning(
                task=MEAN,
                tasks=tasks,
                layer=layer,
                k={},
                classes=0,
                rows=rows,
                absent=None,
                **means,
            )
        )
    return tuple(out)
