"""Where numbers come from: hashes of weights and files, versions, commit."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from importlib import metadata
from pathlib import Path

PACKAGES = ("dualform", "numpy", "scipy", "tokenizers", "torch", "transformers")


def files_sha256(path: Path) -> str:
    """SHA-256 of a file, or of every file below a folder with its relative name.

    Raises:
        FileNotFoundError: when nothing is there.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(path)
    names = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for p in names:
        if path.is_dir():
            digest.update(p.relative_to(path).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(p.read_bytes()).digest())
    return digest.hexdigest()


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
    """SHA-256 over the modules that compute (empirical and dualform), by name.

    What only reads results (the report) is left out.
    """
    root = Path(__file__).parents[2]
    digest = hashlib.sha256()
    computing = [*root.glob("empirical/**/*.py"), *root.glob("dualform/**/*.py")]
    for path in sorted(p for p in computing if root / "empirical/report" not in p.parents):
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
