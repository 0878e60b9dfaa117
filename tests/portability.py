"""The whole test suite under other kernels: `python -m tests.portability`.

Another processor, or another number of threads, sums in another order and moves the last bits of
results. Each setting makes this machine compute as another one would, by variables that the
libraries read. First each has to show that it changes bits at all; then the tests run under it.

    python -m tests.portability [--settings NAME ...] [--out DIR] [what pytest takes]
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from empirical.core import provenance
from empirical.core.json_files import dumps, write_text
from tests.support.paths import ROOT

PYTEST = (sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadscope")
WIDE = ("X86_V4", "AVX512")  # how numpy's names of features begin that AVX2 machines lack
AS_IT_IS = "as it is"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A machine to be like: variables, and why this machine cannot be so (None: it can)."""

    name: str
    like: str
    environment: Mapping[str, str] = field(default_factory=dict)
    impossible: str | None = None


@dataclass(frozen=True, kw_only=True)
class Run:
    """What pytest said: its exit status, counts, the names of what failed, seconds."""

    status: int
    passed: int
    failed: int
    skipped: int
    failures: tuple[str, ...]
    seconds: float

    def line(self) -> str:
        """In one line."""
        text = f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"
        return f"{text} in {self.seconds:.0f} s" + ("" if self.good else f", status {self.status}")

    @property
    def good(self) -> bool:
        """Whether something ran and nothing failed."""
        return self.status == 0 and self.passed > 0 and self.failed == 0


def features() -> tuple[str, ...]:
    """What numpy has loops for beyond its baseline and finds on this machine, by its own names."""
    config: Any = np.show_config(mode="dicts")
    return tuple(config["SIMD Extensions"].get("found", ()))


def settings(found: Sequence[str]) -> tuple[Setting, ...]:
    """All settings on a machine with these features of numpy (another name would be refused)."""
    wide = [name for name in found if name.startswith(WIDE)]
    avx2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    threads = {f"{x}_NUM_THREADS": "2" for x in ("OMP", "MKL", "OPENBLAS")}
    return (
        Setting(
            name="haswell",
            like="an Intel machine with AVX2",
            environment={
                **avx2,
                "OPENBLAS_CORETYPE": "Haswell",
                "MKL_ENABLE_INSTRUCTIONS": "AVX2",
                **disabled(wide),
            },
        ),
        Setting(
            name="zen",
            like="an AMD machine with AVX2",
            environment={**avx2, "OPENBLAS_CORETYPE": "Zen", "MKL_CBWR": "AVX2"},
        ),
        Setting(
            name="skylakex",
            like="the first machines with AVX-512",
            environment={"OPENBLAS_CORETYPE": "SkylakeX", "MKL_CBWR": "AVX512"},
            impossible=None if wide else "this machine has no AVX-512",
        ),
        Setting(
            name="default-kernels",
            like="any x86-64 machine: no vector code beyond the least that each library has",
            environment={
                "ATEN_CPU_CAPABILITY": "default",
                "OPENBLAS_CORETYPE": "Prescott",
                "MKL_CBWR": "COMPATIBLE",
                "ONEDNN_MAX_CPU_ISA": "SSE41",
                **disabled(found),
            },
        ),
        Setting(
            name="two-threads",
            like="this machine with two threads in each worker",
            environment={"DUALFORM_TEST_THREADS": "2", **threads},
        ),
    )


def disabled(names: Sequence[str]) -> dict[str, str]:
    """The variable that switches these features of numpy off."""
    return {"NPY_DISABLE_CPU_FEATURES": " ".join(names)} if names else {}


def hashes(setting: Setting) -> dict[str, str]:
    """Hashes of fixed results (`tests.float_bits`) under a setting, in a process of its own."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.float_bits"],
        cwd=ROOT,
        env=os.environ | setting.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    made: dict[str, str] = json.loads(run.stdout)
    return made


def changed(found: Mapping[str, str], reference: Mapping[str, str]) -> list[str]:
    """The results whose bits a setting changes."""
    return [name for name in reference if found[name] != reference[name]]


def bits_table(found: Mapping[str, Mapping[str, str]]) -> list[str]:
    """A line a result: its hash as it is and under each setting, `=` where nothing changes."""
    reference = found[AS_IT_IS]
    widths = {name: max(len(name), 8) for name in found}
    lines = [f"{'':26}" + "  ".join(f"{name:{widths[name]}}" for name in found)]
    for what, own in reference.items():
        cells = {n: "=" if n != AS_IT_IS and h[what] == own else h[what] for n, h in found.items()}
        lines.append(f"{what:26}" + "  ".join(f"{cells[n]:{widths[n]}}" for n in found))
    return [line.rstrip() for line in lines]


def run_tests(setting: Setting, arguments: Sequence[str]) -> Run:
    """pytest under a setting; what it prints is shown when it does not end well."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tests.xml"
        done = subprocess.run(
            [*PYTEST, f"--junitxml={path}", *arguments],
            cwd=ROOT,
            env=os.environ | setting.environment,
            capture_output=True,
            text=True,
        )
        text = path.read_text(encoding="utf-8") if path.exists() else "<testsuites/>"
    run = counted(text, done.returncode, time.perf_counter() - start)
    if not run.good:
        print(done.stdout, done.stderr, sep="\n", flush=True)
    return run


