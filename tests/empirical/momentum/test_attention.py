"""Every kind of attention against its formula: with cache, padding and packing, as one layer."""

import math
import types

import pytest
import torch

from dualform.testing import Implementation, check_variant
from empirical.core.errors import UserError
from empirical.momentum.attention import FUNCTIONS, LOGIT, RATE
from empirical.momentum.sequence_positions import places_of
from empirical.results.attention_kinds import (
    AVERAGED_KEYS,
    AVERAGED_VALUES,
    HEAVY_BALL,
    MOMENTUM,
    RECENCY_BIAS,
)

U = 2.0**-53
ETAS = torch.tensor([0.1, 0.5, 0.9, 0.99], dtype=torch.float64)
HEADS, WIDTH = 4, 5


class Layer(torch.nn.Module):
    """What an attention function reads of its layer."""

    def __init__(self, eta):
        super().__init__()
        if isinstance(eta, torch.Tensor):
            setattr(self, LOGIT, torch.nn.Parameter(torch.logit(eta)))
        else:
            setattr(self, RATE, eta)


def inputs(length=9, rows=2, groups=HEADS, seed=0):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda h: torch.randn(rows, h, length, WIDTH, generator=generator, dtype=torch.float64)  # noqa: E731
    return draw(HEADS), draw(groups), draw(groups)


