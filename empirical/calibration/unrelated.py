"""The negative controls: random weights, and steps that have nothing to do with the context.

Each reading is compared with readings of the same kind, drawn afresh through the same code; a case
is refused where fewer of them lie in the 95 % band than chance leaves with probability ERROR.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats

from empirical.calibration import construct
from empirical.calibration.known import INPUTS, OUTPUTS, RATE, SCALE, SHOWN, any_weights
from empirical.calibration.linear import linear_model
from empirical.calibration.reading import Read, finetuned, read, recall, similarities
from empirical.calibration.steps import descended, regression_steps, unrelated_steps
from empirical.core.progress import Advance, ignore
from empirical.core.undefined import Number, Undefined
from empirical.metrics.dose import FROM_STATES, METRICS
from empirical.metrics.null_bands import DRAWS, LEVEL, Band, band_of, turned_readings
from empirical.metrics.similarity import sim_aou
from empirical.results.calibration import Case, Check

JUDGED = 20  # readings, beside those of the band
ERROR = 1e-3  # probability with which a sound instrument is refused, per metric
ASKED, RANKED = 32, 8  # queries, and those of them whose ranks are taken
Values = dict[str, Number]


def measured(found: Read) -> Values:
    """The mean of every metric that has a dose curve."""
    similar = similarities(found, RANKED)
    values: Values = {name: similar[name].mean for name in METRICS if name in similar}
    return values | {"rec2ftp": recall(found)}


def random_weights(generator: np.random.Generator, layers: int) -> Callable[[], Read]:
    """Models of random attention weights, read against the descent on the shown pairs."""
    task = construct.regression(generator, INPUTS, OUTPUTS, SHOWN, ASKED)
    W_0, width = torch.zeros_like(task.Y @ task.X.T), INPUTS + OUTPUTS
    episode = construct.pairs(task, W_0)
    steps = regression_steps(descended(task, W_0, [RATE] * layers), width, 1.0)

    def one() -> Read:
        made = [construct.random_weights(generator, width, 2, width, SCALE) for _ in range(layers)]
        readout = construct.output_rows(INPUTS, width, 1.0)
        return read(linear_model("random", episode.table, made, readout), episode, steps)

    return one


def random_steps(generator: np.random.Generator) -> Callable[[], Read]:
    """Linear attention whose layers move by random steps of the norms of A4's."""
    known = any_weights(generator, shared=True, asked=ASKED)
    whole = read(known.model, known.episode, known.steps)

    def one() -> Read:
        ft = finetuned(known.model, known.episode, unrelated_steps(known.steps, generator))
        return Read(
            episode=whole.episode, zsl=whole.zsl, icl=whole.icl, ft=ft, queries=whole.queries
        )

    return one


def among_others(one: Callable[[], Read], title: str, advance: Advance = ignore) -> Case:
    """JUDGED readings in the band of DRAWS others; the count is beta-binomial."""
    values = []
    for _ in range(DRAWS + JUDGED):
        values.append(measured(one()))
        advance(1)
    return Case(
        kind="unrelated",
        title=title,
        checks={name: _counted([v[name] for v in values]) for name in METRICS},
    )


def _counted(values: Sequence[Number]) -> Check:
    missing = [x for x in values if isinstance(x, Undefined)]
    if missing:
        why = f"in {len(missing)} of {len(values)} draws {missing[0].reason}"
        return Check(value=Undefined(why), right=None, why=why)
    known = [x for x in values if not isinstance(x, Undefined)]
    band = band_of(known[:DRAWS])
    assert isinstance(band, Band), "every reading has a value"
    k = round((DRAWS + 1) * (1 - LEVEL) / 2)
    law = stats.betabinom(JUDGED, DRAWS + 1 - 2 * k, 2 * k)
    return _check(known[DRAWS:], [band] * JUDGED, law)


@dataclass(frozen=True, kw_only=True)
class _Turned:
    value: float
    band: Band


def _check(values: Sequence[float], bands: Sequence[Band], law: stats.rv_discrete) -> Check:
    """Refused where so few inside have a probability under ERROR."""
    inside = sum(b.holds(x) for b, x in zip(bands, values, strict=True))
    probability = float(law.cdf(inside))
    return Check(
        value=float(np.mean(values)),
        right=bool(probability >= ERROR),
        low=float(np.mean([b.low for b in bands])),
        high=float(np.mean([b.high for b in bands])),
        draws=bands[0].draws,
        readings=tuple(values),
        inside=inside,
        probability=probability,
    )


def against_turned(generator: np.random.Generator, title: str, advance: Advance = ignore) -> Case:
    """Random weights of one layer, each reading in the band of its own turned updates.

    The law of a normal out-projection is that of the turned one, so that a reading and those of
    its turned updates are exchangeable, and the count inside is binomial.
    """
    one = random_weights(generator, 1)
    found: dict[str, list[_Turned]] = {name: [] for name in FROM_STATES}
    for _ in range(JUDGED):
        icl, zsl, ft = (part.h for part in map(one().whole, ("icl", "zsl", "ft")))
        drawn = turned_readings(icl, zsl, ft, generator)
        for name in FROM_STATES:
            value = sim_aou(icl, zsl, ft, normalise=name == "sim_aou").mean
            band = band_of(drawn[name])
            assert not isinstance(value, Undefined) and isinstance(band, Band), "updates are there"
            found[name].append(_Turned(value=value, band=band))
        advance(1)
    law = stats.binom(JUDGED, LEVEL)
    return Case(
        kind="unrelated",
        title=title,
        checks={
            name: _check([x.value for x in held], [x.band for x in held], law)
            for name, held in found.items()
        },
    )
