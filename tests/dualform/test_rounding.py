"""Every bounded operation against fractions, its operands off by as much as their errors allow.

A test that starts from exact operands sees no propagation of errors; here the exact operand stands
at the very edge, value plus or minus error.
"""

import math
from fractions import Fraction

import pytest
import torch

from dualform.elementary import exp, over
from dualform.exact import Exact, ExactOps, exact
from dualform.ops import TrackedOps
from dualform.rounding import Tracked, UnboundedArithmetic, check, compare, rounded

pytestmark = pytest.mark.dual_form

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
REACH = {torch.float64: 300, torch.float32: 36, torch.bfloat16: 36, torch.float16: 4}


class Draws:
    """Matrices of all magnitudes of a dtype, subnormal ones too, with and without errors."""

    def __init__(self, dtype: torch.dtype, seed: int) -> None:
        self.dtype, self.generator = dtype, torch.Generator().manual_seed(seed)

    def number(self, low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def size(self) -> int:
        return int(torch.randint(1, 5, (), generator=self.generator))

    def values(self, shape: tuple[int, int]) -> torch.Tensor:
        reach, kind = REACH[self.dtype], self.size()
        base = torch.randn(shape, generator=self.generator, dtype=torch.float64)
        if kind == 1:
            base = base * 10.0 ** self.number(-reach, reach)
        elif kind == 2:
            spread = torch.rand(shape, generator=self.generator, dtype=torch.float64)
            base = base * 10.0 ** (2 * reach * spread - reach)
        elif kind == 3:
            base = base * torch.finfo(self.dtype).smallest_normal * 2.0 ** self.number(-6, 3)
        return base.to(self.dtype)

    def operand(self, shape: tuple[int, int]) -> tuple[Tracked, Exact]:
        value = self.values(shape)
        if self.size() <= 2:
            return Tracked(value), exact(value)
        error = value.double().abs() * 2.0 ** self.number(-30, 0)
        edge = exact(value) + exact(error) if self.size() <= 2 else exact(value) - exact(error)
        return Tracked(value, error), edge


def within(got: Tracked, want: Exact) -> bool:
    """Whether every entry is within its error; False where one overflowed, which says nothing."""
    if not (torch.isfinite(got.value).all() and torch.isfinite(got.error).all()):
        return False
    for i, row in enumerate(want.rows):
        for j, x in enumerate(row):
            gap = abs(Fraction(float(got.value[i, j])) - x)
            assert gap <= Fraction(float(got.error[i, j]))
    return True


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ["product", "sum", "difference", "scale", "chain", "cancelling"])
def test_an_operation_is_within_its_error_of_the_exact_one(name: str, dtype: torch.dtype) -> None:
    compared = 0
    for seed in range(150):
        d = Draws(dtype, seed)
        r, k, c = d.size(), d.size(), d.size()
        (a, ea), (b, eb), (s, es) = d.operand((r, k)), d.operand((k, c)), d.operand((1, 1))
        (x, ex), (z, ez) = d.operand((r, k)), d.operand((c, r))
        ops, fractions = TrackedOps(), ExactOps()
        if name == "product":
            compared += within(a @ b, ea @ eb)
        elif name == "sum":
            compared += within(ops.hcat(a + x, -x), fractions.hcat(ea + ex, -ex))
        elif name == "difference":
            compared += within((a - x).T, (ea - ex).T)
        elif name == "scale":
            compared += within(ops.scale(s, a), fractions.scale(es, ea))
        elif name == "chain":
            compared += within((a @ b) @ z - a @ (b @ z), (ea @ eb) @ ez - ea @ (eb @ ez))
        else:
            product = a @ b
            if torch.isfinite(product.value).all():
                fixed = Tracked(product.value)
                compared += within(product - fixed, ea @ eb - exact(product.value))
    assert compared >= 60


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_exponentials_and_quotients_are_within_their_errors(dtype: torch.dtype) -> None:
    """Against float64 of the edge values, whose own error (below 1e-14 relative) is added."""
    d, compared = Draws(dtype, 0), 0
    for _ in range(400):
        x = torch.tensor([[d.number(-20, 9 if dtype != torch.float16 else 4)]]).to(dtype)
        e = 2.0 ** d.number(-30, 2)
        got = exp(Tracked(x, torch.full((1, 1), e, dtype=torch.float64)))
        for edge in (float(x) + e, float(x) - e, float(x)):
            truth = math.exp(edge)
            assert abs(float(got.value) - truth) <= float(got.error) + 1e-14 * truth
        (a, ea), (b, eb) = d.operand((1, 1)), d.operand((1, 1))
        if float(b.value) == 0:
            continue
        ratio = over(a, b)
        if not torch.isfinite(ratio.error).all():
            continue  # the divisor may be zero, or the quotient overflowed
        compared += within(ratio, Exact(((ea.rows[0][0] / eb.rows[0][0],),), (1, 1)))
    assert compared >= 100


