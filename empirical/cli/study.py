"""The console script `dualform`. Heavy imports happen inside the commands that need them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from empirical.cli import options
from empirical.core.errors import Refused, UserError

if TYPE_CHECKING:
    from empirical.cli.terminal_tables import TerminalReporter

# The error of the parser behind typer, which is click's or typer's own copy of it.
UsageError: Any = typer.BadParameter.__bases__[0]


STOPPED = 130  # the exit status of what Ctrl-C stopped


def _fail(message: str, status: int) -> NoReturn:
    typer.echo(" ".join(message.split()), err=True)
    sys.exit(status)


class OneLine(TyperGroup):
    """A group whose every error is one line on standard error: 2 for bad input, 1 for a refusal."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run; what the parser or a command refuses becomes one line and an exit status."""
        extra["standalone_mode"] = False
        try:
            status = super().main(*args, **extra) or 0
            if status != STOPPED:
                sys.exit(status)
        except UserError as error:
            _fail(f"error: {error}", 2)
        except Refused as refused:
            _fail(f"refused: {refused}", 1)
        except OSError as error:
            what = error.strerror or type(error).__name__
            _fail(
                f"error: expected files that can be read and written, got {what}"
                f"{f' at {error.filename}' if error.filename else ''}; what was finished is kept, "
                "put that right and run the same command again",
                2,
            )
        except UsageError as error:
            if not error.format_message():  # a bare `dualform`: its message is the help
                error.show()
                sys.exit(2)
            asked = error.ctx.command_path if error.ctx else "dualform"
            _fail(
                f"error: expected options of `{asked}`, got this: {error.format_message()} "
                f"See `{asked} --help`",
                2,
            )
        except (typer.Abort, KeyboardInterrupt):
            pass
        _fail("stopped; the same command goes on where it was", STOPPED)


app = typer.Typer(
    cls=OneLine,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Check the claim that in-context learning is implicit gradient descent.",
)

Tokenizer = Annotated[
    Path | None,
    typer.Option(help="Folder with tokenizer.json, or vocab.json and merges.txt; the model's own."),
]
Data = Annotated[
    str | None,
    typer.Option(
        metavar="DIR", help="Folder of JSON Lines tasks, or `hub`; generated tasks by default."
    ),
]
Seed = Annotated[
    int, typer.Option(parser=options.Whole("--seed", 1), help="Seed of the demonstrations.")
]
K = Annotated[
    int | None,
    typer.Option(
        parser=options.Whole("--k", 16),
        help="Demonstrations, all of which must fit; by default the paper's, or as many as fit.",
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        parser=options.Whole("--limit", 500),
        help="Most evaluation rows of a task; by default the paper's 2000.",
    ),
]
Draw = Annotated[
    str,
    typer.Option(
        metavar="RULE",
        help="`published`: where the data folder lists the rows that the paper's code draws with "
        "this seed, take those; `shuffled`: always shuffle the training rows at hand.",
    ),
]
Threads = Annotated[
    int,
    typer.Option(
        parser=options.Whole("--threads", 1, least=1),
        help="Threads of the arithmetic; the last bits of the results depend on it.",
    ),
]
Out = Annotated[Path, typer.Option(help="Results folder.")]


def _writable(folder: Path) -> Path:
    """`folder`, created.

    Raises:
        UserError: when it cannot be created or written to.
    """
    import os

    reason = "no write permission"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError as error:
        reason = error.strerror or type(error).__name__
    raise UserError(
        f"expected a folder that can be written at {folder}, got: {reason}; name another one"
    )


def _reporter(threads: int) -> TerminalReporter:
    """A reporter on standard output; the libraries' own bars and warnings silenced."""
    import torch
    from huggingface_hub.utils import logging as hub_logging
    from rich.console import Console
    from transformers.utils import logging

    from empirical.cli.terminal_tables import TerminalReporter

    torch.set_num_threads(threads)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call] # transformers' own gap
    hub_logging.set_verbosity_error()  # type: ignore[no-untyped-call] # the hub client's own gap
    logging.set_verbosity_error()  # type: ignore[no-untyped-call] # as above
    return TerminalReporter(Console())


