"""Learning curves of the trained models: a thin line for a seed, colour and dash by kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from empirical.report import names
from empirical.report.render.drawing import Figure, Key, Panel, looks
from empirical.report.render.palette import STYLES, Style
from empirical.results.attention_kinds import KINDS, Layer
from empirical.results.language_models import Trained

Points = tuple[tuple[int, float], ...]


def style(kind: str) -> Style:
    """The colour, marker and dash of a kind, the same in every figure."""
    return STYLES[list(KINDS).index(kind)]


def style_of(layer: Layer) -> Style:
    """The style of its kind; with learned etas, hollow and with a dash that no kind has."""
    own = style(layer.kind)
    return replace(own, dash=STYLES[len(KINDS)].dash, filled=False) if layer.learned else own


def draw(axis: Axes, runs: Sequence[Trained], take: Callable[[Trained], Points]) -> None:
    """One thin line for each run."""
    for run in runs:
        points = take(run)
        look = looks(style_of(run.layer)) | {"marker": "", "linewidth": 0.8}
        axis.plot([s for s, _ in points], [x for _, x in points], **look)
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axis.set_xlabel("step")
    axis.set_ylabel("loss (nats per token)")


def words(runs: Sequence[Trained], take: Callable[[Trained], Points]) -> str:
    """Where the lines of every layer end."""
    lines = []
    for layer in dict.fromkeys(r.layer for r in runs):
        last = [take(r)[-1] for r in runs if r.layer == layer and take(r)]
        if last:
            ends = ", ".join(f"{x:.3f}" for _, x in last)
            lines.append(f"{names.layer(layer)}: {ends} at step {last[0][0]}")
    return "; ".join(lines) + "."


def _training(run: Trained) -> Points:
    return run.curve


def _held_out(run: Trained) -> Points:
    return run.held_out_curve


def _late(run: Trained) -> Points:
    """The second half, where the lines lie close together."""
    points = run.held_out_curve
    return tuple(p for p in points if 2 * p[0] >= points[-1][0])


def figure(scale: str, runs: Sequence[Trained], layers: Sequence[Layer]) -> Figure:
    """The runs of one scale whose layer is among `layers`."""
    shown = [r for r in runs if r.layer in layers]
    drawn = tuple(dict.fromkeys(r.layer for r in shown))
    panels = (
        ("Training", _training),
        ("Windows that choose eta", _held_out),
        ("The same, second half of the steps", _late),
    )
    seeds = sorted({r.seed for r in shown})
    return Figure(
        id=f"momentum-curves-{names.slug(scale)}",
        title=f"Learning curves: {scale}",
        caption="Every thin line is one seed of a layer, at its chosen eta or with learned ones. "
        "First: loss on the windows trained on; then on windows of training books that are never "
        f"trained on. {len(shown)} models; seeds {', '.join(map(str, seeds))}.",
        panels=tuple(
            Panel(title=title, text=words(shown, take), draw=partial(draw, runs=shown, take=take))
            for title, take in panels
        ),
        keys=tuple(Key(label=names.layer(x), style=style_of(x)) for x in drawn),
    )
