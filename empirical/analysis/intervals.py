"""Means over examples and seeds, their differences, and t intervals from bootstrap variances.

The design is crossed: every seed draws its own demonstrations and all seeds answer the same
examples. The variance of a mean is the sum of two bootstraps, over examples and over seeds (after
Owen, Annals of Applied Statistics 1(2), 2007), each with its own Student quantile (Banerjee,
Sankhya 22, 1960); `docs/verdict.md` says why, `docs/results/coverage` how often the intervals hold
what they should.
Letters: S seeds, n examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special, stats

from empirical.analysis.ratio_estimators import (
    RatioTable,
    divided,
    resampled,
    seed_mean,
    seed_values,
)
from empirical.core.undefined import Number, Undefined
from empirical.metrics.dose import equivalent
from empirical.metrics.similarity import Array, proportion

LEVEL = 0.95
LOST = 0.05  # of resamples may be without a value
LEAST = 1e-280  # a smaller p value is not told from 0

NO_SPREAD = "all examples and seeds have the same value: nothing says how far it may vary"
TOO_FEW = "fewer than two examples have a value"
RARE = "too few examples count: the quotient has no value in many resamples"
ONE_SEED = "one seed: the spread between seeds is not in the interval"
NOT_PAIRED = "a quotient of counts has no value for each example"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One source of variance of an estimate, and its degrees of freedom."""

    source: Literal["examples", "seeds"]
    variance: float
    df: float


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean (or difference of means) with its 95 % interval and two-sided p value of 0.

    `per_seed` [S]; `d_z`: Cohen's, the mean over the standard deviation across examples. `examples`
    that have a value in some seed, `seeds` that have one. `parts`: where its variance comes from.
    `note`: what the interval does not hold. `wilson`: that interval too, for counts of one seed.
    """

    value: Number
    low: Number
    high: Number
    p: Number
    d_z: Number
    per_seed: tuple[Number, ...]
    seeds: int
    examples: int
    parts: tuple[Part, ...] | Undefined
    note: str = ""
    wilson: tuple[float, float] | None = None

    @property
    def standard_error(self) -> Number:
        """The root of the summed variances."""
        if isinstance(self.parts, Undefined):
            return self.parts
        return float(np.sqrt(sum(p.variance for p in self.parts)))


def nothing(reason: str) -> Estimate:
    """An estimate that is not there, with the reason."""
    gone = Undefined(reason)
    return Estimate(
        value=gone,
        low=gone,
        high=gone,
        p=gone,
        d_z=gone,
        per_seed=(),
        seeds=0,
        examples=0,
        parts=gone,
    )


def _parts(table: RatioTable, per_seed: Array, drawn: Array) -> tuple[Part, ...] | Undefined:
    """The variance from examples, and from seeds where there are two or more.

    Each is the bootstrap's times m/(m-1), which makes it unbiased for a mean of m. For seeds the
    bootstrap of all S^S resamples has a closed form, the square of the standard error of the mean.
    """
    n = int((table.bottom > 0).any((0, 1)).sum())
    if n < 2:
        return Undefined(TOO_FEW)
    kept = drawn[~np.isnan(drawn)]
    if kept.size < (1 - LOST) * drawn.size:
        return Undefined(RARE)
    # Values of sums of n terms that differ by their rounding alone are the same value.
    scale = np.abs(table.top).max() * np.abs(table.signs).sum()
    rounding = 2 * table.top.shape[-1] * np.finfo(np.float64).eps * scale
    spread = float(kept.var()) if np.ptp(kept) > rounding else 0.0
    found = [Part(source="examples", variance=spread * n / (n - 1), df=n - 1.0)]
    seeds = per_seed[~np.isnan(per_seed)]
    if seeds.size > 1:
        between = seeds.var(ddof=1) / seeds.size if np.ptp(seeds) > rounding else 0.0
        found.append(Part(source="seeds", variance=float(between), df=seeds.size - 1.0))
    return tuple(found)


def d_z(values: ArrayLike) -> Number:
    """Cohen's d_z of differences [S,n]: of their means over seeds, mean over sd across examples."""
    x = np.asarray(values, dtype=np.float64)
    kept = seed_mean(x.T)
    kept = kept[~np.isnan(kept)]
    if kept.size < 2:
        return Undefined(TOO_FEW)
    if np.ptp(kept) == 0:
        return Undefined(NO_SPREAD)
    return float(kept.mean() / kept.std(ddof=1))


