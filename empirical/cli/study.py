"""The console script `dualform`. Heavy imports happen inside the commands that need them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from empirical.cli import options
from empirical.cli.console import (
    Data,
    Draw,
    K,
    Limit,
    Out,
    Seed,
    Threads,
    Tokenizer,
    terminal_reporter,
    writable_folder,
)
from empirical.cli.proofs import run_proofs
from empirical.core.errors import Refused
from empirical.results.control_catalogue import CONTROLS, chosen_controls

if TYPE_CHECKING:
    from empirical.core.terminal import TerminalReporter
    from empirical.study.reproduce import Request, Study


def check(
    model: Annotated[
        str, typer.Argument(help="`embedded`, a folder, a hub id, random:1.3B or random:DxLxH.")
    ],
    task: Annotated[str, typer.Option(help="The task whose demonstrations it reads.")] = "sst2",
    data: Data = None,
    tokenizer: Tokenizer = None,
    k: K = None,
    limit: Limit = None,
    queries: Annotated[
        int, typer.Option(parser=options.Whole("--queries", 1), help="Evaluation rows it reads.")
    ] = 1,
    dtype: Annotated[
        str, typer.Option(help="float64 (copies of the float32 states) or float32.")
    ] = "float64",
    rate: Annotated[
        float, typer.Option(parser=options.rate, help="Rate of the finetuning update.")
    ] = 0.01,
    out: Out = Path("results"),
    seed: Seed = 1,
    draw: Draw = "published",
    figure: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw lambda, relaxation and gap/bound: .svg or .png."),
    ] = None,
    threads: Threads = 1,
) -> None:
    """Check the identities on every layer and head while a model reads demonstrations."""
    by_list = options.draw(draw)
    if figure is not None:
        from empirical.report.figures import identity_layers

        identity_layers.check_figure(figure)
    reporter = terminal_reporter(threads)
    from empirical.study.cell import Cell
    from empirical.study.check_identities import check_request
    from empirical.study.reproduce import Request, check_cell, open_study

    request = Request(
        command="check",
        model=model,
        tokenizer=tokenizer,
        data=data,
        tasks=(task,),
        seeds=(seed,),
        k=k,
        limit=limit,
        rates=(rate,),
        published_draw=by_list,
    )
    study = open_study(request, reporter)
    check_request(study.tasks[0], queries, dtype)
    cell = Cell(study=study, prepared=study.tasks[0], folder=writable_folder(out))
    value = check_cell(
        cell, rate=rate, queries=queries, arithmetic=dtype, again=True, reporter=reporter
    )
    _print_layers(value, figure, reporter)
    if value["refusal"] is not None:
        raise Refused(value["refusal"] + _hint(value["refusal"], dtype))


def _print_layers(
    value: Mapping[str, Any], figure: Path | None, reporter: TerminalReporter
) -> None:
    """The table of a document of checks, the figure where one is asked for, and the last line."""
    from empirical.cli.terminal_tables import NOTES, last_line, layers_table, reasons

    reporter.console.print(layers_table(value))
    lines = [*NOTES, *reasons(value)]
    if figure is not None:
        from empirical.report.figures import identity_layers

        identity_layers.draw(value, figure)
        lines.append(f"figure: {figure}")
    for line in (*lines, last_line(value)):
        reporter.say(line)


def _hint(refusal: str, dtype: str) -> str:
    """What to try where a check was refused."""
    if dtype != "float64":
        return "; float32 cannot see small terms, try --dtype float64"
    small = "near miss to be refused at finetuning" in refusal
    return "; the update is too small, try a larger --rate" if small else ""


def reproduce(
    out: Out = Path("results"),
    model: Annotated[
        str, typer.Option(help="`embedded`, a folder, a hub id, random:1.3B or random:DxLxH.")
    ] = "embedded",
    data: Data = None,
    tokenizer: Tokenizer = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option("--task", help="A task, or a TOML file of your own. Repeatable; the six."),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(
            help="How seed and rate are chosen: `quick` (seed 1, four rates), `sound` (seeds 1 to "
            "3, 36 rates; like quick's, chosen on held-out training rows), `published-1.3B` and "
            "`published-2.7B` (those printed), or `published-search` (the authors' search on the "
            "evaluation rows).",
        ),
    ] = "quick",
    seeds: Annotated[
        list[int] | None,
        typer.Option(
            "--seed",
            parser=options.Whole("--seed", 1),
            help="Seed of the demonstrations. Repeatable; the protocol's.",
        ),
    ] = None,
    k: K = None,
    limit: Limit = None,
    rates: Annotated[
        str | None,
        typer.Option(help="Finetuning rates to choose from, between commas; the protocol's."),
    ] = None,
    draw: Draw = "published",
    position: Annotated[
        str,
        typer.Option(help="Recorded token: `label` (the paper's: the class-0 label) or `prompt`."),
    ] = "label",
    threads: Threads = 1,
    device: Annotated[str, typer.Option(help="`cpu`, `cuda` or `cuda:N`.")] = "cpu",
    checks: Annotated[
        bool, typer.Option(help="Proofs, and the identities on every layer and head, first.")
    ] = True,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Only every N-th task and seed, from the I-th on; run without it to finish.",
        ),
    ] = None,
    keep_captures: Annotated[
        bool, typer.Option(help="Leave what the settings recorded in OUT/captures, for `export`.")
    ] = False,
    control: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A control to run beside every cell (`dualform controls` lists them), or `all`. "
            "Repeatable.",
        ),
    ] = None,
) -> None:
    """Prove, check every layer and head, run ZSL, ICL and FT on every task, write the tables.

    Run again with the same settings, it takes finished results from the folder. What was made with
    other settings, or is damaged, is computed again and replaced.
    """
    grid = None if rates is None else options.rates(rates)
    controls = chosen_controls(control or ())
    by_list, where = options.draw(draw), options.position(position)
    reporter = terminal_reporter(threads)
    from empirical.study.reproduce import Request

    request = Request(
        command="reproduce",
        model=model,
        tokenizer=tokenizer,
        data=data,
        tasks=tuple(tasks or ()),
        protocol=protocol,
        seeds=options.each_once(seeds),
        k=k,
        limit=limit,
        rates=grid,
        published_draw=by_list,
        position=where,
        keep_captures=keep_captures,
        device=options.device(device),
        checks=checks,
        shard=options.shard(shard),
        controls=controls,
    )
    _reproduce(request, out, shard, reporter)


def _reproduce(request: Request, out: Path, shard: str | None, reporter: TerminalReporter) -> None:
    """Run what is asked for into `out`; print the tables, or that the `shard` is done.

    Raises:
        UserError: for anything about the input that would stop the study later.
        Refused: when a statement is not proved or a check does not hold.
    """
    from empirical.report.tables import records as tables
    from empirical.study.reproduce import open_study, run_cells_and_controls

    study = open_study(request, reporter)
    folder = writable_folder(out)
    if request.checks:
        _prove_and_check(study, folder, reporter)
    made = run_cells_and_controls(study, folder, reporter)
    if shard is not None:
        reporter.say(f"shard {shard} is done: {len(made)} records in {folder}")
        return
    for table in tables.write_all(made, folder):
        reporter.console.print(table)


def _prove_and_check(study: Study, folder: Path, reporter: TerminalReporter) -> None:
    """The proofs, then the identities on every task, in a table.

    Raises:
        Refused: when a statement is not proved or a check does not hold.
    """
    from empirical.cli.terminal_tables import overview_table
    from empirical.study.reproduce import check_all

    run_proofs(None, folder)
    checked = check_all(study, folder, reporter)
    reporter.console.print(overview_table(checked))
    for value in checked:
        if value["refusal"] is not None:
            raise Refused(f"{value['task']}: {value['refusal']}")


def list_controls() -> None:
    """List the controls that `reproduce --control NAME` can run, and what each asks."""
    from rich.console import Console
    from rich.table import Table

    table = Table("control", "replaces", "question")
    for c in CONTROLS.values():
        table.add_row(c.name, c.kind, c.question)
    Console().print(table)