def run_proofs(ids: list[str] | None, latex: Path | None = None) -> None:
    """Prove, print one line a statement, and write `identities.tex` into the folder `latex`.

    Raises:
        UserError: for an unknown id.
        Refused: when a statement does not come out as claimed; the document is written first.
    """
    from rich.console import Console

    from empirical.cli.terminal_tables import TerminalReporter
    from empirical.core.json_files import write_text
    from proofs.prove import as_claimed, prove
    from proofs.statements import EVERYTHING, UnknownStatement, any_by_id
    from proofs.tex import document

    console = Console()
    try:
        chosen = [any_by_id(name) for name in ids] if ids else list(EVERYTHING)
    except UnknownStatement as error:
        raise UserError(str(error.args[0])) from None
    verdicts = []
    with TerminalReporter(console).stage("proofs", len(chosen)) as advance:
        for statement in chosen:
            verdict = prove(statement)
            verdicts.append(verdict)
            good = as_claimed(statement, verdict)
            console.print(
                f"{'[green]✓[/green]' if good else '[red]✗[/red]'} {statement.id:32} "
                f"{verdict.status:22} {verdict.seconds:6.2f} s",
                highlight=False,
            )
            if not good:
                console.print(f"  {verdict.detail}", highlight=False, markup=False)
            advance(1)
    if latex is not None:
        write_text(latex / "identities.tex", document(verdicts))
        console.print(f"derivations: {latex / 'identities.tex'}", highlight=False)
    if not all(map(as_claimed, chosen, verdicts)):
        raise Refused("expected every statement to come out as claimed, see the lines with ✗")


def run_formal(ids: list[str] | None, folder: Path) -> None:
    """Write Coq lemmas into `folder`, have `coqc` check them, and print one line a statement.

    Raises:
        UserError: without Coq with MathComp, or for facts of analysis alone.
        Refused: when a lemma is not accepted, rests on an axiom, or a statement has none.
    """
    from rich.console import Console

    from empirical.cli.terminal_tables import TerminalReporter
    from proofs.formal.check import CoqMissing, formal_check
    from proofs.statements import CATALOGUE

    console = Console()
    chosen = [s for s in CATALOGUE if not ids or s.id in ids]
    if not chosen:
        raise UserError(
            f"expected a statement of matrix algebra for Coq, got {', '.join(ids or [])}, whose "
            "proof is one of analysis; leave --formal away"
        )
    try:
        with TerminalReporter(console).stage("formal", len(chosen)) as advance:
            verdicts = formal_check(chosen, folder)
            advance(len(chosen))
    except CoqMissing as error:
        raise UserError(str(error)) from None
    for v in verdicts:
        good = v.status == "checked"
        console.print(
            f"{'[green]✓[/green]' if good else '[red]✗[/red]'} {v.id:36} Coq: {v.status:12} "
            f"{len(v.lemmas):2} lemmas {v.seconds:6.2f} s",
            highlight=False,
        )
        if not good:
            console.print(f"  {v.detail}", highlight=False, markup=False)
    console.print(f"lemmas: {folder}", highlight=False)
    if any(v.status != "checked" for v in verdicts):
        raise Refused("expected every statement to be checked by Coq, see the lines with ✗")


@app.command()
def prove(
    ids: Annotated[list[str] | None, typer.Argument(help="Statement ids; all by default.")] = None,
    latex: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the derivations to DIR/identities.tex."),
    ] = None,
    formal: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write the matrix identities as Coq lemmas to DIR and have `coqc` check them.",
        ),
    ] = None,
) -> None:
    """Prove the identities symbolically, step by step, and refute the false claims."""
    run_proofs(ids, None if latex is None else _writable(latex))
    if formal is not None:
        run_formal(ids, _writable(formal))


@app.command()
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
    from empirical.report.figures import identity_layers as layer_figure

    if figure is not None:
        layer_figure.check_figure(figure)
    reporter = _reporter(threads)
    from empirical.cli.terminal_tables import NOTES, last_line, layers_table, reasons
    from empirical.study.check_identities import check_request
    from empirical.study.reproduce import Request, check_task, open_study

    request = Request(
        command="check", model=model, tokenizer=tokenizer, data=data, tasks=(task,), seeds=(seed,),
        k=k, limit=limit, rates=(rate,), published_draw=by_list,
    )  # fmt: skip
    study = open_study(request, reporter)
    check_request(study.tasks[0], queries, dtype)
    value = check_task(
        study, study.tasks[0], _writable(out), rate=rate, queries=queries,
        arithmetic=dtype, again=True, reporter=reporter,
    )  # fmt: skip
    reporter.console.print(layers_table(value))
    lines = [*NOTES, *reasons(value)]
    if figure is not None:
        layer_figure.draw(value, figure)
        lines.append(f"figure: {figure}")
    for line in (*lines, last_line(value)):
        reporter.say(line)
    if value["refusal"] is not None:
        hint = "; float32 cannot see small terms, try --dtype float64"
        if dtype == "float64":
            small = "near miss to be refused at finetuning" in value["refusal"]
            hint = "; the update is too small, try a larger --rate" if small else ""
        raise Refused(value["refusal"] + hint)


