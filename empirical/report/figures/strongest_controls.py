"""The first figure: every metric beside the strongest control of each kind, task by task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from matplotlib.axes import Axes

from empirical.analysis.claims import CONTEXTS, FINETUNING, GAINS, MODELS
from empirical.analysis.comparisons import Compared, Comparison
from empirical.report import names
from empirical.report.figures.marks import Mark, mark
from empirical.report.render.drawing import Figure, Key, Panel, looks, ticks
from empirical.report.render.palette import MUTED, RULE, STYLES
from empirical.report.results import Results
from empirical.report.tables.pooling import FIRST, origin

METRICS = (
    "rec2ftp",
    "rec2ftp_excess",
    "sim_aou",
    "sim_aou_unnormalised",
    "sim_am_gain",
    "sim_am_delta",
    "kendall",
    "kendall_examples",
)
KINDS: Mapping[str, str] = {
    "line": "strongest base line of the metric itself",
    "finetuning": "strongest other finetuning",
    "context": "strongest other context",
    "model": "strongest untrained model",
    "ranks": "ranks before any finetuning",
}


def kind(control: str) -> str:
    """Which kind a required control is of."""
    groups = {
        "finetuning": FINETUNING,
        "context": CONTEXTS,
        "model": MODELS,
        "ranks": ("kendall_unfinetuned",),
    }
    return next((k for k, members in groups.items() if control in members), "line")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One task: what was measured, and the strongest control of every kind."""

    task: str
    ours: Mark | None
    controls: Mapping[str, Mark]


def row(task: str, compared: Sequence[Comparison]) -> Row:
    """Of the required controls of one metric and task that are not set aside.

    A gain is already less its base line.
    """
    required = [c for c in compared if c.required]
    if compared and compared[0].metric in GAINS:
        required = [c for c in required if kind(c.control) != "line"]
    best: dict[str, Mark] = {}
    for one in (c for c in required if c.set_aside is None):
        found = mark(one.control, one.theirs)
        held = best.get(kind(one.control))
        if found is not None and (held is None or found.value > held.value):
            best[kind(one.control)] = found
    ours = [m for c in required if (m := mark("measured", c.ours)) is not None]
    return Row(task=task, ours=ours[0] if ours else None, controls=best)


def draw(axis: Axes, rows: Sequence[Row], unit: str) -> None:
    """Dots with intervals, each kind on a height of its own in the row of its task."""
    if unit != "percent":
        axis.axvline(0, color=MUTED, linewidth=0.6)
    for i, one in enumerate(rows):
        if i:
            axis.axhline(i - 0.5, color=RULE, linewidth=0.6)
        marks = [(0, one.ours), *((j, one.controls.get(k)) for j, k in enumerate(KINDS, 1))]
        for place, found in marks:
            if found is not None:
                _dot(axis, found, i - 0.3 + 0.12 * place, place)
    ticks(axis, [r.task for r in rows])
    axis.set_xlabel(unit)


def _dot(axis: Axes, found: Mark, height: float, place: int) -> None:
    style = looks(STYLES[place]) | {"linestyle": "none", "markersize": 5.5 if place == 0 else 4}
    if found.ends is not None:
        axis.hlines(
            height, *found.ends, color=STYLES[place].colour, linewidth=2.2 if place == 0 else 1.2
        )
    axis.plot([found.value], [height], **style)


def _said(found: Mark) -> str:
    text = f"{found.value:.2f}"
    return text if found.ends is None else f"{text} ({found.ends[0]:.2f} to {found.ends[1]:.2f})"


def words(rows: Sequence[Row]) -> str:
    """The panel in words: every mark with the name of its control."""
    lines = []
    for one in rows:
        parts = [] if one.ours is None else [f"measured {_said(one.ours)}"]
        parts += [f"{names.control(m.name)} {_said(m)}" for m in one.controls.values()]
        lines.append(f"{one.task}: {', '.join(parts) or 'no value'}")
    return "; ".join(lines) + "."


def unit(metric: str) -> str:
    """Of the horizontal axis."""
    if metric == "rec2ftp_excess":
        return "points"
    return "percent" if names.percent(metric) else "τ" if "kendall" in metric else "cosine"


def figures(results: Results, compared: Compared) -> tuple[Figure, ...]:
    """One for each model."""
    found = []
    for number, model in enumerate(compared.models):
        tasks = [t for m, t in results.cells() if m == model]
        panels, used = [], set[str]()
        for metric in METRICS:
            own = compared.of(model, metric)
            rows = [row(t, [c for c in own if c.task == t]) for t in tasks]
            rows = [r for r in rows if r.ours is not None]
            if rows:
                used |= {k for r in rows for k in r.controls}
                panels.append(
                    Panel(
                        title=names.metric(metric),
                        text=words(rows),
                        draw=partial(draw, rows=rows, unit=unit(metric)),
                    )
                )
        if panels:
            found.append(_figure(results, model, number, panels, used))
    return tuple(found)


def _figure(
    results: Results, model: str, number: int, panels: Sequence[Panel], used: set[str]
) -> Figure:
    cells = [e for e in results.evidence if e.provenance.model == model]
    rows = max(1, len({e.task for e in cells}))
    keys = [Key(label="as measured", style=STYLES[0])]
    keys += [Key(label=KINDS[k], style=STYLES[i]) for i, k in enumerate(KINDS, 1) if k in used]
    return Figure(
        id=f"overview-{number + 1}" if number else "overview",
        title=f"Every metric beside its strongest controls: {model}",
        caption="A claim is supported only where the measured value (thick) lies to the right of "
        "every control, and the paired differences below decide. Lines are 95 % intervals over "
        "examples and seeds; a control is the "
        "strongest of its kind in each task. The gain of SimAM is less its value before "
        f"finetuning already. {FIRST} {origin(cells)}",
        panels=tuple(panels),
        keys=tuple(keys),
        size=(3.9, 0.75 + 0.52 * rows),
        columns=2,
    )
