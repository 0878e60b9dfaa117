"""Three settings over the same examples -> every series of a finding, batch by batch (no torch).

`accumulate.MetricAccumulator` is the paper's metrics with their base lines; here are the controls
on the metric's own side beside them: scores that were centred, and softmax weights, in SimAM.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from empirical.core import random_streams
from empirical.core.undefined import Number, Undefined
from empirical.metrics import similarity as metrics
from empirical.metrics.accumulate import MetricAccumulator, Outcome, Rows
from empirical.metrics.kendall import Kendall
from empirical.metrics.similarity import Similarity
from empirical.results.control_results import ConditionResult, Series

# Metrics of a finding that replaces a setting; those of Kendall are of the first 100 examples.
SIMILARITIES = (
    "sim_aou",
    "sim_aou_unnormalised",
    "sim_aou_floor",
    "sim_aou_matched",
    "sim_aou_random",
    "sim_am_before",
    "sim_am_after",
    "sim_am_delta",
    "sim_am_centred_before",
    "sim_am_centred_after",
    "sim_am_softmax_before",
    "sim_am_softmax_after",
)
RANKS = (
    "kendall",
    "kendall_examples",
    "kendall_random",
    "kendall_examples_random",
    "kendall_lengths",
)
LEVEL, RESAMPLES = 0.95, 1000
DIGITS = 5  # of the ends of an interval, far below its own error over resamples


class SeriesAccumulator:
    """Grows by batches in any order; `seed` feeds all draws, one stream for each example."""

    def __init__(self, seed: int) -> None:
        self.tally = MetricAccumulator(seed)
        self.more: dict[str, list[Rows]] = {}
        self.answers: dict[str, list[int]] = {"zsl": [], "icl": [], "ft": []}
        self.labels: list[int] = []

    def update(self, index: Sequence[int], zsl: Outcome, icl: Outcome, ft: Outcome) -> None:
        """One batch: `index` [B] names its examples.

        Raises:
            ValueError: when the three are not over the same examples.
        """
        self.tally.update(index, zsl, icl, ft)
        self.labels += zsl.labels.tolist()
        for name, x in (("zsl", zsl), ("icl", icl), ("ft", ft)):
            self.answers[name] += x.predictions.tolist()
        for name, change in (("centred", metrics.centred), ("softmax", metrics.softmaxed)):
            a, z, f = (change(x.m) for x in (icl, zsl, ft))
            for when, other in (("before", z), ("after", f)):
                found = metrics.sim_am(a, other)
                rows = Rows(
                    values=found.values,
                    defined=found.defined,
                    excluded=found.excluded,
                    total=found.total,
                )
                self.more.setdefault(f"sim_am_{name}_{when}", []).append(rows)

    @property
    def order(self) -> NDArray[np.int64]:
        """Places of the examples in the order of their index."""
        return np.argsort(self.tally.index)

    def compute(
        self, ranks: Mapping[str, Similarity | Undefined], note: str = ""
    ) -> ConditionResult:
        """All series, answers and accuracies; `ranks` holds those of Kendall that were taken."""
        found: dict[str, Similarity | Undefined] = {}
        self.tally.rows |= self.more
        for name in SIMILARITIES:
            found[name] = self.tally.similarity(name)
        found |= ranks
        answered = {k: np.array(x, dtype=np.int64)[self.order] for k, x in self.answers.items()}
        labels = np.array(self.labels, dtype=np.int64)[self.order]
        return ConditionResult(
            series={
                name: to_series(
                    x,
                    random_streams.generator(random_streams.LAYER_INTERVALS, self.tally.seed, i, 1),
                )
                for i, (name, x) in enumerate(found.items())
            },
            predictions=answered,
            numbers={
                f"{k}_accuracy": 100 * float((x == labels).mean()) for k, x in answered.items()
            },
            note=note,
        )


def ranks_of(
    found: Kendall | Undefined, lengths: Similarity | Undefined
) -> dict[str, Similarity | Undefined]:
    """The series of Kendall by name; all undefined, with the reason, where there is none."""
    if isinstance(found, Undefined):
        return dict.fromkeys(RANKS, found)
    return {
        "kendall": found.token,
        "kendall_examples": found.example,
        "kendall_random": found.token_random,
        "kendall_examples_random": found.example_random,
        "kendall_lengths": lengths,
    }


def to_series(found: Similarity | Undefined, generator: np.random.Generator) -> Series:
    """Means of every example, and of every layer with its bootstrap interval over examples."""
    if isinstance(found, Undefined):
        return Series(
            values=np.empty(0, dtype=np.float32),
            per_layer=(),
            low=(),
            high=(),
            mean=found,
            excluded=0,
            total=0,
        )
    kept = np.asarray(found.defined.any(1))
    values = np.full(kept.size, np.nan, dtype=np.float32)
    values[kept] = found.per_example()
    ends = [_interval(found, i, generator) for i in range(found.values.shape[1])]
    return Series(
        values=values,
        per_layer=found.per_layer,
        low=tuple(low for low, _ in ends),
        high=tuple(high for _, high in ends),
        mean=found.mean,
        excluded=found.excluded,
        total=found.total,
    )


def _interval(found: Similarity, layer: int, g: np.random.Generator) -> tuple[Number, Number]:
    """The bootstrap interval of a layer's mean over the examples where it is defined."""
    x = found.values[found.defined[:, layer], layer]
    if len(x) < 2:
        none = Undefined("fewer than two examples have a value in this layer")
        return none, none
    ends = stats.bootstrap(
        (x,),
        np.mean,
        confidence_level=LEVEL,
        n_resamples=RESAMPLES,
        batch=200,
        method="percentile",
        rng=g,
    ).confidence_interval
    return round(float(ends.low), DIGITS), round(float(ends.high), DIGITS)