def _effect(table: RatioTable) -> Number:
    if not table.paired:
        return Undefined(NOT_PAIRED)
    return d_z(divided(table.top[0], table.bottom[0]))


def _number(x: float, reason: str) -> Number:
    return Undefined(reason) if np.isnan(x) else float(x)


def estimates(tables: Sequence[RatioTable], generator: np.random.Generator) -> tuple[Estimate, ...]:
    """The estimate of every table; all share the draws of examples.

    Raises:
        ValueError: as `resampled`.
    """
    if not tables:
        return ()
    return tuple(
        _estimate(table, drawn)
        for table, drawn in zip(tables, resampled(tables, generator), strict=True)
    )


def _estimate(table: RatioTable, drawn: Array) -> Estimate:
    per_seed = seed_values(table)
    seeds = int((~np.isnan(per_seed)).sum())
    if seeds == 0:
        return nothing(table.reason)
    found = _with_interval(
        float(seed_mean(per_seed)),
        _parts(table, per_seed, drawn),
        d_z=_effect(table),
        per_seed=tuple(_number(x, table.reason) for x in per_seed),
        seeds=seeds,
        examples=int((table.bottom > 0).any((0, 1)).sum()),
        note="" if seeds > 1 else ONE_SEED,
    )
    low, high = (_possible(end, table) for end in (found.low, found.high))
    return replace(found, low=low, high=high, wilson=_wilson(table))


def _possible(end: Number, table: RatioTable) -> Number:
    """The end of an interval of one quotient of counts, which cannot lie outside [0, sign]."""
    if isinstance(end, Undefined) or table.paired or len(table.signs) != 1:
        return end
    return min(max(end, 0.0), table.signs[0])


def _wilson(table: RatioTable) -> tuple[float, float] | None:
    """Of one quotient of counts of one seed, in percent; None for anything else."""
    if table.paired or table.top.shape[:2] != (1, 1):
        return None
    found = proportion(int(table.top.sum()), int(table.bottom.sum()), table.reason)
    return None if isinstance(found, Undefined) else (found.low, found.high)


def _with_interval(
    value: float,
    parts: tuple[Part, ...] | Undefined,
    *,
    d_z: Number,
    per_seed: tuple[Number, ...],
    seeds: int,
    examples: int,
    note: str,
) -> Estimate:
    low, high, p = t_interval(value, parts)
    return Estimate(
        value=value,
        low=low,
        high=high,
        p=p,
        d_z=d_z,
        per_seed=per_seed,
        seeds=seeds,
        examples=examples,
        parts=parts,
        note=note,
    )


def t_interval(
    value: float, parts: tuple[Part, ...] | Undefined, level: float = LEVEL
) -> tuple[Number, Number, Number]:
    """Ends of the interval and the p value of 0, the level at which the interval would reach it.

    A value of 0 without any spread is 0 exactly; another value without spread has no interval.
    """
    if isinstance(parts, Undefined):
        return parts, parts, parts
    sources = _sources(parts)
    if not sources:
        gone = Undefined(NO_SPREAD)
        return (0.0, 0.0, 1.0) if value == 0 else (gone, gone, gone)
    half = _half_width(sources, 1 - level)
    return value - half, value + half, _p_value(abs(value), sources)


def _sources(parts: Sequence[Part]) -> tuple[Part, ...]:
    """The parts of each source as one, its degrees of freedom by Satterthwaite (1946)."""
    out = []
    for source in ("examples", "seeds"):
        same = [p for p in parts if p.source == source and p.variance > 0]
        total = sum(p.variance for p in same)
        if same:
            df = total**2 / sum(p.variance**2 / p.df for p in same)
            out.append(Part(source=source, variance=total, df=df))
    return tuple(out)


