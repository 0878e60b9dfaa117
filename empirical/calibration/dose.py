"""What would each metric read if finetuning were, in part, the in-context update itself?

A synthetic finetuning of dose alpha is made from a cell's own captures (no torch): its updates have
the measured norms and lie at cosine alpha to the in-context ones, the rest an unrelated direction.
h_FT = h_ZSL + |h_FT - h_ZSL| (alpha u + sqrt(1 - alpha^2) r), u the in-context unit update and r a
unit normal draw orthogonal to it, per example and layer; scores m the same, per head. Letters: n
examples, L layers, H heads, T_i tokens of query i, N tokens of the demonstrations, A doses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import interpolate, optimize

from empirical import metrics
from empirical.evidence import Finding
from empirical.kendall import example_kendall, token_kendall
from empirical.measure import Outcome, Rows
from empirical.metrics import Array, Interval, Mask, Number, Similarity, Undefined, _unit

DOSES = tuple(round(0.1 * i, 1) for i in range(11))
FROM_STATES = ("sim_aou", "sim_aou_unnormalised")
FROM_SCORES = ("sim_am_after", "sim_am_delta")
FROM_RANKS = ("kendall", "kendall_examples")
METRICS = (*FROM_STATES, *FROM_SCORES, *FROM_RANKS, "rec2ftp")
NOTE = (
    "finetuning replaced by mixtures: at dose 1 its update has the direction of the in-context "
    "update, at dose 0 a direction that is unrelated example by example; norms as measured"
)
Batch = tuple[Outcome, Outcome, Outcome]  # zero-shot, in-context, finetuned, of the same examples


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


def mixed(
    base: ArrayLike, towards: ArrayLike, measured: ArrayLike, doses: Sequence[float],
    g: np.random.Generator,
) -> list[Array]:  # fmt: skip
    """`base` plus an update of the norm of `measured` - `base`, at cosine alpha to the other.

    All arrays [..., d]; one draw serves all doses. Vectors of one entry have no direction that is
    orthogonal to another: there the update is left away, and its cosine is undefined.
    """
    z, a, f = (np.asarray(x, dtype=np.float64) for x in (base, towards, measured))
    if z.shape[-1] < 2:
        return [z for _ in doses]
    u, _ = _unit(a - z)
    drawn, _ = _unit(g.normal(size=z.shape))
    r, _ = _unit(drawn - (drawn * u).sum(-1, keepdims=True) * u)
    size = np.linalg.norm(f - z, axis=-1, keepdims=True)
    return [z + size * (x * u + np.sqrt(1 - x * x) * r) for x in doses]


def mixed_scores(c: Array, dose: float, drawn: Array) -> Array:
    """alpha z(c) + sqrt(1 - alpha^2) z(drawn), z over tokens [n,L,N], on the scale of c."""

    def standard(x: Array) -> tuple[Array, Array, Array]:
        mean, spread = x.mean(-1, keepdims=True), x.std(-1, keepdims=True)
        return (x - mean) / np.where(spread > 0, spread, 1.0), mean, spread

    z, mean, spread = standard(c)
    other, _, _ = standard(drawn)
    return np.asarray(mean + spread * (dose * z + np.sqrt(1 - dose * dose) * other))


@dataclass(kw_only=True)
class Tallies:
    """Rows of every metric at every dose [A], and who answered rightly; grows batch by batch."""

    doses: Sequence[float]
    rows: dict[str, list[list[Rows]]] = field(default_factory=dict)
    right: dict[str, list[bool]] = field(
        default_factory=lambda: {name: [] for name in ("zsl", "icl", "ft")}
    )

    def keep(self, name: str, number: int, found: Similarity) -> None:
        """One batch of one metric at the dose of that number."""
        held = self.rows.setdefault(name, [[] for _ in self.doses])
        held[number].append(Rows(values=found.values, defined=found.defined,
                                 excluded=found.excluded, total=found.total))  # fmt: skip

    def add(self, zsl: Outcome, icl: Outcome, ft: Outcome, g: np.random.Generator) -> None:
        """One batch, mixed at every dose."""
        for name, x in (("zsl", zsl), ("icl", icl), ("ft", ft)):
            self.right[name] += (x.predictions == x.labels).tolist()
        states = mixed(zsl.h, icl.h, ft.h, self.doses, g)
        scores = [mixed(z, i, f, self.doses, g)
                  for z, i, f in zip(zsl.m, icl.m, ft.m, strict=True)]  # fmt: skip
        for k, h in enumerate(states):
            m = [x[k] for x in scores]
            self.keep("sim_aou", k, metrics.sim_aou(icl.h, zsl.h, h))
            self.keep("sim_aou_unnormalised", k, metrics.sim_aou(icl.h, zsl.h, h, normalise=False))
            self.keep("sim_am_after", k, metrics.sim_am(icl.m, m))
            self.keep("sim_am_delta", k, metrics.sim_am_delta(icl.m, zsl.m, m))

    def similarity(self, name: str, number: int) -> Similarity:
        """All batches of one metric at one dose."""
        rows = self.rows[name][number]
        return metrics.similarity(
            np.concatenate([r.values for r in rows]), np.concatenate([r.defined for r in rows]),
            sum(r.excluded for r in rows), sum(r.total for r in rows),
        )  # fmt: skip


def tallied(captures: Captures, doses: Sequence[float], generator: np.random.Generator) -> Tallies:
    """All batches of the captures, mixed at every dose.

    Raises:
        ValueError: without captures, or when the settings are not over the same examples.
    """
    tally = Tallies(doses=doses)
    for zsl, icl, ft in captures.batches():
        if not (np.array_equal(zsl.labels, icl.labels) and np.array_equal(zsl.labels, ft.labels)):
            raise ValueError("expected outcomes over the same examples, got different labels")
        tally.add(zsl, icl, ft, generator)
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


def mixed_answers(
    zsl: Mask, icl: Mask, ft: Mask, doses: Sequence[float], g: np.random.Generator
) -> list[Mask]:
    """Who is right [n] at each dose: with probability alpha as in context, else by a draw.

    The draw has finetuning's share of right answers among the zero-shot errors, or among the rest.
    """
    share = np.zeros(zsl.size)
    for stratum in (zsl, ~zsl):
        if stratum.any():
            share[stratum] = ft[stratum].mean()
    copies, drawn = g.random(zsl.size), g.random(zsl.size) < share
    return [np.where(copies < a, icl, drawn) for a in doses]


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
    zsl, icl, ft = (np.array(tally.right[k], dtype=np.bool_) for k in ("zsl", "icl", "ft"))
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


def dose(captures: Captures, generator: np.random.Generator) -> Finding:
    """The calibration curve of every metric on a cell's own captures.

    Raises:
        ValueError: as `tallied`.
    """
    return Finding(tables=as_tables(curves(captures, generator), DOSES), note=NOTE)


def equivalent(doses: Sequence[float], curve: Sequence[Number], value: Number) -> Number:
    """The dose at which a curve takes a value: isotonic regression, then monotone interpolation.

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
    line = interpolate.PchipInterpolator(x, y - value)
    return float(optimize.brentq(line, x[0], x[-1]))
