"""Delta W of a context against that of finetuning, on arrays: slow twins, near misses, the null.

Bounds: gamma(n) = n u / (1 - n u) is Higham's, u the unit roundoff of float64. Probabilities that a
statistical test fails although the null is right are stated with it (Hoeffding).
"""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from math import isqrt, log, sqrt
from pathlib import Path

import mpmath
import numpy as np
import pytest
import scipy.linalg
import torch

from empirical.core.errors import UserError
from empirical.core.undefined import Undefined
from empirical.metrics import delta_w as module
from empirical.metrics.delta_w import (
    LIKENESS,
    NO_EFFECT,
    NO_WEIGHTS,
    TIE,
    UNMOVED,
    UNSEEN,
    Change,
    Head,
    Likeness,
    Moved,
    Rotations,
    Tokens,
    attention,
    finetuned_change,
    finetuned_update,
    in_context_change,
    in_context_update,
    likeness,
    mass,
    measured,
    rotations,
    zero_shot_weights,
)
from empirical.metrics.delta_w_tables import NAMES, NO_DRAWS, SERIES, Heads, finding
from empirical.metrics.similarity import Array
from empirical.results import control_results
from tests.support.results.records import provenance

U = np.finfo(np.float64).eps / 2
NONE = Undefined("there is none")


def gamma(n: int) -> float:
    return n * U / (1 - n * U)


def head(seed: int, h: int = 5, shown: int = 7, own: int = 4, integers: bool = False) -> Head:
    """A head of normal entries, or of integers from -4 to 4 with a scaling that is a power of 2."""
    g = np.random.default_rng(seed)

    def draw(*shape: int) -> Array:
        return g.integers(-4, 5, shape).astype(float) if integers else g.normal(size=shape)

    def tokens(n: int) -> Tokens:
        return Tokens(K=draw(h, n), V=draw(h, n), bias=draw(n))

    return Head(
        shown=tokens(shown), own=tokens(own), ft=Moved(dK=draw(h, own), dV=draw(h, own)),
        other=Moved(dK=draw(h, own), dV=draw(h, own)), q=draw(h), scaling=0.25,
        softcap=None if integers else 3.0,
    )  # fmt: skip


# --- the updates -------------------------------------------------------------------------------


def outer_products(K: Array, V: Array, scaling: float) -> Array:
    """Sum over tokens of scaling v_i k_i^T, entry by entry."""
    h, n = K.shape
    return np.array(
        [[sum(V[a, i] * scaling * K[b, i] for i in range(n)) for b in range(h)] for a in range(h)]
    )


def twin_updates(at: Head) -> tuple[Array, Array, Array]:
    own, by = at.own, at.ft
    zsl = outer_products(own.K, own.V, at.scaling)
    return (
        zsl,
        outer_products(at.shown.K, at.shown.V, at.scaling),
        outer_products(own.K + by.dK, own.V + by.dV, at.scaling) - zsl,
    )


def updates(at: Head) -> tuple[Array, Array, Array]:
    return zero_shot_weights(at), in_context_update(at), finetuned_update(at, at.ft)


@pytest.mark.parametrize("seed", range(5))
def test_updates_of_integer_heads_are_sums_of_outer_products_bit_for_bit(seed: int) -> None:
    at = head(seed, integers=True)
    for got, want in zip(updates(at), twin_updates(at), strict=True):
        assert np.array_equal(got, want) and got.any()


def without_cross_term(at: Head) -> Array:
    by, own = at.ft, at.own
    return at.scaling * (by.dV @ own.K.T + own.V @ by.dK.T)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda at: finetuned_update(at, at.ft).T,
        without_cross_term,
        lambda at: finetuned_update(at, at.ft) / at.scaling,
        lambda at: finetuned_update(at, replace(at.ft, dK=0 * at.ft.dK)),
        lambda at: finetuned_update(at, replace(at.ft, dV=0 * at.ft.dV)),
    ],
)
def test_near_misses_of_the_finetuned_update_are_another_matrix(
    wrong: Callable[[Head], Array],
) -> None:
    for seed in range(5):
        at = head(seed, integers=True)
        assert not np.array_equal(wrong(at), twin_updates(at)[2])


