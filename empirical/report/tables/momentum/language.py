"""Table 6 of the paper, perplexity: ours beside the published numbers.

Only what `empirical.analysis.momentum.compare` found is written down; nothing is compared here.
"""

from __future__ import annotations

from collections.abc import Sequence

from empirical.analysis.momentum.outcome import AtScale, Language
from empirical.analysis.published import MOMENTUM_PERPLEXITY
from empirical.report import names
from empirical.report.tables.grid import Grid, shown
from empirical.report.tables.momentum.cells import (
    OTHER,
    PRINTED,
    cell,
    columns,
    of_layer,
    tabled,
    text_name,
)
from empirical.report.tables.notes import Reasons
from empirical.results.attention_kinds import MOMENTUM, PLAIN
from empirical.results.language_models import TRAINING, VALIDATION

FULL = 1024  # the published training length


def _texts(scale: AtScale) -> tuple[Language, ...]:
    """One cell of every text of Table 6: training books, then held-out ones, lengths rising."""
    found = [scale.on_text(t)[0] for t in scale.texts]
    kept = [x for x in found if x.place in (TRAINING, VALIDATION)]
    return tuple(sorted(kept, key=lambda x: (x.place != TRAINING, x.length)))


def _published(one: Language, full: int) -> tuple[float, float] | None:
    """Plain and momentum, at the same part of the training length; None where none is printed."""
    place = f"{one.place}-{FULL * one.length / full:g}"
    plain, moved = (MOMENTUM_PERPLEXITY[k].get(place) for k in (PLAIN, MOMENTUM))
    return None if plain is None or moved is None else (plain, moved)


def _printed_rows(texts: Sequence[Language], full: int) -> tuple[tuple[str, ...], ...]:
    pairs = [_published(x, full) for x in texts]
    return tuple(
        (f"{PRINTED}{title}", *("–" if p is None else f"{p[i]:.2f}" for p in pairs))
        for i, title in enumerate(("plain attention", "momentum attention"))
    )


def perplexity(scale: AtScale) -> Grid:
    """Table 6: rows are layers, columns texts; the published rows stand last."""
    texts, reasons, rows = _texts(scale), Reasons(), []
    for layer in tabled(scale):
        own = [of_layer(scale.on_text(x.text), layer) for x in texts]
        cells = ["–" if x is None else cell(x.perplexity, 2, reasons) for x in own]
        rows.append((names.layer(layer), *cells))
    return Grid(
        id=f"momentum-perplexity-{names.slug(scale.scale)}",
        caption=f"Table 6, perplexity (lower is better): {scale.scale}",
        columns=columns("layer", [text_name(x) for x in texts]),
        rows=(*rows, *_printed_rows(texts, scale.length)),
        notes=(_windows(texts), OTHER, *reasons.notes()),
    )


def _windows(texts: Sequence[Language]) -> str:
    counts = ", ".join(f"{x.windows} ({text_name(x)})" for x in texts)
    return f"Windows, each read by every model: {counts}."


def differences(scale: AtScale) -> Grid:
    """Table 6, paired: percent of plain attention's perplexity."""
    texts, reasons, rows = _texts(scale), Reasons(), []
    for layer in tabled(scale):
        if layer.kind != PLAIN:
            own = [of_layer(scale.on_text(x.text), layer) for x in texts]
            cells = ["–" if x is None else cell(x.percent, 2, reasons) for x in own]
            rows.append((names.layer(layer), *cells))
    pairs = [_published(x, scale.length) for x in texts]
    printed = ["–" if p is None else shown(100 * (p[1] / p[0] - 1), 2) for p in pairs]
    return Grid(
        id=f"momentum-perplexity-differences-{names.slug(scale.scale)}",
        caption="Table 6, difference to plain attention in percent of its perplexity (below 0: "
        f"better than plain attention): {scale.scale}",
        columns=columns("layer", [text_name(x) for x in texts]),
        rows=(*rows, (f"{PRINTED}momentum attention", *printed)),
        notes=("Paired by window and seed.", OTHER, *reasons.notes()),
    )
