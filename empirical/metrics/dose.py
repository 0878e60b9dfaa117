"""What would each metric read if finetuning were, in part, the in-context update itself?

A synthetic finetuning of dose alpha is made from a cell's own captures (no torch): its updates have
the measured norms and lie at cosine alpha to the in-context ones, the rest an unrelated direction.
How they are mixed: `mixing`. Letters: n examples, L layers, N tokens of the demonstrations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from scipy import interpolate, optimize

from empirical.core import random_streams
from empirical.core.undefined import Number, Undefined
from empirical.metrics import similarity as metrics
from empirical.metrics.accumulate import Outcome, Rows
from empirical.metrics.kendall import example_kendall, token_kendall
from empirical.metrics.mixing import Mix, mixed, mixed_answers, mixed_scores
from empirical.metrics.similarity import Array, Interval, Mask, Similarity
from empirical.results.control_results import ConditionResult

DOSES = tuple(round(0.1 * i, 1) for i in range(11))
FROM_STATES = ("sim_aou", "sim_aou_unnormalised")
FROM_SCORES = ("sim_am_after", "sim_am_delta")
FROM_RANKS = ("kendall", "kendall_examples")
METRICS = (*FROM_STATES, *FROM_SCORES, *FROM_RANKS, "rec2ftp")
NOTE = (
    "finetuning replaced by mixtures: at dose 1 its update has the direction of the in-context "
    "update, at dose 0 a direction that is unrelated example by example; norms as measured"
)


class Part(Outcome, Protocol):
    """An outcome of some examples whose places are `index`."""

    @property
    def index(self) -> tuple[int, ...]:
        """Places of the examples in the task's evaluation rows."""


Batch = tuple[Part, Part, Part]  # zero-shot, in-context, finetuned, of the same examples


