"""Estimates of many tables at once, and their means over tasks that share their models.

In the study every task draws its own demonstrations, so that the variances of its tasks add. Here
one model of a seed answers every task: a good or bad start moves all tasks together. The spread of
seeds is therefore that of the means over tasks, seed by seed; rows are of their task alone, and
their variances add.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from empirical.analysis.intervals import (
    Estimate,
    Part,
    estimates,
    mean_over_tasks,
    nothing,
    t_interval,
)
from empirical.analysis.ratio_estimators import RatioTable
from empirical.core import random_streams
from empirical.core.undefined import Undefined

K = TypeVar("K", bound=Hashable)
OTHER_SEEDS = "the tasks have other numbers of seeds: their spread cannot be put together"


def estimated(tables: Mapping[K, RatioTable | str]) -> dict[K, Estimate]:
    """The estimate of every table, or of nothing with the reason; equal sizes share their draws."""
    out: dict[K, Estimate] = {k: nothing(t) for k, t in tables.items() if isinstance(t, str)}
    held = {k: t for k, t in tables.items() if not isinstance(t, str)}
    for size in sorted({t.top.shape[-1] for t in held.values()}):
        same = {k: t for k, t in held.items() if t.top.shape[-1] == size}
        if size < 2:
            out |= {k: nothing("fewer than two windows or rows") for k in same}
            continue
        draws = random_streams.generator(random_streams.TASK_MEANS, size)
        out |= dict(zip(same, estimates(list(same.values()), draws), strict=True))
    return out


def mean_of_tasks(found: Sequence[Estimate]) -> Estimate:
    """The plain mean of estimates over the same models, whose seeds come in the same order.

    Undefined as soon as one of them is.
    """
    mean = mean_over_tasks(found)
    if len(found) < 2 or isinstance(mean.value, Undefined) or isinstance(mean.parts, Undefined):
        return found[0] if len(found) == 1 else mean
    tables = [[x for x in one.per_seed if not isinstance(x, Undefined)] for one in found]
    if len({len(x) for x in tables}) != 1:
        return nothing(OTHER_SEEDS)
    per_seed = np.array(tables).mean(0)
    parts = [p for p in mean.parts if p.source == "examples"]
    if len(per_seed) > 1:
        # Means that differ by the rounding of their sums alone are the same mean.
        terms = max(one.examples for one in found) + len(found)
        rounding = 2 * terms * np.finfo(np.float64).eps * np.abs(tables).max()
        spread = float(per_seed.var(ddof=1)) / len(per_seed)
        between = spread if np.ptp(per_seed) > rounding else 0.0
        parts.append(Part(source="seeds", variance=between, df=len(per_seed) - 1.0))
    low, high, p = t_interval(mean.value, tuple(parts))
    return replace(
        mean, low=low, high=high, p=p, parts=tuple(parts), per_seed=tuple(map(float, per_seed))
    )
