"""SVG of matplotlib -> SVG inside a page: colours of the theme, names for readers, no clashes.

matplotlib styles `*` and numbers its groups from one in every file; inside one page the first would
reach everything and the second would repeat. Fonts are the page's.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from empirical.report.render.palette import COLOURS

SPACE = "http://www.w3.org/2000/svg"
LINK = "{http://www.w3.org/1999/xlink}href"
_VARIABLES = {value: f"var(--{name})" for name, value in COLOURS.items()}
_FONT = re.compile(r"font(?:-family)?: (?:(\d+(?:\.\d+)?)px )?'DejaVu Sans'[^;]*")
_LONG = re.compile(r"-?\d+\.\d{3,}")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")


def themed(text: str, name: str, title: str, description: str) -> str:
    """The inline SVG `name` with a title and a description; `text` is what matplotlib wrote."""
    root = ET.fromstring(text)
    _drop(root)
    _rename(root, name)
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{SPACE}}}")
        for key, value in list(element.attrib.items()):
            element.attrib[key] = _short(_style(value) if key == "style" else value)
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.attrib |= {
        "role": "img",
        "focusable": "false",
        "aria-labelledby": f"{name}-title",
        "aria-describedby": f"{name}-desc",
    }
    for tag, words in (("desc", description), ("title", title)):
        element = ET.Element(tag, {"id": f"{name}-{tag}"})
        element.text = words
        root.insert(0, element)
    return ET.tostring(root, encoding="unicode")


def _drop(root: ET.Element) -> None:
    """Without the style of `*`, the metadata, and the white sheet behind the whole."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.removeprefix(f"{{{SPACE}}}") in ("metadata", "style"):
                parent.remove(child)
    for figure in root:
        if figure.attrib.get("id") == "figure_1":
            for child in list(figure):
                if child.attrib.get("id") == "patch_1":
                    figure.remove(child)


def _rename(root: ET.Element, name: str) -> None:
    """Identifiers that something points to get the prefix `name`; the others go."""
    used = {x for e in root.iter() for v in e.attrib.values() for x in _REFERENCE.findall(v)}
    used |= {e.attrib[LINK].removeprefix("#") for e in root.iter() if LINK in e.attrib}
    for element in root.iter():
        if element.attrib.get("id") in used:
            element.attrib["id"] = f"{name}-{element.attrib['id']}"
        else:
            element.attrib.pop("id", None)
        if LINK in element.attrib:
            element.attrib["href"] = f"#{name}-{element.attrib.pop(LINK).removeprefix('#')}"
        for key, value in element.attrib.items():
            element.attrib[key] = _REFERENCE.sub(rf"url(#{name}-\1)", value)


def _style(value: str) -> str:
    value = _FONT.sub(lambda m: f"font-size: {m[1]}px" if m[1] else "", value)
    for colour, variable in _VARIABLES.items():
        value = value.replace(colour, variable)
    return value


def _short(value: str) -> str:
    """Lengths to a hundredth of a point."""
    return _LONG.sub(lambda m: f"{float(m[0]):.2f}".rstrip("0").rstrip("."), value)


def swatch(colour: str, marker: str, dash: tuple[float, ...], filled: bool) -> str:
    """A piece of a series for a legend, 34 x 12; the words beside it are its label."""
    stroke = _VARIABLES[colour]
    fill = stroke if filled else "var(--paper)"
    dashed = f' stroke-dasharray="{" ".join(f"{1.4 * x:g}" for x in dash)}"' if dash else ""
    return (
        '<svg class="swatch" viewBox="0 0 34 12" aria-hidden="true" focusable="false">'
        f'<path d="M1 6H33" style="stroke: {stroke}" stroke-width="1.7" fill="none"{dashed}/>'
        f'<path d="{_SHAPES[marker]}" style="fill: {fill}; stroke: {stroke}" stroke-width="1.2"/>'
        "</svg>"
    )


BAND_SWATCH = (
    '<svg class="swatch" viewBox="0 0 34 12" aria-hidden="true" focusable="false">'
    '<path d="M1 1H33V11H1Z" style="fill: var(--band)" fill-opacity="0.3"/></svg>'
)
_SHAPES = {
    "o": "M13.5 6a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0Z",
    "s": "M14 3h6v6h-6Z",
    "^": "M17 2l4 7h-8Z",
    "v": "M17 10l4-7h-8Z",
    "D": "M17 1.8L21.2 6L17 10.2L12.8 6Z",
    "P": "M15.7 2.3h2.6v2.4h2.4v2.6h-2.4v2.4h-2.6v-2.4h-2.4V4.7h2.4Z",
    "X": "M13.4 4.2l1.8-1.8L17 4.2l1.8-1.8l1.8 1.8L18.8 6l1.8 1.8l-1.8 1.8L17 7.8l-1.8 1.8l-1.8-1.8"
    "L15.2 6Z",
    "<": "M13 6l7-4v8Z",
    ">": "M21 6l-7-4v8Z",
    "h": "M17 2l3.5 2v4L17 10l-3.5-2V4Z",
}
