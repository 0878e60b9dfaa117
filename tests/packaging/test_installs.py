"""Every extra is enough for what it promises, and what it lacks is named in one line.

The environments see the wheel and the distributions of one extra (`tests.support.installs`); all
commands run outside the checkout.
"""

from __future__ import annotations

import subprocess
import tomllib
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from dualform.extras import EXTRAS
from tests.support.installs import Environment, build_wheel, environment, required
from tests.support.paths import ROOT

pytestmark = [pytest.mark.install, pytest.mark.xdist_group("install")]

Installed = Callable[[str], Environment]
SMALL = ("reproduce", "--task", "sst2", "--limit", "4", "--rates", "0.01")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The environment of an extra, or of none: `base`."""
    root = tmp_path_factory.mktemp("environments")

    @cache
    def of(part: str) -> Environment:
        return environment(root / part, wheel, () if part == "base" else (part,))

    return of


def said(done: subprocess.CompletedProcess[str], status: int = 0) -> str:
    """What a command wrote, when it ended with `status`."""
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return done.stdout + done.stderr


def refused(done: subprocess.CompletedProcess[str], module: str, extra: str) -> None:
    """One line that names the module and the extra; status 2 and no traceback."""
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    assert done.stderr == (
        f"error: expected {module} to be installed, got none; "
        f'run `pip install "dualform[{extra}]"`\n'
    )


def test_the_wheel_carries_every_file_that_is_no_module(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        held = {n for n in file.namelist() if not n.endswith(".py") and ".dist-info/" not in n}
    read = {
        path.relative_to(ROOT).as_posix()
        for package in ("proofs", "dualform", "empirical")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc", ".jsonl")
    }
    assert held == read
    assert {f"{p}/py.typed" for p in ("proofs", "dualform", "empirical")} <= held


def test_a_missing_module_is_said_to_come_from_the_extra_that_declares_it(wheel: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(project["optional-dependencies"]) == {*EXTRAS, "all", "test"}
    for extra, modules in EXTRAS.items():
        assert set(modules) <= {n.replace("-", "_") for n in required(wheel, (extra,))}


def test_the_library_alone_needs_torch_and_numpy(installed: Installed) -> None:
    base = installed("base")
    code = "import dualform, dualform.variants as v, proofs.statements; print(len(v.VARIANTS))"
    assert int(said(base.run("python", "-c", code))) > 10
    heavy = ("transformers", "datasets", "pandas", "matplotlib", "hypothesis", "scipy", "typer")
    assert base.importable("torch", "numpy", *heavy) == ["torch", "numpy"]


def test_the_command_line_without_its_extra_says_which(installed: Installed) -> None:
    base = installed("base")
    refused(base.run("dualform", "reproduce"), "typer", "study")
    refused(base.run("python", "-m", "dualform", "--help"), "typer", "study")


KERNELS = """
def attention(q, k, v, diagonal):
    scores = q.double() @ k.double().transpose(-1, -2)
    return (scores.tril(diagonal) @ v.double()).to(v.dtype)

def right(q, k, v):
    return attention(q, k, v, 0)

def wrong(q, k, v):
    return attention(q, k, v, -1)
"""
PYTEST = ("python", "-m", "pytest", "-q", "-p", "no:cacheprovider")
TARGET = ("--dual-form-variant", "linear_attention", "--dual-form-examples", "8",
          "--dual-form-target")  # fmt: skip


@pytest.fixture
def kernels(tmp_path: Path) -> Path:
    """A folder with a kernel that is right, one that is wrong, and a test of its own."""
    (tmp_path / "mine.py").write_text(KERNELS, encoding="utf-8")
    (tmp_path / "test_own.py").write_text("def test_own(): pass\n", encoding="utf-8")
    return tmp_path


def test_the_kit_checks_a_kernel(installed: Installed, kernels: Path) -> None:
    kit = installed("kit")
    assert kit.importable("scipy", "transformers", "matplotlib", "typer") == []
    assert "4 passed" in said(kit.run(*PYTEST, *TARGET, "mine:right", cwd=kernels))
    failed = said(kit.run(*PYTEST, *TARGET, "mine:wrong", cwd=kernels), status=1)
    assert "linear_attention, output: o_t = S_t q_t" in failed


def test_the_plugin_without_hypothesis_is_quiet_until_it_is_asked(
    installed: Installed, kernels: Path
) -> None:
    kit = installed("kit")
    with kit.without("hypothesis"):
        assert "1 passed" in said(kit.run(*PYTEST, cwd=kernels))
        assert said(kit.run(*PYTEST, *TARGET, "mine:right", cwd=kernels), status=4) == (
            "ERROR: expected hypothesis to be installed, got none; "
            'run `pip install "dualform[kit]"`\n\n'
        )
        failed = said(kit.run("python", "-c", "import dualform.testing"), status=1)
    assert failed.splitlines()[-1] == (
        "dualform.extras.MissingExtra: expected hypothesis to be installed, got none; "
        'run `pip install "dualform[kit]"`'
    )


def test_proofs_prove(installed: Installed) -> None:
    code = "import proofs\nprint(proofs.prove(proofs.by_id('bias-as-weight')).status)"
    assert said(installed("proofs").run("python", "-c", code)) == "proved(all sizes)\n"


def test_the_study_runs_its_main_job(installed: Installed, tmp_path: Path) -> None:
    study = installed("study")
    assert study.importable("matplotlib", "hypothesis", "latex2mathml") == []
    first = "from empirical import TASKS, load, open_study, run_cells, verdicts; load('embedded')"
    said(study.run("python", "-c", first))
    said(study.run("dualform", *SMALL, "--out", "results", cwd=tmp_path))
    assert {"tables.md", "identities.tex"} <= {p.name for p in (tmp_path / "results").iterdir()}


def test_the_study_names_the_extras_of_other_commands(installed: Installed, tmp_path: Path) -> None:
    study = installed("study")
    refused(study.run("dualform", "momentum", cwd=tmp_path), "latex2mathml", "report")
    refused(study.run("dualform", "report", str(tmp_path)), "matplotlib", "report")
    with study.without("sympy"):
        refused(study.run("dualform", "prove"), "sympy", "proofs")
    version = said(study.run("dualform", "--version"))
    assert said(study.run("python", "-m", "dualform", "--version")) == version


def test_all_of_it_runs_and_the_report_needs_its_own_extra_alone(
    installed: Installed, tmp_path: Path
) -> None:
    said(installed("all").run("dualform", *SMALL, "--no-checks", "--out", "r", cwd=tmp_path))
    report = installed("report")
    assert report.importable("transformers", "datasets", "hypothesis") == []
    assert "report.html" in said(report.run("dualform", "report", "r", cwd=tmp_path))
