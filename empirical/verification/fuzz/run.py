"""All cells of the fuzzer, in this process or in others; a finished cell is never done twice.

A cell depends on its settings alone, so that results do not depend on the number of workers.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from empirical.core.errors import UserError
from empirical.core.json_files import dumps, read_object, write_text
from empirical.core.progress import Reporter, ignore
from empirical.verification.fuzz import units
from empirical.verification.fuzz.cells import CLASSES, STRATA, Cell, Tick, measure
from empirical.verification.fuzz.draws import DTYPES, name_of
from empirical.verification.fuzz.units import Unit

BATCH = 32  # cases a draw
ROOT = Path(__file__).parents[3]
COUNTED = (*CLASSES, "violations")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked: `cases` in all, on a device, of the units `only` (all where it is empty)."""

    cases: int
    seed: int
    folder: Path
    device: str = "cpu"
    workers: int = 1
    only: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Job:
    """One cell by name, for another process."""

    unit: str
    dtype: str
    device: str
    seed: int
    draws: int
    code: str
    folder: Path

    def settings(self) -> dict[str, Any]:
        """Everything its numbers depend on."""
        return {
            "id": self.unit,
            "dtype": self.dtype,
            "device": self.device,
            "seed": self.seed,
            "draws": self.draws,
            "batch": BATCH,
            "code_sha256": self.code,
            "torch": torch.__version__,
        }

    @property
    def path(self) -> Path:
        """Where it is kept."""
        return self.folder / "cells" / self.device / f"{self.unit}-{self.dtype}.json"


def chosen(only: Sequence[str]) -> list[Unit]:
    """The units of these ids; all where there are none.

    Raises:
        UserError: for an unknown id.
    """
    all_units = units.units()
    known = [u.id for u in all_units]
    for name in only:
        if name not in known:
            raise UserError(f"expected --only with one of {', '.join(known)}; got {name!r}")
    return [u for u in all_units if not only or u.id in only]


def code_sha256() -> str:
    """Of the sources that the numbers depend on."""
    places = (
        *sorted((ROOT / "dualform").glob("*.py")),
        *sorted((ROOT / "dualform" / "variants").glob("*.py")),
        *sorted((ROOT / "proofs" / "statements").rglob("*.py")),
        *(Path(__file__).parent / f"{name}.py" for name in ("cells", "draws", "units")),
    )
    digest = hashlib.sha256()
    for path in places:
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def jobs(request: Request) -> list[Job]:
    """All cells, each with the same number of draws, `cases` or a few more in all.

    Raises:
        UserError: for an unknown id.
    """
    cells = [(u.id, name_of(d)) for u in chosen(request.only) for d in DTYPES]
    draws = -(-request.cases // (BATCH * len(cells)))
    code = code_sha256()
    return [
        Job(
            unit=unit,
            dtype=dtype,
            device=request.device,
            seed=request.seed,
            draws=draws,
            code=code,
            folder=request.folder,
        )
        for unit, dtype in cells
    ]


def kept(job: Job) -> dict[str, Any] | None:
    """The finished cell of the same settings; None where there is none, or it is damaged."""
    try:
        found = read_object(job.path)
    except UserError:
        return None
    whole = set(found) == {"settings", "seconds", "result"}
    return found if whole and found["settings"] == job.settings() else None


def do(job: Job, tick: Tick = ignore) -> dict[str, Any]:
    """Measure a cell and keep it."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    (unit,) = chosen([job.unit])
    cell = Cell(
        unit=unit,
        dtype=getattr(torch, job.dtype),
        device=job.device,
        seed=job.seed,
        draws=job.draws,
        batch=BATCH,
    )
    result = measure(cell, tick)
    seconds = round(time.perf_counter() - start, 3)
    made = {"settings": job.settings(), "seconds": seconds, "result": result}
    write_text(job.path, dumps(made))
    return made


def run(request: Request, reporter: Reporter) -> tuple[dict[str, Any], float]:
    """The summary, and the seconds of computing behind it.

    Raises:
        UserError: for an unknown id.
    """
    todo = jobs(request)
    done = {job: found for job in todo if (found := kept(job)) is not None}
    if done:
        reporter.say(f"  {len(done)} of {len(todo)} cells taken from {request.folder / 'cells'}")
    missing = [job for job in todo if job not in done]
    with reporter.stage("cases", len(missing) * BATCH * todo[0].draws) as tick:
        for job, made in _all(missing, request.workers, tick):
            done[job] = made
            for line in complaints(made["result"]):
                reporter.say(f"  {line}")
    cells = [done[job] for job in todo]
    seconds = sum(float(cell["seconds"]) for cell in cells)
    return summary(request, todo[0].draws, [cell["result"] for cell in cells]), seconds


def _all(todo: Sequence[Job], workers: int, tick: Tick) -> Iterator[tuple[Job, dict[str, Any]]]:
    if workers == 1:
        for job in todo:
            yield job, do(job, tick)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_quiet) as pool:
        futures: dict[Future[dict[str, Any]], Job] = {pool.submit(do, job): job for job in todo}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
                tick(BATCH * futures[future].draws)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _quiet() -> None:
    """Leave Ctrl-C to the parent, which ends its workers; cells under way are lost."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def complaints(result: Mapping[str, Any]) -> list[str]:
    """One line where a bound did not hold."""
    if not result["violations"]:
        return []
    first = result["violating"][0]
    return [
        f"{result['id']} in {result['dtype']}: {result['violations']} gaps over their bound, "
        f"first in draw {first['draw']}, case {first['case']}, gap/bound {first['ratio']:.3g}"
    ]


def summary(request: Request, draws: int, results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is committed: totals, and every cell."""
    dtypes = [name_of(d) for d in DTYPES]
    return {
        "device": request.device,
        "seed": request.seed,
        "cases_asked": request.cases,
        "cases_a_draw": BATCH,
        "draws_a_cell": draws,
        "strata": STRATA,
        "totals": totals(results),
        "totals_by_dtype": {d: totals([r for r in results if r["dtype"] == d]) for d in dtypes},
        "totals_by_stratum": {
            name: {c: sum(r["strata"][name][c] for r in results) for c in COUNTED}
            for name in dict.fromkeys(STRATA)
        },
        "cells": list(results),
    }


def totals(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sums of the counts, and the worst ratios."""
    summed = {name: sum(r[name] for r in results) for name in ("cases", *COUNTED)}
    worst = {
        name: max((r[name] for r in results), default=0.0)
        for name in ("worst_ratio", "worst_ratio_underflowed")
    }
    return summed | worst
