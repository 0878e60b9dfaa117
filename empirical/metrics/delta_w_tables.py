"""What the heads of all layers gave, as one finding: tables by head, series by query, null bands.

Letters: n queries, L layers, H heads, D null draws. The tables are [L][H], means over the queries
where a value is defined. Rotations are shared by all heads and queries, so that a null draw of any
mean is the mean of the draws: `NAME_null_low` and `NAME_null_high` are the 2.5 % and 97.5 %
quantiles over draws of what `NAME` averages.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from empirical.core.undefined import Number, Undefined
from empirical.metrics import similarity as metrics
from empirical.metrics.delta_w import LIKENESS, Measured
from empirical.metrics.series import to_series
from empirical.metrics.similarity import Array, Similarity
from empirical.results.control_results import ConditionResult

OTHER = tuple(f"{name}_other" for name in LIKENESS)
SIZES = ("norm_icl", "norm_ft", "norm_other", "lambda", "bos")
NAMES = (*LIKENESS, *OTHER, *SIZES)
BAND = (0.025, 0.975)
SERIES = {
    "delta_w_cosine": "cosine",
    "delta_w_effect": "effect_relaxed",
    "delta_w_effect_softmax": "effect_softmax",
    "delta_w_cosine_other": "cosine_other",
    "delta_w_effect_other": "effect_relaxed_other",
    "delta_w_effect_softmax_other": "effect_softmax_other",
    "delta_w_lambda": "lambda",
}
NO_DRAWS = Undefined("no null was drawn")

Table = list[list[Number]]


class Heads:
    """Grows by one head and query at a time, in any order; `finding` at the end."""

    def __init__(self, queries: int, layers: int, heads: int, draws: int) -> None:
        self.draws = draws
        shape = (queries, layers, heads)
        self.values = {name: np.zeros(shape) for name in NAMES}
        self.defined = {name: np.zeros(shape, dtype=np.bool_) for name in NAMES}
        self.reasons: dict[tuple[str, int, int], Undefined] = {}
        self.drawn = {name: np.zeros((layers, heads, draws)) for name in LIKENESS}

    def add(self, query: int, layer: int, head: int, found: Measured) -> None:
        """What one head gave for one query."""
        for name, value in _numbers(found).items():
            if isinstance(value, Undefined):
                self.reasons.setdefault((name, layer, head), value)
            else:
                self.values[name][query, layer, head] = value
                self.defined[name][query, layer, head] = True
        for name in LIKENESS:
            values = getattr(found.ft, name)
            if not isinstance(values, Undefined):
                self.drawn[name][layer, head] += values[1:]

    def table(self, name: str) -> Table:
        """[L][H], means over the queries that have a value; the first reason where none has."""
        kept = self.defined[name]
        _, layers, heads = kept.shape
        return [
            [
                float(self.values[name][kept[:, i, j], i, j].mean())
                if kept[:, i, j].any()
                else self.reasons[name, i, j]
                for j in range(heads)
            ]
            for i in range(layers)
        ]

    def null(self, name: str) -> Array:
        """Null draws of the means over queries, of the heads that have one: [heads, D]."""
        counts = self.defined[name].sum(0)
        kept = counts > 0
        return np.asarray(self.drawn[name][kept] / counts[kept][:, None])

    def band(self, name: str) -> tuple[Table, Table]:
        """The null band of every head: low and high, [L][H] each."""
        table, rows = self.table(name), iter(self.null(name))
        ends = [
            [x if isinstance(x, Undefined) else _quantiles(next(rows)) for x in row]
            for row in table
        ]
        low, high = (
            [[x if isinstance(x, Undefined) else x[side] for x in row] for row in ends]
            for side in (0, 1)
        )
        return low, high

    def similarity(self, name: str) -> Similarity:
        """Values [n,L], means over the heads that have one."""
        kept = self.defined[name]
        count = kept.sum(-1)
        values = self.values[name].sum(-1) / np.maximum(count, 1)
        reason = next((r.reason for (n, *_), r in self.reasons.items() if n == name), "")
        excluded = int((~kept).sum())
        return metrics.similarity(values, count > 0, excluded, kept.size, reason)


def _numbers(found: Measured) -> dict[str, Number]:
    """All NAMES of one head and query, the observed values of the likenesses."""

    def observed(values: Array | Undefined) -> Number:
        return values if isinstance(values, Undefined) else float(values[0])

    likenesses = {name: observed(getattr(found.ft, name)) for name in LIKENESS}
    others = {f"{name}_other": observed(getattr(found.other, name)) for name in LIKENESS}
    return {
        **likenesses,
        **others,
        "norm_icl": found.norm_icl,
        "norm_ft": found.norm_ft,
        "norm_other": found.norm_other,
        "lambda": found.share,
        "bos": found.bos,
    }


def _quantiles(drawn: Array) -> tuple[Number, Number]:
    """The null band of draws [D]."""
    if not drawn.size:
        return NO_DRAWS, NO_DRAWS
    low, high = np.quantile(drawn, BAND)
    return float(low), float(high)


def _mean(table: Table) -> Number:
    """Mean over the heads of all layers that have a value; else the first reason."""
    flat = [x for row in table for x in row]
    values = [x for x in flat if not isinstance(x, Undefined)]
    return float(np.mean(values)) if values else flat[0]


def _inside(table: Table, low: Table, high: Table) -> Number:
    """Share of the heads with a value that lies in the head's own band."""
    kept = [
        a <= x <= b
        for row in zip(table, low, high, strict=True)
        for x, a, b in zip(*row, strict=True)
        if not (isinstance(x, Undefined) or isinstance(a, Undefined) or isinstance(b, Undefined))
    ]
    return sum(kept) / len(kept) if kept else _mean(low)


