"""Comparisons and verdicts of a results folder, as tables for files."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from empirical.comparisons import Compared, compare
from empirical.metrics import Number, Undefined
from empirical.report.results import Results
from empirical.statistics import Estimate
from empirical.verdict import Verdict, calibration_of, verdicts


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """Empty where there is no evidence."""

    compared: Compared
    verdicts: tuple[Verdict, ...]


def analyse(results: Results) -> Analysis:
    """Compare all evidence, and judge.

    Raises:
        UserError: when seeds of one task were not made with the same model and examples.
    """
    compared = compare(results.evidence)
    known = None if results.calibration is None else calibration_of(results.calibration)
    return Analysis(compared=compared, verdicts=verdicts(compared, known))


def plain(value: Number | None) -> str:
    """Full precision; empty where there is no number."""
    return "" if value is None or isinstance(value, Undefined) else repr(float(value))


def _lines(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(headings)
    writer.writerows(rows)
    return out.getvalue()


def _ends(name: str, found: Estimate) -> dict[str, str]:
    return {
        name: plain(found.value), f"{name}_low": plain(found.low), f"{name}_high": plain(found.high)
    }  # fmt: skip


def controls_csv(compared: Compared) -> str:
    """One line for each comparison, at full precision."""
    rows = []
    for c in compared.comparisons:
        gap = c.difference
        why = gap.value.reason if isinstance(gap.value, Undefined) else ""
        rows.append(
            {"model": c.model, "task": c.task, "metric": c.metric, "control": c.control,
             "required": c.required}
            | _ends("measured", c.ours) | _ends("under_control", c.theirs)
            | _ends("difference", gap)
            | {"p": plain(gap.p), "d_z": plain(gap.d_z), "dose": plain(c.dose),
               "seeds": gap.seeds, "examples": gap.examples, "note": gap.note,
               "set_aside": c.set_aside or "", "undefined_because": why}
        )  # fmt: skip
    return _lines(list(rows[0]), [list(r.values()) for r in rows])


def verdicts_csv(found: Sequence[Verdict]) -> str:
    """One line for each verdict, with the deciding comparison at full precision."""
    rows = []
    for v in found:
        one = v.deciding
        ends = {"difference": "", "difference_low": "", "difference_high": ""}
        rows.append(
            {"model": v.model, "claim": v.claim.id, "status": v.status,
             "metric": one.metric if one else "", "control": one.control if one else ""}
            | (_ends("difference", one.difference) if one else ends)
            | {"p_adjusted": plain(one.p_adjusted) if one else "",
               "dose": plain(one.dose) if one else "", "family": v.family,
               "tasks_tested": " ".join(v.tested), "tasks_left_out": " ".join(v.left_out),
               "sentence": v.sentence}
        )  # fmt: skip
    return _lines(list(rows[0]), [list(r.values()) for r in rows])
