"""Every statement: exact on integers, fuzzed in floating point; near misses refused.

The proofs for all sizes are in test_dual_form_proofs, real layers in test_dual_form_layers.
"""

import math
from typing import Any

import pytest
import torch
from hypothesis import given

from dualform.exact import Exact, ExactOps, exact
from dualform.losses import cubic
from dualform.ops import TensorOps, TrackedOps
from dualform.rounding import (
    UNIT_ROUNDOFF,
    BoundViolation,
    Comparison,
    NonFinite,
    Tracked,
    UnboundedArithmetic,
    check,
    compare,
)
from proofs.semantics import kinds, not_on_integers
from proofs.statements import STATEMENTS, Side, Statement, UnknownStatement, by_id
from tests.support.statements.draws import Draw, draws, integers, sizes_of, tensors
from tests.support.statements.semantics import not_bounded_exactly

pytestmark = pytest.mark.dual_form

TRUE = [s for s in STATEMENTS if s.claim == "true"]
FALSE = [s for s in STATEMENTS if s.claim == "false"]
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
REACH = {torch.float16: 2, torch.bfloat16: 12, torch.float32: 12, torch.float64: 90}
EXPONENTS = 1  # of two: scores stay where exponentials are finite in every dtype
named = pytest.mark.parametrize("statement", TRUE, ids=lambda s: s.id)


def near_miss(statement: Statement) -> Side:
    assert statement.near_miss is not None
    return statement.near_miss


def sides(statement: Statement, v: dict[str, torch.Tensor], block: int) -> tuple[Tracked, ...]:
    ops, tracked = TrackedOps(block=block), {n: Tracked(t) for n, t in v.items()}
    wanted = (statement.lhs, statement.rhs, near_miss(statement))
    return alike(*(side(ops, tracked) for side in wanted))


def alike(*made: Tracked) -> tuple[Tracked, ...]:
    """Sides with the leading dimensions of all of them: one may be a constant."""
    shape = torch.broadcast_shapes(*(m.value.shape for m in made))
    return tuple(Tracked(m.value.expand(shape), m.error.expand(shape)) for m in made)


def reach(statement: Statement, dtype: torch.dtype) -> int:
    return min(REACH[dtype], EXPONENTS) if "exp" in kinds(statement) else REACH[dtype]


def rational(statement: Statement, v: dict[str, torch.Tensor], block: int) -> list[Exact] | None:
    """Both sides and the near miss in fractions; None where an inverse does not exist."""
    ops, values = ExactOps(block=block), {name: exact(t) for name, t in v.items()}
    wanted = (statement.lhs, statement.rhs, near_miss(statement))
    try:
        return [side(ops, values) for side in wanted]
    except ZeroDivisionError:
        return None


@pytest.mark.parametrize(
    "statement", [s for s in TRUE if not_on_integers(s) is None], ids=lambda s: s.id
)
def test_integers_agree_bit_for_bit_and_the_near_miss_does_not(statement: Statement) -> None:
    compared = refused = 0
    for seed in range(40):
        v = integers(statement, seed, largest=3, reach=2)
        ops = TensorOps(block=1 + seed % 2, loss_function=cubic)
        wanted = (statement.lhs, statement.rhs, near_miss(statement))
        left, right, near = (side(ops, v) for side in wanted)
        if left.abs().max() >= 2**40:  # the cubes of a long recurrence: float64 may round them
            continue
        assert torch.equal(left, right)
        compared += 1
        refused += not torch.equal(left, near)
    # A near miss may hold by cancellation; that of a recurrence holds where there is one step.
    assert compared >= 25 and refused >= 10


@named
def test_fractions_agree_exactly_and_with_float64_on_integers(statement: Statement) -> None:
    refused = compared = 0
    for seed in range(24):
        v = integers(statement, seed, largest=2, reach=2)
        block = 1 + seed % 2
        made = rational(statement, v, block)
        if made is None or compared == 12:
            continue
        left, right, near = made
        assert left == right
        compared += 1
        refused += left != near
        if not_on_integers(statement) is None:
            floating = statement.lhs(TensorOps(block=block, loss_function=cubic), v)
            if max((abs(x) for row in left.rows for x in row), default=0) < 2**40:
                assert exact(floating) == left
    assert compared >= 10 and refused >= 4


