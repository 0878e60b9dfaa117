"""`dualform prove`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from empirical.core.errors import Refused, UserError

if TYPE_CHECKING:
    pass
from empirical.cli.console import writable_folder


def run_proofs(ids: list[str] | None, latex: Path | None = None) -> None:
    """Prove, print one line a statement, and write `identities.tex` into the folder `latex`.

    Raises:
        UserError: for an unknown id.
        Refused: when a statement does not come out as claimed; the document is written first.
    """
    from rich.console import Console

    from empirical.core.json_files import write_text
    from empirical.core.terminal import TerminalReporter
    from proofs.statements import EVERYTHING, UnknownStatement, any_by_id
    from proofs.tex import document
    from proofs.verdict import as_claimed, prove

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

    from empirical.core.terminal import TerminalReporter
    from proofs.formal.check import CoqMissing, formal_check
    from proofs.statements import STATEMENTS

    console = Console()
    chosen = [s for s in STATEMENTS if not ids or s.id in ids]
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
    run_proofs(ids, None if latex is None else writable_folder(latex))
    if formal is not None:
        run_formal(ids, writable_folder(formal))