def _half_width(sources: Sequence[Part], error: float) -> float:
    """sqrt(sum of t^2 variance): at least 1 - `error` of intervals hold the mean (Banerjee)."""
    # The lower tail, which is exact for small errors.
    quantiles = special.stdtrit([p.df for p in sources], error / 2)
    return float(np.sqrt(np.square(quantiles) @ [p.variance for p in sources]))


def _p_value(size: float, sources: Sequence[Part]) -> float:
    """The error at which the half-width is `size`: at least that of each source alone."""
    alone = [2 * float(special.stdtr(p.df, -size / np.sqrt(p.variance))) for p in sources]
    least = max(alone)
    if least < LEAST:
        return 0.0

    def gap(log_error: float) -> float:
        return _half_width(sources, float(np.exp(log_error))) - size

    if gap(np.log(least)) <= 0:
        return min(least, 1.0)
    return float(np.exp(optimize.brentq(gap, np.log(least), 0.0)))


def mean_over_tasks(found: Sequence[Estimate]) -> Estimate:
    """The plain mean of estimates of different tasks, which are fixed, not drawn.

    Their demonstrations and examples are drawn apart, so that variances add. Undefined as soon as
    one of them is: the caller chooses the tasks.
    """
    for one in found:
        if isinstance(one.value, Undefined):
            return nothing(one.value.reason)
    if not found:
        return nothing("there is no task")
    m = len(found)
    values = [float(e.value) for e in found if not isinstance(e.value, Undefined)]
    effects = [e.d_z for e in found]
    known = [x for x in effects if not isinstance(x, Undefined)]
    missing = next((x for x in effects if isinstance(x, Undefined)), None)
    return _with_interval(
        float(np.mean(values)),
        _pooled(found, m),
        d_z=float(np.mean(known)) if missing is None else missing,
        per_seed=(),
        seeds=min(e.seeds for e in found),
        examples=sum(e.examples for e in found),
        note=next((e.note for e in found if e.note), ""),
    )


def _pooled(found: Sequence[Estimate], m: int) -> tuple[Part, ...] | Undefined:
    parts: list[Part] = []
    for one in found:
        if isinstance(one.parts, Undefined):
            return one.parts
        parts += [Part(source=p.source, variance=p.variance / m**2, df=p.df) for p in one.parts]
    return tuple(parts)


def adjusted(p: Sequence[Number]) -> tuple[Number, ...]:
    """Benjamini-Yekutieli p values of a family, whatever their dependence (Annals of Stat., 2001).

    Those that are undefined stay so and do not count.
    """
    known = [i for i, x in enumerate(p) if not isinstance(x, Undefined)]
    out = list(p)
    if known:
        found = stats.false_discovery_control([float(p[i]) for i in known], method="by")  # type: ignore[arg-type] # numbers only
        for i, x in zip(known, found, strict=True):
            out[i] = float(x)
    return tuple(out)


def dose_of(difference: Number, doses: Sequence[float], curve: Sequence[Number]) -> Number:
    """The dose at which a curve lies `difference` above its value at dose 0.

    As `equivalent` reads it, but a difference of 0 or less has dose 0, and one that is larger than
    the curve's range has the largest dose, beyond which the curve says nothing.
    """
    if isinstance(difference, Undefined):
        return difference
    known = [y for y in curve if not isinstance(y, Undefined)]
    if len(known) < len(curve) or len(known) < 2:
        return Undefined("the dose curve has points without a value")
    fitted = optimize.isotonic_regression(np.array(known)).x
    if fitted[-1] == fitted[0]:
        return Undefined("the metric does not rise with the dose")
    if difference <= 0:
        return 0.0
    if difference >= fitted[-1] - fitted[0]:
        return float(doses[-1])
    return equivalent(doses, curve, float(fitted[0]) + difference)