@app.command()
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
    from empirical.results.control_catalogue import chosen_controls

    grid = None if rates is None else options.rates(rates)
    controls = chosen_controls(control or ())
    by_list, where = options.draw(draw), options.position(position)
    reporter = _reporter(threads)
    from empirical.cli.terminal_tables import overview_table
    from empirical.report.tables import records as tables
    from empirical.study.reproduce import Request, check_all, open_study, run_cells

    request = Request(
        command="reproduce", model=model, tokenizer=tokenizer, data=data,
        tasks=tuple(tasks or ()), protocol=protocol, seeds=options.each_once(seeds),
        k=k, limit=limit, rates=grid, published_draw=by_list, position=where,
        keep_captures=keep_captures, device=options.device(device), checks=checks,
        shard=options.shard(shard), controls=controls,
    )  # fmt: skip
    study = open_study(request, reporter)
    folder = _writable(out)
    if checks:
        run_proofs(None, folder)
        checked = check_all(study, folder, reporter)
        reporter.console.print(overview_table(checked))
        for value in checked:
            if value["refusal"] is not None:
                raise Refused(f"{value['task']}: {value['refusal']}")
    made = run_cells(study, folder, reporter)
    if controls:
        from empirical.study.controls.run_controls import run_controls

        run_controls(study, made, folder, reporter)
    if shard is not None:
        reporter.say(f"shard {shard} is done: {len(made)} records in {folder}")
        return
    for shown in tables.write_all(made, folder):
        reporter.console.print(shown)


@app.command(name="controls")
def list_controls() -> None:
    """List the controls that `reproduce --control NAME` can run, and what each asks."""
    from rich.console import Console
    from rich.table import Table

    from empirical.results.control_catalogue import CONTROLS

    table = Table("control", "replaces", "question")
    for c in CONTROLS.values():
        table.add_row(c.name, c.kind, c.question)
    Console().print(table)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="A results folder with captures.")],
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("export"),
    kind: Annotated[
        str, typer.Option("--format", help="`understand-icl`: the released analysis scripts'.")
    ] = "understand-icl",
    seed: Annotated[
        int | None,
        typer.Option(parser=options.Whole("--seed", 1), help="Of several seeds, the one to take."),
    ] = None,
) -> None:
    """Write what a run recorded (`reproduce --keep-captures`) in the layout of other tools."""
    options.export_format(kind)
    reporter = _reporter(1)
    from empirical.study.export import export as write

    for path in write(folder, _writable(out), seed, reporter):
        reporter.say(str(path))


@app.command()
def convert(
    checkpoint: Annotated[Path, typer.Argument(help="fairseq's model.pt.")],
    dictionary: Annotated[Path, typer.Option(help="fairseq's dict.txt.")],
    bpe: Annotated[Path, typer.Option(help="Folder with the GPT-2 BPE.")],
    out: Annotated[Path, typer.Option(help="Model folder to write.")],
    heads: Annotated[
        int | None,
        typer.Option(
            parser=options.Whole("--heads", 32, least=1),
            help="Attention heads, where the checkpoint does not say.",
        ),
    ] = None,
    shard_size: Annotated[str, typer.Option(help="Largest file of weights.")] = "2GB",
) -> None:
    """Turn an original fairseq checkpoint into a folder that the other commands read."""
    from empirical.models.fairseq.convert import run_convert

    typer.echo(run_convert(checkpoint, dictionary, bpe, out, heads, shard_size))


@app.command()
def calibrate(out: Out = Path("results"), seed: Seed = 0, threads: Threads = 1) -> None:
    """Read models whose answer is known: the instrument's calibration, into OUT."""
    reporter = _reporter(threads)
    from empirical.calibration import run_calibration

    for line in run_calibration(_writable(out), seed, reporter):
        reporter.say(line)


@app.command()
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
    at = () if etas is None else options.etas(etas)
    reporter = _reporter(threads)
    from empirical.momentum.run import Request, jobs_of, missing, run

    request = Request(
        scale=scale, kinds=tuple(kinds or ()), etas=at, learned=learned,
        seeds=options.each_once(seeds) or (1, 2, 3), text=text, data=data, limit=limit,
        device=str(options.device(device)), threads=threads, keep=keep, out=_writable(out),
    )  # fmt: skip
    jobs = jobs_of(request)
    left = len(missing(jobs))
    reporter.say(f"{len(jobs)} models of scale {scale}, {len(jobs) - left} of them in {out}")
    for path in run(jobs, workers, reporter):
        reporter.say(f"  {path.name}")
    report(out)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="A results folder of `reproduce`.")],
) -> None:
    """Build page, tables and figures again from the records of a results folder alone."""
    from rich.console import Console

    from empirical.cli.terminal_tables import TerminalReporter
    from empirical.report import write_report

    console = Console()
    for path in write_report(folder, TerminalReporter(console)):
        console.print(str(path), highlight=False, soft_wrap=True)