@dataclass(frozen=True, kw_only=True, eq=False)
class Captures:
    """What a curve is made of: `batches()` passes through the three settings, again at each call.

    `c` [n',L,N]: in-context scores of the first examples towards the tokens of the demonstrations,
    whose numbers are `lengths`; or why there are none.
    """

    batches: Callable[[], Iterable[Batch]]
    c: Array | Undefined
    lengths: Sequence[int] = ()


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One metric at one dose: a similarity, or a count of answers."""

    value: Number
    low: Number
    high: Number


@dataclass(kw_only=True)
class Tallies:
    """Rows of every metric at every dose [A], and who answered rightly; grows batch by batch.

    `mix` makes finetuned arrays for all doses, as `mixed` does. `seed` feeds a stream of draws for
    each example, so that batches do not matter.
    """

    doses: Sequence[float]
    seed: int
    mix: Mix = mixed
    index: list[int] = field(default_factory=list)
    rows: dict[str, list[list[Rows]]] = field(default_factory=dict)
    right: dict[str, list[bool]] = field(
        default_factory=lambda: {name: [] for name in ("zsl", "icl", "ft")}
    )

    def keep(self, name: str, number: int, found: Similarity) -> None:
        """One batch of one metric at the dose of that number."""
        held = self.rows.setdefault(name, [[] for _ in self.doses])
        held[number].append(
            Rows(
                values=found.values,
                defined=found.defined,
                excluded=found.excluded,
                total=found.total,
            )
        )

    def add(self, zsl: Part, icl: Part, ft: Part) -> None:
        """One batch, mixed at every dose.

        Raises:
            ValueError: when the three are not over the same examples.
        """
        if not (zsl.index == icl.index == ft.index and np.array_equal(zsl.labels, ft.labels)):
            raise ValueError("expected outcomes over the same examples, got different ones")
        self.index += zsl.index
        for name, x in (("zsl", zsl), ("icl", icl), ("ft", ft)):
            self.right[name] += (x.predictions == x.labels).tolist()
        draws = [
            random_streams.generator(random_streams.DOSE_STATES, self.seed, i, 1) for i in zsl.index
        ]
        states, scores = (
            [self.mix(z, a, f, self.doses, g) for z, a, f, g in zip(*x, draws, strict=True)]
            for x in ((zsl.h, icl.h, ft.h), (zsl.m, icl.m, ft.m))
        )
        for k in range(len(self.doses)):
            h, m = np.stack([x[k] for x in states]), [x[k] for x in scores]
            self.keep("sim_aou", k, metrics.sim_aou(icl.h, zsl.h, h))
            self.keep("sim_aou_unnormalised", k, metrics.sim_aou(icl.h, zsl.h, h, normalise=False))
            self.keep("sim_am_after", k, metrics.sim_am(icl.m, m))
            self.keep("sim_am_delta", k, metrics.sim_am_delta(icl.m, zsl.m, m))

    def similarity(self, name: str, number: int) -> Similarity:
        """All batches of one metric at one dose, in the order of the examples."""
        rows, order = self.rows[name][number], np.argsort(self.index)
        return metrics.similarity(
            np.concatenate([r.values for r in rows])[order],
            np.concatenate([r.defined for r in rows])[order],
            sum(r.excluded for r in rows),
            sum(r.total for r in rows),
        )

    def answers(self) -> tuple[Mask, Mask, Mask]:
        """Who was right zero-shot, in context and finetuned [n], in the order of the examples."""
        order = np.argsort(self.index)
        zsl, icl, ft = (
            np.array(self.right[k], dtype=np.bool_)[order] for k in ("zsl", "icl", "ft")
        )
        return zsl, icl, ft


def tallied(
    captures: Captures, doses: Sequence[float], generator: np.random.Generator, mix: Mix = mixed
) -> Tallies:
    """All batches of the captures, mixed at every dose.

    Raises:
        ValueError: without captures, or when the settings are not over the same examples.
    """
    tally = Tallies(doses=doses, seed=int(generator.integers(2**62)), mix=mix)
    for zsl, icl, ft in captures.batches():
        tally.add(zsl, icl, ft)
    if not tally.rows:
        raise ValueError("expected at least one batch of captures, got none")
    return tally


def ranked(
    captures: Captures, doses: Sequence[float], generator: np.random.Generator
) -> Iterator[tuple[str, int, Similarity | Undefined]]:
    """Kendall at tokens and demonstrations, at every dose; one draw serves all doses."""
    c = captures.c
    if isinstance(c, Undefined):
        yield from ((name, k, c) for name in FROM_RANKS for k in range(len(doses)))
        return
    c = np.asarray(c, dtype=np.float64)
    drawn = generator.normal(size=c.shape)
    for k, a in enumerate(doses):
        f = mixed_scores(c, a, drawn)
        yield "kendall", k, token_kendall(c, f)
        yield "kendall_examples", k, example_kendall(c, f, captures.lengths)


def _reading(found: Similarity | Undefined, generator: np.random.Generator) -> Reading:
    if isinstance(found, Undefined):
        return Reading(value=found, low=found, high=found)
    interval = metrics.mean_interval(found.per_example(), generator)
    if not isinstance(interval, Interval):
        return Reading(value=found.mean, low=interval, high=interval)
    return Reading(value=found.mean, low=interval.low, high=interval.high)


def _recall(zsl: Mask, icl: Mask, ft: Mask) -> Reading:
    found = metrics.rec2ftp(zsl, icl, ft).recall
    if isinstance(found, Undefined):
        return Reading(value=found, low=found, high=found)
    return Reading(value=found.value, low=found.low, high=found.high)


def curves(
    captures: Captures, generator: np.random.Generator, doses: Sequence[float] = DOSES
) -> dict[str, list[Reading]]:
    """Every metric at every dose; similarities with bootstrap, Rec2FTP with Wilson intervals.

    Raises:
        ValueError: as `tallied`.
    """
    tally = tallied(captures, doses, generator)
    found = {
        name: [_reading(tally.similarity(name, k), generator) for k in range(len(doses))]
        for name in tally.rows
    }
    for name, _, similar in ranked(captures, doses, generator):
        found.setdefault(name, []).append(_reading(similar, generator))
    zsl, icl, ft = tally.answers()
    found["rec2ftp"] = [
        _recall(zsl, icl, right) for right in mixed_answers(zsl, icl, ft, doses, generator)
    ]
    return found


def as_tables(found: dict[str, list[Reading]], doses: Sequence[float]) -> dict[str, Any]:
    """`dose`, and of each metric its values and their lower and upper ends, under flat names."""
    tables: dict[str, Any] = {"dose": list(doses)}
    for name, readings in found.items():
        tables[name] = [r.value for r in readings]
        tables[f"{name}_low"] = [r.low for r in readings]
        tables[f"{name}_high"] = [r.high for r in readings]
    return tables


def dose(captures: Captures, generator: np.random.Generator) -> ConditionResult:
    """The calibration curve of every metric on a cell's own captures.

    Raises:
        ValueError: as `tallied`.
    """
    return ConditionResult(tables=as_tables(curves(captures, generator), DOSES), note=NOTE)


def equivalent(doses: Sequence[float], curve: Sequence[Number], value: Number) -> Number:
    """The dose at which a curve takes a value: isotonic regression, then a monotone interpolant.

    Undefined outside the curve: there is no dose below an unrelated update, nor above the
    in-context update itself.

    Raises:
        ValueError: unless there are as many readings as ascending doses, two at least.
    """
    x = np.asarray(doses, dtype=np.float64)
    if len(x) != len(curve) or len(x) < 2 or not (np.diff(x) > 0).all():
        raise ValueError(f"expected a reading for each of ascending doses, got {len(curve)}")
    if isinstance(value, Undefined):
        return value
    known = [y for y in curve if not isinstance(y, Undefined)]
    if len(known) < len(curve):
        return Undefined("the dose curve has points without a value")
    y = optimize.isotonic_regression(np.array(known)).x
    if value < y[0]:
        return Undefined("below what an unrelated update scores")
    if value > y[-1]:
        return Undefined("above what the in-context update itself scores")
    if y[0] == y[-1]:
        return Undefined("the metric does not rise with the dose")
    first = np.concatenate([[True], np.diff(y) > 0])  # of a level stretch, its lowest dose
    inverse = interpolate.PchipInterpolator(y[first], x[first])
    return float(np.clip(inverse(value), x[0], x[-1]))
