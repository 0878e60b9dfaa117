"""A matrix as shaded cells with numbers; sign by hue and by the number, size by opacity.

Cells are see-through pieces of two colours of the theme, so that one drawing serves both themes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from empirical.report.render.drawing import ticks
from empirical.report.render.palette import INK, RULE, STYLES

STRONGEST = 0.5  # opacity of the largest value: the numbers stay legible on it
NUMBERS = 80  # cells at most that carry their numbers
Matrix = Sequence[Sequence[float]]


def opacity(value: float, largest: float) -> float:
    """From 0 to `STRONGEST`, in proportion to |value|."""
    return STRONGEST * min(1.0, abs(value) / largest) if largest > 0 else 0.0


def signed(value: float, digits: int) -> str:
    """With a true minus sign, and none before a zero."""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def heat(
    axis: Axes,
    matrix: Matrix,
    rows: Sequence[str],
    columns: Sequence[str],
    largest: float,
    digits: int = 2,
) -> None:
    """Cells of `matrix`; one that is nan stays empty and is crossed out."""
    count = sum(len(row) for row in matrix)
    for i, row in enumerate(matrix):
        for j, value in enumerate(row):
            _cell(axis, i, j, value, largest)
            if count <= NUMBERS and not math.isnan(value):
                axis.text(
                    j, i, signed(value, digits), ha="center", va="center", fontsize=7, color=INK
                )
    ticks(axis, rows)
    ticks(axis, columns, vertical=False)
    axis.tick_params(length=0)
    for side in axis.spines.values():
        side.set_visible(False)


def _cell(axis: Axes, i: int, j: int, value: float, largest: float) -> None:
    corner = (j - 0.5, i - 0.5)
    if math.isnan(value):
        axis.plot([j - 0.3, j + 0.3], [i + 0.3, i - 0.3], color=RULE, linewidth=0.8)
        return
    colour = STYLES[0].colour if value >= 0 else STYLES[1].colour
    axis.add_patch(
        Rectangle(corner, 1, 1, facecolor=colour, alpha=opacity(value, largest), linewidth=0)
    )
    axis.add_patch(Rectangle(corner, 1, 1, facecolor="none", edgecolor=RULE, linewidth=0.5))
