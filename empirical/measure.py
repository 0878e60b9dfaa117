"""The three outcomes of a task -> every metric of its record."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from empirical import metrics
from empirical.metrics import Interval, Proportion, Similarity, Undefined
from empirical.records import Measurement

METRICS = frozenset(
    "zsl_accuracy icl_accuracy ft_accuracy rec2ftp rec2ftp_base_rate rec2ftp_reverse sim_aou "
    "sim_aou_random sim_aou_floor sim_aou_unnormalised sim_am_before sim_am_after sim_am_delta "
    "sim_am_difference sim_aou_matched".split()
)


class Outcome(Protocol):
    """What a setting leaves: predictions, labels [n]; h [n,L,d]; m: n arrays [L,H,T_i]."""

    @property
    def predictions(self) -> NDArray[np.int64]: ...
    @property
    def labels(self) -> NDArray[np.int64]: ...
    @property
    def h(self) -> NDArray[np.float32]: ...
    @property
    def m(self) -> list[NDArray[np.float32]]: ...


def _counted(found: Proportion | Undefined) -> Measurement:
    if isinstance(found, Undefined):
        return Measurement(value=found)
    return Measurement(
        value=found.value,
        low=found.low,
        high=found.high,
        numerator=found.numerator,
        denominator=found.denominator,
    )


def _averaged(found: Similarity, generator: np.random.Generator) -> Measurement:
    interval = metrics.mean_interval(found.per_example(), generator)
    return Measurement(
        value=found.mean,
        low=interval.low if isinstance(interval, Interval) else None,
        high=interval.high if isinstance(interval, Interval) else None,
        denominator=found.total,
        excluded=found.excluded,
        per_layer=found.per_layer,
    )


def _difference(after: Similarity, before: Similarity, g: np.random.Generator) -> Measurement:
    both = after.defined & before.defined
    kept = both.any(1)
    gap = np.where(both, after.values - before.values, 0.0)[kept].sum(1) / both[kept].sum(1)
    interval = metrics.mean_interval(gap, g)
    if isinstance(interval, Undefined):
        return Measurement(value=interval)
    return Measurement(
        value=interval.value, low=interval.low, high=interval.high, denominator=int(kept.sum())
    )


def measure(
    zsl: Outcome, icl: Outcome, ft: Outcome, generator: np.random.Generator
) -> dict[str, Measurement]:
    """The METRICS: accuracies, Rec2FTP, SimAOU, SimAM, base lines; `generator` feeds all draws.

    Raises:
        ValueError: when the outcomes are not over the same examples.
    """
    if not (np.array_equal(zsl.labels, icl.labels) and np.array_equal(zsl.labels, ft.labels)):
        raise ValueError("expected outcomes over the same examples, got different labels")
    right = {
        name: np.asarray(x.predictions == x.labels)
        for name, x in (("zsl", zsl), ("icl", icl), ("ft", ft))
    }
    out = {f"{name}_accuracy": _counted(metrics.accuracy(x)) for name, x in right.items()}
    recall = metrics.rec2ftp(right["zsl"], right["icl"], right["ft"])
    out["rec2ftp"] = _counted(recall.recall)
    out["rec2ftp_base_rate"] = _counted(recall.base_rate)
    out["rec2ftp_reverse"] = _counted(recall.reverse)
    before, after = metrics.sim_am(icl.m, zsl.m), metrics.sim_am(icl.m, ft.m)
    similar = {
        "sim_aou": metrics.sim_aou(icl.h, zsl.h, ft.h),
        "sim_aou_random": metrics.random_sim_aou(icl.h, zsl.h, generator),
        "sim_aou_floor": metrics.noise_floor(icl.h, zsl.h, ft.h),
        "sim_aou_unnormalised": metrics.sim_aou(icl.h, zsl.h, ft.h, normalise=False),
        "sim_am_before": before,
        "sim_am_after": after,
        "sim_am_delta": metrics.sim_am_delta(icl.m, zsl.m, ft.m),
    }
    out |= {name: _averaged(x, generator) for name, x in similar.items()}
    out["sim_am_difference"] = _difference(after, before, generator)
    matched = metrics.matched_sim_aou(icl.h, zsl.h, ft.h, generator)
    out["sim_aou_matched"] = _averaged(matched, generator)
    return out
