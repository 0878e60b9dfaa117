"""How often intervals (`empirical.analysis.intervals`) hold the true value, on made-up studies.

`python -m empirical.analysis.interval_coverage --out FILE`. Seeds and examples are drawn anew in
every repetition from a population whose mean is known; a 95 % interval should hold it in 95 % of
them. Beside it plausible intervals that do not: percentiles of the bootstrap over both factors, a t
interval from the examples alone, and one quantile for both variances. Letters: K repetitions, S
seeds, n examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from numpy.typing import NDArray
from scipy import special, stats

from empirical.analysis.intervals import (
    LEVEL,
    Estimate,
    Part,
    estimates,
    mean_over_tasks,
    t_interval,
)
from empirical.analysis.ratio_estimators import BATCH, RESAMPLES, RatioTable, mean_of, quotients_of
from empirical.core.command_line import single
from empirical.core.json_files import dumps, write_text
from empirical.core.undefined import Number, Undefined
from empirical.metrics.similarity import Array

Shape = Literal["normal", "bounded", "excess"]
Ends = list[tuple[Number, Number]]
SEEDS, EXAMPLES = (1, 2, 3, 5), (30, 200)
SPREADS = ((0.0, 0.2, 0.1), (0.03, 0.2, 0.1), (0.1, 0.2, 0.1))  # seeds, examples, both together
TASKS = 6
NODES = 80  # of Gauss-Hermite quadrature


@dataclass(frozen=True, kw_only=True)
class Design:
    """A population: `sd` of seeds, of examples and of their interaction, before `shape`.

    "normal": the sum itself, around 0. "bounded": its logistic function around -1.5 at ten times
    the spread, skewed, between 0 and 1. "excess": Rec2FTP less its base rate, where three settings
    answer right with logistic probabilities that share the difficulty of the example. The estimate
    is the mean over `tasks` of that kind.
    """

    shape: Shape
    sd: tuple[float, float, float]
    seeds: int
    examples: int
    tasks: int = 1


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one interval did: `covered` of `defined` held the true value, of `repetitions`.

    `low`, `high`: the Clopper-Pearson interval of their share, 95 %. For one seed the true value is
    that of the seed drawn, since nothing can be said of others.
    """

    design: Design
    method: str
    repetitions: int
    defined: int
    covered: int
    observed: Number
    low: Number
    high: Number
    mean_width: Number


@dataclass(frozen=True, kw_only=True)
class Studies:
    """K made-up studies and the true value of each, [K]."""

    tables: list[RatioTable]
    truth: Array


_CENTRE, _SCALE = -1.5, 10.0


def _sums(design: Design, count: int, g: np.random.Generator) -> tuple[Array, Array]:
    """Seed effects [K,S] and whole sums [K,S,n]."""
    a, b, c = design.sd
    seeds = a * g.normal(size=(count, design.seeds))
    examples = b * g.normal(size=(count, 1, design.examples))
    both = c * g.normal(size=(count, design.seeds, design.examples))
    return seeds, seeds[:, :, None] + examples + both


def _logistic_mean(centre: Array, sd: float) -> Array:
    """E of the logistic function of a normal variable, by Gauss-Hermite quadrature."""
    x, w = special.roots_hermitenorm(NODES)
    return np.asarray(special.expit(centre[..., None] + sd * x) @ w / w.sum())


def drawn(design: Design, count: int, g: np.random.Generator) -> Studies:
    """`count` studies of a design."""
    if design.shape == "excess":
        return _excess(design, count, g)
    seeds, x = _sums(design, count, g)
    given = seeds[:, 0] if design.seeds == 1 else np.zeros(count)
    a, b, c = design.sd
    if design.shape == "normal":
        return Studies(tables=[mean_of(t) for t in x], truth=given)
    rest = np.hypot(b, c) if design.seeds == 1 else np.sqrt(a * a + b * b + c * c)
    truth = _logistic_mean(_CENTRE + _SCALE * given, _SCALE * float(rest))
    return Studies(tables=[mean_of(t) for t in special.expit(_CENTRE + _SCALE * x)], truth=truth)


def _excess(design: Design, count: int, g: np.random.Generator) -> Studies:
    """Zero-shot is the same for all seeds; finetuning and in-context share a seed's effect."""
    a, b, _ = design.sd
    hard = _SCALE * b * g.normal(size=(count, 1, design.examples))
    seeds = _SCALE * a * g.normal(size=(count, design.seeds, 1))
    wrong = g.random(hard.shape) < special.expit(hard)
    wrong = np.broadcast_to(wrong, (count, design.seeds, design.examples))
    ft, icl = (g.random(wrong.shape) < special.expit(seeds - hard + s) for s in (0.5, 1.0))
    tables = [
        quotients_of([(w & f & i, w & f, 1.0), (w & i, w, -1.0)])
        for w, f, i in zip(wrong, ft, icl, strict=True)
    ]
    x, w = special.roots_hermitenorm(NODES)
    if design.seeds == 1:
        return Studies(tables=tables, truth=_true_excess(seeds[:, 0, 0], _SCALE * b))
    truth = _true_excess(_SCALE * a * x, _SCALE * b) @ w / w.sum()
    return Studies(tables=tables, truth=np.full(count, truth))


