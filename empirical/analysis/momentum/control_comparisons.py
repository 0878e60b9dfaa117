"""Momentum attention against each of its controls: what the verdicts are made of. No torch.

Every kind stands with the eta chosen for it. Tasks are judged by accuracy in points, language by
held-out text at full length, in percent of perplexity.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from empirical.analysis.claims import MOMENTUM as CONTROLS
from empirical.analysis.comparisons import Comparison
from empirical.analysis.momentum.eta_selection import Choice
from empirical.analysis.momentum.matching import Matched
from empirical.analysis.momentum.outcome import Learning
from empirical.analysis.momentum.tables import PERCENT, accuracy_gap, answered, loss, loss_gap
from empirical.analysis.momentum.task_means import estimated
from empirical.analysis.ratio_estimators import RatioTable, mean_of
from empirical.core.undefined import Number, Undefined
from empirical.results.attention_kinds import (
    AVERAGED_KEYS,
    AVERAGED_VALUES,
    HEAVY_BALL,
    MOMENTUM,
    PLAIN,
    RECENCY_BIAS,
    Layer,
)
from empirical.results.language_models import VALIDATION

ACCURACY, LANGUAGE = "momentum", "momentum_language"  # metrics
KIND_OF = dict(zip(CONTROLS, (PLAIN, AVERAGED_VALUES, RECENCY_BIAS), strict=True))
SHOWN = {HEAVY_BALL: HEAVY_BALL, AVERAGED_KEYS: AVERAGED_KEYS}  # no claim hangs on them
NO_DOSE = Undefined("a trained model has no dose")
NO_LEARNING = (
    "neither plain nor momentum attention learns in context: the 95 % interval of accuracy less "
    "that of zero-shot is above 0 for neither"
)


def left_out(learning: Iterable[Learning], choice: Choice) -> dict[str, str]:
    """Tasks that cannot tell momentum from plain attention, with the reason."""
    pair = (choice.chosen.get(PLAIN), choice.chosen.get(MOMENTUM))
    out: dict[str, str] = {}
    by_task: dict[str, list[Learning]] = {}
    for x in learning:
        if x.layer in pair:
            by_task.setdefault(x.task, []).append(x)
    for task, both in by_task.items():
        absent = [x.absent for x in both if x.absent is not None]
        if absent:
            out[task] = absent[0]
        elif not any(_above(x.gain.low) for x in both):
            out[task] = NO_LEARNING
    return out


def _above(end: Number) -> bool:
    return not isinstance(end, Undefined) and end > 0


def comparisons(runs: Matched, choice: Choice) -> tuple[Comparison, ...]:
    """Momentum attention against every control, each with the eta chosen for its kind."""
    ours = choice.chosen.get(MOMENTUM)
    if ours is None:
        return ()
    others = {
        name: choice.chosen[kind]
        for name, kind in {**KIND_OF, **SHOWN}.items()
        if kind in choice.chosen
    }
    text = f"{VALIDATION}-{runs.length}"
    found = [_on_text(runs, ours, other, name, text) for name, other in others.items()]
    found += [
        _on_task(runs, ours, other, name, task)
        for task in runs.tasks
        for name, other in others.items()
    ]
    return tuple(found)


def _on_text(runs: Matched, ours: Layer, other: Layer, control: str, text: str) -> Comparison:
    """Held-out text at full length; the score is -100 times the loss, percent of perplexity.

    Shorter windows are of the same text, not of another "task": only the longest are judged.
    """
    absent = f"no loss on {text}"
    known = text in runs.every[0].losses
    tables: dict[str, RatioTable | str] = dict.fromkeys(("ours", "theirs", "gap"), absent)
    if known:
        tables = {
            "ours": _scaled(loss(runs, ours, text)),
            "theirs": _scaled(loss(runs, other, text)),
            "gap": loss_gap(runs, ours, other, text, -PERCENT),
        }
    return _comparison(runs.scale, text, LANGUAGE, control, tables)


def _scaled(table: RatioTable) -> RatioTable:
    return mean_of(-PERCENT * table.top[0])


def _on_task(runs: Matched, ours: Layer, other: Layer, control: str, task: str) -> Comparison:
    mine, theirs = (answered(runs, x, task) for x in (ours, other))
    tables: dict[str, RatioTable | str] = {
        "ours": mine if isinstance(mine, str) else mine.accuracy(),
        "theirs": theirs if isinstance(theirs, str) else theirs.accuracy(),
        "gap": accuracy_gap(mine, theirs),
    }
    return _comparison(runs.scale, task, ACCURACY, control, tables)


def _comparison(
    scale: str, task: str, metric: str, control: str, tables: Mapping[str, RatioTable | str]
) -> Comparison:
    found = estimated(tables)
    return Comparison(
        model=scale,
        task=task,
        metric=metric,
        control=control,
        required=control in KIND_OF,
        ours=found["ours"],
        theirs=found["theirs"],
        difference=found["gap"],
        dose=NO_DOSE,
    )
