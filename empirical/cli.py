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


def run_proofs(ids: list[str] | None, latex: Path | None) -> bool:
    """Prove, print one line a statement, export; whether all came out as claimed."""
    from rich.console import Console

    from proofs.prove import prove
    from proofs.statements import CATALOGUE, UnknownStatement, by_id

    console = Console()
    try:
        chosen = [by_id(name) for name in ids] if ids else list(CATALOGUE)
    except UnknownStatement as error:
        raise UserError(str(error.args[0])) from None
    folder = None if latex is None else writable(latex)
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
    if folder is not None:
        from proofs.tex import write_document

        console.print(f"derivations: {write_document(folder / 'derivations.tex', verdicts)}")
    return all(
        v.status.startswith("proved" if s.claim == "true" else "refuted")
        for s, v in zip(chosen, verdicts, strict=True)
    )


@app.command()
@clear_errors
def prove(
    ids: Annotated[list[str] | None, typer.Argument(help="Statement ids; all by default.")] = None,
    latex: Annotated[Path | None, typer.Option(help="Folder for the LaTeX document.")] = None,
) -> None:
    """Prove the identities symbolically, step by step, and refute the false claims."""
    if not run_proofs(ids, latex):
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
