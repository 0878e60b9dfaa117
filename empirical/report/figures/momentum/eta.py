"""The effect of every kind against eta, less plain attention, on held-out books at full length."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from empirical.analysis.momentum.outcome import AtScale, Language
from empirical.core.undefined import Undefined
from empirical.report import names
from empirical.report.figures.marks import Mark, mark
from empirical.report.figures.momentum.curves import style
from empirical.report.render.drawing import Figure, Panel, looks
from empirical.report.render.palette import INK, MUTED, PAPER
from empirical.results.attention_kinds import KINDS, PLAIN
from empirical.results.language_models import VALIDATION

Point = tuple[float, Mark]
LEARNED = 1.08  # where learned etas stand on the axis of etas, which ends below 1
ZERO = "as plain attention"
LINEAR = 0.01  # nats (1 % of perplexity): beyond, the axis is logarithmic
WIDE = 0.1  # nats: a panel with a larger effect needs that, or the others could not be seen


def points(found: Sequence[Language]) -> tuple[Point, ...]:
    """(eta, difference); those without a value are left out, which leaves a gap."""
    marks = [(x.layer.eta, mark(names.layer(x.layer), x.difference)) for x in found]
    return tuple((eta, m) for eta, m in marks if eta is not None and m is not None)


def learned(scale: AtScale, kind: str) -> tuple[Mark, ...]:
    """The learned etas of a kind, on the same books."""
    own = [x for x in scale.on_text(f"{VALIDATION}-{scale.length}") if x.layer.kind == kind]
    marks = [mark(names.layer(x.layer), x.difference) for x in own if x.layer.learned]
    return tuple(m for m in marks if m is not None)


def draw(axis: Axes, kind: str, fixed: Sequence[Point], free: Sequence[Mark]) -> None:
    """A line over eta with intervals; learned etas stand right of it, hollow."""
    look = looks(style(kind))
    axis.axhline(0, color=MUTED, linewidth=0.8)
    axis.annotate(
        ZERO,
        (0.02, 0),
        xycoords=("axes fraction", "data"),
        xytext=(0, 2),
        textcoords="offset points",
        color=INK,
        fontsize=7.5,
    )
    axis.plot([eta for eta, _ in fixed], [m.value for _, m in fixed], **look)
    marks = [*fixed, *((LEARNED, m) for m in free)]
    for place, one in marks:
        if one.ends is not None:
            axis.vlines(place, *one.ends, color=style(kind).colour, linewidth=1.2)
    hollow = look | {"linestyle": "none", "markerfacecolor": PAPER, "markersize": 6}
    axis.plot([LEARNED] * len(free), [m.value for m in free], **hollow)
    etas = [eta for eta, _ in fixed]
    axis.set_xticks(
        [*etas, *([LEARNED] if free else [])],
        labels=[*(f"{x:g}" for x in etas), *(["learned"] if free else [])],
    )
    axis.set_xlim(-0.04, 1.2 if free else 1.04)
    _compress(axis, [m.value for _, m in marks])
    axis.set_xlabel("η")
    axis.set_ylabel("loss less plain (nats)")


def _compress(axis: Axes, values: Sequence[float]) -> None:
    """A scale on which the smallest effects are seen beside the largest."""
    if any(abs(x) > WIDE for x in values):
        axis.set_yscale("symlog", linthresh=LINEAR)
        axis.autoscale_view()  # margins as they are on this scale
        axis.yaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}".replace("-", "−")))


def _said(one: Mark) -> str:
    if one.ends is None:
        return f"{one.value:.4f} without an interval"
    return f"{one.value:.4f} ({one.ends[0]:.4f} to {one.ends[1]:.4f})"


def words(fixed: Sequence[Point], free: Sequence[Mark]) -> str:
    """Every point with its interval."""
    parts = [f"at eta {eta:g}: {_said(m)}" for eta, m in fixed]
    parts += [f"learned: {_said(m)}" for m in free]
    return "Loss less that of plain attention, " + "; ".join(parts) + "."


def _panel(scale: AtScale, kind: str) -> Panel | None:
    found = scale.against_eta(kind)
    fixed, free = points(found), learned(scale, kind)
    if not fixed and not free:
        return None
    gone = [f"η = {x.layer.eta:g}" for x in found if isinstance(x.difference.value, Undefined)]
    text = words(fixed, free) + (f" No value: {', '.join(gone)}." if gone else "")
    return Panel(
        title=KINDS[kind].title, text=text, draw=partial(draw, kind=kind, fixed=fixed, free=free)
    )


def figure(scale: AtScale) -> Figure | None:
    """A panel for each kind; None where nothing can be set against plain attention."""
    found = [_panel(scale, k) for k in KINDS if k != PLAIN]
    panels = tuple(p for p in found if p is not None)
    if not panels:
        return None
    return Figure(
        id=f"momentum-eta-{names.slug(scale.scale)}",
        title=f"Effect against eta: {scale.scale}",
        caption="Loss less that of plain attention on held-out books at full length: below the "
        "line, better. Vertical lines are 95 % intervals over windows and seeds, paired. "
        "Each panel has a scale of its own; where an effect is beyond 0.1 nats, it is "
        "logarithmic beyond 0.01. "
        f"Scale {scale.scale}, length {scale.length}, seeds {', '.join(map(str, scale.seeds))}.",
        panels=panels,
        left=0.85,
    )
