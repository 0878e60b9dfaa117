"""What two commits of the project write, compared: nothing but code hashes may differ.

`python -m tests.golden COMMIT [--keep DIR]` (or `make golden BEFORE=COMMIT`) runs the main commands
with the code of COMMIT, checked out beside, and with that of the working tree: proofs, identities
and the study on the embedded model, all controls, captures and their export, the calibration, and
the report of every committed results folder. Both run on this machine, so that every byte counts;
set aside are the fields in `IGNORED` and the names of the two folders. For changes that must not
change what is computed or written.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT

IGNORED = frozenset({"code_sha256", "commit", "seconds", "peak_memory_gib", "command"})
CLOCKS = frozenset({"timing.json"})
HASHED = re.compile(rb"-[0-9a-f]{12}\b")
SMALL = ("--task", "sst2", "--task", "agnews", "--limit", "12", "--no-checks")
RUNS = {
    "study": ("reproduce", "--out", "{out}/study"),
    "controls": (
        *("reproduce", *SMALL, "--seed", "1", "--seed", "2", "--control", "all"),
        *("--keep-captures", "--out", "{out}/controls"),
    ),
    "export": ("export", "{out}/controls", "--seed", "1", "--out", "{out}/export"),
    "check": ("check", "embedded", "--out", "{out}/check", "--figure", "{out}/layers.svg"),
    "calibrate": ("calibrate", "--out", "{out}/calibrate"),
}
PAGES = ("empirical.verification.identities_page", "empirical.identities_page")  # now, before


def ran(code: Path, *words: str) -> str:
    """Run a module with the code of that checkout; its status and what it said of errors."""
    env = {**os.environ, "PYTHONPATH": str(code)}
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=code, env=env, capture_output=True, text=True
    )
    return f"{done.returncode}\n{done.stderr}"


def record(code: Path, out: Path) -> None:
    """Write everything that the code of a checkout makes into `out`."""
    out.mkdir(parents=True)
    for name, words in RUNS.items():
        said = ran(code, "empirical.cli", *(w.format(out=out) for w in words))
        (out / f"{name}.status").write_text(said, encoding="utf-8")
        print(f"  {name}: {said.splitlines()[0]}", flush=True)
    for folder in sorted((code / "docs" / "results").iterdir()):
        if any(folder.glob("record-*.json")) or any(folder.glob("momentum-*.json")):
            copy = out / "reports" / folder.name
            shutil.copytree(folder, copy)
            said = ran(code, "empirical.cli", "report", str(copy))
            (out / f"report-{folder.name}.status").write_text(said, encoding="utf-8")
            print(f"  report of {folder.name}: {said.splitlines()[0]}", flush=True)
    page = next(p for p in PAGES if (code / f"{p.replace('.', '/')}.py").exists())
    ran(code, page, "--out", str(out / "identities.md"))


def plain(value: Any) -> Any:
    """A JSON value without the fields that name code or clock."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k not in IGNORED}
    return [plain(v) for v in value] if isinstance(value, list) else value


def contents(folder: Path) -> dict[str, list[Any]]:
    """Name -> what files of that name hold; the hashes in names of captures are set aside."""
    found = defaultdict(list)
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in CLOCKS):
        raw = HASHED.sub(b"-KEY", path.read_bytes().replace(str(folder).encode(), b"OUT"))
        name = HASHED.sub(b"-KEY", path.relative_to(folder).as_posix().encode()).decode()
        value = plain(json.loads(raw)) if path.suffix == ".json" else raw
        found[name].append(json.dumps(value) if path.suffix == ".json" else raw.hex())
    return {name: sorted(values) for name, values in found.items()}


def differences(one: Path, two: Path) -> Iterator[str]:
    """A line for every name whose files are not the same in both folders."""
    before, after = contents(one), contents(two)
    for name in sorted({*before, *after}):
        if name not in before or name not in after:
            yield f"only {'before' if name in before else 'after'}: {name}"
        elif before[name] != after[name]:
            yield f"differs: {name}"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commit")
    parser.add_argument("--keep", type=Path, help="an empty folder for what both write")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        before, out = Path(scratch) / "code", asked.keep or Path(scratch) / "out"
        subprocess.run(
            ["git", "worktree", "add", "--detach", before, asked.commit],
            check=True,
            cwd=ROOT,
            capture_output=True,
        )
        try:
            for name, code in (("before", before), ("after", ROOT)):
                print(name, flush=True)
                record(code, out / name)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", before], cwd=ROOT, check=True)
        found = list(differences(out / "before", out / "after"))
        files = sum(p.is_file() for p in (out / "after").rglob("*"))
    print(*found, f"{files} files, {len(found)} differences", sep="\n")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
