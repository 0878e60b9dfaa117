"""Sections -> one HTML file that needs nothing else: no script, no font, no request."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from empirical.report.render.blocks import Section
from empirical.report.render.drawing import KINDS, Figure, Key, panel_svg
from empirical.report.render.svg import BAND_SWATCH, swatch, themed

_INTERVAL = re.compile(r"^(.*?) ?(\[[^\]]*\]) ?(.*)$", re.DOTALL)


def interval_parts(text: str) -> tuple[str, str, str]:
    """`0.1 [0, 0.2] 3/4` -> ("0.1", "[0, 0.2]", "3/4"); the last two may be empty."""
    found = _INTERVAL.match(text)
    return (found[1], found[2], found[3]) if found else (text, "", "")


def key_swatch(key: Key) -> Markup:
    """The piece of SVG before a legend entry."""
    style = key.style
    if style is None:
        return Markup(BAND_SWATCH)
    return Markup(swatch(style.colour, style.marker, style.dash, style.filled))


def inline_svg(figure: Figure, index: int) -> Markup:
    """One panel of a figure, drawn."""
    panel = figure.panels[index]
    drawn = panel_svg(panel, figure.size, figure.left)
    title = f"{figure.title}: {panel.title}"
    return Markup(themed(drawn, f"{figure.id}-{index}", title, panel.text))


def _resource(name: str) -> str:
    return files("empirical.report.render").joinpath(name).read_text(encoding="utf-8")


def render(title: str, lead: str, footer: str, sections: Sequence[Section]) -> str:
    """The page; every text is escaped, and a name that the template lacks is an error."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=False)
    environment.filters |= {
        "interval": interval_parts,
        "swatch": key_swatch,
        "inline_svg": inline_svg,
    }
    environment.globals["kinds"] = KINDS
    template = environment.from_string(_resource("template.html.jinja"))
    css = Markup(_resource("style.css"))
    page = template.render(title=title, lead=lead, footer=footer, sections=sections, css=css)
    return re.sub(r"\n\s*\n+", "\n", page) + "\n"
