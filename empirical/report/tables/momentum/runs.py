"""What was equal between the trained models, what ran, the etas that were learned, and commands."""

from __future__ import annotations

from collections.abc import Sequence

from empirical.analysis.momentum.outcome import AtScale
from empirical.report import names
from empirical.report.commands import folded, joined
from empirical.report.results import Results
from empirical.report.tables.grid import Column, Grid, shown
from empirical.results.attention_kinds import KINDS
from empirical.results.language_models import Trained

CUT = 16  # digits of a hash that are shown


def of_scale(results: Results, scale: str) -> tuple[Trained, ...]:
    """Its models: kinds in the order of `KINDS`, etas rising, learned ones last, seeds rising."""
    order = list(KINDS)

    def place(run: Trained) -> tuple[int, bool, float, int]:
        return order.index(run.layer.kind), run.layer.learned, run.layer.eta or 0.0, run.seed

    return tuple(sorted((r for r in results.momentum if r.scale == scale), key=place))


def equal(scale: AtScale) -> Grid:
    """By seed: what all its models share."""
    rows = tuple(
        (
            str(seed),
            f"{e.parameters:,}",
            f"{e.steps:,}",
            f"{e.tokens:,}",
            e.order_sha256[:CUT],
            e.initial_sha256[:CUT],
        )
        for seed, e in sorted(scale.equal.items())
    )
    numbers = (Column(heading=h) for h in ("parameters", "steps", "tokens"))
    text = (Column(heading=h, kind="text") for h in ("tokens in order", "first weights"))
    return Grid(
        id=f"momentum-equal-{names.slug(scale.scale)}",
        caption=f"What is equal between the models of a seed: {scale.scale}",
        columns=(Column(heading="seed", kind="head"), *numbers, *text),
        rows=rows,
        notes=(
            "The last two columns are SHA-256, cut to 16 digits: of every token trained on, in its "
            "order, and of the first weights. Learned etas are not counted as parameters.",
        ),
    )


def settings(scale: AtScale) -> Grid:
    """Geometry and optimiser; a value that differs between seeds is named with its seed."""
    found: dict[str, dict[str, list[int]]] = {}
    for seed, e in sorted(scale.equal.items()):
        for name, value in e.settings.items():
            found.setdefault(name, {}).setdefault(value, []).append(seed)
    rows = tuple((name, _by_seed(values)) for name, values in sorted(found.items()))
    return Grid(
        id=f"momentum-settings-{names.slug(scale.scale)}",
        caption=f"Geometry and optimiser: {scale.scale}",
        columns=(Column(heading="setting", kind="head"), Column(heading="value", kind="text")),
        rows=rows,
    )


def _by_seed(values: dict[str, list[int]]) -> str:
    if len(values) == 1:
        return next(iter(values))
    return "; ".join(f"{v} (seed {', '.join(map(str, s))})" for v, s in values.items())


def _seconds(results: Results, run: Trained) -> str:
    total = results.timing.get(run.name, {}).get("total")
    return "not recorded" if total is None else f"{total:.1f}"


def ran(results: Results, scale: str) -> Grid:
    """One row for each model."""
    rows = []
    for r in of_scale(results, scale):
        made = r.origin
        versions = ", ".join(f"{k} {v}" for k, v in sorted(made.versions.items()))
        rows.append(
            (
                names.layer(r.layer),
                str(r.seed),
                made.text,
                made.text_sha256[:CUT],
                f"{made.dtype}, {made.device}",
                str(made.threads),
                _seconds(results, r),
                versions,
                made.code_sha256[:CUT],
                (made.commit or "not known")[:12],
            )
        )
    columns = (
        ("layer", "head"),
        ("seed", "head"),
        ("text", "text"),
        ("SHA-256 of the text", "text"),
        ("arithmetic", "text"),
        ("threads", "number"),
        ("seconds", "number"),
        ("versions", "text"),
        ("SHA-256 of the code", "text"),
        ("commit", "text"),
    )
    return Grid(
        id=f"momentum-ran-{names.slug(scale)}",
        caption=f"Every model that was trained: {scale}",
        columns=tuple(Column(heading=h, kind=k) for h, k in columns),  # type: ignore[arg-type] # the words of Kind
        rows=tuple(rows),
        notes=("Seconds are of that machine, and no result depends on them.",),
    )


def rates(scale: AtScale) -> Grid:
    """Learned etas: rows are seeds and layers of the model, columns heads."""
    rows, heads = [], 0
    for entry in scale.entries:
        for seed, layers in sorted(entry.rates.items()):
            for i, etas in enumerate(layers, 1):
                heads = max(heads, len(etas))
                rows.append(
                    (
                        names.layer(entry.layer),
                        f"{entry.layer.eta:g}",
                        str(seed),
                        str(i),
                        *(shown(x) for x in etas),
                    )
                )
    first = ("attention", "first value", "seed", "layer")
    return Grid(
        id=f"momentum-rates-{names.slug(scale.scale)}",
        caption=f"Learned etas, layer by layer and head by head: {scale.scale}",
        columns=(
            *(Column(heading=h, kind="head") for h in first),
            *(Column(heading=f"head {i}") for i in range(1, heads + 1)),
        ),
        rows=tuple((*r, *["–"] * (len(first) + heads - len(r))) for r in rows),
    )


def commands(runs: Sequence[Trained]) -> tuple[str, ...]:
    """As few as make the same models: each file holds the command of its own model alone."""
    found = folded((r.origin.command for r in runs), "--seed")
    found = folded(folded(found, "--eta", comma=True), "--kind")
    return tuple(map(joined, found))
