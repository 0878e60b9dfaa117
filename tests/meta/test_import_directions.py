"""What a package loads, held in fresh interpreters; import-linter holds what it names."""

import json
import subprocess
import sys

import pytest

from tests.support.paths import ROOT


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
        ("import proofs; proofs.STATEMENTS, proofs.by_id", "sympy"),
        ("import proofs.verdict", "torch"),
        ("import proofs.verdict", "transformers"),
        ("import dualform.ops, dualform.rounding", "proofs"),
        ("import dualform.ops, dualform.rounding", "transformers"),
        ("import dualform.variants, dualform.relaxation", "proofs"),
        ("import dualform.variants, dualform.relaxation", "hypothesis"),
        ("import dualform.testing", "proofs"),
        ("import dualform.testing", "transformers"),
        ("import dualform, dualform.__main__", "torch"),
        ("import dualform, dualform.__main__", "typer"),
        ("import dualform.pytest_plugin", "torch"),
        ("import dualform.pytest_plugin", "hypothesis"),
        ("import proofs.formal.lemmas", "torch"),
        ("import empirical", "torch"),
        ("from empirical import TASKS, compare, verdicts, write_report", "torch"),
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


WITHOUT_TORCH = ("core", "data", "results", "metrics", "analysis", "report")

# Imports every module named on standard input; torch is refused to whoever asks for it, and the
# modules that did are printed. A refusal that is caught counts too.
ASKING_FOR_TORCH = """
import importlib, json, sys

class Guard:
    asked = False

    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            Guard.asked = True
            raise ModuleNotFoundError("no torch here", name=name)

sys.meta_path.insert(0, Guard())
found = []
for module in json.load(sys.stdin):
    Guard.asked = False
    try:
        importlib.import_module(module)
    except ImportError as error:
        if not Guard.asked:
            raise
    if Guard.asked:
        found.append(module)
print(json.dumps(found))
"""


def asking_for_torch(modules: list[str]) -> list[str]:
    """Those of the modules that try to load torch, all in one new interpreter."""
    run = subprocess.run(
        [sys.executable, "-c", ASKING_FOR_TORCH],
        input=json.dumps(modules),
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[str] = json.loads(run.stdout)
    return found


def modules_below(package: str) -> list[str]:
    """The dotted names of a package and every module in it."""
    paths = sorted((ROOT / "empirical" / package).rglob("*.py"))
    named = [path.relative_to(ROOT).with_suffix("") for path in paths]
    return [".".join(p.parent.parts if p.name == "__init__" else p.parts) for p in named]


def test_what_only_reads_results_loads_no_torch() -> None:
    modules = [m for package in WITHOUT_TORCH for m in modules_below(package)]
    assert len(modules) > 90
    assert asking_for_torch(modules) == []


def test_the_guard_of_torch_sees_who_asks_for_it() -> None:
    modules = ["empirical.core.errors", "empirical.models.decoder", "empirical.results.record"]
    assert asking_for_torch(modules) == ["empirical.models.decoder"]