def formula(kind, q, k, v, eta, seen):
    """One output at a time, as `KINDS` writes it: q [H,T,d] of the last T of S keys; seen [T,S].

    Also the sum of magnitudes of what is added up.
    """
    heads, queries, keys = q.shape[0], q.shape[1], k.shape[1]
    k, v = (x.repeat_interleave(heads // x.shape[0], 0) for x in (k, v))
    out = torch.zeros(heads, queries, v.shape[-1], dtype=torch.float64)
    size = torch.zeros_like(out)
    for h in range(heads):
        e = float(eta[h]) if isinstance(eta, torch.Tensor) else eta
        for a in range(queries):
            t = keys - queries + a
            mine = [i for i in range(keys) if bool(seen[a, i])]
            scores = {i: float(q[h, a] @ k[h, i]) / q.shape[-1] ** 0.5 for i in mine}
            if kind == RECENCY_BIAS:
                scores = {i: s + (t - i) * math.log(e) for i, s in scores.items()}
            top = max(scores.values())
            p = {i: math.exp(s - top) for i, s in scores.items()}
            total = sum(p.values())
            for i in mine:
                weight, value = p[i] / total, v[h, i]
                if kind == HEAVY_BALL:
                    weight = weight * sum(e**n for n in range(t - i + 1))
                if kind == AVERAGED_VALUES:
                    value = sum(e ** (i - j) * v[h, j] for j in mine if j <= i)
                out[h, a] += weight * value
                size[h, a] += abs(weight) * value.abs()
                if kind in (MOMENTUM, AVERAGED_KEYS) and i < t:
                    term = e ** (t - i) * (v if kind == MOMENTUM else k)[h, i]
                    out[h, a] += term
                    size[h, a] += term.abs()
    return out, size


def allowed(size, q, k):
    """Roundings: scores are off by delta, weights by exp(2 delta) - 1, sums by one a term.

    delta = (d + 4) u max|q||k| / sqrt(d), and the bias of recency, at most S |log 0.1|, by 2 u.
    """
    terms = k.shape[-2]
    largest = (q.abs().amax((0, 1, 2)) * k.abs().amax((0, 1, 2))).sum() / q.shape[-1] ** 0.5
    delta = float((q.shape[-1] + 4) * U * largest + 2 * U * terms * 2.4)
    return (2 * delta + (3 * terms + 24) * U) * 1.01 * size


def run(kind, q, k, v, eta, mask=None):
    out, weights = FUNCTIONS[kind](Layer(eta), q, k, v, mask, scaling=q.shape[-1] ** -0.5)
    assert weights is None
    return out.transpose(1, 2)


def causal(queries, keys):
    return torch.ones(queries, keys).tril(keys - queries).bool()


@pytest.mark.parametrize("groups", [HEADS, 2])
@pytest.mark.parametrize("eta", [0.7, ETAS], ids=["fixed", "learned"])
@pytest.mark.parametrize("kind", FUNCTIONS)
def test_a_layer_computes_its_formula(kind, eta, groups):
    q, k, v = inputs(groups=groups)
    found = run(kind, q, k, v, eta)
    for b in range(2):
        wanted, size = formula(kind, q[b], k[b], v[b], eta, causal(9, 9))
        assert ((found[b] - wanted).abs() <= allowed(size, q, k)).all()


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_every_other_formula_is_refused(kind):
    q, k, v = inputs()
    found = run(kind, q, k, v, 0.7)[0]
    for other in set(FUNCTIONS) - {kind}:
        wanted, size = formula(other, q[0], k[0], v[0], 0.7, causal(9, 9))
        assert ((found - wanted).abs() > allowed(size, q, k))[:, 2:].any(-1).all(), other


@pytest.mark.parametrize("queries", [1, 4])
@pytest.mark.parametrize("eta", [0.7, ETAS], ids=["fixed", "learned"])
@pytest.mark.parametrize("kind", FUNCTIONS)
def test_later_queries_see_what_a_cache_holds(kind, eta, queries):
    q, k, v = inputs(groups=2)
    q = q[:, :, -queries:]
    mask = None if queries == 1 else causal(queries, 9).expand(2, 1, -1, -1)
    found = run(kind, q, k, v, eta, mask)
    for b in range(2):
        wanted, size = formula(kind, q[b], k[b], v[b], eta, causal(queries, 9))
        assert ((found[b] - wanted).abs() <= allowed(size, q, k)).all()


@pytest.mark.parametrize("added", [False, True], ids=["boolean", "added to scores"])
@pytest.mark.parametrize("kind", FUNCTIONS)
def test_sequences_packed_into_a_row_do_not_see_each_other(kind, added):
    q, k, v = inputs()
    number = torch.tensor([[0] * 4 + [1] * 5, [-1] * 3 + [0] * 4 + [-2] * 2])
    seen = (number[:, :, None] == number[:, None, :]) & (number >= 0)[:, None] & causal(9, 9)
    mask = seen[:, None]
    if added:
        mask = torch.zeros(mask.shape, dtype=torch.float64).masked_fill(
            ~mask, torch.finfo(torch.float64).min
        )
    found = run(kind, q, k, v, 0.7, mask)
    assert torch.isfinite(found).all()
    for b, start, end in ((0, 0, 4), (0, 4, 9), (1, 3, 7)):
        cut = [x[b, :, start:end] for x in (q, k, v)]
        wanted, size = formula(kind, *cut, 0.7, causal(end - start, end - start))
        assert ((found[b, :, start:end] - wanted).abs() <= allowed(size, q, k)).all()


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_padding_on_either_side_changes_nothing(kind):
    """As transformers masks it: padding behind a text sees the text, padding before it nothing."""
    q, k, v = inputs()
    for real in ((0, 6), (3, 9)):
        mask = causal(9, 9).clone()
        mask[:, : real[0]] = False
        mask[:, real[1] :] = False
        found = run(kind, q, k, v, 0.7, mask.expand(2, 1, -1, -1).clone())
        cut = [x[1, :, real[0] : real[1]] for x in (q, k, v)]
        wanted, size = formula(kind, *cut, 0.7, causal(6, 6))
        assert ((found[1, :, real[0] : real[1]] - wanted).abs() <= allowed(size, q, k)).all()


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_a_static_cache_may_hold_places_that_nobody_sees(kind):
    q, k, v = inputs()
    wide = [torch.nn.functional.pad(x, (0, 0, 0, 6), value=7.0) for x in (k, v)]
    seen = torch.nn.functional.pad(causal(3, 9), (0, 6))
    found = run(kind, q[:, :, -3:], *wide, 0.7, seen.expand(2, 1, -1, -1))
    wanted, size = formula(kind, q[0, :, -3:], k[0], v[0], 0.7, causal(3, 9))
    assert ((found[0] - wanted).abs() <= allowed(size, q, k)).all()
    prefill = run(kind, q, *wide, 0.7)  # without a mask: the first tokens of an empty cache
    wanted, size = formula(kind, q[0], k[0], v[0], 0.7, causal(9, 9))
    assert ((prefill[0] - wanted).abs() <= allowed(size, q, k)).all()


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_gradients_are_those_of_differences(kind):
    q, k, v = (x[:1, :, :6].clone().requires_grad_() for x in inputs())
    logit = torch.logit(ETAS).requires_grad_()

    def f(q, k, v, logit):
        layer = types.SimpleNamespace(is_causal=True, **{LOGIT: logit})
        return FUNCTIONS[kind](layer, q, k, v, None)[0]

    assert torch.autograd.gradcheck(f, (q, k, v, logit))


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_bfloat16_is_near_float64_and_of_its_type(kind):
    q, k, v = (x.bfloat16() for x in inputs())
    found = run(kind, q, k, v, 0.7)
    exact, size = formula(kind, *(x[0].double() for x in (q, k, v)), 0.7, causal(9, 9))
    # torch's softmax in bfloat16 rounds scores and weights: a few units of 2^-8 of what is added.
    assert found.dtype == torch.bfloat16
    assert ((found[0].double() - exact).abs() <= 16 * 2.0**-8 * size).all()


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_eta_zero_is_plain_attention_or_the_own_token(kind):
    q, k, v = inputs()
    plain = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    wanted = v if kind == RECENCY_BIAS else plain
    bound = allowed(v.abs().amax() * torch.ones_like(v), q, k)
    assert ((run(kind, q, k, v, 0.0) - wanted).abs() <= bound).all()


@pytest.mark.parametrize(
    ("kind", "rule"), [(MOMENTUM, "momentum_attention"), (AVERAGED_VALUES, "ema_value_attention")]
)
def test_the_conformance_kit_accepts_it(kind, rule):
    def f(q, k, v, *, eta):
        layer = types.SimpleNamespace(is_causal=True, **{RATE: eta})
        return FUNCTIONS[kind](layer, q, k, v, None)[0].transpose(1, 2)

    exact = (torch.float64, torch.float32)
    check_variant(Implementation(call=f, dtypes=exact), rule, examples=40)


WINDOW = causal(9, 9) & ~causal(9, 9).tril(-4)
HOLE = causal(9, 9).clone()
HOLE[5:, 3] = False


@pytest.mark.parametrize(
    "seen",
    [WINDOW, HOLE, torch.ones(9, 9).bool(), torch.zeros(9, 9).bool()],
    ids=["window", "gap", "looks ahead", "nothing"],
)
def test_other_masks_are_refused(seen):
    with pytest.raises(UserError, match="expected attention to all earlier tokens"):
        places_of(seen.expand(2, 1, -1, -1).clone(), 9, 9)


def test_a_cache_of_several_sequences_is_refused():
    seen = causal(3, 9).clone()
    seen[1:, :4] = False  # the second query begins elsewhere
    with pytest.raises(UserError, match="expected attention to all earlier tokens"):
        places_of(seen[None, None], 3, 9)


def test_masks_of_another_shape_or_that_differ_between_heads_are_refused():
    for shape in ((2, 9, 9), (2, 4, 9, 9), (2, 1, 9, 12)):
        with pytest.raises(UserError, match="the same for all heads"):
            places_of(torch.ones(shape).bool(), 9, 9)


def test_a_mask_that_was_changed_is_read_again():
    mask = causal(9, 9).expand(2, 1, -1, -1).clone()
    before = places_of(mask, 9, 9)
    assert places_of(mask, 9, 9) is before
    mask[:, :, :, :2] = False
    mask[:, :, :2] = False
    after = places_of(mask, 9, 9)
    assert after is not before and (after.same[:, :2] == -1).all()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"softcap": 5.0}, "got softcap"),
        ({"s_aux": torch.zeros(4)}, "got s_aux"),
        ({"sliding_window": 4}, "got a window of 4 for 9"),
        ({"is_causal": False}, "expected causal attention"),
    ],
)
def test_what_would_be_left_out_silently_is_refused(more, message):
    with pytest.raises(UserError, match=message):
        FUNCTIONS[MOMENTUM](Layer(0.5), *inputs(), None, **more)


def test_a_window_that_hides_nothing_is_none():
    q, k, v = inputs()
    found, _ = FUNCTIONS[MOMENTUM](Layer(0.5), q, k, v, None, sliding_window=9)
    assert torch.equal(found.transpose(1, 2), run(MOMENTUM, q, k, v, 0.5))


def test_a_layer_without_eta_and_keys_of_another_width_are_refused():
    q, k, v = inputs()
    with pytest.raises(UserError, match="expected an eta at every attention layer"):
        FUNCTIONS[MOMENTUM](torch.nn.Module(), q, k, v, None)
    with pytest.raises(UserError, match="expected keys as wide as values"):
        FUNCTIONS[AVERAGED_KEYS](Layer(0.5), q, k, v[..., :3], None)
