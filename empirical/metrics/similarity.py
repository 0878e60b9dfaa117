"""The paper's metrics and the base lines they need, from arrays only (numpy, scipy).

Letters: n examples, L layers, H heads, d width, T_i query tokens of example i. Definitions: Dai et
al., arXiv 2212.10559 v3, section 4, as their released code computes them. A quotient whose
denominator vanishes is `Undefined(reason)`; no epsilon is added anywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from empirical.core.undefined import Number, Undefined

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

ZERO_VECTOR = "a vector of the cosine is zero"


@dataclass(frozen=True, kw_only=True)
class Proportion:
    """numerator / denominator in percent, with its Wilson interval; `denominator` > 0."""

    numerator: int
    denominator: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Rec2FTP:
    """Recall to finetuning predictions (percent) beside what chance agreement would give.

    `recall` is #{ZSL wrong, FT right, ICL right} / #{ZSL wrong, FT right}; `base_rate` is
    P(ICL right | ZSL wrong); `reverse` divides by #{ZSL wrong, ICL right} instead.
    """

    recall: Proportion | Undefined
    base_rate: Proportion | Undefined
    reverse: Proportion | Undefined


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """Cosines per example and layer, and their means over examples, then layers.

    `values` [n,L] is meaningful where `defined` [n,L] holds. `excluded` of `total` cosines had a
    zero vector and are left out of every mean. A layer without any cosine is Undefined.
    """

    values: Array
    defined: Mask
    per_layer: tuple[Number, ...]
    mean: Number
    excluded: int
    total: int

    def per_example(self) -> Array:
        """Mean over the defined layers of each example that has one: [n' <= n]."""
        kept = self.defined.any(1)
        weights = self.defined[kept]
        return np.asarray(np.where(weights, self.values[kept], 0.0).sum(1) / weights.sum(1))


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean over examples, `value`, with its bootstrap interval at `level`."""

    value: float
    low: Number
    high: Number
    level: float


def _booleans(*columns: ArrayLike) -> tuple[Mask, ...]:
    arrays = tuple(np.asarray(c) for c in columns)
    if any(a.dtype != np.bool_ or a.ndim != 1 for a in arrays):
        got = [(a.dtype.name, a.shape) for a in arrays]
        raise ValueError(f"expected boolean vectors, got {got}")
    if len({a.shape for a in arrays}) != 1:
        raise ValueError(f"expected vectors of one length, got {[a.shape for a in arrays]}")
    return arrays


def _floats(*blocks: ArrayLike, ndim: int) -> tuple[Array, ...]:
    arrays = tuple(np.asarray(b, dtype=np.float64) for b in blocks)
    if any(a.ndim != ndim for a in arrays) or len({a.shape for a in arrays}) != 1:
        raise ValueError(
            f"expected arrays of one shape with {ndim} axes, got {[a.shape for a in arrays]}"
        )
    if not all(np.isfinite(a).all() for a in arrays):
        raise ValueError("expected finite entries, got NaN or an infinity")
    return arrays


def proportion(numerator: int, denominator: int, empty: str) -> Proportion | Undefined:
    """A percentage with its 95 % Wilson interval; Undefined(empty) when the denominator is 0.

    Raises:
        ValueError: unless 0 <= numerator <= denominator.
    """
    if not 0 <= numerator <= denominator:
        raise ValueError(
            f"expected 0 <= numerator <= denominator, got {numerator} and {denominator}"
        )
    if denominator == 0:
        return Undefined(empty)
    interval = stats.binomtest(numerator, denominator).proportion_ci(0.95, method="wilson")
    return Proportion(
        numerator=numerator,
        denominator=denominator,
        value=100.0 * numerator / denominator,
        low=100.0 * float(interval.low),
        high=100.0 * float(interval.high),
    )


def accuracy(correct: ArrayLike) -> Proportion | Undefined:
    """Share of right answers, percent; `correct` [n] boolean.

    Raises:
        ValueError: unless a boolean vector.
    """
    (right,) = _booleans(correct)
    return proportion(int(right.sum()), right.size, "there is no evaluation example")


def rec2ftp(zsl_correct: ArrayLike, icl_correct: ArrayLike, ft_correct: ArrayLike) -> Rec2FTP:
    """Recall to finetuning predictions (Dai, section 4.3) with its base rate; each input [n].

    Raises:
        ValueError: unless three boolean vectors of one length.
    """
    zsl, icl, ft = _booleans(zsl_correct, icl_correct, ft_correct)
    wrong = ~zsl
    both = int((wrong & ft & icl).sum())
    by_ft, by_icl = int((wrong & ft).sum()), int((wrong & icl).sum())
    return Rec2FTP(
        recall=proportion(both, by_ft, "finetuning corrects no zero-shot error"),
        base_rate=proportion(by_icl, int(wrong.sum()), "zero-shot makes no error"),
        reverse=proportion(both, by_icl, "in-context learning corrects no zero-shot error"),
    )


def cosines(a: Array, b: Array) -> tuple[Array, Mask]:
    """Cosine along the last axis and where it is defined (both vectors non-zero).

    Vectors are scaled by their largest entry first, so that norms neither overflow nor underflow.
    """
    size_a = np.abs(a).max(-1, keepdims=True, initial=0.0)
    size_b = np.abs(b).max(-1, keepdims=True, initial=0.0)
    defined = (size_a > 0) & (size_b > 0)
    a = a / np.where(defined, size_a, 1.0)
    b = b / np.where(defined, size_b, 1.0)
    norms = np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
    kept = defined[..., 0]
    return np.where(kept, (a * b).sum(-1) / np.where(kept, norms, 1.0), 0.0), kept


def _mean(values: Array, defined: Mask, reason: str) -> Number:
    return float(values[defined].mean()) if defined.any() else Undefined(reason)


def similarity(
    values: Array, defined: Mask, excluded: int, total: int, reason: str = ZERO_VECTOR
) -> Similarity:
    """Means of values [n,L] over examples, then layers, where they are defined; else `reason`."""
    layers = tuple(_mean(values[:, i], defined[:, i], reason) for i in range(values.shape[1]))
    known = np.array([x for x in layers if not isinstance(x, Undefined)])
    return Similarity(
        values=values,
        defined=defined,
        per_layer=layers,
        mean=float(known.mean()) if known.size else Undefined(f"{reason} in every example"),
        excluded=excluded,
        total=total,
    )


def _unit(h: Array) -> tuple[Array, Mask]:
    """h over its norm along the last axis, and where that norm is not zero."""
    size = np.abs(h).max(-1, keepdims=True, initial=0.0)
    kept = size > 0
    h = h / np.where(kept, size, 1.0)
    norm = np.sqrt((h * h).sum(-1, keepdims=True))
    return h / np.where(kept, norm, 1.0), kept[..., 0]


def _updates(
    h_icl: ArrayLike, h_zsl: ArrayLike, h_ft: ArrayLike, normalise: bool
) -> tuple[Array, Array, Mask]:
    icl, zsl, ft = _floats(h_icl, h_zsl, h_ft, ndim=3)
    if not normalise:
        return icl - zsl, ft - zsl, np.ones(icl.shape[:2], dtype=np.bool_)
    (u_icl, a), (u_zsl, b), (u_ft, c) = _unit(icl), _unit(zsl), _unit(ft)
    return u_icl - u_zsl, u_ft - u_zsl, a & b & c


def sim_aou(
    h_icl: ArrayLike, h_zsl: ArrayLike, h_ft: ArrayLike, *, normalise: bool = True
) -> Similarity:
    """cos(u_ICL - u_ZSL, u_FT - u_ZSL), u = h/|h|, for h [n,L,d] (Dai, section 4.4).

    `normalise=False` takes u = h, which removes the noise floor of `noise_floor`.

    Raises:
        ValueError: unless finite and of one shape [n,L,d].
    """
    left, right, usable = _updates(h_icl, h_zsl, h_ft, normalise)
    values, defined = cosines(left, right)
    defined &= usable
    return similarity(values, defined, int((~defined).sum()), defined.size)


def random_sim_aou(
    h_icl: ArrayLike, h_zsl: ArrayLike, generator: np.random.Generator
) -> Similarity:
    """SimAOU with r ~ U[0,1)^d, drawn per example and layer, for the finetuning update.

    Raises:
        ValueError: unless finite and of one shape [n,L,d].
    """
    left, _, usable = _updates(h_icl, h_zsl, h_zsl, True)
    values, defined = cosines(left, generator.random(left.shape))
    defined &= usable
    return similarity(values, defined, int((~defined).sum()), defined.size)


def matched_sim_aou(
    h_icl: ArrayLike, h_zsl: ArrayLike, h_ft: ArrayLike, generator: np.random.Generator
) -> Similarity:
    """SimAOU with a normal draw of the norm |h_FT - h_ZSL|, per example and layer, for the update.

    An update unrelated to everything, of the measured size: what SimAOU scores by its
    normalisation alone. Unlike `noise_floor` it does not assume that the in-context update is
    orthogonal to the state.

    Raises:
        ValueError: unless finite and of one shape [n,L,d].
    """
    icl, zsl, ft = _floats(h_icl, h_zsl, h_ft, ndim=3)
    drawn, _ = _unit(generator.normal(size=zsl.shape))
    size = np.sqrt(((ft - zsl) ** 2).sum(-1, keepdims=True))
    return sim_aou(icl, zsl, zsl + size * drawn)


def floor_at(rho_1: Array, rho_2: Array) -> Array:
    """SimAOU of unrelated updates of relative squared norms rho: sqrt((1-s1)(1-s2))/2.

    s = (1+rho)^(-1/2) is the cosine of h and h + delta for delta orthogonal to h; the two deltas
    are orthogonal to each other as well. 0.146 at rho = 1, 0.25 at rho = 3.
    """
    # 1 - s without cancellation: rho / ((1 + rho) + sqrt(1 + rho)).
    one, two = (rho / ((1.0 + rho) + np.sqrt(1.0 + rho)) for rho in (rho_1, rho_2))
    return np.asarray(0.5 * np.sqrt(one * two))


def noise_floor(h_icl: ArrayLike, h_zsl: ArrayLike, h_ft: ArrayLike) -> Similarity:
    """`floor_at` the measured rho = |h_X - h_ZSL|^2 / |h_ZSL|^2 of every example and layer.

    It is what unrelated updates score when they are orthogonal to the state h_ZSL.

    Raises:
        ValueError: unless finite and of one shape [n,L,d].
    """
    icl, zsl, ft = _floats(h_icl, h_zsl, h_ft, ndim=3)
    size = np.abs(zsl).max(-1, initial=0.0)
    defined = size > 0
    scale = np.where(defined, size, 1.0)[..., None]
    base = np.where(defined, ((zsl / scale) ** 2).sum(-1), 1.0)
    rho = [(((x - zsl) / scale) ** 2).sum(-1) / base for x in (icl, ft)]
    defined &= (rho[0] > 0) & (rho[1] > 0)  # as for SimAOU: no update, no direction
    values = np.where(defined, floor_at(rho[0], rho[1]), 0.0)
    return similarity(values, defined, int((~defined).sum()), defined.size)


def _over_heads(pairs: Sequence[tuple[Array, Array]]) -> Similarity:
    rows, masks, excluded, total = [], [], 0, 0
    for a, b in pairs:
        values, defined = cosines(a, b)
        count = defined.sum(-1)
        rows.append(np.where(defined, values, 0.0).sum(-1) / np.where(count > 0, count, 1))
        masks.append(count > 0)
        excluded, total = excluded + int((~defined).sum()), total + defined.size
    return similarity(np.array(rows), np.array(masks), excluded, total)


def _score_blocks(*runs: Sequence[ArrayLike]) -> list[tuple[Array, ...]]:
    if len({len(r) for r in runs}) != 1 or not runs[0]:
        raise ValueError(f"expected runs over the same examples, got {[len(r) for r in runs]}")
    return [_floats(*ms, ndim=3) for ms in zip(*runs, strict=True)]


def sim_am(m_a: Sequence[ArrayLike], m_b: Sequence[ArrayLike]) -> Similarity:
    """cos of pre-softmax scores, n arrays [L,H,T_i]; mean over heads, examples, layers.

    "Before" is `sim_am(m_icl, m_zsl)`, "after" is `sim_am(m_icl, m_ft)` (Dai, section 4.5).

    Raises:
        ValueError: for no examples, unequal shapes or entries that are not finite.
    """
    return _over_heads([(a, b) for a, b in _score_blocks(m_a, m_b)])


def centred(m: Sequence[ArrayLike]) -> list[Array]:
    """Scores [L,H,T_i] less their mean over the tokens: what softmax sees of them.

    Raw scores carry a constant of each head that softmax does not see and that a cosine does.

    Raises:
        ValueError: unless finite, with three axes.
    """
    return [x - x.mean(-1, keepdims=True) for (x,) in (_floats(a, ndim=3) for a in m)]


def softmaxed(m: Sequence[ArrayLike]) -> list[Array]:
    """Softmax of scores [L,H,T_i] over the query's own tokens.

    Raises:
        ValueError: unless finite, with three axes.
    """
    return [special.softmax(x, axis=-1) for (x,) in (_floats(a, ndim=3) for a in m)]


def sim_am_delta(
    m_icl: Sequence[ArrayLike], m_zsl: Sequence[ArrayLike], m_ft: Sequence[ArrayLike]
) -> Similarity:
    """cos(m_ICL - m_ZSL, m_FT - m_ZSL), which an inert finetuning cannot inherit.

    Source: Deutch et al., arXiv 2311.07772.

    Raises:
        ValueError: as `sim_am`.
    """
    return _over_heads([(a - z, f - z) for a, z, f in _score_blocks(m_icl, m_zsl, m_ft)])


def mean_interval(
    values: ArrayLike, generator: np.random.Generator, *, level: float = 0.95, resamples: int = 1000
) -> Interval | Undefined:
    """Mean of `values` [n] with its percentile bootstrap interval over examples.

    Raises:
        ValueError: unless a finite vector.
    """
    (x,) = _floats(values, ndim=1)
    if x.size == 0:
        return Undefined("there is no example with a defined value")
    if x.size == 1:
        one = Undefined("one example has no bootstrap interval")
        return Interval(value=float(x[0]), low=one, high=one, level=level)
    found = stats.bootstrap(
        (x,),
        np.mean,
        confidence_level=level,
        n_resamples=resamples,
        batch=50,
        method="percentile",
        rng=generator,
    ).confidence_interval
    return Interval(
        value=float(x.mean()), low=float(found.low), high=float(found.high), level=level
    )


def mean_difference(
    a: ArrayLike,
    b: ArrayLike,
    generator: np.random.Generator,
    *,
    level: float = 0.95,
    resamples: int = 1000,
) -> Interval | Undefined:
    """Mean of a - b, paired by example ([n] each), with its bootstrap interval.

    Raises:
        ValueError: unless finite vectors of one length.
    """
    x, y = _floats(a, b, ndim=1)
    return mean_interval(x - y, generator, level=level, resamples=resamples)
