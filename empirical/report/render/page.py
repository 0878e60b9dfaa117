"""Sections -> one HTML file that needs nothing else: no script, no font, no request."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from empirical.report.render.blocks import Block, Details, Plot, Section
from empirical.report.render.drawing import KINDS, Figure, Key, panel_svg
from empirical.report.render.svg import BAND_SWATCH, swatch, themed

_INTERVAL = re.compile(r"^(.*?) ?(\[[^\]]*\]) ?(.*)$", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class ShownKey:
    """A legend entry: its piece of SVG and its words."""

    swatch: Markup
    label: str


@dataclass(frozen=True, kw_only=True)
class ShownPanel:
    """A panel as inline SVG."""

    title: str
    svg: Markup


@dataclass(frozen=True, kw_only=True)
class ShownPlot:
    """A figure as the template takes it; `width`: of a panel, a CSS length."""

    id: str
    title: str
    caption: str
    keys: tuple[ShownKey, ...]
    panels: tuple[ShownPanel, ...]
    width: str
    files: tuple[str, ...]
    kind: str = "plot"


@dataclass(frozen=True, kw_only=True)
class ShownDetails:
    """Details whose blocks are ready for the template."""

    summary: str
    blocks: tuple[object, ...]
    kind: str = "details"


@dataclass(frozen=True, kw_only=True)
class ShownSection:
    """A section whose blocks are ready for the template."""

    id: str
    title: str
    blocks: tuple[object, ...]


def interval_parts(text: str) -> tuple[str, str, str]:
    """`0.1 [0, 0.2] 3/4` -> ("0.1", "[0, 0.2]", "3/4"); the last two may be empty."""
    found = _INTERVAL.match(text)
    return (found[1], found[2], found[3]) if found else (text, "", "")


def _key(key: Key) -> ShownKey:
    style = key.style
    drawn = BAND_SWATCH if style is None else swatch(
        style.colour, style.marker, style.dash, style.filled
    )  # fmt: skip
    return ShownKey(swatch=Markup(drawn), label=key.label)


def shown_plot(figure: Figure, stored: bool) -> ShownPlot:
    """A figure with its panels drawn."""
    panels = tuple(
        ShownPanel(
            title=panel.title,
            svg=Markup(
                themed(
                    panel_svg(panel, figure.size, figure.left), f"{figure.id}-{i}",
                    f"{figure.title}: {panel.title}", panel.text,
                )
            ),
        )
        for i, panel in enumerate(figure.panels)
    )  # fmt: skip
    names = tuple(f"figures/{figure.id}.{kind}" for kind in KINDS) if stored else ()
    return ShownPlot(
        id=figure.id, title=figure.title, caption=figure.caption,
        keys=tuple(map(_key, figure.keys)), panels=panels,
        width=f"{figure.least:g}rem", files=names,
    )  # fmt: skip


def _shown(block: Block) -> object:
    if isinstance(block, Plot):
        return shown_plot(block.figure, block.stored)
    if isinstance(block, Details):
        return ShownDetails(summary=block.summary, blocks=tuple(map(_shown, block.blocks)))
    return block


def _resource(name: str) -> str:
    return files("empirical.report.render").joinpath(name).read_text(encoding="utf-8")


def render(title: str, lead: str, footer: str, sections: Sequence[Section]) -> str:
    """The page; every text is escaped, and a name that the template lacks is an error."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=False)
    environment.filters["interval"] = interval_parts
    template = environment.from_string(_resource("template.html.jinja"))
    shown = [
        ShownSection(id=s.id, title=s.title, blocks=tuple(map(_shown, s.blocks))) for s in sections
    ]
    page = template.render(
        title=title, lead=lead, footer=footer, sections=shown, css=Markup(_resource("style.css"))
    )
    return re.sub(r"\n\s*\n+", "\n", page) + "\n"