def _with_null(heads: Heads, name: str) -> tuple[dict[str, Table], dict[str, Number]]:
    """Tables and numbers of one likeness and its null."""
    table, (low, high) = heads.table(name), heads.band(name)
    rows = heads.null(name)
    mean = _mean(table)
    ends = (mean, mean) if isinstance(mean, Undefined) else _quantiles(rows.mean(0))
    tables = {f"{name}_null_low": low, f"{name}_null_high": high}
    numbers = {
        f"{name}_null_low": ends[0],
        f"{name}_null_high": ends[1],
        f"{name}_inside_null": _inside(table, low, high),
    }
    return tables, numbers


def _intervals(
    found: Mapping[str, Similarity], generator: np.random.Generator
) -> dict[str, Number]:
    """Bootstrap intervals over queries of the means that series hold."""
    numbers: dict[str, Number] = {}
    for series, name in SERIES.items():
        interval = metrics.mean_interval(found[series].per_example(), generator)
        ends = (
            (interval, interval)
            if isinstance(interval, Undefined)
            else (interval.low, interval.high)
        )
        numbers |= {f"{name}_low": ends[0], f"{name}_high": ends[1]}
    return numbers


def finding(heads: Heads, generator: np.random.Generator, note: str = "") -> ConditionResult:
    """All tables, series and numbers; `generator` feeds the intervals over queries."""
    tables = {name: heads.table(name) for name in NAMES}
    numbers = {name: _mean(table) for name, table in tables.items()}
    for name in LIKENESS:
        more, figures = _with_null(heads, name)
        tables |= more
        numbers |= figures
    similar = {series: heads.similarity(name) for series, name in SERIES.items()}
    numbers |= _intervals(similar, generator)
    queries, layers, count = heads.defined["cosine"].shape
    numbers |= {
        "queries": float(queries),
        "heads": float(layers * count),
        "draws": float(heads.draws),
    }
    return ConditionResult(
        series={name: to_series(x, generator) for name, x in similar.items()},
        numbers=numbers,
        tables=tables,
        note=note,
    )
