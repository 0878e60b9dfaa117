"""Where numbers come from: the hash of the code, versions, commit; and the memory they took."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Final

PACKAGES = ("dualform", "numpy", "scipy", "tokenizers", "torch", "transformers")
COMPUTING: Final = (
    "dualform",
    "empirical/core",
    "empirical/data",
    "empirical/models",
    "empirical/results",
    "empirical/inference",
    "empirical/metrics",
    "empirical/momentum",
    "empirical/identities",
    "empirical/calibration",
    "empirical/training",
    "empirical/study",
)  # whose code a record's numbers can depend on


def versions() -> dict[str, str]:
    """Installed versions of the packages that numbers depend on; "not installed" otherwise."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def commit(folder: Path | None = None) -> str | None:
    """The commit of the sources, or None outside a checkout or without git."""
    where = Path(__file__).parent if folder is None else folder
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=where, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def code_sha256() -> str:
    """SHA-256 over the modules that compute (`COMPUTING`), by name.

    What only reads results, checks the kit or is a command is left out: a comma there makes no
    finished cell stale.
    """
    root = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for path in sorted(p for name in COMPUTING for p in (root / name).glob("**/*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def peak_memory_gib() -> float:
    """The most memory that this process has held so far, GiB: of the GPU where one is in use."""
    import torch

    if torch.cuda.is_available():
        held = [torch.cuda.max_memory_allocated(i) for i in range(torch.cuda.device_count())]
        if any(held):
            return max(held) / 2**30
    import resource

    unit = 2**30 if sys.platform == "darwin" else 2**20  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
