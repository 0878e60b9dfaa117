"""Table 7 as dots: accuracy in context less that of plain attention, task by task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from matplotlib.axes import Axes

from empirical.analysis.momentum.outcome import AtScale
from empirical.analysis.published import MOMENTUM_ACCURACY
from empirical.report import names
from empirical.report.figures.marks import Mark, mark
from empirical.report.figures.momentum.curves import style_of
from empirical.report.render.drawing import Figure, Key, Panel, looks, ticks
from empirical.report.render.palette import MUTED, RULE, STYLES
from empirical.report.tables.momentum.cells import tabled
from empirical.report.tables.momentum.learning import every_task
from empirical.results.attention_kinds import MOMENTUM, PLAIN, Layer

PRINTED = STYLES[7]
HIGH = 0.12  # between two marks of a task


@dataclass(frozen=True, kw_only=True)
class Row:
    """One task, or their mean: a mark for each layer, and the published difference."""

    task: str
    marks: Mapping[Layer, Mark]
    published: float | None


def rows(scale: AtScale) -> tuple[Row, ...]:
    """Tasks on which some layer can be set against plain attention."""
    found = []
    for task in every_task(scale):
        own = {x.layer: mark(names.layer(x.layer), x.difference) for x in scale.on_task(task)}
        marks = {k: m for k, m in own.items() if m is not None and k.kind != PLAIN}
        pair = [MOMENTUM_ACCURACY[k].get(task) for k in (PLAIN, MOMENTUM)]
        gap = None if pair[0] is None or pair[1] is None else pair[1] - pair[0]
        if marks:
            found.append(Row(task=task, marks=marks, published=gap))
    return tuple(found)


def draw(axis: Axes, found: Sequence[Row], layers: Sequence[Layer]) -> None:
    """Each layer on a height of its own within the row of its task."""
    axis.axvline(0, color=MUTED, linewidth=0.8)
    start = -HIGH * len(layers) / 2
    for i, row in enumerate(found):
        if i:
            axis.axhline(i - 0.5, color=RULE, linewidth=0.6)
        for j, layer in enumerate(layers):
            one = row.marks.get(layer)
            if one is None:
                continue
            height = i + start + HIGH * j
            if one.ends is not None:
                axis.hlines(height, *one.ends, color=style_of(layer).colour, linewidth=1.4)
            axis.plot([one.value], [height], **looks(style_of(layer)) | {"linestyle": "none"})
        if row.published is not None:
            height = i + start + HIGH * len(layers)
            axis.plot([row.published], [height], **looks(PRINTED) | {"linestyle": "none"})
    ticks(axis, [r.task for r in found])
    axis.set_xlabel("points above plain attention (0: the same)")


def words(found: Sequence[Row]) -> str:
    """Every mark with its interval."""
    lines = []
    for row in found:
        parts = [
            f"{m.name} {m.value:.1f}"
            + (f" ({m.ends[0]:.1f} to {m.ends[1]:.1f})" if m.ends else " without an interval")
            for m in row.marks.values()
        ]
        if row.published is not None:
            parts.append(f"published {row.published:.1f}")
        lines.append(f"{row.task}: {', '.join(parts)}")
    return "; ".join(lines) + "."


def _keys(layers: Sequence[Layer], printed: bool) -> tuple[Key, ...]:
    keys = [Key(label=names.layer(x), style=style_of(x)) for x in layers]
    if printed:
        keys.append(Key(label="published momentum attention, 350M, one run", style=PRINTED))
    return tuple(keys)


def figure(scale: AtScale) -> Figure | None:
    """One panel; None where no task can be compared."""
    found = rows(scale)
    if not found:
        return None
    layers = [x for x in tabled(scale) if x.kind != PLAIN]
    high = 0.75 + len(found) * max(0.4, 0.11 * (len(layers) + 2))
    return Figure(
        id=f"momentum-tasks-{names.slug(scale.scale)}",
        title=f"Accuracy in context less that of plain attention: {scale.scale}",
        caption="Right of the line: better than plain attention. Lines are 95 % intervals over "
        "rows and seeds, paired. The published marks are of other models, one run each. "
        f"Scale {scale.scale}, seeds {', '.join(map(str, scale.seeds))}.",
        panels=(
            Panel(
                title="Points above plain attention",
                text=words(found),
                draw=partial(draw, found=found, layers=layers),
            ),
        ),
        keys=_keys(layers, any(r.published is not None for r in found)),
        size=(5.4, high),
        least=24.0,
        left=1.25,
    )
