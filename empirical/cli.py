"""The console script `dualform`. Heavy imports happen inside the commands that need them."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from empirical.errors import UserError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Check the claim that in-context learning is implicit gradient descent.",
)


def clear_errors(command: Callable[..., None]) -> Callable[..., None]:
    """A user's error becomes one line on standard error and exit status 2."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except UserError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(2) from None

    return wrapped


def writable(folder: Path) -> Path:
    """`folder`, created.

    Raises:
        UserError: when it cannot be created or written to.
    """
    import os

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"expected a folder that can be written at {folder}, got {error.strerror}; "
            "name another one"
        ) from error
    if not os.access(folder, os.W_OK):
        raise UserError(
            f"expected a folder that can be written at {folder}, got no write permission; "
            "name another one"
        )
    return folder


def run_proofs(ids: list[str] | None) -> bool:
    """Prove, print one line a statement; whether all came out as claimed."""
    from rich.console import Console

    from proofs.prove import prove
    from proofs.statements import CATALOGUE, UnknownStatement, by_id

    console = Console()
    try:
        chosen = [by_id(name) for name in ids] if ids else list(CATALOGUE)
    except UnknownStatement as error:
        raise UserError(str(error.args[0])) from None
    verdicts = []
    for statement in chosen:
        verdict = prove(statement)
        verdicts.append(verdict)
        good = verdict.status.startswith("proved" if statement.claim == "true" else "refuted")
        mark = "[green]✓[/green]" if good else "[red]✗[/red]"
        console.print(
            f"{mark} {statement.id:32} {verdict.status:22} {verdict.seconds:6.2f} s",
            highlight=False,
        )
    return all(
        v.status.startswith("proved" if s.claim == "true" else "refuted")
        for s, v in zip(chosen, verdicts, strict=True)
    )


@app.command()
@clear_errors
def prove(
    ids: Annotated[list[str] | None, typer.Argument(help="Statement ids; all by default.")] = None,
) -> None:
    """Prove the identities symbolically, step by step, and refute the false claims."""
    if not run_proofs(ids):
        raise typer.Exit(1)


@app.command()
@clear_errors
def reproduce(
    out: Annotated[Path, typer.Option(help="Results folder.")] = Path("results"),
    model: Annotated[str, typer.Option(help="`embedded`, a folder, or a hub id.")] = "embedded",
    data: Annotated[
        Path | None, typer.Option(help="Folder of JSON Lines tasks; generated tasks by default.")
    ] = None,
    tasks: Annotated[list[str] | None, typer.Option("--task", help="Repeatable.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the demonstrations.")] = 1,
    k: Annotated[int | None, typer.Option(help="Demonstrations; the paper's by default.")] = None,
    limit: Annotated[int, typer.Option(help="Most evaluation rows a task.")] = 500,
    rates: Annotated[str, typer.Option(help="Finetuning rates to choose from.")] = "0.01,0.1,0.5",
) -> None:
    """Prove, then run ZSL, ICL and FT on every task, and write records and tables."""
    import time

    import numpy as np
    from rich.console import Console

    from empirical import provenance, records, tables
    from empirical.experiments import StudySettings, run_task
    from empirical.measure import measure
    from empirical.metrics import Undefined
    from empirical.models import load
    from empirical.tasks import TASKS, FolderSource, GeneratedSource, Source, get_task

    console = Console()
    try:
        grid = tuple(float(rate) for rate in rates.split(","))
    except ValueError:
        raise UserError(
            f"expected rates as numbers between commas, got {rates!r}; for example 0.01,0.1"
        ) from None
    chosen = [get_task(name) for name in (tasks or list(TASKS))]
    loaded = load(model)
    source: Source = GeneratedSource(seed=0) if data is None else FolderSource(path=data)
    folder = writable(out)
    if not run_proofs(None):
        raise UserError("expected every proof to hold, got one that does not; see the lines above")
    # The results of a task depend on the whole folder of data, or on the grammar that made them.
    origin = Path(__file__).with_name("grammar.py") if data is None else data
    done = []
    for task in chosen:
        start = time.perf_counter()
        settings = StudySettings(seed=seed, rates=grid, k=k, limit=limit)
        with console.status(task.name) as status:
            got = run_task(loaded, task, source, settings, progress=status.update)
        values = measure(got.zsl, got.icl, got.ft, np.random.default_rng(seed))
        record = records.Record(
            task=task.name,
            provenance=records.Provenance(
                model=model,
                weights_sha256=provenance.weights_sha256(loaded.model),
                source="generated" if data is None else str(data),
                source_sha256=provenance.files_sha256(origin),
                seed=seed,
                k=got.k_used,
                context_length=got.context_length,
                position=settings.position,
                rate=got.rate,
                selection=tuple(
                    (rate, Undefined("training diverged") if np.isnan(share) else 100 * share)
                    for rate, share in got.selection
                ),
                dtype="float32",
                device=loaded.device.type,
                versions=provenance.versions(),
                commit=provenance.commit(),
                command=(
                    *("dualform", "reproduce", "--model", model, "--seed", str(seed)),
                    *("--limit", str(limit), "--rates", rates, "--task", task.name),
                    *(() if k is None else ("--k", str(k))),
                    *(() if data is None else ("--data", str(data))),
                ),
            ),
            counts={
                "examples": len(got.zsl.labels),
                "layers": loaded.n_layers,
                "heads": loaded.n_heads,
            },
            metrics=values,
        )
        records.write(record, folder, {"total": time.perf_counter() - start})
        done.append(record)
        console.print(f"{task.name}: {time.perf_counter() - start:.1f} s", highlight=False)
    for shown in tables.write_all(done, folder):
        console.print(shown)


@app.command()
@clear_errors
def report(
    folder: Annotated[Path, typer.Argument(help="A results folder of `reproduce`.")],
) -> None:
    """Build the tables again from the records of a results folder alone."""
    from rich.console import Console

    from empirical import records, tables

    console = Console()
    for shown in tables.write_all(records.read_all(folder), folder):
        console.print(shown)


if __name__ == "__main__":
    app()
