"""The comparison of printed numbers: what it lets pass, and what it does not."""

import pytest

from tests.support.printed import Differs, held_printed, same_printed


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ("a 0.123 [0.100, 0.200] 3/4", "a 0.124 [0.101, 0.199] 3/4"),
        ("x,0.250001,-1.5e-07", "x,0.25,-1.6e-07"),
        ("−0.014 (p = 0.05)", "−0.013 (p = 0.05)"),
        ("same\ntext 7", "same\ntext 7"),
    ],
)
def test_one_unit_of_the_last_printed_digit_passes(found: str, expected: str) -> None:
    same_printed(found, expected)
    same_printed(expected, found)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ("a 0.123", "a 0.125"),
        ("x,0.250002", "x,0.25"),
        ("supported 0.1", "absent 0.1"),
        ("seed 3", "seed 4"),
        ("sha 1a2.3", "sha 1a2.4"),
        ("0.1 0.2", "0.1"),
        ("one", "one\ntwo"),
        ("0.5 ", "0.5"),
        ("-0.2", "0.2"),
    ],
)
def test_anything_else_does_not(found: str, expected: str) -> None:
    with pytest.raises(Differs):
        same_printed(found, expected)


PAGE = "# Page\n\nTable 1\na 0.50\nb 0.25\n\nTable 1\na 0.10\nb 0.20\n"


def test_a_text_is_found_in_a_page_and_only_there() -> None:
    held_printed("Table 1\na 0.51\nb 0.25", PAGE)
    held_printed("Table 1\na 0.11\nb 0.20", PAGE)
    for absent in ("Table 1\na 0.50\nb 0.20", "Table 2\na 0.50", "Table 1\na 0.53\nb 0.25"):
        with pytest.raises(Differs):
            held_printed(absent, PAGE)
