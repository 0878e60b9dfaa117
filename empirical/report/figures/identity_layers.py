"""A document of checks as a figure: lambda, the relaxation and gap/bound, layer by layer.

matplotlib is the extra `report`. Shades of grey and shapes alone carry the meaning. The same
document gives the same SVG.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from empirical.core.errors import UserError

KINDS = (".svg", ".png")
FLOOR = 1e-4  # gaps of zero are drawn here, on the axis, as triangles that point down
DARK, MIDDLE, LIGHT = "black", "0.45", "0.85"


def check_figure(path: Path) -> None:
    """Refuse a figure that could not be drawn in the end.

    Raises:
        UserError: for another kind of file, a folder that is not there, or without matplotlib.
    """
    if path.suffix.lower() not in KINDS:
        raise UserError(
            f"expected a figure that ends in {' or '.join(KINDS)}, got {path}; rename it"
        )
    if not path.parent.is_dir():
        raise UserError(
            f"expected an existing folder for the figure, got {path.parent}; create it first"
        )
    if find_spec("matplotlib") is None:
        raise UserError(
            "expected matplotlib to draw a figure, got none; run "
            '`pip install "dualform[report]"`, or leave --figure away'
        )


def _number(value: Any) -> float:
    """A stored number; nan where it is undefined."""
    return math.nan if isinstance(value, dict) else float(value)


def _spread(axis: Any, layers: Sequence[Mapping[str, Any]], name: str, label: str) -> None:
    """Mean over heads as a line, their range as a band."""
    at = [layer["layer"] for layer in layers]
    found = [layer["softmax"][name] for layer in layers]
    low, mean, high = ([_number(x[key]) for x in found] for key in ("low", "mean", "high"))
    axis.fill_between(
        at, low, high, color=LIGHT, linewidth=0, label="range over heads (λ, relaxation)"
    )
    axis.vlines(at, low, high, color=MIDDLE, linewidth=0.6)
    axis.plot(
        at,
        mean,
        color=DARK,
        marker="o",
        markersize=3.5,
        linewidth=1,
        label="mean over heads (λ, relaxation)",
    )
    axis.set_ylabel(label)


def _ratios(axis: Any, layers: Sequence[Mapping[str, Any]]) -> None:
    """Every identity under the line at one, every near miss over it."""
    holds, zeros, misses, worst = [], [], [], []
    for layer in layers:
        at, here = layer["layer"], []
        for heads in layer["statements"].values():
            here.append(max(_number(h["worst_ratio"]) for h in heads))
            near = [h for h in heads if h["near_miss_is_true"] is None]
            misses += [(at, min(_number(h["near_miss_ratio"]) for h in near))] if near else []
        holds += [(at, x) for x in here if x > FLOOR]
        zeros += [(at, FLOOR) for x in here if x <= FLOOR]
        worst.append((at, max(here)))
    axis.plot(
        *_columns(misses),
        marker="^",
        markersize=4,
        markerfacecolor="white",
        color=MIDDLE,
        linestyle="none",
        label="near miss (smallest over heads)",
    )
    axis.axhline(1, color=DARK, linestyle="--", linewidth=1)
    axis.plot(
        *_columns(holds),
        marker="o",
        markersize=2.5,
        color=MIDDLE,
        linestyle="none",
        label="identity (largest over heads)",
    )
    axis.plot(
        *_columns(zeros),
        marker="v",
        markersize=4,
        color=MIDDLE,
        linestyle="none",
        label=f"identity ({FLOOR:g} or less)",
        clip_on=False,
    )
    axis.plot(
        *_columns(worst),
        color=DARK,
        marker="s",
        markersize=3.5,
        linewidth=1,
        label="largest of all identities",
    )
    axis.set_yscale("log")
    axis.set_ylim(bottom=FLOOR)
    axis.set_ylabel("gap / bound")
    axis.annotate(
        "1: identities stay under it, near misses over it",
        (1, 1),
        (-4, 3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        fontsize=7,
    )


def _columns(points: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def title(value: Mapping[str, Any]) -> str:
    """What was read by what."""
    made = value["provenance"]
    return (
        f"{made['model']} reading {value['task']}: {made['k']} demonstrations, "
        f"{made['context_length']} tokens"
    )


def draw(value: Mapping[str, Any], path: Path) -> None:
    """Write the figure of a document of checks as SVG or PNG, by its ending.

    Raises:
        UserError: see `check_figure`, or where the file cannot be written.
    """
    check_figure(path)
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    layers = value["layers"]
    with matplotlib.rc_context({"svg.hashsalt": "dualform", "font.size": 8}):
        figure = Figure(figsize=(6.4, 7.2), layout="constrained")
        top, middle, low = figure.subplots(3, 1, sharex=True, height_ratios=(2, 2, 3))
        _spread(top, layers, "demonstrations", "λ: share of softmax\non the demonstrations")
        top.set_ylim(0, 1)
        _spread(middle, layers, "relaxation", "relaxation\n$|V K^T q - F|\\,/\\,|F|$")
        middle.set_yscale("log")
        _ratios(low, layers)
        low.set_xlabel("layer")
        low.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        low.set_xlim(layers[0]["layer"] - 0.5, layers[-1]["layer"] + 0.5)
        figure.suptitle(title(value), fontsize=9)
        curves, points = (axis.get_legend_handles_labels() for axis in (top, low))
        handles, labels = (a + b for a, b in zip(curves, points, strict=True))
        figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
        metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
        try:
            figure.savefig(path, dpi=200, metadata=metadata)
        except OSError as error:
            raise UserError(
                f"expected a figure that can be written at {path}, got: {error.strerror}; "
                "name another one"
            ) from error
