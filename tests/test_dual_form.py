"""Every statement: symbolic, exact on integers, fuzzed in floating point; near misses refused."""

import pytest
import sympy as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dualform.ops import TensorOps, TrackedOps
from dualform.rounding import BoundViolation, NonFinite, Tracked, check
from proofs.prove import difference, prove
from proofs.statements import CATALOGUE, Statement, UnknownStatement, by_id

TRUE = [s for s in CATALOGUE if s.claim == "true"]
FALSE = [s for s in CATALOGUE if s.claim == "false"]
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
named = pytest.mark.parametrize("statement", TRUE, ids=lambda s: s.id)


def draw(statement: Statement, seed: int, largest: int, integers: bool) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    low = 1 if integers else 0
    names = sorted({d for shape in statement.variables.values() for d in shape})
    size = {
        d: int(d) if d.isdigit() else int(torch.randint(low, largest + 1, (), generator=generator))
        for d in names
    }
    out = {}
    for name, (rows, columns) in statement.variables.items():
        shape = (2, size[rows], size[columns])
        if integers:
            sign = 2 * torch.randint(0, 2, shape, generator=generator) - 1
            out[name] = (sign * torch.randint(1, 5, shape, generator=generator)).double()
        else:
            out[name] = torch.randn(shape, generator=generator, dtype=torch.float64)
    return out


@named
def test_the_statement_is_proved_for_all_sizes(statement: Statement) -> None:
    assert prove(statement).status == "proved(all sizes)"


@named
def test_the_near_miss_is_not_proved(statement: Statement) -> None:
    assert statement.near_miss is not None
    assert not isinstance(difference(statement, statement.near_miss), sp.ZeroMatrix)


@pytest.mark.parametrize("statement", FALSE, ids=lambda s: s.id)
def test_a_false_claim_is_refuted_by_its_witness(statement: Statement) -> None:
    assert prove(statement).status == "refuted(witness)"


@named
def test_integers_agree_bit_for_bit_and_the_near_miss_does_not(statement: Statement) -> None:
    refused = 0
    assert statement.near_miss is not None
    for seed in range(40):
        v = draw(statement, seed, 6, integers=True)
        left, right, near = (
            torch.stack([side(TensorOps, {n: t[b] for n, t in v.items()}) for b in range(2)])
            for side in (statement.lhs, statement.rhs, statement.near_miss)
        )
        assert torch.equal(left, right)
        refused += not torch.equal(left, near)
    assert refused >= 36  # a near miss may hold by cancellation on a few small draws


@named
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_both_sides_agree_under_the_rounding_bound(
    statement: Statement, dtype: torch.dtype, device: str
) -> None:
    exponents = {torch.float16: 1, torch.bfloat16: 6, torch.float32: 6, torch.float64: 60}
    reach = exponents[dtype]
    compared = 0

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(st.integers(0, 2**31), st.integers(-reach, 0 if dtype is torch.float16 else reach))
    def fuzz(seed: int, exponent: int) -> None:
        nonlocal compared
        drawn = draw(statement, seed, 7, integers=False)
        v = {n: Tracked((t * 2.0**exponent).to(dtype).to(device)) for n, t in drawn.items()}
        seen = check(statement.lhs(TrackedOps, v), statement.rhs(TrackedOps, v))
        compared += seen.nontrivial

    fuzz()
    assert compared >= 20


@named
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_the_bound_refuses_the_near_miss(statement: Statement, dtype: torch.dtype) -> None:
    assert statement.near_miss is not None
    for seed in range(30):
        drawn = draw(statement, seed, 6, integers=True)
        generator = torch.Generator().manual_seed(seed)
        v = {
            n: Tracked(torch.randn(t.shape, generator=generator, dtype=torch.float64).to(dtype))
            for n, t in drawn.items()
        }
        with pytest.raises(BoundViolation):
            check(statement.lhs(TrackedOps, v), statement.near_miss(TrackedOps, v))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_a_planted_error_of_a_hundred_units_is_caught(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (Tracked((1 + torch.rand(4, 4, generator=generator)).to(dtype)) for _ in range(2))
    product = a @ b
    wrong = Tracked(product.value.clone(), product.error)
    wrong.value[1, 2] *= 1 + 100 * torch.finfo(dtype).eps
    with pytest.raises(BoundViolation):
        check(product, wrong)


def test_an_overflow_is_not_taken_for_agreement() -> None:
    big = Tracked(torch.full((2, 2), 1e30))
    with pytest.raises(NonFinite):
        check(big @ big, big @ big)


def test_an_unknown_id_lists_the_known_ones() -> None:
    with pytest.raises(UnknownStatement, match="context-split"):
        by_id("nothing")
