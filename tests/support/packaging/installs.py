"""Environments that hold the wheel and what one of its extras requires, and nothing else.

The distributions are links to those of the interpreter that runs the tests: what the metadata of
the wheel does not declare, directly or by what it declares, is not there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.paths import ROOT

OWN = "dualform"
SOURCES = ("proofs", "dualform", "empirical", "pyproject.toml", "README.md", "LICENSE")


def build_wheel(folder: Path) -> Path:
    """The wheel of the checkout, built from a copy of its sources in `folder`.

    Raises:
        subprocess.CalledProcessError: when it cannot be built.
    """
    copy = folder / "sources"
    copy.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, copy / name, ignore=ignored)
        else:
            shutil.copy2(ROOT / name, copy / name)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "--wheel-dir",
        str(folder),
        str(copy),
    ]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (built,) = folder.glob("*.whl")
    return built


def required(wheel: Path, extras: Collection[str]) -> set[str]:
    """Names of the distributions that the wheel with these extras needs, all the way down."""
    (own,) = metadata.distributions(path=[str(wheel)])
    seen: set[tuple[str, str]] = set()
    left = [(OWN, extra) for extra in ("", *extras)]
    while left:
        name, extra = left.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        declared = own.requires if name == OWN else metadata.requires(name)
        for needed in _applicable(declared or (), extra):
            left += [(canonicalize_name(needed.name), e) for e in ("", *needed.extras)]
    return {name for name, _ in seen} - {OWN}


def _applicable(declared: Collection[str], extra: str) -> Iterator[Requirement]:
    """Requirements that hold on this interpreter with this extra."""
    for line in declared:
        needed = Requirement(line)
        if needed.marker is None or needed.marker.evaluate({"extra": extra}):
            yield needed


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A virtual environment outside the checkout."""

    folder: Path

    def run(self, *command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment by name, with nothing of ours on its path."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PYTEST"))}
        clean |= {"OMP_NUM_THREADS": "1", "COLUMNS": "100", "HF_HUB_OFFLINE": "1"}
        return subprocess.run(
            [str(self.folder / "bin" / command[0]), *command[1:]],
            cwd=cwd or self.folder,
            env=clean,
            capture_output=True,
            text=True,
            check=False,
        )

    @contextmanager
    def without(self, name: str) -> Iterator[None]:
        """As if the distribution `name` were not installed."""
        distribution, packages = metadata.distribution(name), packages_of(self.folder)
        for top in _tops(distribution):
            (packages / top).unlink()
        try:
            yield
        finally:
            _link(distribution, packages)

    def importable(self, *modules: str) -> list[str]:
        """Those of the modules that this environment can find."""
        code = (
            "import sys; from importlib.util import find_spec; "
            "print(*[m for m in sys.argv[1:] if find_spec(m)])"
        )
        return self.run("python", "-c", code, *modules).stdout.split()


def environment(folder: Path, wheel: Path, extras: Collection[str] = ()) -> Environment:
    """An environment in `folder` with the wheel and its extras.

    Raises:
        subprocess.CalledProcessError: when the wheel cannot be installed.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    for name in required(wheel, extras):
        _link(metadata.distribution(name), packages_of(folder))
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(folder / "bin" / "python"),
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        str(wheel),
    ]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return Environment(folder=folder)


def packages_of(folder: Path) -> Path:
    """Where the environment in `folder` keeps its packages."""
    return Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))


def _link(distribution: metadata.Distribution, packages: Path) -> None:
    """Links to the top-level files and folders of a distribution."""
    for top in _tops(distribution):
        if not (packages / top).exists():
            (packages / top).symlink_to(str(distribution.locate_file(top)))


def _tops(distribution: metadata.Distribution) -> set[str]:
    """Names of what a distribution puts into the folder of packages."""
    return {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}
