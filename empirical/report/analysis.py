"""Comparisons and verdicts of a results folder, as tables for files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from empirical.analysis.comparisons import Compared, compare
from empirical.analysis.intervals import Estimate
from empirical.analysis.momentum import compare as models
from empirical.analysis.momentum.outcome import AtScale, Interval, Momentum
from empirical.analysis.momentum.verdicts import momentum_verdicts
from empirical.analysis.verdicts import MOMENTUM_CLAIM, Verdict, calibration_of, verdicts
from empirical.core.undefined import Undefined
from empirical.report.results import Results
from empirical.report.tables.csv_text import csv_number, csv_text
from empirical.results.attention_kinds import MOMENTUM, Layer


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """Empty where there is no evidence; `momentum`: empty where no model was trained."""

    compared: Compared
    verdicts: tuple[Verdict, ...]
    momentum: Momentum


def analyse(results: Results) -> Analysis:
    """Compare all evidence, and judge.

    Raises:
        UserError: when seeds of one task were not made with the same model and examples, or trained
            models differ in more than layer and seed.
    """
    compared = compare(results.evidence)
    known = None if results.calibration is None else calibration_of(results.calibration)
    judged, trained = verdicts(compared, known), models.compare(results.momentum)
    if trained.scales:  # which say what a study without trained models cannot
        judged = tuple(v for v in judged if v.claim.id != MOMENTUM_CLAIM)
    return Analysis(
        compared=compared, verdicts=(*judged, *momentum_verdicts(trained)), momentum=trained
    )


def _ends(name: str, found: Estimate) -> dict[str, str]:
    return {
        name: csv_number(found.value),
        f"{name}_low": csv_number(found.low),
        f"{name}_high": csv_number(found.high),
    }


def controls_csv(compared: Compared) -> str:
    """One line for each comparison."""
    rows = []
    for c in compared.comparisons:
        gap = c.difference
        why = gap.value.reason if isinstance(gap.value, Undefined) else ""
        rows.append(
            {
                "model": c.model,
                "task": c.task,
                "metric": c.metric,
                "control": c.control,
                "required": c.required,
            }
            | _ends("measured", c.ours)
            | _ends("under_control", c.theirs)
            | _ends("difference", gap)
            | {
                "p": csv_number(gap.p),
                "d_z": csv_number(gap.d_z),
                "dose": csv_number(c.dose),
                "seeds": gap.seeds,
                "examples": gap.examples,
                "note": gap.note,
                "set_aside": c.set_aside or "",
                "undefined_because": why,
            }
        )
    return csv_text(list(rows[0]), [list(r.values()) for r in rows])


def verdicts_csv(found: Sequence[Verdict]) -> str:
    """One line for each verdict, with the deciding comparison."""
    rows = []
    for v in found:
        one = v.deciding
        ends = {"difference": "", "difference_low": "", "difference_high": ""}
        rows.append(
            {
                "model": v.model,
                "claim": v.claim.id,
                "status": v.status,
                "metric": one.metric if one else "",
                "control": one.control if one else "",
            }
            | (_ends("difference", one.difference) if one else ends)
            | {
                "p_adjusted": csv_number(one.p_adjusted) if one else "",
                "dose": csv_number(one.dose) if one else "",
                "family": v.family,
                "tasks_tested": " ".join(v.tested),
                "tasks_left_out": " ".join(v.left_out),
                "sentence": v.sentence,
            }
        )
    return csv_text(list(rows[0]), [list(r.values()) for r in rows])


_LANGUAGE = ("loss", "perplexity", "difference", "percent")
_LEARNING = ("accuracy", "zero_shot", "gain", "difference", "zero_shot_difference")


def momentum_csv(found: Momentum) -> str:
    """One line for each number of tables 6 and 7 and of the controls."""
    rows = [row for scale in found.scales for row in _momentum_rows(scale)]
    return csv_text(list(rows[0]), [list(r.values()) for r in rows])


def _momentum_rows(scale: AtScale) -> Iterator[dict[str, object]]:
    for x in scale.language:
        for name in _LANGUAGE:
            yield _row(scale, 6, x.layer, x.text, name, getattr(x, name))
    for y in (*scale.learning, *scale.means):
        for name in _LEARNING:
            yield _row(scale, 7, y.layer, y.task, name, getattr(y, name), y.absent or "")
    ours = scale.chosen.get(MOMENTUM)
    for c in scale.comparisons:
        name = f"{c.metric} less {c.control}"
        yield _row(scale, "controls", ours or Layer(), c.task, name, c.difference)


def _row(
    scale: AtScale,
    table: object,
    layer: Layer,
    where: str,
    name: str,
    found: Estimate | Interval,
    absent: str = "",
) -> dict[str, object]:
    """`found` with its ends; of an estimate also p, seeds and examples."""
    more = (
        (csv_number(found.p), found.seeds, found.examples)
        if isinstance(found, Estimate)
        else ("",) * 3
    )
    why = found.value.reason if isinstance(found.value, Undefined) else ""
    ends = {
        "value": csv_number(found.value),
        "low": csv_number(found.low),
        "high": csv_number(found.high),
    }
    return {
        "scale": scale.scale,
        "table": table,
        "kind": layer.kind,
        "eta": csv_number(layer.eta),
        "learned": layer.learned,
        "on": where,
        "measure": name,
        **ends,
        **dict(zip(("p", "seeds", "examples"), more, strict=True)),
        "undefined_because": absent or why,
    }
