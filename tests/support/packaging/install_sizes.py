"""`python -m tests.support.packaging.install_sizes`: the installed size of every extra, as a table.

Each is installed by pip with the versions of constraints.txt into a fresh virtual environment in a
temporary folder; what it needs is downloaded.
"""

from __future__ import annotations

import subprocess
import tempfile
import venv
from pathlib import Path

from tests.support.packaging.installs import build_wheel, packages_of
from tests.support.paths import ROOT

EXTRAS = ("", "kit", "proofs", "report", "study", "all")


def megabytes(folder: Path) -> float:
    """Size of the files below a folder, MB of 10^6 bytes."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6


def installed(wheel: Path, extra: str, folder: Path) -> tuple[float, int]:
    """MB and number of distributions of the wheel with one extra, without pip itself."""
    venv.create(folder, with_pip=True, symlinks=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip"]
    what = f"{wheel}[{extra}]" if extra else str(wheel)
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    subprocess.run([*pip, "install", "-qq", "--no-compile", *constraints, what], check=True)
    subprocess.run([*pip, "uninstall", "-qq", "--yes", "pip"], check=True)
    packages = packages_of(folder)
    return megabytes(packages), len(list(packages.glob("*.dist-info")))


def main() -> None:
    """Install and print."""
    print("| extra | MB | distributions |\n|---|--:|--:|", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        wheel = build_wheel(Path(scratch))
        for extra in EXTRAS:
            with tempfile.TemporaryDirectory(dir=scratch) as folder:
                size, count = installed(wheel, extra, Path(folder))
            print(f"| {extra or '(none)'} | {size:.0f} | {count} |", flush=True)


if __name__ == "__main__":
    main()
