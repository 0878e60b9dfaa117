"""The import directions of the packages, each held in a fresh interpreter."""

import subprocess
import sys

import pytest


def loaded(statement: str, module: str) -> bool:
    """Whether `module` is loaded after `statement` ran in a new interpreter."""
    code = f"{statement}\nimport sys\nprint({module!r} in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.strip() == "True"


@pytest.mark.parametrize(
    ("statement", "banned"),
    [
        ("import proofs.statements", "torch"),
        ("import proofs.statements", "sympy"),
        ("import proofs.prove", "torch"),
        ("import proofs.prove", "transformers"),
        ("import dualform.ops, dualform.rounding", "proofs"),
        ("import dualform.ops, dualform.rounding", "transformers"),
        ("import dualform.variants, dualform.relaxation", "proofs"),
        ("import dualform.variants, dualform.relaxation", "hypothesis"),
        ("import dualform.testing", "proofs"),
        ("import dualform.testing", "transformers"),
        ("import dualform.pytest_plugin", "torch"),
        ("import dualform.pytest_plugin", "hypothesis"),
        ("import proofs.formal.lemmas", "torch"),
        ("import empirical.cli", "torch"),
        ("import empirical.cli", "sympy"),
        ("import empirical.cli", "transformers"),
    ],
)
def test_a_package_does_not_load_what_it_must_not_know(statement: str, banned: str) -> None:
    assert not loaded(statement, banned)


def test_the_guard_itself_sees_a_forbidden_import() -> None:
    assert loaded("import proofs.statements\nimport sympy", "sympy")


HEAVY = {"torch", "transformers", "datasets", "numpy", "scipy", "sympy", "rich.progress"}


@pytest.mark.parametrize("args", [["--help"], ["check", "--help"], ["reproduce", "--help"]])
def test_help_loads_nothing_heavy(args: list[str]) -> None:
    code = (
        f"import sys\nfrom empirical.cli import app\ntry:\n    app({args!r})\nexcept SystemExit:\n"
    )
    code += f"    print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stderr.strip() == "[]" and "Usage" in run.stdout


@pytest.mark.parametrize(
    "module",
    [
        "results.record",
        "results.reuse",
        "report.tables.records",
        "results.identity_checks",
        "cli.terminal_tables",
        "cli.options",
        "core.progress",
        "core.json_files",
        "study.protocols",
        "identities.applicability",
        "report.figures.identity_layers",
        "metrics.kendall",
        "metrics.accumulate",
        "study.released_format",
    ],  # fmt: skip
)
def test_what_only_reads_results_loads_no_torch(module: str) -> None:
    assert not loaded(f"import empirical.{module}", "torch")
