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
        ("import empirical.cli", "torch"),
        ("import empirical.cli", "sympy"),
        ("import empirical.cli", "transformers"),
    ],
)
def test_a_package_does_not_load_what_it_must_not_know(statement: str, banned: str) -> None:
    assert not loaded(statement, banned)


def test_the_guard_itself_sees_a_forbidden_import() -> None:
    assert loaded("import proofs.statements\nimport sympy", "sympy")