@named
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_both_sides_agree_under_the_rounding_bound(
    statement: Statement, dtype: torch.dtype, device: str
) -> None:
    seen: list[Comparison] = []

    @given(draws(statement, reach(statement, dtype), largest=5 if dtype is torch.float16 else 7))
    def fuzz(draw: Draw) -> None:
        left, right, _ = sides(statement, tensors(statement, draw, dtype, device), draw.block)
        found = compare(left, right)
        seen.append(found)
        if found.finite:
            check(left, right)

    fuzz()
    telling = [c for c in seen if c.finite and c.nontrivial]
    # An inverse has no bound where rounding may have made its matrix singular.
    share = 5 if kinds(statement) & {"inverse", "exp"} else 2
    assert len(telling) >= len(seen) / share, "most examples were empty, zero or overflowed"
    assert len(seen) / 2 >= 20


@named
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_the_bound_refuses_the_near_miss(statement: Statement, dtype: torch.dtype) -> None:
    for seed in range(30):
        sizes = {name: 2 + (seed + i) % 4 for i, name in enumerate(sizes_of(statement))}
        zero = dict.fromkeys(statement.variables, 0)
        one = Draw(seed=seed, sizes=sizes, batch=(2,), layout="contiguous", exponents=zero, block=1)
        left, _, near = sides(statement, tensors(statement, one, dtype, "cpu"), 1)
        with pytest.raises(BoundViolation):
            check(left, near)


@pytest.mark.parametrize(
    "statement", [s for s in TRUE if not_bounded_exactly(s) is None], ids=lambda s: s.id
)
def test_each_side_is_within_its_own_bound_of_the_exact_value(statement: Statement) -> None:
    for seed in range(8):
        one = Draw(
            seed=seed, sizes=dict.fromkeys(sizes_of(statement), 2), batch=(),
            layout="contiguous", exponents=dict.fromkeys(statement.variables, 0), block=1,
        )  # fmt: skip
        v = tensors(statement, one, torch.float32, "cpu")
        for side in (statement.lhs, statement.rhs):
            got = side(TrackedOps(), {n: Tracked(t) for n, t in v.items()})
            want = side(ExactOps(), {n: exact(t) for n, t in v.items()})
            for i, row in enumerate(want.rows):
                for j, x in enumerate(row):
                    gap = abs(float(exact(got.value).rows[i][j] - x))
                    assert gap <= float(got.error[i, j])


