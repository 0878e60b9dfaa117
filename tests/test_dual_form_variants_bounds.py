"""The variants' derived bounds: fast against slow, both against exact numbers, near misses refused."""

from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given

from dualform.rounding import (
    UNIT_ROUNDOFF, BoundViolation, Comparison, NonFinite, Tracked, check, compare,
)  # fmt: skip
from dualform.variants import VARIANTS, Variant, attend, bounded, merge, softmax_attention
from dualform.variants.arithmetic import exp, full, lift, log
from dualform.variants.layout import leaves
from dualform.variants.solve import eliminate, solve_positive, solve_unit_lower
from tests._variants import NEAR_MISSES, VariantDraw, inputs_of, part, variant_draws
from tests._variants_exact import EXACT

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
REACH = {torch.float64: 30, torch.float32: 8, torch.bfloat16: 8, torch.float16: 2}
each = pytest.mark.parametrize("variant", VARIANTS.values(), ids=lambda v: v.name)


def both(variant: Variant, inputs: dict[str, Any], chunk: int) -> tuple[Any, Any]:
    fast, slow = bounded(variant, "fast", inputs | {"chunk": chunk}), bounded(variant, "slow", inputs)
    return fast, slow


@each
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_fast_and_slow_agree_under_the_sum_of_their_bounds(
    variant: Variant, dtype: torch.dtype
) -> None:
    seen: list[Comparison] = []

    @given(variant_draws(REACH[dtype]))
    def fuzz(draw: VariantDraw) -> None:
        (o, state), (o_slow, state_slow) = both(variant, inputs_of(variant, draw, dtype), draw.chunk)
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
    for seed in range(20):
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
            draw = VariantDraw(seed=seed, tokens=2, positive=True, exponents=(0, -1, 0))
            inputs = inputs_of(variant, draw, dtype)
            off = inputs[name].clone()
            off[0, 0, 0] *= 1 + 100 * UNIT_ROUNDOFF[dtype] * (1 if name == "v" else 2)
            assert not torch.equal(off, inputs[name])
            slow, _ = bounded(variant, "slow", inputs)
            for form in ("fast", "slow"):
                wrong, _ = bounded(variant, form, inputs | {name: off})
                with pytest.raises(BoundViolation):
                    check(slow, wrong)