def exact_cosine(a: Array, b: Array) -> float:
    """Of integer multiples of 1/64, in rational arithmetic and an integer square root."""
    x, y = ([Fraction(float(v)) for v in w.ravel()] for w in (a, b))
    dot = sum(s * t for s, t in zip(x, y, strict=True))
    square = dot * dot / (sum(s * s for s in x) * sum(t * t for t in y))
    root = isqrt(square.numerator * 10**80 // square.denominator)
    return (1 if dot >= 0 else -1) * root / 10**40


@pytest.mark.parametrize("seed", range(5))
def test_the_cosine_of_updates_is_that_of_rational_arithmetic(seed: int) -> None:
    at = head(seed, integers=True)
    _, icl, ft = updates(at)
    got = measured(at, rotations(5, 0, np.random.default_rng(0))).ft.cosine
    assert not isinstance(got, Undefined) and got.shape == (1,)
    # Each sum of 25 products carries gamma(25), each entry a scaling and each product with the
    # identity five terms: three sums over |a||b|.
    limit = 3 * gamma(25 + 2 * 5 + 4)
    assert abs(got[0] - exact_cosine(icl, ft)) <= limit
    assert abs(got[0] - exact_cosine(icl, ft.T)) > limit  # near misses
    assert abs(got[0] - exact_cosine(icl, without_cross_term(at))) > limit


# --- effects and shares ------------------------------------------------------------------------


def exact_weights(
    at: Head, groups: list[tuple[Array, Array]], scale: bool = True
) -> list[mpmath.mpf]:
    """Softmax weights over tokens (K, bias) with 40 digits."""
    c = mpmath.mpf(at.scaling) if scale else mpmath.mpf(1)
    s = []
    for K, bias in groups:
        for i in range(K.shape[1]):
            x = c * mpmath.fsum(
                mpmath.mpf(a) * mpmath.mpf(b) for a, b in zip(at.q, K[:, i], strict=True)
            )
            if at.softcap is not None:
                x = at.softcap * mpmath.tanh(x / at.softcap)
            s.append(mpmath.exp(x + mpmath.mpf(bias[i])))
    return [x / mpmath.fsum(s) for x in s]


def exact_attention(at: Head, groups: list[Tokens], scale: bool = True) -> list[mpmath.mpf]:
    w = exact_weights(at, [(t.K, t.bias) for t in groups], scale)
    V = np.concatenate([t.V for t in groups], 1)
    return [mpmath.fsum(a * mpmath.mpf(b) for a, b in zip(w, row, strict=True)) for row in V]


def twin_effects(at: Head, scale: bool = True) -> tuple[Array, Array]:
    """F_ICL - F_ZSL over the tokens as they stand, and F_FT - F_ZSL."""
    after = replace(at.own, K=at.own.K + at.ft.dK, V=at.own.V + at.ft.dV)
    zsl = exact_attention(at, [at.own], scale)
    found = []
    for groups in ([at.own, at.shown], [after]):
        other = exact_attention(at, groups, scale)
        found.append(np.array([float(a - b) for a, b in zip(other, zsl, strict=True)]))
    return found[0], found[1]


def softmax_room(at: Head) -> float:
    """Bound on the error of a difference of two attentions, to first order.

    A score errs by d = gamma(h + 4)(c |q||k| + |b|), and K + dK by u relative; a weight by 2 d plus
    the sums and the exponential, gamma(T + 6), relative; so does each attention with max |V|.
    """
    by, own, shown = at.ft, at.own, at.shown
    K = np.concatenate([np.abs(own.K) + np.abs(by.dK), np.abs(shown.K)], 1)
    V = np.concatenate([np.abs(own.V) + np.abs(by.dV), np.abs(shown.V)], 1)
    b = np.concatenate([own.bias, shown.bias])
    d = gamma(at.q.size + 6) * (at.scaling * np.abs(at.q) @ K + np.abs(b)).max()
    return float(4 * (2 * d + gamma(b.size + 10)) * V.max())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("capped", [True, False])
def test_softmax_effects_are_differences_of_attention_with_forty_digits(
    seed: int, capped: bool
) -> None:
    at = head(seed)
    at = at if capped else replace(at, softcap=None)
    with mpmath.workdps(40):
        want, unscaled = twin_effects(at), twin_effects(at, scale=False)
        swapped = twin_effects(replace(at, shown=replace(at.shown, V=-at.shown.V)))
    limit = softmax_room(at)
    got = in_context_change(at).softmax, finetuned_change(at, at.ft).softmax
    for g, w, near in zip(got, want, unscaled, strict=True):
        assert np.abs(g - w).max() <= limit < np.abs(g - near).max()
        assert np.abs(w).max() > limit
    assert np.abs(got[0] - swapped[0]).max() > limit


def test_relaxed_effects_are_the_updates_on_the_query_bit_for_bit() -> None:
    at = head(3, integers=True)
    _, icl, ft = twin_updates(at)
    for change, W in ((in_context_change(at), icl), (finetuned_change(at, at.ft), ft)):
        want = [sum(W[a, b] * at.q[b] for b in range(5)) for a in range(5)]
        assert np.array_equal(change.relaxed, want)
        assert not np.array_equal(change.relaxed, W.T @ at.q)


@pytest.mark.parametrize("lead", [0, 1])
def test_lambda_is_the_mass_of_the_demonstrations_and_leaves_bos_out(lead: int) -> None:
    at = replace(head(1), lead=lead)
    with mpmath.workdps(40):
        w = exact_weights(at, [(at.own.K, at.own.bias), (at.shown.K, at.shown.bias)])
        want = float(mpmath.fsum(w[4:])), float(mpmath.fsum(w[:lead]))
    share, bos = mass(at)
    limit = softmax_room(replace(at, own=replace(at.own, V=np.ones((5, 4)))))
    assert abs(share - want[0]) <= limit and abs(bos - want[1]) <= limit
    if lead:
        assert abs(share - (want[0] + want[1])) > limit  # near miss: BOS among them
    found = measured(at, rotations(5, 0, np.random.default_rng(0)))
    assert (found.share, found.bos) == (share, bos)


# --- likeness ----------------------------------------------------------------------------------


def value(found: Likeness, name: str, draw: int = 0) -> float:
    values = getattr(found, name)
    assert not isinstance(values, Undefined), (name, values)
    return float(values[draw])


def twin_likeness(icl: Change, B: Array, relaxed: Array, softmax: Array) -> dict[str, float]:
    """Every likeness from scipy's own functions, of one matrix and two effects."""

    def cosine(a: Array, b: Array) -> float:
        return float(np.sum(a * b) / np.sqrt(np.sum(a * a) * np.sum(b * b)))

    found = {
        "cosine": cosine(icl.W, B),
        "effect_relaxed": cosine(icl.relaxed, relaxed),
        "effect_softmax": cosine(icl.softmax, softmax),
    }
    (P, s, Q), (R, t, S) = (scipy.linalg.svd(x, lapack_driver="gesvd") for x in (icl.W, B))
    r = min(4, *(int(np.linalg.matrix_rank(x)) for x in (icl.W, B)))
    for side, (x, y) in (("left", (P, R)), ("right", (Q.T, S.T))):
        for name, n in (("leading", 1), ("subspace", r)):
            angles = scipy.linalg.subspace_angles(x[:, :n], y[:, :n])
            found[f"{side}_{name}"] = float(np.cos(angles).mean())
    return found


def likeness_room(icl: Change, B: Array) -> float:
    """LAPACK's bound on a singular subspace, p(h) u |W| / gap with p(h) = h^2, of both sides.

    It also covers cosines of vectors, as W and both rotations are products of h terms.
    """
    h = len(B)
    worst = 1.0
    for W in (icl.W, B):
        s = np.append(np.linalg.svd(W, compute_uv=False), 0.0)
        r = min(4, int(np.linalg.matrix_rank(icl.W)), int(np.linalg.matrix_rank(B)))
        worst = max(worst, *(s[0] / (s[n - 1] - s[n]) for n in (1, r)))
    return 4 * gamma(h * h) * worst


@pytest.mark.parametrize("own", [1, 2, 7])
def test_likeness_and_every_null_draw_are_those_of_scipy_on_the_rotated_matrix(own: int) -> None:
    at = head(11, h=6, own=own)
    by = rotations(6, 3, np.random.default_rng(5))
    icl, ft = in_context_change(at), finetuned_change(at, at.ft)
    got = measured(at, by).ft
    for n in range(4):
        B = by.U[n] @ ft.W @ by.W[n].T
        want = twin_likeness(icl, B, B @ at.q, by.U[n] @ ft.softmax)
        limit = likeness_room(icl, B)
        for name in LIKENESS:
            assert abs(value(got, name, n) - want[name]) <= limit, (name, n)
            # near misses: the update transposed, and one of the two rotations alone
        wrong = [ft.W.T] if n == 0 else [by.U[n] @ ft.W, ft.W @ by.W[n].T, by.W[n] @ ft.W]
        for near in wrong:
            other = twin_likeness(icl, near, near @ at.q, ft.softmax)
            assert abs(value(got, "cosine", n) - other["cosine"]) > limit


def test_a_step_of_a4_on_the_demonstrations_is_the_in_context_update() -> None:
    """Rate 1 on -sum <W k_i, v_i> from W_ZSL, by autograd; own keys are the unit vectors."""
    base = replace(head(2, h=4, own=4, integers=True), scaling=1.0)
    own = replace(base.own, K=np.eye(4))

    def step(loss: Callable[[torch.Tensor], torch.Tensor]) -> Head:
        W = torch.tensor(own.V, requires_grad=True)  # W_ZSL = V K^T
        (gradient,) = torch.autograd.grad(loss(W), W)
        moved = Moved(dK=np.zeros((4, 4)), dV=-gradient.numpy())
        return replace(base, own=own, ft=moved)

    K, V = torch.tensor(base.shown.K), torch.tensor(base.shown.V)
    at = step(lambda W: -((W @ K) * V).sum())
    one = measured(at, rotations(4, 0, np.random.default_rng(0)))
    assert np.array_equal(finetuned_update(at, at.ft), in_context_update(at))
    for name in LIKENESS:
        if name != "effect_softmax":
            assert abs(value(one.ft, name) - 1) <= 4 * gamma(64)
    assert one.norm_icl == one.norm_ft != 1
    # Near miss: a step on the squared loss, which is that update at W_ZSL = 0 alone.
    square = step(lambda W: 0.5 * ((W @ K - V) ** 2).sum())
    other = measured(square, rotations(4, 0, np.random.default_rng(0)))
    assert value(other.ft, "cosine") < 0.9


# --- the null ----------------------------------------------------------------------------------

N, ALPHA = 40_000, 1e-6


def moments(A: Array, B: Array, by: Rotations) -> tuple[float, float]:
    found = likeness(
        Change(W=A, relaxed=A[:, 0], softmax=A[:, 0]),
        Change(W=B, relaxed=B[:, 0], softmax=B[:, 0]),
        np.eye(len(A))[0],
        by,
    )
    assert not isinstance(found.cosine, Undefined)
    c = found.cosine[1:]
    return float(c.mean()), float((c * c).mean())


def as_stated(A: Array, B: Array, by: Rotations) -> bool:
    """E c = 0 and E c^2 = 1/h^2 within Hoeffding's bounds, c in [-1,1] and c^2 in [0,1].

    Each of the two errs with probability ALPHA at most.
    """
    mean, square = moments(A, B, by)
    room = sqrt(log(2 / ALPHA) / (2 * N))
    return abs(mean) <= 2 * room and abs(square - 1 / len(A) ** 2) <= room


ONE = np.diag([1.0, 0.0, 0.0])


@pytest.mark.parametrize("A", [ONE, np.eye(3), np.diag([5.0, 2.0, 1.0])])
def test_cosines_with_a_rotated_update_have_mean_zero_and_variance_one_over_h_squared(
    A: Array,
) -> None:
    """Three matrices, two bounds each: all hold with probability 1 - 6e-6 at least."""
    by = rotations(3, N, np.random.default_rng(7))
    assert as_stated(A, ONE + 0.5 * A, by)


def test_a_null_with_one_rotation_or_with_the_same_one_twice_is_refused() -> None:
    by = rotations(3, N, np.random.default_rng(8))
    still = np.broadcast_to(np.eye(3), by.U.shape)
    assert not as_stated(ONE, ONE, Rotations(U=by.U, W=still))
    assert not as_stated(ONE, ONE, Rotations(U=still, W=by.W))
    assert not as_stated(np.eye(3), np.eye(3), Rotations(U=by.U, W=by.U))
    assert as_stated(ONE, ONE, by)


def test_rotations_begin_with_the_identity_are_orthogonal_and_come_from_the_generator() -> None:
    one, two = (rotations(4, 5, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(one.U, two.U) and np.array_equal(one.W, two.W)
    assert not np.array_equal(one.U[1:], one.W[1:])
    for x in (one.U, one.W):
        assert x.shape == (6, 4, 4) and np.array_equal(x[0], np.eye(4))
        assert np.abs(x @ x.mT - np.eye(4)).max() <= gamma(4 * 4 * 4)  # Householder's own bound
    assert rotations(4, 1, np.random.default_rng(3)).U.shape == (2, 4, 4)
    assert rotations(4, 0, np.random.default_rng(3)).U.shape == (1, 4, 4)
    with pytest.raises(UserError, match="expected 0 rotations or more, got -1"):
        rotations(4, -1, np.random.default_rng(3))


# --- what is undefined -------------------------------------------------------------------------


def reasons(at: Head) -> set[str]:
    found = measured(at, rotations(len(at.q), 2, np.random.default_rng(0))).ft
    values = [getattr(found, name) for name in LIKENESS]
    return {x.reason if isinstance(x, Undefined) else "" for x in values}


def test_what_has_no_direction_is_undefined_with_its_reason() -> None:
    at = head(4)
    still = Moved(dK=0 * at.ft.dK, dV=0 * at.ft.dV)
    assert reasons(at) == {""}
    assert reasons(replace(at, ft=still)) == {UNMOVED}
    nothing = Tokens(K=np.zeros((5, 0)), V=np.zeros((5, 0)), bias=np.zeros(0))
    assert reasons(replace(at, shown=nothing)) == {UNSEEN}
    assert reasons(replace(at, q=0 * at.q)) == {"", NO_EFFECT}
    found = measured(replace(at, ft=still), rotations(5, 2, np.random.default_rng(0)))
    assert found.norm_ft == 0 and found.norm_icl != 0
    blank = replace(at, own=replace(at.own, V=0 * at.own.V))
    assert measured(blank, rotations(5, 2, np.random.default_rng(0))).norm_icl == Undefined(
        NO_WEIGHTS
    )


def test_leading_directions_that_are_not_unique_are_undefined() -> None:
    equal = Change(W=np.diag([2.0, 2.0, 1.0]), relaxed=np.ones(3), softmax=np.ones(3))
    other = Change(W=np.diag([3.0, 2.0, 1.0]), relaxed=np.ones(3), softmax=np.ones(3))
    by = rotations(3, 2, np.random.default_rng(0))
    for pair in ((equal, other), (other, equal)):
        found = likeness(*pair, np.ones(3), by)
        assert found.left_leading == found.right_leading == Undefined(TIE)
        assert abs(value(found, "left_subspace") - 1) <= gamma(9)  # all three directions
    assert abs(value(likeness(other, other, np.ones(3), by), "left_leading") - 1) <= gamma(9)


def test_without_another_finetuning_everything_of_it_says_why() -> None:
    found = measured(replace(head(1), other=NONE), rotations(5, 1, np.random.default_rng(0)))
    assert {getattr(found.other, name) for name in LIKENESS} == {NONE} == {found.norm_other}


def test_another_finetuning_is_measured_as_the_first_would_be() -> None:
    at, by = head(6), rotations(5, 2, np.random.default_rng(0))
    assert isinstance(at.other, Moved)
    found, swapped = measured(at, by), measured(replace(at, ft=at.other, other=at.ft), by)
    room = 2 * likeness_room(in_context_change(at), finetuned_update(at, at.other))
    for name in LIKENESS:
        assert abs(value(found.other, name) - value(swapped.ft, name)) <= room
        assert abs(value(found.other, name) - value(found.ft, name)) > room
        assert getattr(found.other, name).shape == (1,)
    assert found.norm_other == swapped.norm_ft != found.norm_ft


# --- the finding -------------------------------------------------------------------------------

SHAPE, DRAWS = (3, 2, 2), 41


def collected(seed: int = 0, broken: bool = True) -> tuple[Heads, dict[tuple[int, ...], Head]]:
    """Three queries, two layers, two heads; head (1,1) does not move, (0,1) not for query 2."""
    heads = {at: head(seed + 100 * i) for i, at in enumerate(np.ndindex(*SHAPE))}
    for at in ((0, 1, 1), (1, 1, 1), (2, 1, 1), (2, 0, 1)) if broken else ():
        x = heads[at]
        heads[at] = replace(x, ft=Moved(dK=0 * x.ft.dK, dV=0 * x.ft.dV))
    by, table = rotations(5, DRAWS, np.random.default_rng(9)), Heads(*SHAPE, DRAWS)
    for (query, layer, i), x in heads.items():
        table.add(query, layer, i, measured(x, by))
    return table, heads


def observed(heads: dict[tuple[int, ...], Head], name: str) -> dict[tuple[int, ...], Array]:
    """[1+DRAWS] of each head and query that has it."""
    by = rotations(5, DRAWS, np.random.default_rng(9))
    found = {at: getattr(measured(x, by).ft, name) for at, x in heads.items()}
    return {at: x for at, x in found.items() if not isinstance(x, Undefined)}


@pytest.mark.parametrize("name", LIKENESS)
def test_tables_and_bands_are_means_over_the_queries_that_have_a_value(name: str) -> None:
    table, heads = collected()
    found = finding(table, np.random.default_rng(1))
    values = observed(heads, name)
    means, inside = [], []
    room = gamma(50)  # means of at most 12 numbers of size one, and an interpolated quantile
    for layer, i in np.ndindex(2, 2):
        kept = [values[q, layer, i] for q in range(3) if (q, layer, i) in values]
        got, low, high = (
            found.tables[f"{name}{end}"][layer][i] for end in ("", "_null_low", "_null_high")
        )
        if not kept:
            assert (layer, i) == (1, 1) and got == low == high == Undefined(UNMOVED)
            continue
        assert len(kept) == (2 if (layer, i) == (0, 1) else 3)
        mean = sum(kept) / len(kept)
        order = np.sort(mean[1:])  # 41 draws: the quantiles are the second, and second to last
        for end, want in ((got, mean[0]), (low, order[1]), (high, order[-2])):
            assert abs(end - want) <= room
        means.append(mean)
        inside.append(order[1] <= mean[0] <= order[-2])
    whole = np.mean(means, 0)
    assert abs(found.numbers[name] - whole[0]) <= room
    order = np.sort(whole[1:])
    assert abs(found.numbers[f"{name}_null_low"] - order[1]) <= room
    assert abs(found.numbers[f"{name}_null_high"] - order[-2]) <= room
    assert found.numbers[f"{name}_inside_null"] == sum(inside) / 3


def test_a_head_is_inside_its_band_from_either_end_and_outside_beyond_it() -> None:
    x = measured(head(1), rotations(5, DRAWS, np.random.default_rng(9)))
    ends = np.linspace(-0.4, 0.4, DRAWS)  # the band is -0.38 to 0.38, see above
    for values, share in (
        ((-0.9, -0.39, 0.39, 0.9), 0.0), ((-0.37, 0.0, 0.37, 0.1), 1.0),
        ((-0.39, 0.2, 0.39, -0.1), 0.5), ((-0.9, 0.2, 0.1, -0.1), 0.75),
    ):  # fmt: skip
        table = Heads(1, 2, 2, DRAWS)
        for at, cosine in zip(np.ndindex(1, 2, 2), values, strict=True):
            like = replace(x.ft, cosine=np.array([cosine, *ends]))
            table.add(*at, replace(x, ft=like))
        found = finding(table, np.random.default_rng(1))
        assert found.numbers["cosine_inside_null"] == share


def test_series_are_means_over_heads_of_every_query() -> None:
    table, heads = collected()
    found = finding(table, np.random.default_rng(1))
    assert set(found.series) == set(SERIES)
    for series, name in (("delta_w_cosine", "cosine"), ("delta_w_effect", "effect_relaxed"),
                         ("delta_w_effect_softmax", "effect_softmax")):  # fmt: skip
        values, got = observed(heads, name), found.series[series]
        assert (got.excluded, got.total) == (4, 12)
        for q in range(3):
            layers = [
                np.mean([values[q, layer, i][0] for i in range(2) if (q, layer, i) in values])
                for layer in range(2)
            ]
            assert abs(got.values[q] - np.mean(layers)) <= 2.0**-23  # float32
        assert isinstance(got.mean, float) and len(got.per_layer) == 2
        low, high = found.numbers[f"{name}_low"], found.numbers[f"{name}_high"]
        assert isinstance(low, float) and isinstance(high, float) and low <= high
    shares = found.series["delta_w_lambda"]
    assert shares.excluded == 0 and abs(shares.mean - found.numbers["lambda"]) <= gamma(50)


def test_the_finding_is_written_and_read_back_without_a_number_that_is_not_finite(
    tmp_path: Path,
) -> None:
    found = finding(collected()[0], np.random.default_rng(1), "a note")
    kept = control_results.ControlResults(
        task="mr", provenance=provenance(), counts={}, words=("a", "b"),
        labels=np.zeros(3, dtype=np.int64), findings={"delta_w": found},
    )  # fmt: skip
    back = control_results.read(control_results.write(kept, tmp_path)).findings["delta_w"]
    assert back.tables == found.tables and back.numbers == found.numbers
    assert back.note == "a note" and set(NAMES) <= set(back.tables)
    assert all(np.isfinite(s.values).all() for s in back.series.values())


def test_without_draws_bands_are_undefined_and_the_rest_is_the_same() -> None:
    table, heads = collected(broken=False)
    bare = Heads(*SHAPE, 0)
    for (query, layer, i), x in heads.items():
        bare.add(query, layer, i, measured(x, rotations(5, 0, np.random.default_rng(9))))
    one, two = (finding(x, np.random.default_rng(1)) for x in (bare, table))
    room = 3 * gamma(25 + 2 * 5 + 4)  # a product may round otherwise in a larger batch
    gaps = np.subtract(one.tables["cosine"], two.tables["cosine"])
    assert np.abs(gaps).max() <= 2 * room and np.ptp(one.tables["cosine"]) > 2 * room
    assert one.tables["cosine_null_low"] == [[NO_DRAWS, NO_DRAWS]] * 2
    assert one.numbers["cosine_null_high"] == one.numbers["cosine_inside_null"] == NO_DRAWS


def test_attention_has_weights_that_sum_to_one() -> None:
    at = head(5)
    flat = replace(at.own, V=np.ones((5, 4)))
    assert np.abs(attention(at, flat) - 1).max() <= gamma(10)
    assert module.scores(at, at.own).shape == (4,)