def counted(xml: str, status: int, seconds: float) -> Run:
    """What a file of pytest's `--junitxml` says; an error in a fixture is a failure."""
    cases = list(ElementTree.fromstring(xml).iter("testcase"))
    failed = [c for c in cases if c.find("failure") is not None or c.find("error") is not None]
    skipped = [c for c in cases if c.find("skipped") is not None]
    return Run(
        status=status,
        passed=len(cases) - len(failed) - len(skipped),
        failed=len(failed),
        skipped=len(skipped),
        seconds=seconds,
        failures=tuple(dict.fromkeys(f"{c.get('classname')}::{c.get('name')}" for c in failed)),
    )


def processor() -> str:
    """The model of the processor, or its kind where the system does not say."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = [x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")]
    return names[0] if names else platform.machine()


def document(
    chosen: Sequence[Setting],
    found: Mapping[str, Mapping[str, str]],
    runs: Mapping[str, Run],
    arguments: Sequence[str],
) -> dict[str, object]:
    """What is written: machine, versions, and for each setting hashes and counts."""
    return {
        "machine": {"processor": processor(), "cores": os.cpu_count(), "features": features()},
        "versions": {"python": platform.python_version(), **provenance.versions()},
        "commit": provenance.commit(),
        "pytest": [*PYTEST[2:], *arguments],
        "hashes": found,
        "settings": [
            {
                "name": s.name,
                "like": s.like,
                "environment": dict(s.environment),
                "changes": changed(found[s.name], found[AS_IT_IS]) if s.name in found else None,
                "impossible": s.impossible,
                "tests": runs.get(s.name),
            }
            for s in chosen
        ],
    }


def page(
    chosen: Sequence[Setting],
    found: Mapping[str, Mapping[str, str]],
    runs: Mapping[str, Run],
    arguments: Sequence[str],
) -> str:
    """README.md: a row a setting."""
    which = f"only `{' '.join(arguments)}`" if arguments else "the whole suite"
    versions = ", ".join(f"{k} {v}" for k, v in provenance.versions().items())
    lines = [
        "# The tests under other kernels",
        "",
        "`make portability` runs the tests once under each of these settings, which change the",
        f"last bits of floats (`tests/portability.py`); here {which}. {processor()},",
        f"{os.cpu_count()} cores; Python {platform.python_version()}, {versions}.",
        "",
        f"| setting | like | changes, of {len(found[AS_IT_IS])} results | tests |",
        "|---|---|--:|---|",
    ]
    for s in chosen:
        count = str(len(changed(found[s.name], found[AS_IT_IS]))) if s.name in found else ""
        run = runs[s.name].line() if s.name in runs else f"not run: {s.impossible or NOTHING}"
        lines.append(f"| `{s.name}` | {s.like} | {count} | {run} |")
    failed = [f"* `{s}`: {name}" for s, run in runs.items() for name in run.failures]
    return "\n".join([*lines, *(["", "Failed:", "", *failed] if failed else [])]) + "\n"


NOTHING = "it changes nothing here"


def parse(argv: Sequence[str], names: Sequence[str]) -> tuple[list[str], Path | None, list[str]]:
    """The settings asked for, the folder to write to, and what is handed to pytest."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        allow_abbrev=False,
        epilog="Everything else goes to pytest.",
    )
    parser.add_argument("--settings", nargs="+", metavar="NAME", help=", ".join(names))
    parser.add_argument("--out", type=Path, help="folder for portability.json and README.md")
    given, rest = parser.parse_known_args(argv)
    asked = given.settings or []
    chosen = list(takewhile(lambda x: x in names, asked))
    if asked and not chosen:
        parser.error(f"expected --settings with some of {', '.join(names)}; got {asked[0]!r}")
    return chosen, given.out, [*asked[len(chosen) :], *rest]


def main(argv: Sequence[str]) -> int:
    """Hashes under every setting, then the tests; 0 when something ran and all of it passed."""
    every = settings(features())
    names, out, arguments = parse(argv, [s.name for s in every])
    chosen = [s for s in every if not names or s.name in names]
    able = [s for s in chosen if s.impossible is None]
    found = {s.name: hashes(s) for s in (Setting(name=AS_IT_IS, like=""), *able)}
    print(*bits_table(found), "", sep="\n", flush=True)
    runs: dict[str, Run] = {}
    for s in chosen:
        changes = changed(found[s.name], found[AS_IT_IS]) if s in able else []
        if not changes:
            print(f"{s.name}: not run, {s.impossible or NOTHING}", flush=True)
            continue
        print(f"{s.name}: changes {len(changes)} of {len(found[s.name])} results", flush=True)
        runs[s.name] = run_tests(s, arguments)
        print(f"{s.name}: {runs[s.name].line()}", flush=True)
    if out is not None:
        write_text(out / "portability.json", dumps(document(chosen, found, runs, arguments)))
        write_text(out / "README.md", page(chosen, found, runs, arguments))
    return 0 if runs and all(run.good for run in runs.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
