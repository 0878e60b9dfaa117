"""Plain words as LaTeX: special characters escaped, `W_V` and `Z^T` as formulas."""

import re

_ESCAPES = {
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}
_MATH = re.compile(
    r"\b([A-Za-z]_(?:ZSL|[A-Za-z0-9])|[A-Z]|eta|gamma|alpha|beta|lambda|Lambda|phi)((?:\^T)?)"
    r"(?=[\s,.;:)]|$)"
)


def prose(text: str) -> str:
    """Plain words with TeX's special characters escaped; `W_V` and `Z^T` become formulas."""
    pieces, end = [], 0
    for found in _MATH.finditer(text):
        if found[0] == "A":  # the article
            continue
        base, _, index = found[1].partition("_")
        pieces.append(_escaped(text[end : found.start()]))
        low = f"_{{{index}}}" if index else ""
        high = r"^{\top}" if found[2] else ""
        letter = base if len(base) == 1 else rf"\{base}"
        pieces.append(f"${letter}{low}{high}$")
        end = found.end()
    return "".join([*pieces, _escaped(text[end:])])


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(c, c) for c in text)
