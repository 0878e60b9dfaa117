"""Fuzz every rounding bound: `python -m empirical.cli.fuzz --cases 1000000 --seed 0 --out DIR`.

Every true statement of the catalogue, side against side, and every variant, fast against slow, in
every type, over magnitudes from ordinary to the ends of the type. Run again with the same settings,
it goes on where it was.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from empirical.cli import options
from empirical.core.command_line import single
from empirical.core.errors import Refused, UserError

if TYPE_CHECKING:
    from empirical.verification.fuzz.run import Request


def fuzz(
    cases: Annotated[
        int, typer.Option(parser=options.Whole("--cases", 1000000, least=1), help="Cases in all.")
    ] = 1000000,
    seed: Annotated[
        int, typer.Option(parser=options.Whole("--seed", 0), help="Seed of the draws.")
    ] = 0,
    out: Annotated[Path, typer.Option(help="Results folder.")] = Path("docs/results/fuzz"),
    device: Annotated[str, typer.Option(help="`cpu` or `cuda`.")] = "cpu",
    workers: Annotated[
        int, typer.Option(parser=options.Whole("--workers", 2, least=1), help="Processes.")
    ] = 1,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="A statement or variant; repeatable. Written aside."),
    ] = None,
) -> None:
    """Draw cases, compare both sides under their bound, and write the summary."""
    import torch
    from rich.console import Console

    from empirical.core.json_files import dumps, write_text
    from empirical.core.terminal import TerminalReporter
    from empirical.verification.fuzz.run import Request, run

    if device not in ("cpu", "cuda"):
        raise UserError(f"expected --device cpu or cuda, got {device!r}; choose one of them")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("expected a GPU for --device cuda, got none; use --device cpu")
    request = Request(
        cases=cases, seed=seed, folder=out, device=device, workers=workers, only=tuple(only or ())
    )
    reporter = TerminalReporter(Console())
    made, seconds = run(request, reporter)
    path = out / (f"{device}-only.json" if request.only else f"{device}.json")
    write_text(path, dumps(made))
    if not request.only:
        write_text(out / f"{device}-provenance.json", dumps(origin(request, seconds)))
        _write_page(out)
    total = made["totals"]
    reporter.say(
        f"{total['cases']} cases: {total['compared']} compared, {total['trivial']} trivial, "
        f"{total['overflowed']} overflowed, {total['underflowed']} underflowed; worst gap/bound "
        f"{total['worst_ratio']:.3g}; {path}"
    )
    if total["violations"]:
        where = sorted({f"{c['id']} in {c['dtype']}" for c in made["cells"] if c["violations"]})
        raise Refused(
            f"expected every gap under its bound, got {total['violations']} over it "
            f"({', '.join(where[:5])}{', ...' if len(where) > 5 else ''}); see {path}"
        )


def origin(request: Request, seconds: float) -> dict[str, Any]:
    """How the numbers were made: command, versions, machine, seconds of computing."""
    import os
    import platform

    import torch

    from empirical.core import provenance

    folder = request.folder.name if request.folder.is_absolute() else request.folder.as_posix()
    return {
        "command": f"python -m empirical.cli.fuzz --cases {request.cases} --seed {request.seed} "
        f"--out {folder} --device {request.device}",
        "commit": provenance.commit(),
        "versions": {
            "python": platform.python_version(),
            **{n: v for n, v in provenance.versions().items() if n in ("dualform", "torch")},
        },
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "gpu": torch.cuda.get_device_name() if request.device == "cuda" else None,
        },
        "workers": request.workers,
        "seconds": round(seconds, 1),
    }


def _processor() -> str:
    """The model of the processor, or its kind where the system does not say."""
    import platform

    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [x.partition(":")[2].strip() for x in lines if x.startswith("model name")]
    return named[0] if named else platform.machine()


def _write_page(out: Path) -> None:
    """README.md from the summaries in the folder."""
    from empirical.core.json_files import read_object, write_text
    from empirical.verification.fuzz.page import page

    found = [
        (read_object(out / f"{d}.json"), read_object(out / f"{d}-provenance.json"))
        for d in ("cpu", "cuda")
        if (out / f"{d}.json").exists() and (out / f"{d}-provenance.json").exists()
    ]
    write_text(out / "README.md", page(found))


app = single(fuzz)

if __name__ == "__main__":
    app()
