"""`dualform momentum`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dualform.extras import require
from empirical.cli import options
from empirical.cli.console import Data, Out, Threads, terminal_reporter, writable_folder
from empirical.cli.report import report


def momentum(
    out: Out = Path("results-momentum"),
    scale: Annotated[
        str, typer.Option(help="`nano` (two cores), `small` (one GPU) or `paper` (many).")
    ] = "nano",
    text: Annotated[
        str,
        typer.Option(
            metavar="DIR",
            help="Folder of books, `hub:OWNER/NAME`, or `generated`: the package's own grammar.",
        ),
    ] = "generated",
    data: Data = None,
    kinds: Annotated[
        list[str] | None,
        typer.Option("--kind", help="A kind of attention beside plain. Repeatable; the scale's."),
    ] = None,
    etas: Annotated[
        str | None, typer.Option("--eta", help="Etas, between commas; 0.1,0.3,0.5,0.7,0.9.")
    ] = None,
    learned: Annotated[
        bool, typer.Option("--learned", help="Also momentum attention that learns its etas.")
    ] = False,
    seeds: Annotated[
        list[int] | None,
        typer.Option(
            "--seed",
            parser=options.Whole("--seed", 1, least=0),
            help="Seed of weights, data order and demonstrations. Repeatable; 1, 2 and 3.",
        ),
    ] = None,
    limit: Annotated[
        int,
        typer.Option(
            parser=options.Whole("--limit", 500, least=1), help="Most evaluation rows of a task."
        ),
    ] = 500,
    workers: Annotated[
        int, typer.Option(parser=options.Whole("--workers", 1, least=1), help="Models at once.")
    ] = 1,
    threads: Threads = 1,
    device: Annotated[str, typer.Option(help="`cpu` or `cuda`: the first GPU it sees.")] = "cpu",
    keep: Annotated[bool, typer.Option("--keep", help="Keep the models in OUT/models.")] = False,
) -> None:
    """Train models with and without momentum attention, measure them, build the report.

    Run again with the same settings, it trains only what the folder does not hold yet.
    """
    require("report")  # the last step's, said before hours of training
    at = () if etas is None else options.etas(etas)
    reporter = terminal_reporter(threads)
    from empirical.momentum.run import Request, jobs_of, missing, run

    request = Request(
        scale=scale,
        kinds=tuple(kinds or ()),
        etas=at,
        learned=learned,
        seeds=options.each_once(seeds) or (1, 2, 3),
        text=text,
        data=data,
        limit=limit,
        device=str(options.device(device)),
        threads=threads,
        keep=keep,
        out=writable_folder(out),
    )
    jobs = jobs_of(request)
    left = len(missing(jobs))
    reporter.say(f"{len(jobs)} models of scale {scale}, {len(jobs) - left} of them in {out}")
    for path in run(jobs, workers, reporter):
        reporter.say(f"  {path.name}")
    report(out)
