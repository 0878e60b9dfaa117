"""The colours of figures: those of the light theme, and the CSS property that stands for each.

Files in `figures/` keep these; in the page each becomes `var(--NAME)` and follows the theme. A
series has a colour, a marker and a line of its own, so that no series is told by colour alone.
"""

from __future__ import annotations

from dataclasses import dataclass

COLOURS = {
    "paper": "#fefefe",
    "ink": "#1b1d20",
    "muted": "#565b61",
    "rule": "#c9cdd2",
    "band": "#8c9299",
    "series-1": "#0b5fa5",
    "series-2": "#b04a00",
    "series-3": "#00705a",
    "series-4": "#8a3c8c",
    "series-5": "#7a6200",
    "series-6": "#c2264b",
}
PAPER, INK, MUTED, RULE, BAND = (COLOURS[k] for k in ("paper", "ink", "muted", "rule", "band"))


@dataclass(frozen=True, kw_only=True)
class Style:
    """How one series is drawn; `dash` is an SVG dash array, () for a whole line."""

    colour: str
    marker: str
    dash: tuple[float, ...]
    filled: bool


def _styles() -> tuple[Style, ...]:
    markers = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")
    dashes: tuple[tuple[float, ...], ...] = (
        (),
        (5, 2),
        (1, 1.5),
        (5, 2, 1, 2),
        (2.5, 1.5),
        (7, 2),
        (5, 1.5, 1, 1.5, 1, 1.5),
        (8, 3),
        (3, 1),
        (1, 3),
    )
    names = [k for k in COLOURS if k.startswith("series-")]
    return tuple(
        Style(
            colour=COLOURS[names[i % len(names)]],
            marker=markers[i],
            dash=dashes[i],
            filled=i < len(names),
        )
        for i in range(len(markers))
    )


STYLES = _styles()
