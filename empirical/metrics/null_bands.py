"""What an update that has nothing to do with in-context learning reads: bands of a metric's null.

Two nulls (no torch). `null_bands`: unrelated example by example, at the measured norms.
`turned`: the measured update turned by one random rotation for each layer, which keeps how
the updates of different examples lie to each other. Letters: n examples, L layers, d width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from empirical.core.undefined import Number, Undefined
from empirical.metrics import similarity as metrics
from empirical.metrics.dose import METRICS, Captures, ranked, tallied
from empirical.metrics.mixing import mixed_answers
from empirical.metrics.similarity import Array, _unit

LEVEL = 0.95
DRAWS = 199  # (DRAWS + 1) (1 - LEVEL) / 2 is whole: the band then holds a further draw with LEVEL


@dataclass(frozen=True, kw_only=True)
class Band:
    """Order statistics of `draws` readings, between which a further one lies with `level`."""

    low: float
    high: float
    mean: float
    draws: int
    level: float

    def holds(self, value: float) -> bool:
        """Whether a reading lies inside."""
        return self.low <= value <= self.high


def band_of(readings: Sequence[Number], level: float = LEVEL) -> Band | Undefined:
    """The k-th lowest and highest of the readings, k = (B + 1) (1 - level) / 2.

    Of B + 1 exchangeable readings without ties, one outside of such a band of the others has
    probability 1 - level exactly.

    Raises:
        ValueError: when there are too few of them, or k is not whole.
    """
    missing = [x for x in readings if isinstance(x, Undefined)]
    if missing:
        return missing[0]
    found = np.sort(np.array(readings, dtype=np.float64))
    exact = (len(found) + 1) * (1 - level) / 2
    k = round(exact)
    if k < 1 or abs(exact - k) * len(found) > 1e-3:
        raise ValueError(
            f"expected a number of draws B with (B + 1) (1 - {level}) / 2 whole, got {len(found)}"
        )
    return Band(
        low=float(found[k - 1]),
        high=float(found[-k]),
        mean=float(found.mean()),
        draws=len(found),
        level=level,
    )


def unrelated(
    base: ArrayLike,
    towards: ArrayLike,
    measured: ArrayLike,
    doses: Sequence[float],
    g: np.random.Generator,
) -> list[Array]:
    """`base` plus a normal draw of the norm of `measured` - `base`, [..., d], for every dose.

    Unlike a mixture of dose 0 it is not made orthogonal to the in-context update.
    """
    del towards
    z, f = np.asarray(base, dtype=np.float64), np.asarray(measured, dtype=np.float64)
    size = np.linalg.norm(f - z, axis=-1, keepdims=True)
    return [z + size * _unit(g.normal(size=z.shape))[0] for _ in doses]


def _readings(captures: Captures, generator: np.random.Generator) -> dict[str, Number]:
    """Every metric of one unrelated finetuning."""
    tally = tallied(captures, (0.0,), generator, unrelated)
    found: dict[str, Number] = {name: tally.similarity(name, 0).mean for name in tally.rows}
    for name, _, similar in ranked(captures, (0.0,), generator):
        found[name] = similar if isinstance(similar, Undefined) else similar.mean
    zsl, icl, ft = tally.answers()
    (drawn,) = mixed_answers(zsl, icl, ft, (0.0,), generator)
    recall = metrics.rec2ftp(zsl, icl, drawn).recall
    return found | {"rec2ftp": recall if isinstance(recall, Undefined) else recall.value}


def null_bands(
    captures: Captures, generator: np.random.Generator, *, draws: int = DRAWS, level: float = LEVEL
) -> dict[str, Band | Undefined]:
    """The band of every metric's mean under unrelated finetunings, drawn anew for each example.

    Updates of states and scores are normal draws of the measured norms, the ranks of Kendall those
    of normal draws, and answers are right as often as measured among zero-shot's errors, and among
    the rest.

    Updates of a real model are not independent between examples, and their means scatter more.

    Raises:
        ValueError: as `band_of` and `tallied`.
    """
    drawn = [_readings(captures, generator) for _ in range(draws)]
    return {name: band_of([x[name] for x in drawn], level) for name in METRICS}


def null_band(
    metric: str,
    captures: Captures,
    generator: np.random.Generator,
    *,
    draws: int = DRAWS,
    level: float = LEVEL,
) -> Band | Undefined:
    """One of the `null_bands`.

    Raises:
        ValueError: for a metric without a dose curve, and as `null_bands`.
    """
    if metric not in METRICS:
        raise ValueError(f"expected one of {', '.join(METRICS)}, got {metric!r}")
    return null_bands(captures, generator, draws=draws, level=level)[metric]


def turned(h_zsl: ArrayLike, h_ft: ArrayLike, generator: np.random.Generator) -> Array:
    """h_zsl plus the update turned by one rotation for each layer, uniformly drawn: [n,L,d].

    U = B R (B an orthonormal basis of the span, by QR) becomes F R with a uniform frame F: the same
    lengths and angles among examples, in the law of a rotation of the whole space.
    """
    base = np.asarray(h_zsl, dtype=np.float64)
    update = np.asarray(h_ft, dtype=np.float64) - base
    out = np.empty_like(base)
    for layer in range(base.shape[1]):
        _, R = np.linalg.qr(update[:, layer].T)  # [min(d,n), n]
        frame, triangle = np.linalg.qr(generator.normal(size=(base.shape[2], len(R))))
        frame *= np.where(np.diag(triangle) < 0, -1.0, 1.0)  # Haar measure (Mezzadri 2007)
        out[:, layer] = base[:, layer] + (frame @ R).T
    return out


def turned_readings(
    h_icl: ArrayLike,
    h_zsl: ArrayLike,
    h_ft: ArrayLike,
    generator: np.random.Generator,
    draws: int = DRAWS,
) -> dict[str, list[Number]]:
    """SimAOU of turned updates, normalised and not, one for each draw."""
    found: dict[str, list[Number]] = {"sim_aou": [], "sim_aou_unnormalised": []}
    for _ in range(draws):
        h = turned(h_zsl, h_ft, generator)
        for name, values in found.items():
            normalise = name == "sim_aou"
            values.append(metrics.sim_aou(h_icl, h_zsl, h, normalise=normalise).mean)
    return found
