"""Texts that hold computed numbers, compared as another processor may print them.

Sums in another order move the last bits of a float, so a number printed with few digits can move
by one unit of its last digit. Everything else in the two texts is the same, character by character.
"""

import re
from decimal import Decimal

_NUMBER = re.compile(r"(?<![\w.])[-−]?\d+\.\d+(?:e[-+]?\d+)?(?!\w)|(?<![\w.])[-−]?\d+e[-+]?\d+\b")
_SIGN = str.maketrans("−", "-")


class Differs(AssertionError):
    """The first place where two texts say something else."""


def _value(text: str) -> tuple[Decimal, Decimal]:
    """The number and one unit of its last printed digit."""
    number = Decimal(text.translate(_SIGN))
    return number, Decimal(1).scaleb(int(number.as_tuple().exponent))


def same_printed(found: str, expected: str, units: int = 1) -> None:
    """Refuse any difference but `units` of the last printed digit of a number with a fraction.

    Whole numbers (counts, seeds), words, order and white space are compared exactly. Where one side
    dropped zeros at the end (0.25 beside 0.250001), the unit is that of the longer number.

    Raises:
        Differs: with the line of the first difference.
    """
    lines = found.splitlines(), expected.splitlines()
    if len(lines[0]) != len(lines[1]):
        raise Differs(f"expected {len(lines[1])} lines, got {len(lines[0])}")
    for i, (ours, theirs) in enumerate(zip(*lines, strict=True), 1):
        if ours != theirs and not _close(ours, theirs, units):
            raise Differs(f"line {i}: expected {theirs!r}, got {ours!r}")


def _close(ours: str, theirs: str, units: int) -> bool:
    words = [_NUMBER.sub("#", line) for line in (ours, theirs)]
    if words[0] != words[1]:
        return False
    pairs = zip(*(_NUMBER.findall(line) for line in (ours, theirs)), strict=True)
    for a, b in (map(_value, pair) for pair in pairs):
        if abs(a[0] - b[0]) > units * min(a[1], b[1]):
            return False
    return True


def held_printed(found: str, page: str) -> None:
    """Refuse a page without the lines of `found`, which begin with the same first line there.

    Raises:
        Differs: where the page has no such line, or other lines below it.
    """
    lines, all_lines = found.splitlines(), page.splitlines()
    starts = [i for i, line in enumerate(all_lines) if line.strip() == lines[0].strip()]
    if not starts:
        raise Differs(f"expected a line {lines[0]!r} in the page, got none")
    for start in starts:
        there = "\n".join(all_lines[start : start + len(lines)])
        try:
            return same_printed(found, there)
        except Differs as error:
            last = error
    raise last
