"""A results folder -> report.html, tables in three formats, and figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from empirical.core.json_files import write_text
from empirical.core.progress import SILENT, Reporter
from empirical.report.analysis import Analysis, analyse, controls_csv, momentum_csv, verdicts_csv
from empirical.report.names import plural
from empirical.report.render import drawing, page
from empirical.report.render.blocks import Block, Details, Plot, Section
from empirical.report.render.drawing import Figure
from empirical.report.results import Results, read_results
from empirical.report.sections import (
    attention,
    calibration,
    confusion,
    controls,
    how_to_read,
    layers,
    momentum,
    paper_tables,
    published_numbers,
    rate_and_order,
    runs,
    verdicts,
    weights,
)
from empirical.report.tables import records as tables
from empirical.report.tables.grid import Grid
from empirical.report.tables.latex import longtables
from empirical.report.tables.markdown import markdown_document


def sections(results: Results, analysis: Analysis) -> tuple[Section, ...]:
    """In the order of the page: verdicts first, what ran last; of trained models, if any."""
    first = verdicts.section(results, analysis.verdicts)
    trained = (momentum.section(results, analysis.momentum),) if results.momentum else ()
    if not results.records:
        return (first, *trained)
    return (
        first,
        how_to_read.section(),
        controls.section(results, analysis.compared),
        paper_tables.section(results),
        published_numbers.section(),
        calibration.section(results),
        layers.section(results),
        weights.section(results),
        attention.section(results),
        rate_and_order.section(results),
        confusion.section(results),
        *trained,
        runs.section(results),
    )


def _figures(blocks: Sequence[Block]) -> Iterator[Figure]:
    for block in blocks:
        if isinstance(block, Plot) and block.stored:
            yield block.figure
        if isinstance(block, Details):
            yield from _figures(block.blocks)


def title(results: Results) -> str:
    """Of the page."""
    models = sorted({r.provenance.model for r in results.records})
    if not models:
        return f"Momentum attention, and what else could explain it: {', '.join(scales(results))}"
    return f"Is in-context learning implicit gradient descent? {', '.join(models)}"


def scales(results: Results) -> tuple[str, ...]:
    """Of the trained models, each once."""
    return tuple(sorted({r.scale for r in results.momentum}))


def _trained(results: Results) -> str:
    """How much was trained."""
    layers = {r.layer for r in results.momentum}
    seeds = {r.seed for r in results.momentum}
    return (
        f"{plural(len(results.momentum), 'model')} trained: {plural(len(layers), 'variant')} of "
        f"attention, {plural(len(seeds), 'seed')}; every number below is read from the files in "
        "this folder."
    )


def lead(results: Results) -> str:
    """Under the title: how much was measured."""
    if not results.records:
        return _trained(results)
    cells = results.records
    models = {r.provenance.model for r in cells}
    tasks = {r.task for r in cells}
    seeds = {r.provenance.seed for r in cells}
    return (
        f"Measured on {len(models)} model{'s' * (len(models) > 1)}, {len(tasks)} "
        f"task{'s' * (len(tasks) > 1)} and {len(seeds)} seed{'s' * (len(seeds) > 1)}; "
        "every number below is read from the records in this folder."
    )


def _tables(results: Results, analysis: Analysis, folder: Path) -> list[Path]:
    """Verdicts, controls and trained models in three formats each, as far as they are there."""
    compared, judged = analysis.compared, analysis.verdicts
    tables: dict[str, tuple[Sequence[Grid], str]] = {}
    if judged:
        tables["verdicts"] = ((verdicts.grid(judged),), verdicts_csv(judged))
    if results.evidence:
        tables["controls"] = (controls.every_grid(results, compared), controls_csv(compared))
    if results.momentum:
        grids = momentum.every_grid(results, analysis.momentum)
        tables["momentum"] = (grids, momentum_csv(analysis.momentum))
    paths = []
    for name, (listed, csv) in tables.items():
        texts = {
            "md": markdown_document(name.capitalize(), listed),
            "csv": csv,
            "tex": longtables(listed),
        }
        for kind, text in texts.items():
            paths.append(folder / f"{name}.{kind}")
            write_text(paths[-1], text)
    return paths


def write_report(folder: Path, reporter: Reporter = SILENT) -> list[Path]:
    """Write everything into `folder`, from its records alone; the paths, the page first.

    Raises:
        UserError: when there is neither a record nor a trained model, or a file is damaged.
    """
    folder = Path(folder)
    results = read_results(folder)
    analysis = analyse(results)
    built = sections(results, analysis)
    drawn = [f for s in built for f in _figures(s.blocks)]
    paths = [folder / "report.html"]
    with reporter.stage("report", len(drawn) + 2) as advance:
        text = page.render(title(results), lead(results), "Written by dualform report.", built)
        write_text(paths[0], text)
        advance(1)
        if results.records:
            tables.write_all(results.records, folder)
            paths += [folder / f"tables.{kind}" for kind in ("md", "csv", "tex")]
        paths += _tables(results, analysis, folder)
        advance(1)
        for figure in drawn:
            paths += drawing.save(figure, folder / "figures")
            advance(1)
    return paths


__all__ = ["write_report"]
