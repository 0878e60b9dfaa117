"""Every similarity layer by layer, with its interval, its controls and the band they span."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from empirical.report import names
from empirical.report.render.drawing import Figure, Key, Panel, looks
from empirical.report.render.palette import BAND, MUTED, STYLES, Style
from empirical.report.results import Results, findings
from empirical.report.tables.pooling import Curve, curve, origin
from empirical.results.control_results import BASE, ControlResults


@dataclass(frozen=True, kw_only=True)
class Against:
    """A metric, and what it is drawn against: (finding, series) that unrelated updates give."""

    metric: str
    nulls: tuple[tuple[str, str], ...]


def _same(metric: str, *controls: str) -> tuple[tuple[str, str], ...]:
    return tuple((c, metric) for c in controls)


_OUTPUTS = ("ft_random", "ft_other_task", "icl_random_tokens", "untrained")
CURVES = (
    Against(
        metric="sim_aou",
        nulls=((BASE, "sim_aou_floor"), *_same("sim_aou", *_OUTPUTS)),
    ),
    Against(metric="sim_aou_unnormalised", nulls=_same("sim_aou_unnormalised", *_OUTPUTS)),
    Against(
        metric="sim_am_after",
        nulls=((BASE, "sim_am_before"), *_same("sim_am_after", *_OUTPUTS)),
    ),
    Against(metric="sim_am_delta", nulls=_same("sim_am_delta", *_OUTPUTS)),
    Against(
        metric="sim_am_centred_after",
        nulls=((BASE, "sim_am_centred_before"), *_same("sim_am_centred_after", *_OUTPUTS)),
    ),
    Against(
        metric="sim_am_softmax_after",
        nulls=((BASE, "sim_am_softmax_before"), *_same("sim_am_softmax_after", *_OUTPUTS)),
    ),
    Against(
        metric="kendall",
        nulls=(
            (BASE, "kendall_random"),
            *_same("kendall", "kendall_unfinetuned", "ft_random", "untrained"),
        ),
    ),
    Against(
        metric="kendall_examples",
        nulls=(
            (BASE, "kendall_lengths"),
            *_same("kendall_examples", "kendall_unfinetuned", "ft_random", "untrained"),
        ),
    ),
)


def label(null: tuple[str, str]) -> str:
    """A null in a few words."""
    finding, series = null
    return names.metric(series) if finding == BASE else names.control(finding)


def _line(axis: Axes, found: Curve, style: Style, bold: bool) -> None:
    at = range(len(found.mean))
    if bold:
        axis.fill_between(at, found.low, found.high, color=style.colour, alpha=0.2, linewidth=0)
    axis.plot(
        at, found.mean, **looks(style), linewidth=2.0 if bold else 1.2, zorder=4 if bold else 2
    )


def draw(axis: Axes, own: Curve, nulls: Mapping[int, Curve]) -> None:
    """One panel: `nulls` by the place of their style."""
    if nulls:
        ends = list(nulls.values())
        low = [_end(min, [c.low[i] for c in ends]) for i in range(len(own.mean))]
        high = [_end(max, [c.high[i] for c in ends]) for i in range(len(own.mean))]
        axis.fill_between(range(len(low)), low, high, color=BAND, alpha=0.25, linewidth=0)
    axis.axhline(0, color=MUTED, linewidth=0.6)
    for place, found in nulls.items():
        _line(axis, found, STYLES[place], False)
    _line(axis, own, STYLES[0], True)
    axis.set_xlabel("layer")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _end(pick: object, values: Sequence[float]) -> float:
    known = [x for x in values if not math.isnan(x)]
    return pick(known) if known else math.nan  # type: ignore[operator] # min or max


def _words(name: str, own: Curve, shown: Mapping[str, Curve]) -> str:
    def of(found: Curve) -> str:
        return ", ".join("none" if math.isnan(x) else f"{x:.2f}" for x in found.mean)

    lines = [f"{name} by layer from the first: {of(own)}."]
    return " ".join([*lines, *(f"{k}: {of(c)}." for k, c in shown.items())])


def _examples(cells: Sequence[ControlResults], metric: str) -> str:
    """n of the metric, which may be of the first examples only."""
    counts = sorted({len(e.findings[BASE].series[metric].values) for e in cells})
    return f"n = {' to '.join(map(str, dict.fromkeys((counts[0], counts[-1]))))} examples per task"


def figure(results: Results, against: Against) -> Figure | None:
    """Panels of all cells that have the metric; None where none has."""
    models = [m for m, _ in results.cells()]
    panels, used, cells = [], set(), []
    for model, task, seeds in results.with_finding(BASE):
        own = curve(findings(seeds, BASE), against.metric)
        if own is None:
            continue
        nulls = {}
        for i, (name, series) in enumerate(against.nulls, 1):
            found = curve(findings(seeds, name), series)
            if found is not None and len(found.mean) == len(own.mean):
                nulls[i] = found
        used |= set(nulls)
        cells += list(seeds)
        words = {label(against.nulls[i - 1]): c for i, c in nulls.items()}
        panels.append(
            Panel(
                title=names.place(model, task, models),
                text=_words(names.metric(against.metric), own, words),
                draw=partial(draw, own=own, nulls=nulls),
            )
        )
    if not panels:
        return None
    keys = [Key(label=f"{names.metric(against.metric)}, as measured", style=STYLES[0])]
    keys += [Key(label=label(against.nulls[i - 1]), style=STYLES[i]) for i in sorted(used)]
    if used:
        keys.append(Key(label="range of the controls with their intervals", style=None))
    return Figure(
        id=f"layers-{against.metric.replace('_', '-')}",
        title=f"{names.metric(against.metric)} in every layer",
        caption="Shaded around the thick line: 95 % bootstrap interval over examples, from the "
        "lowest to the highest end over seeds. Only what lies above the grey band is more than "
        f"the controls give. {origin(cells, _examples(cells, against.metric))}",
        panels=tuple(panels),
        keys=tuple(keys),
    )
