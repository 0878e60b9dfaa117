"""How far answers depend on the order of the demonstrations, in context and after finetuning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.axes import Axes

from empirical.core.undefined import Undefined
from empirical.report import names
from empirical.report.render.drawing import Figure, Key, Panel, looks, ticks
from empirical.report.render.palette import MUTED, STYLES
from empirical.report.results import Results, findings
from empirical.report.tables.pooling import origin, plain
from empirical.results.control_results import ConditionResult, ControlResults

SIDES = (("icl", "in context", 0), ("ft", "finetuned", 1))


@dataclass(frozen=True, kw_only=True)
class Row:
    """One task: of each side, spread with its interval (seeds together) and all accuracies."""

    name: str
    spread: dict[str, tuple[float, float, float]]
    accuracy: dict[str, tuple[float, ...]]


def _spread(found: Sequence[ConditionResult], side: str) -> tuple[float, float, float] | None:
    series = [f.series[f"order_{side}"] for f in found if f"order_{side}" in f.series]
    means = [s.mean for s in series if not isinstance(s.mean, Undefined)]
    if not means:
        return None
    low = [x for s in series for x in s.low if not isinstance(x, Undefined)]
    high = [x for s in series for x in s.high if not isinstance(x, Undefined)]
    mean = float(np.mean(means))
    return mean, min(low, default=mean), max(high, default=mean)


def row(name: str, found: Sequence[ConditionResult]) -> Row:
    """The findings "order" of a task's seeds in one row."""
    spread, accuracy = {}, {}
    for side, _, _ in SIDES:
        one = _spread(found, side)
        if one is not None:
            spread[side] = one
        listed = [x for f in found for x in f.tables.get(f"{side}_accuracy", [])]
        accuracy[side] = tuple(float(x) for x in listed if not isinstance(x, Undefined))
    return Row(name=name, spread=spread, accuracy=accuracy)


def draw_spread(axis: Axes, rows: Sequence[Row]) -> None:
    """Mean total variation distance with its interval."""
    for side, _, place in SIDES:
        offset = 0.16 * (2 * place - 1)
        for i, one in enumerate(rows):
            if side in one.spread:
                mean, low, high = one.spread[side]
                colour = STYLES[place].colour
                axis.hlines(i + offset, low, high, color=colour, linewidth=1.6)
                axis.plot([mean], [i + offset], **looks(STYLES[place]))
    ticks(axis, [r.name for r in rows])
    axis.set_xlim(left=0)
    axis.set_xlabel("mean total variation distance between two orders")


def draw_accuracy(axis: Axes, rows: Sequence[Row]) -> None:
    """One mark for every order."""
    for side, _, place in SIDES:
        offset = 0.16 * (2 * place - 1)
        for i, one in enumerate(rows):
            at = one.accuracy[side]
            if at:
                axis.hlines(i + offset, min(at), max(at), color=MUTED, linewidth=0.8)
                marks = looks(STYLES[place]) | {"linestyle": "none"}
                axis.plot(at, [i + offset] * len(at), **marks)
    ticks(axis, [r.name for r in rows])
    axis.set_xlabel("accuracy under each order (%)")


def _words(rows: Sequence[Row]) -> str:
    lines = []
    for one in rows:
        parts = [
            f"{name} {one.spread[side][0]:.3f} ({one.spread[side][1]:.3f} to "
            f"{one.spread[side][2]:.3f})"
            for side, name, _ in SIDES
            if side in one.spread
        ]
        lines.append(f"{one.name}: {', '.join(parts)}")
    return "; ".join(lines)


def _accuracies(rows: Sequence[Row]) -> str:
    return "; ".join(
        f"{one.name}: "
        + ", ".join(
            f"{name} {min(one.accuracy[side]):.1f} to {max(one.accuracy[side]):.1f} %"
            for side, name, _ in SIDES
            if one.accuracy[side]
        )
        for one in rows
    )


def _examples(cells: Sequence[ControlResults]) -> str:
    counts = {f"{plain(e.findings['order'].numbers.get('examples')):g}" for e in cells}
    return f"n = {', '.join(sorted(counts))} examples per task"


def figure(results: Results) -> Figure | None:
    """Spread and accuracies over orders; None where no cell has the finding."""
    cells = results.with_finding("order")
    models = [m for m, _ in results.cells()]
    rows = [
        row(names.place(model, task, models), findings(seeds, "order"))
        for model, task, seeds in cells
    ]
    rows = [r for r in rows if r.spread]
    if not rows:
        return None
    used: list[ControlResults] = [e for _, _, seeds in cells for e in seeds]
    high = 0.9 + 0.36 * len(rows)
    return Figure(
        id="order",
        title="Dependence on the order of the demonstrations",
        caption="Left: how far the distribution over answers moves between two orders (95 % "
        "bootstrap interval over examples). Right: accuracy under each order. Gradient descent "
        "in one pass depends on the order as well; a sum of updates would not. "
        f"{origin(used, _examples(used))}",
        panels=(
            Panel(
                title="Distance between answers",
                text=_words(rows),
                draw=partial(draw_spread, rows=rows),
            ),
            Panel(title="Accuracy", text=_accuracies(rows), draw=partial(draw_accuracy, rows=rows)),
        ),
        keys=tuple(Key(label=name, style=STYLES[place]) for _, name, place in SIDES),
        size=(3.9, high),
        columns=2,
    )
