"""The variants' derived bounds: fast against slow, both against exact numbers, near misses."""

from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given

from dualform.rounding import (
    UNIT_ROUNDOFF,
    BoundViolation,
    Comparison,
    NonFinite,
    Tracked,
    check,
    compare,
)  # fmt: skip
from dualform.variants import VARIANTS, Variant, attend, bounded, merge, softmax_attention
from dualform.variants.arithmetic import exp, full, lift, log
from dualform.variants.layout import leaves
from dualform.variants.solve import eliminate, solve_positive, solve_unit_lower
from tests.support.kernels.variants import NEAR_MISSES, VariantDraw, inputs_of, part, variant_draws
from tests.support.kernels.variants_exact import EXACT

pytestmark = pytest.mark.dual_form

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
REACH = {torch.float64: 30, torch.float32: 8, torch.bfloat16: 8, torch.float16: 2}
each = pytest.mark.parametrize("variant", VARIANTS.values(), ids=lambda v: v.name)


def both(variant: Variant, inputs: dict[str, Any], chunk: int) -> tuple[Any, Any]:
    fast, slow = (
        bounded(variant, "fast", inputs | {"chunk": chunk}),
        bounded(variant, "slow", inputs),
    )
    return fast, slow


@each
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_fast_and_slow_agree_under_the_sum_of_their_bounds(
    variant: Variant, dtype: torch.dtype
) -> None:
    seen: list[Comparison] = []

    @given(variant_draws(REACH[dtype]))
    def fuzz(draw: VariantDraw) -> None:
        (o, state), (o_slow, state_slow) = both(
            variant, inputs_of(variant, draw, dtype), draw.chunk
        )
        found = compare(o, o_slow)
        seen.append(found)
        if found.finite:
            check(o, o_slow)
            for a, b in zip(leaves(state), leaves(state_slow), strict=True):
                check(a, b)

    fuzz()
    telling = [c for c in seen if c.finite and c.nontrivial]
    assert len(telling) >= len(seen) / 3 >= 12, "most examples were empty, zero or overflowed"


@each
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_the_state_may_be_cut_anywhere(variant: Variant, dtype: torch.dtype) -> None:
    compared = 0
    for seed in range(12):
        draw = VariantDraw(seed=seed, tokens=7, groups=2, repeat=2, chunk=1 + seed % 5)
        whole = inputs_of(variant, draw, dtype)
        cut = seed % 8
        for name in ("fast", "slow"):
            more = {"chunk": draw.chunk} if name == "fast" else {}
            o, state = bounded(variant, name, whole | more)
            first, middle = bounded(variant, name, part(whole, slice(0, cut), None) | more)
            last, end = bounded(variant, name, part(whole, slice(cut, 7), middle) | more)
            value = torch.cat([first.value, last.value], -2)
            compared += check(
                o, Tracked(value, torch.cat([first.error, last.error], -2))
            ).nontrivial
            for a, b in zip(leaves(state), leaves(end), strict=True):
                check(a, b)
    assert compared == 24


@each
def test_the_bounded_values_are_the_forms_own(variant: Variant) -> None:
    for dtype in DTYPES:
        inputs = inputs_of(variant, VariantDraw(seed=1, batch=(2,), repeat=2), dtype)
        for name, form in (("fast", variant.fast), ("slow", variant.slow)):
            o, state = bounded(variant, name, inputs)
            plain, plain_state = form(**inputs)
            assert torch.equal(o.value, plain) and plain.dtype == dtype
            for a, b in zip(leaves(state), leaves(plain_state), strict=True):
                assert torch.equal(a.value, b)


def exact_outputs(variant: Variant, inputs: dict[str, Any]) -> list[Any]:
    def rational(x: torch.Tensor) -> Any:
        flat = [Fraction(float(y)) for y in x.flatten()]
        made = np.empty(len(flat), dtype=object)
        made[:] = flat
        return made.reshape(tuple(x.shape))

    q, k, v = (rational(inputs[n][0]) for n in "qkv")
    gates = {n: rational(inputs[n][0]) for n in variant.gates}
    options: dict[str, Any] = {}
    if "batch" in variant.options:
        options["batch"] = inputs["batch"]
    if "eta" in variant.options:
        options["eta"] = Fraction(inputs["eta"])
    if "ridge" in variant.options:
        options["ridge"] = rational(inputs["ridge"][0])
    return EXACT[variant.name](q, k, v, gates, **options)


@each
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_both_forms_are_within_their_own_bound_of_the_exact_value(
    variant: Variant, dtype: torch.dtype
) -> None:
    entries = 0
    for seed in range(10):
        draw = VariantDraw(
            seed=seed, tokens=4, d_k=1 + seed % 2, chunk=1 + seed % 4, ends=seed % 3 == 0,
            mini_batch=1 + seed % 3, exponents=(0, -(seed % 2), seed % 3),
        )  # fmt: skip
        inputs = inputs_of(variant, draw, dtype)
        want = exact_outputs(variant, inputs)
        for o, _ in both(variant, inputs, draw.chunk):
            for t in range(4):
                for c in range(2):
                    got, room = Fraction(float(o.value[0, t, c])), float(o.error[0, t, c])
                    gap = abs(mpmath.mpf(got.numerator) / got.denominator - _real(want[t][c]))
                    assert gap <= room
                    entries += gap > 0
    assert entries >= 20, "nothing was rounded, so nothing was tested"


