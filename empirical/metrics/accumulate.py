"""Three settings over the same examples -> every metric of a record, batch by batch.

Of each batch only numbers per example and layer are kept: memory does not grow with widths, tokens
or heads. What is drawn at random is drawn per example, so that batches do not matter.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from empirical.core import random_streams
from empirical.core.undefined import Undefined
from empirical.metrics import similarity as metrics
from empirical.metrics.kendall import Kendall
from empirical.metrics.similarity import Interval, Proportion, Similarity
from empirical.results.record import Measurement

METRICS = frozenset(
    "zsl_accuracy icl_accuracy ft_accuracy rec2ftp rec2ftp_base_rate rec2ftp_reverse sim_aou "
    "sim_aou_random sim_aou_floor sim_aou_unnormalised sim_am_before sim_am_after sim_am_delta "
    "sim_am_difference sim_aou_matched".split()
)
KENDALL = frozenset(
    "kendall kendall_random kendall_examples kendall_examples_random top_tokens top_tokens_chance "
    "top_examples top_examples_chance".split()
)
ALL = METRICS | KENDALL


class Outcome(Protocol):
    """What a setting leaves: predictions, labels [n]; h [n,L,d]; m: n arrays [L,H,T_i]."""

    @property
    def predictions(self) -> NDArray[np.int64]:
        """The class with the highest score [n]."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """The right class [n]."""

    @property
    def h(self) -> NDArray[np.float32]:
        """Attention outputs [n,L,d], float32."""

    @property
    def m(self) -> list[NDArray[np.float32]]:
        """Scores [L,H,T_i] of the asking token of each example, float32."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Cosines of some examples: `values`, `defined` [B,L]; how many of all were not defined."""

    values: metrics.Array
    defined: metrics.Mask
    excluded: int
    total: int


def _rows(found: Similarity) -> Rows:
    return Rows(
        values=found.values, defined=found.defined, excluded=found.excluded, total=found.total
    )


class MetricAccumulator:
    """Grows by batches of the three settings, in any order; `compute` at the end.

    `seed` feeds all draws: one stream for each example, and one for the intervals.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.index: list[int] = []
        self.right: dict[str, list[bool]] = {name: [] for name in ("zsl", "icl", "ft")}
        self.rows: dict[str, list[Rows]] = {}

    def update(self, index: Sequence[int], zsl: Outcome, icl: Outcome, ft: Outcome) -> None:
        """One batch: `index` [B] names its examples.

        Raises:
            ValueError: when the three are not over the same examples.
        """
        if not (np.array_equal(zsl.labels, icl.labels) and np.array_equal(zsl.labels, ft.labels)):
            raise ValueError("expected outcomes over the same examples, got different labels")
        self.index += index
        for name, x in (("zsl", zsl), ("icl", icl), ("ft", ft)):
            self.right[name] += (x.predictions == x.labels).tolist()
        similar = {
            "sim_aou": metrics.sim_aou(icl.h, zsl.h, ft.h),
            "sim_aou_floor": metrics.noise_floor(icl.h, zsl.h, ft.h),
            "sim_aou_unnormalised": metrics.sim_aou(icl.h, zsl.h, ft.h, normalise=False),
            "sim_am_before": metrics.sim_am(icl.m, zsl.m),
            "sim_am_after": metrics.sim_am(icl.m, ft.m),
            "sim_am_delta": metrics.sim_am_delta(icl.m, zsl.m, ft.m),
        }
        for name, found in similar.items():
            self.rows.setdefault(name, []).append(_rows(found))
        for j, i in enumerate(index):
            a, z, f = (x.h[j : j + 1] for x in (icl, zsl, ft))
            drawn = {
                "sim_aou_random": metrics.random_sim_aou(
                    a, z, self._draws(random_streams.RANDOM_SIMILARITY, i)
                ),
                "sim_aou_matched": metrics.matched_sim_aou(
                    a, z, f, self._draws(random_streams.MATCHED_UPDATE, i)
                ),
            }
            for name, found in drawn.items():
                self.rows.setdefault(name, []).append(_rows(found))

    def _draws(self, stream: int, example: int) -> np.random.Generator:
        return random_streams.generator(stream, self.seed, example, 1)

    def similarity(self, name: str) -> Similarity:
        """All rows of one metric, in the order of the examples."""
        rows = self.rows[name]
        order = np.argsort(self.index)
        return metrics.similarity(
            np.concatenate([r.values for r in rows])[order],
            np.concatenate([r.defined for r in rows])[order],
            sum(r.excluded for r in rows),
            sum(r.total for r in rows),
        )

    def compute(self) -> dict[str, Measurement]:
        """The METRICS."""
        order = np.argsort(self.index)
        right = {name: np.array(x, dtype=np.bool_)[order] for name, x in self.right.items()}
        out = {f"{name}_accuracy": _counted(metrics.accuracy(x)) for name, x in right.items()}
        recall = metrics.rec2ftp(right["zsl"], right["icl"], right["ft"])
        out["rec2ftp"] = _counted(recall.recall)
        out["rec2ftp_base_rate"] = _counted(recall.base_rate)
        out["rec2ftp_reverse"] = _counted(recall.reverse)
        similar = {name: self.similarity(name) for name in self.rows}
        for number, name in enumerate(sorted(similar)):
            out[name] = _averaged(
                similar[name], self._draws(random_streams.METRIC_INTERVALS, number)
            )
        out["sim_am_difference"] = _difference(
            similar["sim_am_after"],
            similar["sim_am_before"],
            self._draws(random_streams.METRIC_INTERVALS, len(similar)),
        )
        return out


def measure(
    zsl: Outcome, icl: Outcome, ft: Outcome, generator: np.random.Generator
) -> dict[str, Measurement]:
    """The METRICS of whole outcomes; `generator` feeds all draws.

    Raises:
        ValueError: when the outcomes are not over the same examples.
    """
    tally = MetricAccumulator(int(generator.integers(2**63)))
    tally.update(range(len(zsl.labels)), zsl, icl, ft)
    return tally.compute()


def kendall_measurements(
    found: Kendall | Undefined, generator: Callable[[int], np.random.Generator]
) -> dict[str, Measurement]:
    """The KENDALL metrics; all undefined, with its reason, where they cannot be taken."""
    if isinstance(found, Undefined):
        return {name: Measurement(value=found) for name in KENDALL}
    similar = {
        "kendall": found.token,
        "kendall_random": found.token_random,
        "kendall_examples": found.example,
        "kendall_examples_random": found.example_random,
        "top_tokens": found.token_recall,
        "top_examples": found.example_recall,
    }
    out = {name: _averaged(x, generator(i)) for i, (name, x) in enumerate(similar.items())}
    out["top_tokens_chance"] = Measurement(value=found.token_chance)
    out["top_examples_chance"] = Measurement(value=found.example_chance)
    return out


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