def test_bfloat16_dot_instructions_may_read_subnormal_operands_as_zero() -> None:
    """Sizes at which the fast kernels take over; some processors' instructions flush here."""
    small = torch.full((64, 2), 1e-39, dtype=torch.bfloat16)
    large = torch.full((2, 64), 1e30, dtype=torch.bfloat16)
    got = Tracked(small) @ Tracked(large)
    exactly = small.double() @ large.double()
    assert bool(((got.value.double() - exactly).abs() <= got.error).all())
    by_columns = torch.cat([small @ large[:, i : i + 1] for i in range(64)], 1)
    check(got, got.elsewhere(by_columns))


def test_flushed_denormals_are_refused() -> None:
    if not torch.set_flush_denormal(True):
        pytest.fail("expected a processor that can flush denormals, got one that cannot")
    try:
        a = Tracked(torch.ones(1, 1))
        for wrong in (lambda: a @ a, lambda: a + a, lambda: a.times(a), lambda: exp(a)):
            with pytest.raises(UnboundedArithmetic, match=r"set_flush_denormal\(False\)"):
                wrong()
    finally:
        torch.set_flush_denormal(False)
    assert float((a @ a).value) == 1.0


def test_products_smaller_than_the_underflow_threshold_have_an_error() -> None:
    a = Tracked(torch.full((1, 1), 2.0**-75))
    for got in (a.times(a), a @ a):
        assert float(got.value) == 0.0 and float(got.error) >= 2.0**-150


def test_autocast_is_refused() -> None:
    a = Tracked(torch.ones(2, 2))
    with (
        torch.autocast("cpu", torch.bfloat16),
        pytest.raises(UnboundedArithmetic, match=r"got torch\.bfloat16; leave autocast"),
    ):
        a @ a


def test_mixed_types_and_scalars_without_axes_are_refused() -> None:
    a, wide = Tracked(torch.ones(2, 2)), Tracked(torch.ones(2, 2, dtype=torch.float64))
    for wrong in (
        lambda: a + wide,
        lambda: a - wide,
        lambda: a @ wide,
        lambda: a.times(wide),
        lambda: Tracked(torch.tensor(1.0)).times(a),
    ):
        with pytest.raises(UnboundedArithmetic, match="two matrices of one dtype"):
            wrong()


def test_sides_of_other_shapes_are_not_compared() -> None:
    for left, right in (((0, 3), (1, 3)), ((3, 1), (3, 4))):
        with pytest.raises(ValueError, match="sides of one shape"):
            compare(Tracked(torch.zeros(left)), Tracked(torch.ones(right)))
    with pytest.raises(ValueError, match="sides of one shape"):
        compare(Tracked(torch.ones(2, 2), torch.ones(1, 1)), Tracked(torch.ones(2, 2)))


def test_a_side_of_zeros_beside_one_that_is_not_is_no_trivial_comparison() -> None:
    zeros, ones = Tracked(torch.zeros(1, 1)), Tracked(torch.ones(1, 1))
    assert compare(zeros, ones).nontrivial and compare(ones, zeros).nontrivial
    assert not compare(zeros, zeros).nontrivial


def test_a_nan_is_not_finite_and_a_gap_without_bound_is_infinite() -> None:
    nan = Tracked(torch.full((1, 1), math.nan))
    assert not compare(nan, nan).finite
    gap = compare(Tracked(torch.zeros(1, 1)), Tracked(torch.ones(1, 1)))
    assert gap.worst_ratio == math.inf and gap.finite


def test_other_code_in_another_order_stays_under_twice_the_error() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        a, b, c = (Tracked(torch.randn(6, 6, generator=generator)) for _ in range(3))
        left = (a @ b) @ c - a @ (b @ c)
        flipped = [Tracked(x.value.flip(1)) for x in (a, b, c)]
        turned = Tracked(flipped[1].value.flip(0)), Tracked(flipped[2].value.flip(0))
        other = ((flipped[0] @ turned[0]).value.flip(1) @ c.value) - a.value @ (
            (flipped[1] @ turned[1]).value.flip(1)
        )
        assert other.shape == left.value.shape
        check(left.elsewhere(other), left)


def test_rounding_alone_is_half_a_unit_in_the_last_place() -> None:
    one = rounded(torch.ones(1, 1), torch.zeros(1, 1, dtype=torch.float64))
    assert 2.0**-24 <= float(one.error) <= 2.0**-24 * 1.001
