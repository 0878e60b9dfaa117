"""`dualform export` and `dualform convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from empirical.cli import options
from empirical.cli.console import terminal_reporter, writable_folder


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
    reporter = terminal_reporter(1)
    from empirical.study.export import export as write

    for path in write(folder, writable_folder(out), seed, reporter):
        reporter.say(str(path))


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
