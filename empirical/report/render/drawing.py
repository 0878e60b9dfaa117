"""Figures as lists of panels: drawn together for files, one by one for the page.

A panel of the page is as wide as a phone, and panels flow in as many columns as fit. The same input
gives the same bytes: identifiers are hashed with a fixed salt, and no date is written.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from empirical.core.json_files import whole_bytes
from empirical.report.render.palette import BAND, INK, MUTED, PAPER, RULE, Style

SETTINGS: Any = {
    "svg.hashsalt": "dualform", "svg.fonttype": "none", "pdf.fonttype": 42,
    "font.family": ["DejaVu Sans"], "font.size": 8.5, "axes.titlesize": 8.5,
    "axes.labelsize": 8.5, "xtick.labelsize": 8, "ytick.labelsize": 8, "legend.fontsize": 8,
    "figure.facecolor": PAPER, "axes.facecolor": PAPER, "savefig.facecolor": PAPER,
    "axes.edgecolor": MUTED, "axes.labelcolor": INK, "text.color": INK, "xtick.color": MUTED,
    "ytick.color": MUTED, "xtick.labelcolor": INK, "ytick.labelcolor": INK, "axes.linewidth": 0.7,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": False,
    "grid.color": RULE, "grid.linewidth": 0.6, "lines.linewidth": 1.4, "lines.markersize": 4.5,
    "axes.titlelocation": "left", "legend.frameon": False, "path.simplify": False,
    "axes.unicode_minus": True, "text.parse_math": False,
}  # fmt: skip
RIGHT, BELOW, ABOVE = 0.14, 0.48, 0.08  # room around axes, in inches
HEADING, TITLE = 0.2, 0.32  # over a panel and over a whole figure
NOTHING = {"Date": None, "Creator": None, "Format": None, "Type": None}
UNDATED = {"CreationDate": None, "Creator": None, "Producer": None}
KINDS = {"svg": NOTHING, "pdf": UNDATED}


@dataclass(frozen=True, kw_only=True)
class Key:
    """One entry of a legend; without a style it is the band."""

    label: str
    style: Style | None


@dataclass(frozen=True, kw_only=True)
class Panel:
    """`title` over the panel; `text` says in words what it shows, for who cannot see it."""

    title: str
    text: str
    draw: Callable[[Axes], None]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """`caption`: what, on which model, data, n and seeds. `size`: of a panel, in inches.

    `columns`: of a file. `least`: how wide a panel of the page is at least, in rem. `left`: room
    for the names of the vertical axis, in inches (a layout engine would draw everything twice).
    """

    id: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    keys: tuple[Key, ...] = ()
    size: tuple[float, float] = (3.9, 2.6)
    columns: int = 3
    least: float = 19.0
    left: float = 0.62


@contextmanager
def settings() -> Iterator[None]:
    """matplotlib as the figures need it, for the duration."""
    with matplotlib.rc_context(SETTINGS):
        yield


def dashes(style: Style) -> Any:
    """The line style for matplotlib."""
    return (0, style.dash) if style.dash else "-"


def looks(style: Style) -> dict[str, Any]:
    """Keyword arguments of `Axes.plot` for a series."""
    return {
        "color": style.colour,
        "marker": style.marker,
        "linestyle": dashes(style),
        "markerfacecolor": style.colour if style.filled else PAPER,
    }


def panel_svg(panel: Panel, size: tuple[float, float], left: float = 0.62) -> str:
    """One panel alone, as the SVG text of matplotlib."""
    with settings():
        canvas = Canvas(figsize=size)
        place = (left, BELOW, size[0] - left - RIGHT, size[1] - BELOW - ABOVE)
        panel.draw(_axes(canvas, *place))
        out = io.StringIO()
        canvas.savefig(out, format="svg", metadata=NOTHING)
    return out.getvalue()


def _axes(canvas: Canvas, left: float, bottom: float, wide: float, high: float) -> Axes:
    """Axes at a place in inches."""
    full = canvas.get_figwidth(), canvas.get_figheight()
    return canvas.add_axes((left / full[0], bottom / full[1], wide / full[0], high / full[1]))


def _handle(key: Key) -> Line2D | Patch:
    if key.style is None:
        return Patch(facecolor=BAND, alpha=0.3, label=key.label)
    return Line2D([], [], label=key.label, **looks(key.style))


def whole(figure: Figure) -> Canvas:
    """All panels on one canvas under the title, the legend below."""
    columns = min(figure.columns, len(figure.panels))
    rows = math.ceil(len(figure.panels) / columns)
    wide, high = figure.size[0], figure.size[1] + HEADING
    legend = 0.15 + 0.2 * math.ceil(len(figure.keys) / columns) if figure.keys else 0.0
    canvas = Canvas(figsize=(wide * columns, high * rows + TITLE + legend))
    for i, panel in enumerate(figure.panels):
        row, column = divmod(i, columns)
        left, bottom = column * wide + figure.left, legend + (rows - 1 - row) * high + BELOW
        inner = wide - figure.left - RIGHT, figure.size[1] - BELOW - ABOVE
        axis = _axes(canvas, left, bottom, *inner)
        panel.draw(axis)
        axis.set_title(panel.title)
    total = canvas.get_figheight()
    canvas.text(0.1 / canvas.get_figwidth(), 1 - 0.08 / total, figure.title, fontsize=10, va="top")
    if figure.keys:
        canvas.legend(
            handles=[_handle(k) for k in figure.keys],
            loc="lower left",
            ncols=columns,
            handlelength=3,
            borderaxespad=0.3,
        )
    return canvas


def save(figure: Figure, folder: Path) -> list[Path]:
    """`ID.svg` and `ID.pdf` in light colours; the same figure, the same bytes."""
    paths = []
    with settings():
        canvas = whole(figure)
        for kind, metadata in KINDS.items():
            out = io.BytesIO()
            canvas.savefig(out, format=kind, metadata=metadata)
            paths.append(Path(folder) / f"{figure.id}.{kind}")
            whole_bytes(paths[-1], out.getvalue())
    return paths


def ticks(axis: Axes, names: Sequence[str], vertical: bool = True) -> None:
    """Names at 0, 1, 2, ... of one axis; the first on top where it is the vertical one.

    The horizontal axis then carries few numbers.
    """
    if vertical:
        axis.xaxis.set_major_locator(MaxNLocator(5))  # numbers that have room
        axis.set_yticks(range(len(names)), labels=list(names))
        axis.set_ylim(len(names) - 0.5, -0.5)
    else:
        axis.set_xticks(range(len(names)), labels=list(names))
        axis.set_xlim(-0.5, len(names) - 0.5)