def _real(x: Any) -> Any:
    return mpmath.mpf(x.numerator) / x.denominator if isinstance(x, Fraction) else x


@pytest.mark.parametrize(
    ("name", "wrong"), [(n, w) for n, ws in NEAR_MISSES.items() for w in ws], ids=str
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_the_bound_refuses_a_near_miss(name: str, wrong: str, dtype: torch.dtype) -> None:
    for seed in range(12):
        draw = VariantDraw(
            seed=seed, batch=(2,), groups=2, repeat=1 + seed % 2, tokens=4 + seed % 3,
            d_k=2 + seed % 2, chunk=3, mini_batch=2,
        )  # fmt: skip
        inputs = inputs_of(VARIANTS[name], draw, dtype)
        near = NEAR_MISSES[name][wrong](inputs)
        for right, _ in both(VARIANTS[name], inputs, draw.chunk):
            with pytest.raises(BoundViolation):
                check(right, near)


def test_every_variant_has_an_exact_definition_and_a_near_miss() -> None:
    assert set(NEAR_MISSES) == set(EXACT) == set(VARIANTS)


@each
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_a_planted_error_of_a_hundred_units_of_roundoff_is_caught(
    variant: Variant, dtype: torch.dtype
) -> None:
    softmax = "eta" in variant.options  # where one query alone moves no weight
    for name in ("v",) if softmax else ("q", "k", "v"):
        for seed in range(5):
            draw = VariantDraw(seed=seed, tokens=2, positive=True, exponents=(0, -3, 0))
            inputs = inputs_of(variant, draw, dtype)
            off = inputs[name].clone()
            off[0, 0] *= 1 + 100 * UNIT_ROUNDOFF[dtype]  # one token, so one product with it
            slow, _ = bounded(variant, "slow", inputs)
            for form in ("fast", "slow"):
                wrong, _ = bounded(variant, form, inputs | {name: off})
                with pytest.raises(BoundViolation):
                    check(slow, wrong)


SOLVERS = {"substitution": solve_unit_lower, "elimination": eliminate, "cholesky": None}


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_a_solution_is_within_its_bound_where_the_data_stand_at_the_edge(
    name: str, dtype: torch.dtype
) -> None:
    """The exact system is the given one plus or minus its error, solved in fractions."""
    g, off = torch.Generator().manual_seed(0), 0
    for trial in range(40):
        n, e = 1 + trial % 5, 2.0 ** -(10 + trial % 40)
        a = torch.randn(n, n, generator=g, dtype=torch.float64)
        if name == "substitution":
            a = torch.eye(n, dtype=torch.float64) + a.tril(-1)
        else:
            a = a @ a.mT + torch.eye(n, dtype=torch.float64)
        a, b = a.to(dtype), torch.randn(n, 2, generator=g, dtype=torch.float64).to(dtype)
        if name != "substitution":
            a = a.tril() + a.tril(-1).mT
        signs = torch.randint(0, 2, (n, n), generator=g).double() * 2 - 1
        signs = signs.tril(-1) if name == "substitution" else signs.tril() + signs.tril(-1).mT
        ea, eb = e * a.double().abs(), e * b.double().abs()
        left, right = lift(Tracked(a, ea)), lift(Tracked(b, eb))
        if name == "cholesky":
            edge = a.double() + signs * ea
            low = float(torch.linalg.eigvalsh(edge).min()) * 0.99
            x = solve_positive(left, right, lift(torch.full((1, n), low, dtype=dtype)))
        else:
            x = SOLVERS[name](left, right)
        want = _solved(a, signs, ea, b, eb)
        gap = [
            [abs(Fraction(float(x.value[i, j])) - want[i][j]) for j in range(2)] for i in range(n)
        ]
        if not torch.isfinite(x.error).all():
            continue  # a pivot may be zero
        assert all(gap[i][j] <= Fraction(float(x.error[i, j])) for i in range(n) for j in range(2))
        off += any(y for row in gap for y in row)
    assert off >= 30


def _solved(a: Any, signs: Any, ea: Any, b: Any, eb: Any) -> list[list[Fraction]]:
    """(a + signs ea)^{-1} (b + eb) by elimination in fractions."""
    n = len(a)
    rows = [
        [Fraction(float(a[i, j])) + int(signs[i, j]) * Fraction(float(ea[i, j])) for j in range(n)]
        + [Fraction(float(b[i, j])) + Fraction(float(eb[i, j])) for j in range(2)]
        for i in range(n)
    ]
    for j in range(n):
        rows[j] = [x / rows[j][j] for x in rows[j]]
        for i in range(n):
            if i != j:
                rows[i] = [x - rows[i][j] * y for x, y in zip(rows[i], rows[j], strict=True)]
    return [row[n:] for row in rows]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_logarithms_are_within_their_errors(dtype: torch.dtype) -> None:
    g, compared = torch.Generator().manual_seed(0), 0
    for _ in range(300):
        size = 2.0 ** float(torch.empty(()).uniform_(-9, 9, generator=g))
        x = torch.tensor([[size]], dtype=torch.float64).to(dtype)
        e = float(x) * 2.0 ** float(torch.empty(()).uniform_(-30, 1, generator=g))
        got = log(lift(Tracked(x, torch.full((1, 1), e, dtype=torch.float64))))
        for edge in (float(x) + e, float(x) - e, float(x)):
            if edge > 0:
                gap = abs(mpmath.mpf(float(got.value)) - mpmath.log(edge))
                assert gap <= float(got.error) + 1e-14 * abs(mpmath.log(edge))
                compared += bool(torch.isfinite(got.error).all())
    assert compared >= 500
    nothing = log(full(lift(torch.ones(1, 1)), (1, 1), 0.0))
    assert float(nothing.value) == -torch.inf and float(nothing.error) == 0
    assert float(exp(nothing).value) == 0 == float(exp(nothing).error)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_attention_by_blocks_merges_to_attention_at_once(dtype: torch.dtype) -> None:
    seen: list[Comparison] = []

    @given(variant_draws(min(REACH[dtype], 2)))
    def fuzz(draw: VariantDraw) -> None:
        inputs = inputs_of(VARIANTS["linear_attention"], draw, dtype)
        q, k, v = (lift(inputs[n]) for n in "qkv")
        whole, merged = softmax_attention(q, k, v), softmax_attention(q, k, v, block=draw.chunk)
        seen.append(check(whole, merged))

    fuzz()
    assert sum(c.nontrivial for c in seen) >= len(seen) / 3 >= 12


def test_demonstrations_and_query_merge_in_any_order_and_none_changes_nothing() -> None:
    g = torch.Generator().manual_seed(0)
    q, k, v = (lift(torch.randn(2, 4, n, generator=g)) for n in (3, 3, 2))
    for cut in range(5):
        demo = attend(q, k[..., :cut, :], v[..., :cut, :])
        query = attend(q, k[..., cut:, :], v[..., cut:, :])
        whole = attend(q, k, v)
        for blocks in ([demo, query], [query, demo]):
            made = merge(blocks)
            assert check(made.output, whole.output).nontrivial
            check(made.log_mass, whole.log_mass)
        if 0 < cut < 4:  # the relaxed form adds, and does not shrink the query's own term
            with pytest.raises(BoundViolation):
                check(demo.output + query.output, whole.output)
    nothing = attend(q, k[..., :0, :], v[..., :0, :])
    empty = merge([nothing, nothing])
    assert bool((empty.log_mass.value == -torch.inf).all()) and not empty.output.value.any()


@each
def test_an_overflow_is_reported_as_not_finite(variant: Variant) -> None:
    inputs = inputs_of(variant, VariantDraw(seed=0, tokens=3), torch.float32)
    huge = inputs | {n: inputs[n] * 1e30 for n in "qkv"}
    for o, _ in both(variant, huge, 2):
        with pytest.raises(NonFinite):
            check(o, o)


@pytest.mark.parametrize("variant", [v for v in VARIANTS.values() if v.gates], ids=lambda v: v.name)
@pytest.mark.parametrize("size", [0.0, 1e-44, 1e-30, 1.0], ids=str)
def test_tiny_gates_neither_divide_by_zero_nor_overflow(variant: Variant, size: float) -> None:
    inputs = inputs_of(variant, VariantDraw(seed=0, tokens=9), torch.float32)
    for name in variant.gates:
        inputs[name] = torch.full_like(inputs[name], size)
        (o, state), (o_slow, state_slow) = both(variant, inputs, 8)
        check(o, o_slow)
        for a, b in zip(leaves(state), leaves(state_slow), strict=True):
            check(a, b)


@pytest.mark.parametrize("H", [((1.0, 0.5), (0.0, 1.0)), ((1.0, 0.0), (0.0, -0.999))])
def test_a_given_mesa_state_that_is_not_positive_or_symmetric_is_within_the_bound(
    H: tuple[tuple[float, float], ...],
) -> None:
    """Cholesky reads one half of H, and an eigenvalue below zero eats into the ridge."""
    from dualform.variants.mesa import MesaState

    one = torch.ones(1, 1, 1)
    state = MesaState(torch.ones(1, 1, 1, 2), torch.tensor([[H]]))
    o, _ = bounded(
        "mesa", "fast",
        {"q": torch.ones(1, 1, 1, 2), "k": torch.zeros(1, 1, 1, 2), "v": torch.zeros(1, 1, 1, 1),
         "gamma": one, "beta": 0 * one, "ridge": torch.ones(1, 2), "state": state},
    )  # fmt: skip
    system = [[Fraction(x) + (i == j) for j, x in enumerate(row)] for i, row in enumerate(H)]
    (a, b), (c, d) = system
    exactly = (d - b + a - c) / (a * d - b * c)  # (1 1) A^(-1) (1 1)^T
    assert abs(Fraction(float(o.value)) - exactly) <= Fraction(float(o.error))
