"""Calibration: what each metric reads when the answer is known."""

from __future__ import annotations

from collections.abc import Mapping

from empirical.core.undefined import Undefined
from empirical.report import names
from empirical.report.commands import joined, with_controls
from empirical.report.figures import dose
from empirical.report.render.blocks import (
    Block,
    Code,
    Details,
    Missing,
    Plot,
    Prose,
    Section,
    Table,
)
from empirical.report.results import Results
from empirical.report.tables.grid import Column, Grid, shown
from empirical.results.calibration import Calibration, Case, Check

KINDS: Mapping[str, str] = {
    "constructed": "built so that in-context learning is that step of gradient descent: each "
    "metric has to reach its highest value",
    "trained": "trained to learn in context: each metric has to be above unrelated updates",
    "unrelated": "whose two updates have nothing to do with each other: each metric has to stay in "
    "the band of unrelated updates",
}
RIGHT = {True: "✓ right", False: "✗ wrong", None: "not judged"}


def _wanted(kind: str, check: Check, digits: int) -> str:
    """What a right reading would be."""
    if check.right is None and isinstance(check.value, Undefined):
        return "–"
    if kind == "constructed" and isinstance(check.bound, float):
        return f"highest, within {check.bound:.1e}"
    if kind == "trained" and check.high is not None:
        return f"above {shown(check.high, digits)}, the highest of {check.draws}"
    if check.inside is not None:
        return f"in [{shown(check.low, digits)}, {shown(check.high, digits)}]"
    return "–"


def _count(check: Check) -> str:
    if check.inside is None:
        return "–"
    return f"{check.inside} of {len(check.readings)}"


def _row(kind: str, metric: str, check: Check) -> tuple[str, ...]:
    digits, gone = 1 if names.percent(metric) else 3, isinstance(check.value, Undefined)
    why = check.value.reason if isinstance(check.value, Undefined) else check.why
    return (
        names.metric(metric),
        "undefined" if gone else shown(check.value, digits),
        _wanted(kind, check, digits),
        _count(check),
        RIGHT[check.right],
        why,
    )


def case_grid(name: str, case: Case) -> Grid:
    """One known model: every metric, what it has to read, and whether it does."""
    return Grid(
        id=f"calibration-{name.replace('_', '-')}",
        caption=f"{case.title[:1].upper()}{case.title[1:]}",
        columns=(
            Column(heading="metric", kind="head"),
            Column(heading="read"),
            Column(heading="has to be", kind="text"),
            Column(heading="in the band"),
            Column(heading="judged", kind="text"),
            Column(heading="remark", kind="prose"),
        ),
        rows=tuple(_row(case.kind, metric, check) for metric, check in case.checks.items()),
        notes=tuple(f"{k.replace('_', ' ')}: {shown(x)}" for k, x in case.numbers.items()),
    )


def grids(calibration: Calibration | None) -> tuple[Grid, ...]:
    """A grid for each case; none without a file."""
    if calibration is None:
        return ()
    return tuple(case_grid(name, case) for name, case in calibration.cases.items())


def summed_up(calibration: Calibration) -> str:
    """How many readings were judged, and which were wrong."""
    checks = [c for case in calibration.cases.values() for c in case.checks.values()]
    judged = sum(c.right is not None for c in checks)
    wrong = [f"{names.metric(m)} of {case}" for case, m in calibration.wrong()]
    told = f"wrong: {', '.join(wrong)}" if wrong else "all right"
    return (
        f"Known models: {judged} of {len(checks)} readings could be judged, {told}. A metric that "
        "is read wrong decides no claim."
    )


def _known(calibration: Calibration | None) -> list[Block]:
    """The cases by kind, behind a summary each."""
    if calibration is None:
        text = "Models whose answer is known are read by a command of their own, into this folder."
        return [Missing(text=text, command="dualform calibrate --out DIR")]
    blocks: list[Block] = [Prose(text=summed_up(calibration))]
    blocks += [Plot(figure=f) for f in dose.known_figures(calibration)]
    for kind, text in KINDS.items():
        own = {k: c for k, c in calibration.cases.items() if c.kind == kind}
        if own:
            tables = tuple(Table(grid=case_grid(k, c)) for k, c in own.items())
            blocks.append(Details(summary=f"Models {text}", blocks=tables))
    made = calibration.provenance
    blocks.append(Code(label="Made by", text=joined(made.command)))
    return blocks


def section(results: Results) -> Section:
    """Dose curves on this study's own captures, then known models."""
    blocks: list[Block] = [
        Prose(
            text="A similarity of 0.2 says little as long as nobody knows what 0.2 looks like. "
            "Here the truth is set by hand, and the metrics are read."
        )
    ]
    found = dose.figures(results)
    blocks += [Plot(figure=f) for f in found]
    if not found:
        text = "Curves on the captures of this study are the control “dose”."
        blocks.append(Missing(text=text, command=with_controls(results, "dose")))
    blocks += [Prose(text=line) for line in results.absent("dose")]
    blocks += _known(results.calibration)
    return Section(id="calibration", title="Calibration", blocks=tuple(blocks))
