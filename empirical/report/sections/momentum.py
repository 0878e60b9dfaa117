"""Momentum attention: tables 6 and 7 beside the published ones, curves, theory, and what ran."""

from __future__ import annotations

from collections.abc import Sequence

from empirical.analysis.momentum.outcome import AtScale, Momentum
from empirical.analysis.verdicts import SEEDS
from empirical.report import names
from empirical.report.figures.momentum import (
    curves as momentum_curves,
    eta as momentum_eta,
    tasks as momentum_tasks,
)
from empirical.report.render.blocks import (
    Block,
    Code,
    Details,
    Heading,
    Plot,
    Prose,
    Section,
    Table,
    Term,
    Terms,
)
from empirical.report.render.formulas import mathml
from empirical.report.results import Results
from empirical.report.tables.grid import Column, Grid
from empirical.report.tables.momentum import etas, language, learning, runs
from empirical.report.tables.momentum.cells import tabled
from empirical.results.attention_kinds import KINDS

LEAD = (
    "Models that are equal in parameters, tokens, data order and first weights, and differ in "
    "their attention alone, are trained from the beginning. Each kind of attention stands at the "
    "eta that was best on windows kept for this choice; brackets hold 95 % intervals over windows "
    "or rows and seeds."
)
UPDATE = r"W + \sum_{i \le t} \Big( \sum_{n \le t-i} \eta^n \Big) \, v_i k_i^{\top}"
AVERAGED = r"W + \sum_{i \le t} \Big( \sum_{j \le i} \eta^{i-j} v_j \Big) \, k_i^{\top}"
THEORY = (
    Term(
        term="What momentum on the update is",
        formulas=(mathml(UPDATE), mathml(AVERAGED)),
        words="Momentum on the dual update weights each pair of value and key by a partial "
        "geometric sum (first formula; statement heavy-ball-on-the-update), averaged values inside "
        "attention are another update (second; averaged-values-inside-attention), and the paper’s "
        "layer is neither of them (momentum-attention-is-momentum, refuted by a witness).",
    ),
    Term(
        term="How this bears on the result",
        formulas=(mathml(KINDS["momentum"].formula),),
        words="The sum that the paper’s layer adds contains no query and no key, so that a better "
        "model would show that a recent average of values helps, not that attention gains from "
        "momentum as gradient descent does; the layer that has momentum on the update is another "
        "one, the heavy ball, and stands in the same tables where it was trained.",
    ),
)


def kinds_terms() -> Terms:
    """Every kind with its formula, source and role."""
    return Terms(
        terms=tuple(
            Term(
                term=k.title, formulas=(mathml(k.formula),), words=f"{_upper(k.role)}. {k.source}."
            )
            for k in KINDS.values()
        )
    )


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def kinds() -> Grid:
    """The same without formulas, for files."""
    return Grid(
        id="momentum-kinds",
        caption="The layers that are compared",
        columns=(
            Column(heading="layer", kind="head"),
            Column(heading="what it is there for", kind="prose"),
            Column(heading="source", kind="prose"),
        ),
        rows=tuple((k.title, k.role, k.source) for k in KINDS.values()),
    )


def cautions(scale: AtScale) -> tuple[str, ...]:
    """What a reader has to know before any number: too few seeds, seeds that are missing."""
    found = []
    if len(scale.seeds) < SEEDS:
        found.append(
            f"{scale.scale} has {names.plural(len(scale.seeds), 'seed')} "
            f"({', '.join(map(str, scale.seeds))}), where {SEEDS} or more are needed: nothing can "
            "be concluded, since how far another seed would be away is not known."
        )
    for entry in scale.entries:
        if entry.lacks:
            few = "seed" if len(entry.lacks) == 1 else "seeds"
            found.append(
                f"{scale.scale}: {names.layer(entry.layer)} lacks {few} "
                f"{', '.join(map(str, entry.lacks))}; its differences are over the others."
            )
    for kind, why in scale.unchosen.items():
        found.append(f"{scale.scale}: {KINDS[kind].title} has no eta chosen: {why}.")
    return tuple(found)


def _main(scale: AtScale) -> tuple[Grid, ...]:
    return (
        language.differences(scale),
        language.perplexity(scale),
        learning.differences(scale),
        learning.accuracy(scale),
        etas.against(scale),
        etas.etas(scale),
    )


def every_grid(results: Results, momentum: Momentum) -> tuple[Grid, ...]:
    """All tables of the section that have rows, for files."""
    found = [kinds()]
    for scale in momentum.scales:
        found += [
            *_main(scale),
            *learning.without_demonstrations(scale),
            runs.rates(scale),
            runs.equal(scale),
            runs.settings(scale),
            runs.ran(results, scale.scale),
        ]
    return tuple(g for g in found if g.rows)


def _details(summary: str, grids: Sequence[Grid]) -> tuple[Block, ...]:
    """Grids behind a summary; nothing where none has rows."""
    kept = tuple(Table(grid=g) for g in grids if g.rows)
    return (Details(summary=summary, blocks=kept),) if kept else ()


def _scale(results: Results, scale: AtScale) -> tuple[Block, ...]:
    """Cautions, tables 6 and 7, figures, then what was equal and what ran."""
    gaps, perplexity, points, accuracy, against, every = _main(scale)
    trained = runs.of_scale(results, scale.scale)
    effect, dots = momentum_eta.figure(scale), momentum_tasks.figure(scale)
    curves = momentum_curves.figure(scale.scale, trained, tabled(scale))
    return (
        Heading(text=f"Scale {scale.scale}"),
        *(Prose(text=x) for x in cautions(scale)),
        *(Table(grid=g) for g in (gaps, perplexity)),
        *((Plot(figure=effect),) if effect else ()),
        *(Table(grid=g) for g in (points, accuracy)),
        *((Plot(figure=dots),) if dots else ()),
        *((Table(grid=against),) if against.rows else ()),
        Plot(figure=curves),
        *_details("Every layer and eta", (every,)),
        *_details("Without demonstrations", learning.without_demonstrations(scale)),
        *_details("Learned etas", (runs.rates(scale),)),
        Table(grid=runs.equal(scale)),
        *_details("Geometry and optimiser", (runs.settings(scale),)),
        *_details("Every model that was trained", (runs.ran(results, scale.scale),)),
        Code(label="Train them again", text="\n".join(runs.commands(trained))),
    )


def section(results: Results, momentum: Momentum) -> Section:
    """The theory first, then scale by scale."""
    blocks: list[Block] = [
        Prose(text=LEAD),
        Details(
            summary="The layers that are compared, with their formulas", blocks=(kinds_terms(),)
        ),
        Terms(terms=THEORY),
    ]
    for scale in momentum.scales:
        blocks += _scale(results, scale)
    if not results.records:
        blocks.append(
            Code(label="Build this report again, without a model", text="dualform report DIR")
        )
    return Section(id="momentum", title="Momentum attention", blocks=tuple(blocks))
