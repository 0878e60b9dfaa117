"""What a metric reads of a finding, example by example, and how seeds make a table (no torch).

Letters: S seeds, n examples of a metric (those of Kendall are the first 100).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from empirical.analysis.claims import BASE_RATE, GAINS, RECALLS
from empirical.analysis.ratio_estimators import RatioTable, mean_of, quotients_of
from empirical.core.errors import UserError
from empirical.core.undefined import Undefined
from empirical.metrics.similarity import Array
from empirical.results.control_results import ConditionResult

Mask = NDArray[np.bool_]
Counts = tuple[tuple[Mask, Mask, float], ...]  # numerator, denominator, sign: [n] each
Reading = Array | Counts | Undefined

NOT_RUN = "not run"
NO_CORRECTION = "finetuning corrects no zero-shot error"
NO_VALUE = "has no value in any example"
NO_ERROR = "zero-shot makes no error"


def reading(finding: ConditionResult | None, labels: NDArray[np.int64], metric: str) -> Reading:
    """A metric of every example [n], or its counts, under one condition; nan where undefined."""
    if finding is None:
        return Undefined(NOT_RUN)
    if finding.absent is not None:
        return Undefined(finding.absent)
    if metric in GAINS:
        after, before = (reading(finding, labels, name) for name in GAINS[metric])
        return minus(after, before)
    if metric.endswith("_accuracy"):
        return _accuracy(finding, labels, metric.removesuffix("_accuracy"))
    if metric in (*RECALLS, BASE_RATE):
        return _recall(finding, labels, metric)
    name = "order_ft" if metric == "order_spread" else metric
    if name not in finding.series:
        return Undefined(f"the finding has no {name}")
    held = finding.series[name]
    if len(held.values) == 0:
        return held.mean if isinstance(held.mean, Undefined) else Undefined("there is no example")
    return np.asarray(held.values, dtype=np.float64)


def minus(a: Reading, b: Reading) -> Reading:
    """a - b, example by example; undefined where one of them is.

    Raises:
        UserError: for a metric and a control over other examples.
    """
    if isinstance(a, Undefined):
        return a
    if isinstance(b, Undefined):
        return b
    if isinstance(a, tuple) and isinstance(b, tuple):
        return (*a, *((top, bottom, -sign) for top, bottom, sign in b))
    if len(a) != len(b):
        raise UserError(
            f"expected a metric and its control over the same examples, got {len(a)} and {len(b)}; "
            "run the study into an empty folder"
        )
    return np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)


def _accuracy(finding: ConditionResult, labels: NDArray[np.int64], setting: str) -> Reading:
    """100 where the answer is right, 0 elsewhere."""
    if setting not in finding.predictions:
        return Undefined(f"the finding has no answers of {setting}")
    return np.asarray(100.0 * (finding.predictions[setting] == labels))


def _recall(finding: ConditionResult, labels: NDArray[np.int64], metric: str) -> Reading:
    """Counts of Rec2FTP, of P(ICL right | ZSL wrong), or of both."""
    if not {"zsl", "icl", "ft"} <= set(finding.predictions):
        return Undefined("the finding has no answers of all settings")
    zsl, icl, ft = (finding.predictions[x] == labels for x in ("zsl", "icl", "ft"))
    recall = (~zsl & ft & icl, ~zsl & ft, 100.0)
    rate = (~zsl & icl, ~zsl, 100.0)
    if metric == BASE_RATE:
        return (rate,)
    if metric == "rec2ftp":
        return (recall,)
    return minus((recall,), (rate,))


def _why(rows: Sequence[Reading], metric: str) -> str | None:
    """Why no seed has a value, or None where one has."""
    reasons = []
    for row in rows:
        if isinstance(row, Undefined):
            reasons.append(row.reason)
        elif isinstance(row, tuple):
            empty = [not bottom.any() for _, bottom, _ in row]
            if not any(empty):
                return None
            errors = any(bottom.any() for _, bottom, _ in row)
            reasons.append(NO_CORRECTION if errors else NO_ERROR)
        elif np.isnan(row).all():
            reasons.append(f"{metric} {NO_VALUE}")
        else:
            return None
    return "; ".join(dict.fromkeys(reasons))


def table_of(rows: Sequence[Reading], metric: str) -> RatioTable | str:
    """The rows of all seeds as one table, empty where a seed has none; else why there is none."""
    why = _why(rows, metric)
    if why is not None:
        return why
    counts = [r for r in rows if isinstance(r, tuple)]
    if counts:
        none = np.zeros(len(counts[0][0][0]), dtype=np.bool_)
        empty: Counts = tuple((none, none, sign) for _, _, sign in counts[0])
        filled = [r if isinstance(r, tuple) else empty for r in rows]
        terms = [
            (np.stack([f[i][0] for f in filled]), np.stack([f[i][1] for f in filled]), sign)
            for i, (_, _, sign) in enumerate(empty)
        ]
        return quotients_of(terms, NO_CORRECTION)
    n = next(len(r) for r in rows if isinstance(r, np.ndarray))
    return mean_of(np.stack([r if isinstance(r, np.ndarray) else np.full(n, np.nan) for r in rows]))