@pytest.mark.parametrize("identity", ["squared-loss-gradient", "generic-loss-gradient"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_autograd_agrees_with_the_tape_under_its_bound(identity: str, dtype: torch.dtype) -> None:
    statement = by_id(identity)
    for seed in range(10):
        one = Draw(
            seed=seed, sizes=dict.fromkeys(sizes_of(statement), 4), batch=(2,),
            layout="contiguous", exponents=dict.fromkeys(statement.variables, 0), block=1,
        )  # fmt: skip
        v = tensors(statement, one, dtype, "cpu")
        taped = statement.lhs(TrackedOps(), {n: Tracked(t) for n, t in v.items()})
        graded = statement.lhs(TensorOps(), v)
        check(taped.elsewhere(graded), taped)
        with pytest.raises(BoundViolation):
            check(taped.elsewhere(graded * 1.5), taped)


SCALARS_OF_U: dict[str, Any] = {
    "left of minus": lambda ops, U, v: ops.half_square(U @ v["X"] - v["T"]),
    "right of minus": lambda ops, U, v: ops.half_square(v["T"] - U @ v["X"]),
    "right of plus": lambda ops, U, v: ops.half_square(v["T"] + U @ v["X"]),
    "both sides of minus": lambda ops, U, v: ops.half_square(U @ v["X"] - U),
    "both sides of plus": lambda ops, U, v: ops.half_square(U @ v["X"] + U),
    "a product of itself": lambda ops, U, v: ops.inner(U @ U.T, v["T"]),
    "right factor": lambda ops, U, v: ops.half_square(v["X"] @ U),
    "negated, transposed": lambda ops, U, v: ops.half_square((-U).T @ v["X"]),
    "difference of scalars": lambda ops, U, v: ops.half_square(U) - ops.inner(v["T"], U),
    "negated scalar": lambda ops, U, v: -ops.inner(U @ v["X"], v["T"]),
}


@pytest.mark.parametrize("name", list(SCALARS_OF_U))
def test_tape_autograd_and_differences_derive_the_same_gradient(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    f, v = SCALARS_OF_U[name], {
        n: torch.randint(-3, 4, (3, 3), generator=generator).double() for n in "UXT"
    }  # fmt: skip
    plain = TensorOps().grad(lambda U: f(TensorOps(), U, v), v["U"])
    tracked = {n: Tracked(t) for n, t in v.items()}
    taped = TrackedOps().grad(lambda U: f(TrackedOps(), U, tracked), tracked["U"])
    fractions = {n: exact(t) for n, t in v.items()}
    different = ExactOps().grad(lambda U: f(ExactOps(), U, fractions), fractions["U"])
    assert exact(plain) == exact(taped.value) == different
    assert plain.abs().max() > 0


def test_a_scalar_that_does_not_depend_on_the_matrix_has_gradient_zero() -> None:
    a = Tracked(torch.ones(2, 2))
    assert not TrackedOps().grad(lambda U: TrackedOps().half_square(a), a).value.any()


@named
def test_batches_and_heads_under_vmap_equal_the_tracked_sides(statement: Statement) -> None:
    one = Draw(
        seed=3, sizes=dict.fromkeys(sizes_of(statement), 3), batch=(2, 3),
        layout="contiguous", exponents=dict.fromkeys(statement.variables, 0), block=1,
    )  # fmt: skip
    v = tensors(statement, one, torch.float64, "cpu")
    names = list(v)

    def of(side: Side):  # noqa: ANN202 - a vmapped function
        run = lambda *a: side(TensorOps(), dict(zip(names, a, strict=True)))  # noqa: E731
        return torch.func.vmap(torch.func.vmap(run))

    left, _, near = sides(statement, v, 1)
    got = of(statement.lhs)(*v.values())
    check(left.elsewhere(got.expand(left.value.shape)), left)
    missed = of(near_miss(statement))(*v.values())
    with pytest.raises(BoundViolation):
        check(near.elsewhere(missed.expand(near.value.shape)), left)


@pytest.mark.parametrize("statement", FALSE, ids=lambda s: s.id)
def test_a_false_claim_differs_at_its_witness_in_fractions(statement: Statement) -> None:
    assert statement.witness is not None
    v = {name: exact(torch.tensor(rows)) for name, rows in statement.witness.items()}
    assert statement.lhs(ExactOps(), v) != statement.rhs(ExactOps(), v)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_a_planted_error_of_twenty_units_of_roundoff_is_caught(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (Tracked((1 + torch.rand(4, 4, generator=generator)).to(dtype)) for _ in range(2))
    product = a @ b
    wrong = Tracked(product.value.clone(), product.error)
    wrong.value[1, 2] *= 1 + 20 * UNIT_ROUNDOFF[dtype]
    with pytest.raises(BoundViolation):
        check(product, wrong)


def test_entries_near_the_underflow_threshold_stay_under_the_bound() -> None:
    """float32 entries near 1e-14 break a bound without its underflow term."""
    generator = torch.Generator().manual_seed(0)
    statement = by_id("linear-attention-dual")
    largest = 0.0
    for _ in range(50):
        shapes = {"W": (3, 4), "E": (3, 5), "X": (4, 5), "q": (4, 1)}
        v = {
            n: Tracked((torch.randn(s, generator=generator, dtype=torch.float64) * 1e-14).float())
            for n, s in shapes.items()
        }
        v["W"] = Tracked(torch.zeros(3, 4))
        for side in (statement.lhs, statement.rhs):
            got = side(TrackedOps(), v)
            want = side(ExactOps(), {n: exact(t.value) for n, t in v.items()})
            for i in range(3):
                gap = abs(float(exact(got.value).rows[i][0] - want.rows[i][0]))
                assert gap <= float(got.error[i, 0])
                largest = max(largest, gap / float(want.rows[i][0] or math.inf))
    assert largest > 1e-3  # the draw does underflow


def test_an_overflow_is_not_taken_for_agreement() -> None:
    big = Tracked(torch.full((2, 2), 1e30))
    with pytest.raises(NonFinite):
        check(big @ big, big @ big)


def test_products_in_reduced_precision_have_no_bound() -> None:
    a = Tracked(torch.ones(2, 2))
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with pytest.raises(UnboundedArithmetic, match="full precision, got 'medium'"):
            a @ a
    finally:
        torch.set_float32_matmul_precision(before)


def test_an_integer_tensor_has_no_bound() -> None:
    whole = Tracked(torch.ones(2, 2, dtype=torch.int64))
    with pytest.raises(UnboundedArithmetic, match=r"got torch\.int64"):
        whole @ whole


def test_exact_refuses_matrices_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="shapes that fit in a product"):
        Exact(((),), (1, 0)) @ exact(torch.ones(1, 1))


def test_an_unknown_id_lists_the_known_ones() -> None:
    with pytest.raises(UnknownStatement, match="context-split"):
        by_id("nothing")
