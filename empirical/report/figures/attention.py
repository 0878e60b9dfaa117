"""Where the asking token looks on chosen heads: zero-shot, finetuned and in context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from empirical.report import names
from empirical.report.figures.heatmap import opacity
from empirical.report.render.drawing import Figure, Panel, ticks
from empirical.report.render.palette import RULE, STYLES
from empirical.report.results import Results
from empirical.results.control_results import ControlResults

ROWS = ("zero-shot", "finetuned", "in context")
GAP = 1.0  # between BOS, demonstrations and the query's own tokens


@dataclass(frozen=True, kw_only=True)
class Head:
    """Softmax weights of one head: `own` [3,T] and `bos` [3] by setting, `demonstrations` [k].

    `moved`: total variation between finetuned and zero-shot weights; `share`: λ.
    """

    layer: int
    head: int
    own: tuple[tuple[float, ...], ...]
    bos: tuple[float, ...]
    demonstrations: tuple[float, ...]
    moved: float
    share: float


def heads(tables: Mapping[str, Any]) -> tuple[Head, ...]:
    """The chosen heads of the finding "attention_maps"."""
    return tuple(
        Head(
            layer=int(layer),
            head=int(head),
            own=tuple(tuple(map(float, tables[key][i])) for key in ("zsl", "ft", "icl")),
            bos=tuple(map(float, tables["bos"][i])),
            demonstrations=tuple(map(float, tables["demonstrations"][i])),
            moved=float(tables["moved"][i]),
            share=float(tables["lambda"][i]),
        )
        for i, (layer, head) in enumerate(tables["heads"])
    )


def largest(found: Head) -> float:
    """The largest weight on the map, which has the whole colour."""
    return max((*found.bos, *found.demonstrations, *(x for row in found.own for x in row)))


def draw(axis: Axes, found: Head) -> None:
    """Cells by place: BOS, demonstrations (in context alone), the query's own tokens."""
    top, k, own = largest(found), len(found.demonstrations), len(found.own[0])
    shown, asking = 1 + GAP, 1 + GAP + k + GAP
    for i, row in enumerate(found.own):
        _cells(axis, i, 0, found.bos[i : i + 1], top)
        _cells(axis, i, asking, row, top)
    _cells(axis, 2, shown, found.demonstrations, top)
    ticks(axis, ROWS)
    axis.set_xlim(-0.5, asking + own)
    places = (0.5, shown + k / 2, asking + own / 2)
    axis.set_xticks(places, labels=["BOS", f"demonstrations ({k})", f"query ({own})"])
    axis.tick_params(length=0)
    for side in axis.spines.values():
        side.set_visible(False)


def _cells(axis: Axes, i: int, start: float, weights: Sequence[float], top: float) -> None:
    frame = (start, i - 0.42), len(weights), 0.84
    axis.add_patch(Rectangle(*frame, facecolor="none", edgecolor=RULE, linewidth=0.6))
    for j, weight in enumerate(weights):
        shade = 2 * opacity(weight, top)  # no number stands on it: up to the whole colour
        if shade > 0.01:
            axis.add_patch(
                Rectangle(
                    (start + j, i - 0.42),
                    1,
                    0.84,
                    facecolor=STYLES[0].colour,
                    alpha=shade,
                    linewidth=0,
                )
            )


def words(found: Head) -> str:
    """Masses by part in every setting."""
    lines = []
    for name, own, bos in zip(ROWS, found.own, found.bos, strict=True):
        place = max(range(len(own)), key=own.__getitem__)
        lines.append(
            f"{name}: {bos:.2f} on BOS, {sum(own):.2f} on the query, most on its token "
            f"{place + 1} ({own[place]:.2f})"
        )
    shown = found.demonstrations
    most = max(range(len(shown)), key=shown.__getitem__)
    lines.append(
        f"demonstrations: {sum(shown):.2f} in context, most on number {most + 1} "
        f"({shown[most]:.2f})"
    )
    return "; ".join(lines) + "."


def figure(model: str, task: str, cell: ControlResults, models: Sequence[str]) -> Figure:
    """The chosen heads of one cell."""
    found = heads(cell.findings["attention_maps"].tables)
    made = cell.provenance
    label = names.place(model, task, models)
    return Figure(
        id=f"attention-{list(dict.fromkeys(models)).index(model)}-{task}",
        title=f"Attention of the asking token: {label}",
        caption="Softmax weights before and after finetuning, and in context. Two heads that "
        "finetuning moves most (“moved”: total variation), then two with the most attention on "
        "the demonstrations (λ). The stronger the colour, the larger the weight, up to the number "
        f"over each map. Model {made.model}; data {made.source}; the first query (n = 1); "
        f"seed {made.seed}.",
        panels=tuple(
            Panel(
                title=f"layer {x.layer}, head {x.head}: moved {x.moved:.2f}, λ {x.share:.2f}, "
                f"largest {largest(x):.2f}",
                text=words(x),
                draw=partial(draw, found=x),
            )
            for x in found
        ),
        size=(3.9, 1.3),
        columns=2,
        least=26.0,
        left=0.8,
    )


def figures(results: Results) -> tuple[Figure, ...]:
    """One for each model and task that has maps, of its first seed."""
    models = [m for m, _ in results.cells()]
    return tuple(
        figure(model, task, seeds[0], models)
        for model, task, seeds in results.with_finding("attention_maps")
    )
