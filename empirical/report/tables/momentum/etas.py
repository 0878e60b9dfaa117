"""Every layer with the eta that was chosen, and momentum attention against each control.

Only what `empirical.analysis.momentum.compare` found is written down; nothing is compared here.
"""

from __future__ import annotations

from empirical.analysis.momentum.outcome import AtScale, Entry
from empirical.core.undefined import Number, Undefined
from empirical.report import names
from empirical.report.tables.grid import Column, Grid, shown
from empirical.report.tables.momentum.cells import Value, cell, of_layer, text_name
from empirical.report.tables.notes import Reasons
from empirical.results.attention_kinds import KINDS, PLAIN
from empirical.results.language_models import VALIDATION

UNITS = {"momentum": "points of accuracy", "momentum_language": "percent of perplexity"}


def _number(found: Number, digits: int, reasons: Reasons) -> str:
    if isinstance(found, Undefined):
        return reasons.mark("undefined", found.reason)
    return shown(found, digits)


def _eta(scale: AtScale, entry: Entry, reasons: Reasons) -> tuple[str, ...]:
    full = of_layer(scale.on_text(f"{VALIDATION}-{scale.length}"), entry.layer)
    plain = entry.layer.kind == PLAIN
    last: tuple[tuple[Value, int], ...] = () if full is None else ((full.perplexity, 2),)
    if full is not None and not plain:
        last += ((full.difference, 4), (full.percent, 2))
    cells = [cell(x, digits, reasons) for x, digits in last]
    return (
        names.layer(entry.layer),
        ", ".join(map(str, entry.seeds)),
        ", ".join(map(str, entry.lacks)) or "none",
        "chosen" if entry.chosen and not plain else "–",
        _number(entry.choosing, 4, reasons),
        *cells,
        *["–"] * (3 - len(cells)),
    )


def _where(scale: AtScale, task: str) -> str:
    """The task, or the text in words."""
    return text_name(scale.on_text(task)[0]) if task in scale.texts else task


def _silent(scale: AtScale) -> tuple[str, ...]:
    """Which tasks decide nothing, each reason once."""
    by: dict[str, list[str]] = {}
    for task, why in scale.left_out.items():
        by.setdefault(why, []).append(task)
    return tuple(
        f"{', '.join(tasks)} {'decides' if len(tasks) == 1 else 'decide'} nothing: {why}"
        for why, tasks in by.items()
    )


def against(scale: AtScale) -> Grid:
    """Momentum attention less every control, each at its chosen eta: what the verdicts rest on."""
    reasons, rows = Reasons(), []
    known = {(c.metric, c.task): None for c in scale.comparisons}
    controls = tuple(dict.fromkeys(c.control for c in scale.comparisons))
    starred = {c.control for c in scale.comparisons if c.required}
    by = {(c.metric, c.task, c.control): c.difference for c in scale.comparisons}
    for metric, task in known:
        gaps = [by.get((metric, task, c)) for c in controls]
        digits = names.digits(metric)
        cells = ["–" if g is None else cell(g, digits, reasons) for g in gaps]
        rows.append((UNITS[metric], _where(scale, task), *cells))
    return Grid(
        id=f"momentum-against-{names.slug(scale.scale)}",
        caption="Momentum attention less each control, paired (above 0: momentum is better): "
        f"{scale.scale}",
        columns=(
            Column(heading="in", kind="head"),
            Column(heading="on", kind="head"),
            *(Column(heading=f"{names.control(c)}{'*' * (c in starred)}") for c in controls),
        ),
        rows=tuple(rows),
        notes=(
            "A control marked * has to be beaten; the others are for information.",
            *_silent(scale),
            *reasons.notes(),
        ),
    )


def etas(scale: AtScale) -> Grid:
    """Every layer that was trained, with the loss that chose eta and its effect on held-out books.

    The loss is in nats per token.
    """
    reasons = Reasons()
    rows = tuple(_eta(scale, e, reasons) for e in scale.entries)
    text = ("seeds", "seeds missing", "eta")
    numbers = (
        "choosing loss",
        "perplexity",
        "loss less that of plain attention",
        "percent of perplexity",
    )
    left = tuple(f"{KINDS[k].title}: no eta chosen, {r}" for k, r in scale.unchosen.items())
    return Grid(
        id=f"momentum-etas-{names.slug(scale.scale)}",
        caption=f"Every layer and eta, held-out books at full length: {scale.scale}",
        columns=(
            Column(heading="layer", kind="head"),
            *(Column(heading=h, kind="text") for h in text),
            *(Column(heading=h) for h in numbers),
        ),
        rows=rows,
        notes=(
            "Losses are natural logarithms per token. choosing loss: on windows of training books "
            "that were not trained on; the lowest of a kind chooses its eta, before any held-out "
            "book is read.",
            *left,
            *reasons.notes(),
        ),
    )