def _true_excess(seeds: Array, sd: float) -> Array:
    """P(ICL right | ZSL wrong, FT right) - P(ICL right | ZSL wrong), given the seed's effect."""
    x, w = special.roots_hermitenorm(NODES)
    hard = sd * x
    p = special.expit(hard) * w / w.sum()
    ft, icl = (special.expit(seeds[..., None] - hard + s) for s in (0.5, 1.0))
    return np.asarray((ft * icl) @ p / (ft @ p) - icl @ p / p.sum())


def examples_only(found: Sequence[Estimate]) -> Ends:
    """A near miss: t intervals that forget the seeds."""
    out: Ends = []
    for one in found:
        parts = one.parts if isinstance(one.parts, Undefined) else one.parts[:1]
        low, high, _ = (
            (one.value,) * 3 if isinstance(one.value, Undefined) else t_interval(one.value, parts)
        )
        out.append((low, high))
    return out


def satterthwaite(found: Sequence[Estimate]) -> Ends:
    """A near miss: both variances under one quantile, its degrees of freedom Satterthwaite's."""
    out: Ends = []
    for one in found:
        ends: tuple[Number, Number] = (one.low, one.high)
        if not isinstance(one.value, Undefined) and not isinstance(one.parts, Undefined):
            pooled = [Part(source="seeds", variance=p.variance, df=p.df) for p in one.parts]
            ends = t_interval(one.value, tuple(pooled))[:2]
        out.append(ends)
    return out


def two_way_percentile(tables: Sequence[RatioTable], g: np.random.Generator) -> Ends:
    """A near miss: percentiles of the bootstrap over seeds and examples at once (means only)."""
    x = np.stack([t.top[0] for t in tables])
    size, n = x.shape[1:]

    def statistic(s: NDArray[np.int64], i: NDArray[np.int64], axis: int = -1) -> Array:
        rows, columns = np.atleast_2d(s), np.atleast_2d(i)
        by_seed = np.eye(size)[rows].mean(1)
        by_example = np.stack([np.bincount(c, minlength=n) / n for c in columns])
        found = np.einsum("bs,ksb->kb", by_seed, x @ by_example.T)
        return np.asarray(found if np.ndim(s) > 1 else found[:, 0])

    ends = stats.bootstrap(
        (np.arange(size), np.arange(n)),
        statistic,
        n_resamples=RESAMPLES,
        batch=BATCH,
        confidence_level=LEVEL,
        method="percentile",
        vectorized=True,
        rng=g,
    ).confidence_interval
    return list(zip(ends.low.tolist(), ends.high.tolist(), strict=True))


def counted(design: Design, method: str, truth: Array, ends: Ends) -> Row:
    """How many of the intervals that are there hold the true value."""
    held = [
        (low, high, t)
        for (low, high), t in zip(ends, truth, strict=True)
        if not isinstance(low, Undefined) and not isinstance(high, Undefined)
    ]
    covered = sum(bool(low <= t <= high) for low, high, t in held)
    gone = Undefined("no repetition has an interval")
    shown: tuple[Number, Number, Number, Number] = (gone, gone, gone, gone)
    if held:
        ci = stats.binomtest(covered, len(held)).proportion_ci(0.95, method="exact")
        width = float(np.mean([high - low for low, high, _ in held]))
        shown = (covered / len(held), float(ci.low), float(ci.high), width)
    return Row(
        design=design,
        method=method,
        repetitions=len(truth),
        defined=len(held),
        covered=covered,
        observed=shown[0],
        low=shown[1],
        high=shown[2],
        mean_width=shown[3],
    )


def simulated(design: Design, count: int, g: np.random.Generator) -> tuple[Row, ...]:
    """The interval of the project on `count` studies, and what may stand beside it."""
    studies = drawn(design, count * design.tasks, g)
    found = estimates(studies.tables, g)
    if design.tasks > 1:
        truth = studies.truth.reshape(count, -1).mean(1)
        found = tuple(
            mean_over_tasks(found[i : i + design.tasks]) for i in range(0, len(found), design.tasks)
        )
        return (counted(design, "t", truth, [(e.low, e.high) for e in found]),)
    ends: dict[str, Ends] = {"t": [(e.low, e.high) for e in found]}
    if design.seeds > 1:
        ends["examples only"] = examples_only(found)
        ends["satterthwaite"] = satterthwaite(found)
        if design.shape != "excess":
            ends["two-way percentile"] = two_way_percentile(studies.tables, g)
    return tuple(counted(design, name, studies.truth, x) for name, x in ends.items())


def designs() -> tuple[Design, ...]:
    """All that are simulated for the committed file."""
    shapes: tuple[Shape, ...] = ("normal", "bounded", "excess")
    one = [
        Design(shape=shape, sd=sd, seeds=s, examples=n)
        for shape, sd, s, n in product(shapes, SPREADS, SEEDS, EXAMPLES)
    ]
    return (*one, *(replace(d, tasks=TASKS) for d in one if d.seeds == 3))


def main(
    out: Annotated[Path, typer.Option(help="The JSON file to write.")],
    repetitions: Annotated[int, typer.Option(help="Studies of each design.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the studies.")] = 1,
) -> None:
    """Count how often the intervals hold the truth of made-up studies."""
    g = np.random.default_rng(seed)
    rows = [row for d in designs() for row in simulated(d, repetitions, g)]
    write_text(out, dumps({"nominal": LEVEL, "seed": seed, "rows": rows}))


if __name__ == "__main__":
    single(main)()
