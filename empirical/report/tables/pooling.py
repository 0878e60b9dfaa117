"""Seeds of one task together: means over seeds, and what intervals reach."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from empirical.core.undefined import Number, Undefined
from empirical.report.names import plural
from empirical.results.control_results import ConditionResult, ControlResults, Series


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A metric layer by layer; nan where a layer has no value."""

    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def plain(value: Number | None) -> float:
    """A number for drawing: nan, which leaves a gap, where it is undefined."""
    return math.nan if value is None or isinstance(value, Undefined) else float(value)


def _over(
    columns: Sequence[tuple[Number, ...]], take: Callable[[list[float]], float]
) -> tuple[float, ...]:
    found = []
    for cell in zip(*columns, strict=True):
        known = [plain(x) for x in cell if not isinstance(x, Undefined)]
        if not known:
            found.append(math.nan)
        else:
            found.append(take(known))
    return tuple(found)


def curve(found: Sequence[ConditionResult], metric: str) -> Curve | None:
    """Mean over seeds, from the lowest to the highest end of the seeds' 95 % intervals."""
    series = [f.series[metric] for f in found if metric in f.series]
    series = [s for s in series if s.per_layer]
    if not series or len({len(s.per_layer) for s in series}) != 1:
        return None
    return Curve(
        mean=_over([s.per_layer for s in series], fmean),
        low=_over([s.low for s in series], min),
        high=_over([s.high for s in series], max),
    )


def mean_of(found: Sequence[Series]) -> Number:
    """Mean over seeds of the means."""
    known = [s.mean for s in found if not isinstance(s.mean, Undefined)]
    return math.fsum(known) / len(known) if known else Undefined("undefined in every seed")


FIRST = "Kendall’s τ is of the first 100 examples at most."


def origin(cells: Sequence[ControlResults], counted: str | None = None) -> str:
    """On which model, data, n and seeds: the end of every caption; `counted`: another n."""
    models = sorted({e.provenance.model for e in cells})
    sources = sorted({e.provenance.source for e in cells})
    counts = sorted({e.counts["examples"] for e in cells if "examples" in e.counts})
    seeds = sorted({e.provenance.seed for e in cells})
    n = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"
    return (
        f"Model {', '.join(models)}; data {', '.join(sources)}; "
        f"{counted or (f'{n} examples per task' if counts else 'n not recorded')}; "
        f"{plural(len(seeds), 'seed')} ({', '.join(map(str, seeds))})."
    )
