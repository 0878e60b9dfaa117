"""What ran: models, data, seeds, versions, time and memory; and how to run it again."""

from __future__ import annotations

from empirical.report.commands import made_by
from empirical.report.render.blocks import Block, Code, Details, Prose, Section, Table
from empirical.report.results import Results
from empirical.report.tables.grid import Column, Grid
from empirical.results.control_results import evidence_name
from empirical.results.record import Record, cell_name


def _spent(results: Results, name: str) -> tuple[str, str]:
    """Seconds and peak memory (GiB) of a file, as texts."""
    found = results.timing.get(name, {})
    peak = found.get("peak_memory_gib")
    total = found.get("total")
    return (
        "not recorded" if total is None else f"{total:.1f}",
        "not recorded" if peak is None else f"{peak:.2f}",
    )


def _cell(results: Results, record: Record) -> tuple[str, ...]:
    made = record.provenance
    spent = _spent(results, cell_name(made.model, record.task, made.seed))
    controls, _ = _spent(results, evidence_name(made.model, record.task, made.seed))
    return (
        made.model,
        record.task,
        str(made.seed),
        made.protocol,
        f"{made.rate:g}",
        str(made.k),
        str(made.context_length),
        str(record.counts.get("examples", "")),
        made.position,
        f"{made.dtype}, {made.device}",
        str(made.threads),
        spent[0],
        controls,
        spent[1],
    )


def _ordered(results: Results) -> list[Record]:
    """Models by name, tasks in the paper's order, seeds ascending."""
    order = {cell: i for i, cell in enumerate(results.cells())}
    return sorted(
        results.records, key=lambda r: (order[r.provenance.model, r.task], r.provenance.seed)
    )


def _cells(results: Results) -> Grid:
    headings = (
        "protocol",
        "rate",
        "k",
        "context tokens",
        "n",
        "position",
        "arithmetic",
        "threads",
        "seconds",
        "seconds, controls",
        "peak GiB",
    )
    text = {"protocol", "position", "arithmetic"}
    return Grid(
        id="cells",
        caption="Every cell of the study",
        columns=(
            Column(heading="model", kind="head"),
            Column(heading="task", kind="head"),
            Column(heading="seed", kind="head"),
            *(Column(heading=h, kind="text" if h in text else "number") for h in headings),
        ),
        rows=tuple(_cell(results, r) for r in _ordered(results)),
        notes=(
            "rate: of finetuning. k: demonstrations. n: evaluation examples. position: the token "
            "whose states are compared. Seconds and memory are of that machine, and no result "
            "depends on them.",
        ),
    )


def _versions(results: Results) -> Grid:
    found = {v for r in results.records for v in r.provenance.versions.items()}
    found |= {v for e in results.evidence for v in e.provenance.versions.items()}
    return Grid(
        id="versions",
        caption="Versions of the software",
        columns=(Column(heading="package", kind="head"), Column(heading="version", kind="text")),
        rows=tuple(sorted(found)),
    )


def _sources(results: Results) -> Grid:
    rows = []
    for r in _ordered(results):
        made = r.provenance
        rows.append(
            (
                made.model,
                r.task,
                made.source,
                made.revision or "none",
                made.rule,
                made.source_sha256[:16],
                made.weights_sha256[:16],
                made.code_sha256[:16],
                (made.commit or "not known")[:12],
            )
        )
    text = (
        "data",
        "revision",
        "demonstrations drawn by",
        "SHA-256 of the rows",
        "SHA-256 of the model",
        "SHA-256 of the code",
        "commit",
    )
    heads = (Column(heading="model", kind="head"), Column(heading="task", kind="head"))
    return Grid(
        id="sources",
        caption="What the numbers depend on",
        columns=(*heads, *(Column(heading=h, kind="text") for h in text)),
        rows=tuple(dict.fromkeys(rows)),
        notes=("Hashes are cut to 16 digits here; the records hold them whole.",),
    )


def _rates(results: Results) -> Grid:
    """One row for each cell that tried several rates."""
    rows = []
    for r in _ordered(results):
        made = r.provenance
        known = {x: y for x, y in made.selection if isinstance(y, float)}
        if known:
            ends = f"{min(known.values()):.1f} to {max(known.values()):.1f}"
            chosen = f"{known[made.rate]:.1f}" if made.rate in known else "not tried"
            rows.append(
                (
                    made.model,
                    r.task,
                    str(made.seed),
                    made.rates_on,
                    str(len(made.selection)),
                    str(len(made.selection) - len(known)),
                    f"{made.rate:g}",
                    chosen,
                    ends,
                )
            )
    heads = [Column(heading=h, kind="head") for h in ("model", "task", "seed")]
    numbers = ("rates", "diverged", "chosen", "its accuracy (%)", "all accuracies (%)")
    return Grid(
        id="rates",
        caption="How the rate was chosen",
        columns=(
            *heads,
            Column(heading="on rows of", kind="text"),
            *(Column(heading=h) for h in numbers),
        ),
        rows=tuple(rows),
        notes=("The records hold every rate with its accuracy.",),
    )


def section(results: Results) -> Section:
    """Cells first; versions, hashes and rates behind summaries; commands at the end."""
    blocks: list[Block] = [Table(grid=_cells(results))]
    more = [
        ("Versions", _versions(results)),
        ("Data, weights and code", _sources(results)),
        ("Rates", _rates(results)),
    ]
    for summary, grid in more:
        if grid.rows:
            blocks.append(Details(summary=summary, blocks=(Table(grid=grid),)))
    blocks += [
        Prose(
            text="The same command with the same versions on the same machine and with as many "
            "threads writes the same records, byte for byte; another processor moves the last "
            "digits. A folder that holds finished cells is resumed."
        ),
        Code(label="Run it again", text="\n".join(made_by(results))),
        Code(label="Build this report again, without a model", text="dualform report DIR"),
    ]
    return Section(id="runs", title="What ran, and how to run it again", blocks=tuple(blocks))
