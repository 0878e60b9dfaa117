"""The verdicts: one card for each claim, with the numbers that decided and where to read on."""

from __future__ import annotations

from collections.abc import Sequence

from empirical.analysis.claims import MOMENTUM_CLAIMS, QUALIFIES
from empirical.analysis.verdicts import (
    CONTRADICTED,
    OPEN,
    SUPPORTED,
    UNTESTED,
    Against,
    Status,
    Verdict,
)
from empirical.core.undefined import Number, Undefined
from empirical.report import names
from empirical.report.commands import with_controls
from empirical.report.render.blocks import (
    Block,
    Card,
    Cards,
    Details,
    Missing,
    Prose,
    Section,
    Table,
)
from empirical.report.results import Results
from empirical.report.tables.grid import Column, Grid, shown, with_interval

MARKS: dict[Status, str] = {
    SUPPORTED: "yes",
    CONTRADICTED: "no",
    OPEN: "open",
    UNTESTED: "untested",
}
WORDS: dict[Status, str] = {
    SUPPORTED: "Supported",
    CONTRADICTED: "Contradicted",
    UNTESTED: "Not testable here",
    OPEN: "Not distinguishable from a control",
}
MODELS = frozenset(c.id for c in MOMENTUM_CLAIMS)  # claims that trained models decide
RULES = (
    "Supported: above every control that could explain the same score, by more than a difference "
    "without weight, with 95 % confidence. Contradicted: a control scores higher. Not "
    "distinguishable: neither. Not testable: something that a verdict needs is missing."
)


def p_value(value: Number) -> str:
    """A p value; small ones as a bound."""
    if isinstance(value, Undefined):
        return shown(value)
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def difference(one: Against) -> str:
    """A deciding difference with its interval."""
    found = one.difference
    return with_interval(found.value, found.low, found.high, names.digits(one.metric))


def counts(verdict: Verdict) -> str:
    """How the tasks would have come out alone."""
    order = (SUPPORTED, OPEN, CONTRADICTED)
    parts = [f"{verdict.count(s)} {s}" for s in order if verdict.count(s)]
    return ", ".join(parts) or "none"


def _numbers(verdict: Verdict) -> tuple[tuple[str, str], ...]:
    one = verdict.deciding
    if one is None:
        return ()
    rows = [
        (f"{names.metric(one.metric)}, less {names.control(one.control)}", difference(one)),
        ("p, corrected", p_value(one.p_adjusted)),
    ]
    if not isinstance(one.dose, Undefined):
        rows.append(("dose equivalent", shown(one.dose, 2)))
    rows.append(("controls compared", str(verdict.family)))
    if not verdict.claim.on:
        rows.append(("tasks alone", counts(verdict)))
    return tuple(rows)


def said(verdict: Verdict) -> str:
    """Why, without the status once more."""
    text = names.spelled(verdict.sentence.removeprefix(f"{WORDS[UNTESTED]}: "))
    return text[:1].upper() + text[1:]


def card(verdict: Verdict, place: int, trained: bool = False) -> Card:
    """One claim; `place` is that of its model among the models, `trained`: it is a scale."""
    metric = verdict.claim.metrics[0] if verdict.deciding is None else verdict.deciding.metric
    known = metric in QUALIFIES
    link = f"controls-{place}-{metric.replace('_', '-')}" if known else "controls"
    words = f"Every control of {names.metric(metric)}" if known else "All controls"
    if trained:
        link, words = "momentum", "Tables of the trained models"
        if verdict.deciding is not None:
            link, words = f"momentum-against-{names.slug(verdict.model)}", "Every control"
    return Card(
        status=MARKS[verdict.status],
        word=WORDS[verdict.status],
        title=verdict.claim.title,
        says=verdict.claim.says,
        sentence=said(verdict),
        numbers=_numbers(verdict),
        link=link,
        link_text=words,
    )


def grid(verdicts: Sequence[Verdict]) -> Grid:
    """All verdicts as one table, for files."""
    rows = []
    for v in verdicts:
        one = v.deciding
        tested = f"{sum(v.count(s) for s in (SUPPORTED, OPEN, CONTRADICTED))}"
        rows.append(
            (
                v.model,
                v.claim.title,
                WORDS[v.status],
                "–" if one is None else names.control(one.control),
                "–" if one is None else difference(one),
                "–" if one is None else p_value(one.p_adjusted),
                tested,
                said(v),
            )
        )
    heads = (Column(heading="model", kind="head"), Column(heading="claim", kind="head"))
    return Grid(
        id="verdicts-table",
        caption="Verdicts",
        columns=(
            *heads,
            Column(heading="verdict", kind="text"),
            Column(heading="decided by", kind="text"),
            Column(heading="difference"),
            Column(heading="p, corrected"),
            Column(heading="tasks"),
            Column(heading="why", kind="prose"),
        ),
        rows=tuple(rows),
        notes=(RULES,),
    )


def left_out(verdicts: Sequence[Verdict], place: int) -> Grid:
    """What was left out or set aside, and cautions: each reason once, with claims and tasks."""
    found: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for v in verdicts:
        lines = [
            *v.left_out.items(),
            *((f"control {names.control(c)}", why) for c, why in v.set_aside.items()),
        ]
        for where, why in [*lines, *(("all tasks", note) for note in v.notes)]:
            wheres, claims = found.setdefault(why, ({}, {}))
            wheres[where] = claims[v.claim.title] = None
    rows = [(names.spelled(why), ", ".join(w), "; ".join(c)) for why, (w, c) in found.items()]
    return Grid(
        id=f"left-out-{place}",
        caption="What was left out, and cautions",
        columns=(
            Column(heading="why", kind="prose"),
            Column(heading="where", kind="prose"),
            Column(heading="claims", kind="prose"),
        ),
        rows=tuple(rows),
    )


def _blocks(own: Sequence[Verdict], place: int, heading: str, trained: bool) -> list[Block]:
    """The cards of one model or scale, and what was left out."""
    cards = tuple(card(v, place, trained) for v in own)
    out = left_out(own, place)
    more = [Details(summary=out.caption, blocks=(Table(grid=out),))] if out.rows else []
    return [Cards(heading=heading, cards=cards), *more]


def section(results: Results, verdicts: Sequence[Verdict]) -> Section:
    """Cards by model, in the order of the claims; those of trained models last."""
    blocks: list[Block] = []
    if not verdicts or (results.records and not results.evidence):
        text = "A verdict compares what was measured with its controls."
        blocks.append(Missing(text=text, command=with_controls(results)))
    if verdicts:
        blocks.append(Prose(text=RULES))
    trained = MODELS if results.momentum else frozenset()
    keys = dict.fromkeys((v.claim.id in trained, v.model) for v in verdicts)
    for place, (scale, model) in enumerate(keys):
        own = [v for v in verdicts if (v.claim.id in trained, v.model) == (scale, model)]
        heading = f"Trained models: {model}" if scale else model
        blocks += _blocks(own, place, heading, scale)
    return Section(id="verdicts", title="Verdicts", blocks=tuple(blocks))
