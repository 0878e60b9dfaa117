"""ΔW of in-context against ΔW of finetuning: cosines head by head, and means beside their nulls."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from empirical.report import names
from empirical.report.figures.heatmap import heat
from empirical.report.render.drawing import Figure, Key, Panel, looks, ticks
from empirical.report.render.palette import BAND, INK, MUTED, STYLES
from empirical.report.results import Results, findings
from empirical.report.tables.pooling import origin, plain
from empirical.results.control_results import ConditionResult, ControlResults

LIKENESSES: Mapping[str, str] = {
    "cosine": "Cosine of the two changes",
    "effect_relaxed": "Cosine of their effects, relaxed attention",
    "effect_softmax": "Cosine of their effects, softmax attention",
}
Matrix = tuple[tuple[float, ...], ...]


def mean_table(found: Sequence[ConditionResult], name: str) -> Matrix:
    """A table [L][H], mean over the seeds that have a value; nan where none has."""
    stacked = np.array([[[plain(x) for x in row] for row in f.tables[name]] for f in found])
    kept = ~np.isnan(stacked)
    count = kept.sum(0)
    total = np.where(kept, stacked, 0.0).sum(0)
    mean = np.where(count > 0, total / np.where(count > 0, count, 1), math.nan)
    return tuple(tuple(map(float, row)) for row in mean)


def outside(found: Sequence[ConditionResult]) -> tuple[tuple[bool, ...], ...]:
    """Heads whose cosine is above its own null band in every seed, or below in every seed: [L][H].

    A comparison with nan is false: an undefined head is not outside.
    """
    cosine, low, high = (
        np.array([[[plain(x) for x in row] for row in f.tables[name]] for f in found])
        for name in ("cosine", "cosine_null_low", "cosine_null_high")
    )
    framed = np.all(cosine > high, axis=0) | np.all(cosine < low, axis=0)
    return tuple(tuple(bool(x) for x in row) for row in framed)


def draw_heads(
    axis: Axes, cosines: Matrix, marked: Sequence[Sequence[bool]], largest: float
) -> None:
    """Layers from top to bottom; a frame around what is outside its null band."""
    layers, heads = len(cosines), len(cosines[0])
    heat(axis, cosines, [str(i) for i in range(layers)], [str(i) for i in range(heads)], largest)
    for i, row in enumerate(marked):
        for j, out in enumerate(row):
            if out:
                axis.add_patch(
                    Rectangle(
                        (j - 0.46, i - 0.46),
                        0.92,
                        0.92,
                        facecolor="none",
                        edgecolor=INK,
                        linewidth=1.0,
                    )
                )
    for ticked, count in ((axis.set_yticks, layers), (axis.set_xticks, heads)):
        step = max(1, math.ceil(count / 12))
        ticked(range(0, count, step), labels=[str(i) for i in range(0, count, step)])
    axis.set_xlabel("head")
    axis.set_ylabel("layer")


def _head_words(cosines: Matrix, marked: Sequence[Sequence[bool]]) -> str:
    known = [x for row in cosines for x in row if not math.isnan(x)]
    count = sum(map(sum, marked))
    if not known:
        return "No head has a value."
    return (
        f"Cosine of the two weight changes of {len(known)} heads: from {min(known):.2f} to "
        f"{max(known):.2f}, mean {math.fsum(known) / len(known):.2f}; {count} outside their null "
        "band."
    )


@dataclass(frozen=True, kw_only=True)
class Row:
    """A likeness of one task: mean over heads with its interval, null band, other finetuning."""

    task: str
    value: float
    ends: tuple[float, float]
    null: tuple[float, float]
    other: float


def row(task: str, found: Sequence[ConditionResult], name: str) -> Row:
    """Means over seeds; of intervals and bands the outermost ends."""

    def every(key: str) -> list[float]:
        return [x for f in found if not math.isnan(x := plain(f.numbers.get(key)))]

    def mean(key: str) -> float:
        known = every(key)
        return math.fsum(known) / len(known) if known else math.nan

    def ends(key: str) -> tuple[float, float]:
        return min(every(f"{key}_low"), default=math.nan), max(
            every(f"{key}_high"), default=math.nan
        )

    return Row(
        task=task,
        value=mean(name),
        ends=ends(name),
        null=ends(f"{name}_null"),
        other=mean(f"{name}_other"),
    )


def draw_rows(axis: Axes, rows: Sequence[Row]) -> None:
    """Dots with intervals on the null band of their row."""
    axis.axvline(0, color=MUTED, linewidth=0.6)
    for i, one in enumerate(rows):
        low, high = one.null
        if not math.isnan(low):
            axis.add_patch(
                Rectangle((low, i - 0.34), high - low, 0.68, facecolor=BAND, alpha=0.3, linewidth=0)
            )
        axis.hlines(i - 0.1, *one.ends, color=STYLES[0].colour, linewidth=2)
        for place, (value, at) in enumerate(((one.value, i - 0.1), (one.other, i + 0.15))):
            axis.plot([value], [at], **looks(STYLES[place]) | {"linestyle": "none"})
    ticks(axis, [r.task for r in rows])
    axis.set_xlabel("cosine")


def _row_words(rows: Sequence[Row]) -> str:
    return (
        "; ".join(
            f"{r.task}: {r.value:.3f} ({r.ends[0]:.3f} to {r.ends[1]:.3f}), null {r.null[0]:.3f} "
            f"to {r.null[1]:.3f}, other finetuning {r.other:.3f}"
            for r in rows
        )
        + "."
    )


def _cells(results: Results) -> list[tuple[str, str, tuple[ControlResults, ...]]]:
    return list(results.with_finding("delta_w"))


def heads_figure(results: Results) -> Figure | None:
    """The cosine of every head; None where no cell has the finding."""
    cells = _cells(results)
    if not cells:
        return None
    models = [m for m, _ in results.cells()]
    tables = [mean_table(findings(seeds, "delta_w"), "cosine") for _, _, seeds in cells]
    known = [abs(x) for t in tables for row in t for x in row if not math.isnan(x)]
    largest = max(known, default=1.0)
    panels = []
    for (model, task, seeds), cosines in zip(cells, tables, strict=True):
        marked = outside(findings(seeds, "delta_w"))
        panels.append(
            Panel(
                title=names.place(model, task, models),
                text=_head_words(cosines, marked),
                draw=partial(draw_heads, cosines=cosines, marked=marked, largest=largest),
            )
        )
    used = [e for _, _, seeds in cells for e in seeds]
    return Figure(
        id="delta-w-heads",
        title="Cosine of ΔW in context and ΔW of finetuning, head by head",
        caption="Blue is positive, orange negative, as the number says where it fits; the "
        f"strongest colour is {largest:.2f}. Framed: above the band of random rotations of ΔW of "
        "finetuning (95 %) in every seed, or below it in every seed. Struck through: undefined. "
        f"{origin_of(used)}",
        panels=tuple(panels),
    )


def summary_figure(results: Results) -> Figure | None:
    """Means over heads beside their nulls; None where no cell has the finding."""
    cells = _cells(results)
    if not cells:
        return None
    models = [m for m, _ in results.cells()]
    panels = []
    for name, title in LIKENESSES.items():
        rows = [
            row(names.place(model, task, models), findings(seeds, "delta_w"), name)
            for model, task, seeds in cells
        ]
        panels.append(Panel(title=title, text=_row_words(rows), draw=partial(draw_rows, rows=rows)))
    used = [e for _, _, seeds in cells for e in seeds]
    return Figure(
        id="delta-w",
        title="ΔW in context against ΔW of finetuning",
        caption="Means over all heads, with 95 % bootstrap intervals over queries. Only what lies "
        "outside the grey band is more than the same change turned in a random direction gives. "
        f"{origin_of(used)}",
        panels=tuple(panels),
        keys=(
            Key(label="finetuning on the demonstrations", style=STYLES[0]),
            Key(label="finetuning on another task", style=STYLES[1]),
            Key(label="random rotations (95 %)", style=None),
        ),
        size=(3.9, 0.9 + 0.36 * len(cells)),
    )


def origin_of(cells: Sequence[ControlResults]) -> str:
    """Model, data, queries and seeds of the finding."""
    counts = sorted({int(plain(e.findings["delta_w"].numbers.get("queries"))) for e in cells})
    return origin(cells, f"n = {', '.join(map(str, counts))} queries per task")
