"""The conformance kit on other people's code.

Made by `python -m empirical.verification.conformance.run --out DIR`.

Every function is first called with nothing declared but its axes and names, then with its own
conventions. Verdicts: "passes"; "differs by convention" (passes once the convention is declared);
"approximates" (a known departure, in words); "wrong" (with the smallest example).
"""

from __future__ import annotations

import importlib
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from dualform.testing import (
    CHECKS,
    ConformanceError,
    Convention,
    Finding,
    Implementation,
    Uninformative,
    checks_of,
)
from dualform.testing.hunting import EXAMPLES
from empirical.core.command_line import single
from empirical.core.json_files import write_text
from empirical.core.markdown import pipe_table
from empirical.verification.conformance.cases import CASES, NOT_RUN, Case
from empirical.verification.conformance.findings import FINDINGS, Found


@dataclass(frozen=True, kw_only=True)
class Row:
    """What the kit says of one function."""

    package: str
    version: str
    function: str
    rule: str
    verdict: str
    convention: str = ""
    hint: str = ""
    passed: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    message: str = ""
    note: str = ""


def loaded(path: str) -> Callable[..., Any]:
    """The object at a dotted path.

    Raises:
        ModuleNotFoundError: when no module on the path can be imported, or one of its own imports.
        AttributeError: when the module lacks the name.
    """
    parts = path.split(".")
    for end in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:end])
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not name.startswith(error.name):
                raise
            continue
        found: Any = module
        for part in parts[end:]:
            found = getattr(found, part)
        made: Callable[..., Any] = found
        return made
    raise ModuleNotFoundError(f"expected a module on the path {path!r}, got none", name=parts[0])


def judged(case: Case, examples: int = EXAMPLES) -> Row:
    """The row of one function; "could not run" where its package is not there or does not load."""
    row = Row(
        package=case.package,
        version=_version(case.package),
        function=case.function,
        rule=case.rule,
        verdict="could not run",
        note=case.note,
    )
    try:
        call = case.adapter(loaded(case.function))
    except (ImportError, AttributeError) as error:
        return replace(row, message=f"{type(error).__name__}: {error}")
    plain = Implementation(call=call, convention=Convention(axes=case.axes), **case.plain)
    declared = replace(plain, convention=Convention(axes=case.axes, **case.convention))
    first = _violation("output", plain, case.rule, examples)
    passed, failed, message = _all_checks(declared, case.rule, examples)
    row = replace(row, passed=passed, failed=failed, message=message)
    if failed and REFUSED in message:
        return replace(row, verdict="could not run")
    if failed:
        verdict = f"approximates: {case.expected}" if case.expected else "wrong"
        return replace(row, verdict=verdict, convention=str(declared.convention))
    if first is None and not case.convention:
        return replace(row, verdict="passes", convention=str(declared.convention))
    hint = "; ".join(first.hints) if first is not None else ""
    verdict = "differs by convention" if first is not None else "passes"
    return replace(row, verdict=verdict, convention=str(declared.convention), hint=hint)


REFUSED = "an answer for these inputs does not hold"  # it raised


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _violation(check: str, of: Implementation, rule: str, examples: int) -> Finding | None:
    try:
        CHECKS[check](of, rule, examples=examples)
    except ConformanceError as error:
        return error.finding
    except Uninformative:
        return None
    return None


def _all_checks(
    of: Implementation, rule: str, examples: int
) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    passed: list[str] = []
    failed: list[str] = []
    message = ""
    for check in checks_of(of, rule):
        finding = _violation(check, of, rule, examples)
        (passed if finding is None else failed).append(check)
        message = message or (str(finding) if finding else "")
    return tuple(passed), tuple(failed), message


HEADINGS = (
    "package",
    "function",
    "rule",
    "verdict",
    "declared",
    "hint before it was declared",
    "checks",
)


def _cells(row: Row) -> list[str]:
    checks = ", ".join(row.passed) + (f"; **not** {', '.join(row.failed)}" if row.failed else "")
    name = f"`{row.function}`" + (f" ({row.note})" if row.note else "")
    cells = [row.package, name, row.rule, row.verdict, row.convention, row.hint]
    return [c.replace("|", "\\|").replace("\n", " ") for c in (*cells, checks or row.message)]


def page(rows: Sequence[Row], found: Sequence[Found], torch_version: str) -> str:
    """The Markdown of the results."""
    versions = sorted({f"{r.package} {r.version}" for r in rows})
    lines = [
        "# The conformance kit on other packages",
        "",
        "Made by `python -m empirical.verification.conformance.run --out "
        "docs/results/third-party`; one row alone "
        "by adding `--only PART_OF_ITS_NAME`. Versions: "
        + ", ".join(versions)
        + f"; torch {torch_version}.",
        "",
        "A function is first called with nothing declared but its axes and names; the hint is what "
        "the kit then says about it. After that its conventions are declared and every check that "
        "applies is run. The guide is [docs/conformance.md](../../conformance.md).",
        "",
        *pipe_table(HEADINGS, ["---"] * len(HEADINGS), map(_cells, rows)),
    ]
    lines += ["", "## Violations", ""]
    for r in rows:
        if r.failed:
            lines += [f"`{r.function}`, {r.verdict}:", "", "```", r.message, "```", ""]
    lines += ["## Findings outside the kit's rules", ""]
    for f in found:
        lines += [f"### {f.title}", "", f.text, "", "```", f.measured, "```", ""]
    lines += ["## Not run", ""]
    lines += [f"* {name}: {why}." for name, why in NOT_RUN.items()]
    return "\n".join(lines) + "\n"


def main(
    out: Annotated[
        Path | None, typer.Option(help="A folder for README.md and results.json.")
    ] = None,
    only: Annotated[str, typer.Option(help="Rows and findings with this in their name.")] = "",
) -> None:
    """Run, print a line a row, and write the page and its records."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows = []
    for case in CASES:
        if only in f"{case.package} {case.function} {case.note}":
            rows.append(judged(case))
            print(rows[-1].function, rows[-1].verdict, rows[-1].message, sep="\n  ", flush=True)
    found = []
    for finding in FINDINGS:
        if only in finding.__name__:
            found.append(finding())
            print(found[-1].title, found[-1].measured, sep="\n", flush=True)
    if out is not None:
        with_torch = torch.__version__.partition("+")[0]
        write_text(out / "README.md", page(rows, found, with_torch))
        records = {
            "torch": with_torch,
            "rows": [asdict(r) for r in rows],
            "findings": [asdict(f) for f in found],
        }
        write_text(out / "results.json", json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    single(main)()
