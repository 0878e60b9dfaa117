"""Table 7 of the paper, accuracy in context: ours beside the published numbers.

Only what `empirical.analysis.momentum.compare` found is written down; nothing is compared here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from empirical.analysis.momentum.outcome import MEAN, AtScale, Learning
from empirical.analysis.published import MOMENTUM_ACCURACY, MOMENTUM_TASKS
from empirical.report import names
from empirical.report.tables.grid import Grid, shown
from empirical.report.tables.momentum.cells import OTHER, Value, cell, columns, tabled
from empirical.report.tables.notes import Reasons
from empirical.results.attention_kinds import MOMENTUM, PLAIN, Layer


def every_task(scale: AtScale) -> tuple[str, ...]:
    """Tasks of the paper in its order, whether run or not, the others, and the mean."""
    more = (t for t in scale.tasks if t not in MOMENTUM_TASKS)
    return (*MOMENTUM_TASKS, *more, *((MEAN,) if scale.means else ()))


def _task_cell(
    scale: AtScale, task: str, layer: Layer, reasons: Reasons, take: Callable[[Learning], Value]
) -> str:
    own = [x for x in scale.on_task(task) if x.layer == layer]
    if not own:
        return "not run" if not scale.on_task(task) else "–"
    if own[0].absent is not None:
        return reasons.mark("absent", own[0].absent)
    return cell(take(own[0]), 1, reasons)


def _fits(scale: AtScale, task: str) -> str:
    """How many demonstrations fitted: one number, or its ends over seeds."""
    found = sorted({k for x in scale.on_task(task) if x.absent is None for k in x.k.values()})
    if not found:
        return "–"
    return str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"


def _most(scale: AtScale, task: str, take: Callable[[Learning], int]) -> str:
    found = [take(x) for x in scale.on_task(task) if x.absent is None]
    return str(max(found)) if found and task != MEAN else "–"


def _learning(
    scale: AtScale,
    name: str,
    caption: str,
    layers: Sequence[Layer],
    take: Callable[[Learning], Value],
    more: Callable[[str], tuple[str, ...]] | None = None,
    headings: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
) -> Grid:
    """Tasks in rows, layers in columns, then `more` under `headings`; without it, tasks run."""
    reasons, rows = Reasons(), []
    tasks = [t for t in every_task(scale) if more or scale.on_task(t)]
    for task in tasks:
        cells = [_task_cell(scale, task, x, reasons, take) for x in layers]
        rows.append((task, *cells, *(more(task) if more else ())))
    over = scale.means[0].tasks if scale.means else ()
    mean = (f"mean: over {', '.join(over)}.",) if over else ()
    return Grid(
        id=f"momentum-{name}-{names.slug(scale.scale)}",
        caption=f"{caption}: {scale.scale}",
        columns=columns("task", (*map(names.short, layers), *headings)),
        rows=tuple(rows),
        notes=(*notes, *mean, *reasons.notes()),
        strong=frozenset(i for i, t in enumerate(tasks) if t == MEAN),
    )


def _beside(scale: AtScale, task: str) -> tuple[str, ...]:
    """The published accuracies, and what was asked of our models."""
    found = [MOMENTUM_ACCURACY[k].get(task) for k in (PLAIN, MOMENTUM)]
    return (
        *("–" if x is None else f"{x:.1f}" for x in found),
        _fits(scale, task),
        _most(scale, task, lambda x: x.rows),
        _most(scale, task, lambda x: x.classes),
    )


def _gains(task: str) -> tuple[str, ...]:
    plain, moved = (MOMENTUM_ACCURACY[k].get(task) for k in (PLAIN, MOMENTUM))
    return ("–",) if plain is None or moved is None else (shown(moved - plain, 1),)


FITS = (
    "shown: how many demonstrations fitted beside a question, of 32 at most. answers: the most "
    "that a row lets choose from."
)


def accuracy(scale: AtScale) -> Grid:
    """Table 7: accuracy in context of every layer, and what is published."""
    return _learning(
        scale,
        "accuracy",
        "Table 7, accuracy in context (%)",
        tabled(scale),
        lambda x: x.accuracy,
        lambda task: _beside(scale, task),
        ("published: plain", "published: momentum", "shown", "rows", "answers"),
        (FITS, OTHER),
    )


def differences(scale: AtScale) -> Grid:
    """Table 7, paired: points above plain attention."""
    return _learning(
        scale,
        "accuracy-differences",
        "Table 7, difference to plain attention in points (above 0: better)",
        [x for x in tabled(scale) if x.kind != PLAIN],
        lambda x: x.difference,
        _gains,
        ("published: momentum",),
        ("Paired by row and seed.", OTHER),
    )


def without_demonstrations(scale: AtScale) -> tuple[Grid, ...]:
    """Accuracy zero-shot, the difference there, and what demonstrations add."""
    layers = tabled(scale)
    others = [x for x in layers if x.kind != PLAIN]
    return (
        _learning(
            scale, "gain", "Accuracy in context less zero-shot, in points", layers, lambda x: x.gain
        ),
        _learning(scale, "zero-shot", "Accuracy zero-shot (%)", layers, lambda x: x.zero_shot),
        _learning(
            scale,
            "zero-shot-differences",
            "Zero-shot, difference to plain attention in points (above 0: better)",
            others,
            lambda x: x.zero_shot_difference,
        ),
    )
