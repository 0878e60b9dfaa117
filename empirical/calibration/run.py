"""Every known model read once, and the file of what was read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from empirical.calibration import unrelated
from empirical.calibration.known import KNOWN, judged
from empirical.calibration.reading import Read
from empirical.calibration.trained import STEPS
from empirical.calibration.trained_case import EPISODES, against_descent
from empirical.core import provenance, random_streams
from empirical.core.errors import Refused, UserError
from empirical.core.progress import Reporter
from empirical.core.undefined import Undefined
from empirical.metrics.dose import DOSES, Captures, as_tables, curves
from empirical.metrics.null_bands import DRAWS, Band, null_bands
from empirical.results import calibration as files
from empirical.results.calibration import Calibration, Case, Check, Source

CURVE_OF = "linear_attention"
NULL_DRAWS = 39
Made = Callable[[np.random.Generator], Callable[[], Read]]
UNRELATED: dict[str, tuple[str, Made]] = {
    "random_weights": (
        "three layers of random attention weights against gradient descent on the shown pairs",
        lambda g: unrelated.random_weights(g, 3),
    ),
    "random_steps": (
        "linear attention against random steps of the norm of its gradient step",
        unrelated.random_steps,
    ),
}
TURNED = "one layer of random weights, each in the band of its own turned updates"


def generator(seed: int, stream: int) -> np.random.Generator:
    """One stream of a run."""
    return random_streams.generator(random_streams.CALIBRATION, seed, stream, 1)


def calibrate(seed: int, reporter: Reporter) -> Calibration:
    """Every case, and the dose curve of one constructed model.

    Raises:
        UserError: for a negative seed.
    """
    if seed < 0:
        raise UserError(f"expected a seed of at least 0, got {seed}; choose another seed")
    cases: dict[str, Case] = {}
    captures = None
    with reporter.stage("constructed models", len(KNOWN)) as advance:
        for number, (name, make) in enumerate(KNOWN.items()):
            cases[name], found = judged(make(generator(seed, number)))
            captures = found.captures() if name == CURVE_OF else captures
            advance(1)
    assert captures is not None, "the curve is of a constructed model"
    with reporter.stage("a trained model", STEPS + EPISODES) as advance:
        cases["trained"] = against_descent(generator(seed, 10), advance)
    for number, (name, (title, make_one)) in enumerate(UNRELATED.items()):
        with reporter.stage(name, DRAWS + unrelated.JUDGED) as advance:
            one = make_one(generator(seed, 20 + number))
            cases[name] = unrelated.among_others(one, title, advance)
    with reporter.stage("random_weights_turned", unrelated.JUDGED) as advance:
        cases["random_weights_turned"] = unrelated.against_turned(
            generator(seed, 30), TURNED, advance
        )
    with reporter.stage("dose curve", 1) as advance:
        tables = _curve(captures, generator(seed, 40))
        advance(1)
    return Calibration(provenance=_source(seed), cases=cases, curves={CURVE_OF: tables})


def _curve(captures: Captures, draws: np.random.Generator) -> dict[str, Any]:
    """The tables of a dose curve, with the nulls beside them."""
    tables = as_tables(curves(captures, draws), DOSES)
    bands = null_bands(captures, draws, draws=NULL_DRAWS)
    tables["null"] = {
        name: [b.low, b.mean, b.high] if isinstance(b, Band) else b for name, b in bands.items()
    }
    return tables


def _source(seed: int) -> Source:
    return Source(
        seed=seed,
        dtype="float64",
        threads=torch.get_num_threads(),
        versions=provenance.versions(),
        code_sha256=provenance.code_sha256(),
        commit=provenance.commit(),
        command=("dualform", "calibrate", "--seed", str(seed)),
    )


def run_calibration(out: Path, seed: int, reporter: Reporter) -> tuple[str, ...]:
    """Write `calibration.json` into `out`; the lines that sum it up.

    Raises:
        UserError: for a negative seed.
        Refused: when a known model is read wrong, after the file is written.
    """
    found = calibrate(seed, reporter)
    path = files.write(found, out)
    lines = (*summed_up(found), f"written: {path}")
    if found.wrong():
        wrong = ", ".join(f"{metric} of {name}" for name, metric in found.wrong())
        raise Refused("\n".join([*lines, f"read wrong: {wrong}"]))
    return lines


def summed_up(found: Calibration) -> Iterator[str]:
    """A line for every case."""
    for name, case in found.cases.items():
        read = ", ".join(_told(metric, check) for metric, check in case.checks.items())
        yield f"{name} ({case.kind}): {read}"


def _told(metric: str, check: Check) -> str:
    verdict = {True: "right", False: "WRONG", None: "not judged"}[check.right]
    if isinstance(check.value, Undefined):
        return f"{metric} undefined"
    if check.inside is not None:
        return f"{metric} {check.value:.3f}, {check.inside} of {len(check.readings)} in the band"
    return f"{metric} {check.value:.6g} {verdict}"
