"""What each metric would read if finetuning were in part the in-context update."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from empirical.analysis.intervals import dose_of
from empirical.core.undefined import Undefined
from empirical.report import names
from empirical.report.render.drawing import Figure, Key, Panel, looks
from empirical.report.render.palette import BAND, MUTED, PAPER, STYLES
from empirical.report.results import Results, present
from empirical.report.tables.pooling import FIRST, mean_of, origin, plain
from empirical.results.calibration import Calibration
from empirical.results.control_results import BASE, ControlResults

SHOWN = (
    "sim_aou",
    "sim_aou_unnormalised",
    "sim_am_after",
    "sim_am_delta",
    "sim_am_centred_after",
    "sim_am_softmax_after",
    "kendall",
    "kendall_examples",
)


@dataclass(frozen=True, kw_only=True)
class Line:
    """A dose curve of one task, mean over seeds, and where the measured value lies on it.

    `low`, `high`: ends of its interval, empty where the finding has none.
    """

    doses: tuple[float, ...]
    reading: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    measured: float
    at: float


def _mean(cells: Sequence[ControlResults], name: str) -> tuple[float, ...]:
    """A column of the tables, mean over the seeds that have it; empty where none has."""
    rows = [e.findings["dose"].tables.get(name) for e in cells]
    found = [[plain(x) for x in r] for r in rows if r is not None]
    if not found:
        return ()
    return tuple(float(x) for x in np.mean(found, axis=0))


def line(cells: Sequence[ControlResults], metric: str) -> Line | None:
    """The curve of one metric; None where a seed lacks it or has other doses."""
    tables: list[Mapping[str, Any]] = [e.findings["dose"].tables for e in cells]
    doses = {tuple(t.get("dose", ())) for t in tables}
    if len(doses) != 1 or not all(metric in t for t in tables):
        return None
    (x,) = doses
    y = _mean(cells, metric)
    base = [e.findings[BASE].series for e in cells if present(e)]
    measured = plain(mean_of([s[metric] for s in base if metric in s])) if base else math.nan
    gaps = math.isnan(measured) or any(map(math.isnan, y))
    gap = Undefined("no value") if gaps else measured - y[0]
    return Line(
        doses=tuple(map(float, x)),
        reading=y,
        low=_mean(cells, f"{metric}_low"),
        high=_mean(cells, f"{metric}_high"),
        measured=measured,
        at=plain(dose_of(gap, x, y)),
    )


def known_line(tables: Mapping[str, Any], metric: str) -> Line | None:
    """The curve of one metric on a known model, which has no measured value."""
    if metric not in tables:
        return None
    columns = [tables[metric], *(tables.get(f"{metric}_{end}", []) for end in ("low", "high"))]
    reading, low, high = (tuple(map(plain, column)) for column in columns)
    return Line(
        doses=tuple(map(float, tables["dose"])),
        reading=reading,
        low=low,
        high=high,
        measured=math.nan,
        at=math.nan,
    )


def null_band(tables: Mapping[str, Any], metric: str) -> tuple[float, float] | None:
    """Ends of the band of unrelated updates; None where there is none."""
    found = tables.get("null", {}).get(metric)
    return (plain(found[0]), plain(found[2])) if isinstance(found, list) else None


def draw_known(axis: Axes, found: Line, null: tuple[float, float] | None, label: str) -> None:
    """One curve over the band of unrelated updates."""
    if null is not None:
        axis.axhspan(*null, color=BAND, alpha=0.3, linewidth=0)
    draw(axis, {0: found}, label)


def known_figures(calibration: Calibration) -> tuple[Figure, ...]:
    """The dose curves of each constructed model that has them."""
    figures = []
    for name, tables in calibration.curves.items():
        panels = []
        for metric in (*SHOWN, "rec2ftp"):
            found = known_line(tables, metric)
            if found is not None:
                label = "percent" if metric == "rec2ftp" else _unit(metric)
                panels.append(
                    Panel(
                        title=names.metric(metric),
                        text=words({"a known model": found}),
                        draw=partial(
                            draw_known, found=found, null=null_band(tables, metric), label=label
                        ),
                    )
                )
        figures.append(
            Figure(
                id=f"dose-known-{name.replace('_', '-')}",
                title="What each metric reads on a known model at a known dose",
                caption=f"Finetuning is turned as above: {calibration.cases[name].title}. Shaded "
                "around the line: 95 % bootstrap intervals over queries. Grey: what unrelated "
                "updates of the same norm read. Model constructed, data drawn with seed "
                f"{calibration.provenance.seed}.",
                panels=tuple(panels),
                keys=(
                    Key(label="read", style=STYLES[0]),
                    Key(label="unrelated updates", style=None),
                ),
            )
        )
    return tuple(figures)


def _unit(metric: str) -> str:
    return "τ" if metric.startswith("kendall") else "cosine"


def draw(axis: Axes, lines: Mapping[int, Line], label: str) -> None:
    """Curves by the place of their style; a ring where the measured value lies."""
    axis.axhline(0, color=MUTED, linewidth=0.6)
    for place, found in lines.items():
        style = STYLES[place]
        if found.low and found.high:
            axis.fill_between(
                found.doses, found.low, found.high, color=style.colour, alpha=0.15, linewidth=0
            )
        axis.plot(found.doses, found.reading, **looks(style) | {"marker": ""})
        if math.isnan(found.at):
            continue
        ring = looks(style) | {"linestyle": "none", "markerfacecolor": PAPER}
        axis.plot([found.at], [found.measured], **ring, markersize=8, markeredgewidth=1.6)
    axis.set_xlabel("dose")
    axis.set_ylabel(label)


def _measured(found: Line) -> str:
    if math.isnan(found.measured):
        return ""
    return f"; measured {found.measured:.2f}, as at dose {found.at:.2f}"


def words(lines: Mapping[str, Line]) -> str:
    """Ends of every curve, and where the measured value lies on it."""
    return (
        "; ".join(
            f"{task}: from {x.reading[0]:.2f} at dose {x.doses[0]:g} to {x.reading[-1]:.2f} at "
            f"{x.doses[-1]:g}{_measured(x)}"
            for task, x in lines.items()
        )
        + "."
    )


def figures(results: Results) -> tuple[Figure, ...]:
    """One for each model; its lines are tasks."""
    cells = results.with_finding("dose")
    found = []
    for number, model in enumerate(dict.fromkeys(m for m, _, _ in cells)):
        own = {task: seeds for m, task, seeds in cells if m == model}
        panels = []
        for metric in SHOWN:
            pairs = [(i, t, line(s, metric)) for i, (t, s) in enumerate(own.items())]
            by_place = {i: x for i, _, x in pairs if x is not None}
            if by_place:
                panels.append(
                    Panel(
                        title=names.metric(metric),
                        text=words({t: x for _, t, x in pairs if x is not None}),
                        draw=partial(draw, lines=by_place, label=_unit(metric)),
                    )
                )
        if panels:
            used = [e for seeds in own.values() for e in seeds]
            found.append(
                Figure(
                    id=f"dose-{number + 1}" if number else "dose",
                    title=f"What each metric reads at a known dose: {model}",
                    caption="The update of finetuning is turned, its norm kept: the dose is its "
                    "cosine to the in-context update of the same cell, 1 is the same direction, "
                    "0 an unrelated one. Large marks: what was measured, placed where the "
                    "curve reads the same (at dose 0 where it reads less). Lines are tasks, means "
                    f"over seeds. {FIRST} {origin(used)}",
                    panels=tuple(panels),
                    keys=tuple(Key(label=t, style=s) for t, s in zip(own, STYLES, strict=False)),
                )
            )
    return tuple(found)
