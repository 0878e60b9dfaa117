"""Every metric as a function of the finetuning rate, which moves them all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from matplotlib.axes import Axes

from empirical.report import names
from empirical.report.render.drawing import Figure, Key, Panel, looks
from empirical.report.render.palette import MUTED, STYLES
from empirical.report.results import Results
from empirical.report.tables.pooling import FIRST, origin, plain
from empirical.results.control_results import ControlResults

SHOWN = (
    "ft_accuracy",
    "sim_aou",
    "sim_aou_unnormalised",
    "sim_am_after",
    "sim_am_delta",
    "kendall",
)
Points = tuple[tuple[float, float], ...]  # (rate over the chosen rate, mean over seeds)


def points(cells: Sequence[ControlResults], metric: str) -> Points:
    """A metric at every factor of the chosen rate, mean over the seeds where it is defined."""
    at: dict[float, list[float]] = {}
    for cell in cells:
        tables: Mapping[str, Any] = cell.findings["rate"].tables
        for rate, value in zip(tables["rate"], tables.get(metric, []), strict=False):
            factor = float(f"{rate / cell.provenance.rate:.3g}")
            at.setdefault(factor, []).append(plain(value))
    found = []
    for factor in sorted(at):
        known = [x for x in at[factor] if not math.isnan(x)]
        found.append((factor, math.fsum(known) / len(known) if known else math.nan))
    return tuple(found)


def draw(axis: Axes, lines: Mapping[str, Points], label: str) -> None:
    """A line for each task over the factor of its chosen rate."""
    axis.axvline(1, color=MUTED, linewidth=0.7)
    axis.axhline(0, color=MUTED, linewidth=0.6)
    for style, line in zip(STYLES, lines.values(), strict=False):
        axis.plot([x for x, _ in line], [y for _, y in line], **looks(style))
    axis.set_xscale("log")
    factors = sorted({x for line in lines.values() for x, _ in line})
    axis.set_xticks(factors, labels=[f"{x:g}" for x in factors])
    axis.minorticks_off()
    axis.set_xlabel("rate over the chosen rate")
    axis.set_ylabel(label)


def _words(lines: Mapping[str, Points]) -> str:
    return "; ".join(
        f"{task}: "
        + ", ".join(f"{'undefined' if math.isnan(y) else f'{y:.2f}'} at {x:g}" for x, y in line)
        for task, line in lines.items()
    )


def _unit(metric: str) -> str:
    return "percent" if metric == "ft_accuracy" else "cosine" if metric.startswith("sim") else "τ"


def figures(results: Results) -> tuple[Figure, ...]:
    """One figure for each model that has the finding "rate"; its lines are tasks."""
    found = []
    cells = results.with_finding("rate")
    models = list(dict.fromkeys(m for m, _, _ in cells))
    for number, model in enumerate(models):
        own = {task: seeds for m, task, seeds in cells if m == model}
        panels = []
        for metric in SHOWN:
            lines = {task: points(seeds, metric) for task, seeds in own.items()}
            if any(lines.values()):
                panels.append(
                    Panel(
                        title=names.metric(metric),
                        text=_words(lines),
                        draw=partial(draw, lines=lines, label=_unit(metric)),
                    )
                )
        used = [e for seeds in own.values() for e in seeds]
        found.append(
            Figure(
                id="rate" if len(models) == 1 else f"rate-{number + 1}",
                title=f"Dependence on the finetuning rate: {model}",
                caption="Lines are tasks, means over seeds; the vertical rule is the rate that was "
                f"chosen. A missing point: finetuning diverges there. {FIRST} {origin(used)}",
                panels=tuple(panels),
                keys=tuple(Key(label=t, style=s) for t, s in zip(own, STYLES, strict=False)),
            )
        )
    return tuple(found)
