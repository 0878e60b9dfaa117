"""Numbers and rows between commas."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from empirical.core.undefined import Number, Undefined

CSV_DIGITS = 6  # significant digits of a computed number in a CSV file,
CSV_DECIMALS = 12  # and its decimals: what cancels to rounding noise is printed as 0


def csv_number(value: Number | None) -> str:
    """`value` with `CSV_DIGITS` significant digits; empty where there is no number."""
    if value is None or isinstance(value, Undefined):
        return ""
    return f"{round(value, CSV_DECIMALS) + 0.0:.{CSV_DIGITS}g}"  # + 0.0: no negative zero


def csv_text(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows under their headings, between commas."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(headings)
    writer.writerows(rows)
    return out.getvalue()
