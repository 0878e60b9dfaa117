"""Momentum sums against two nested loops, in every type, for every chunk, across boundaries."""

import pytest
import torch

from dualform.momentum import averaged, last_momentum, momentum_sum

U = {torch.float64: 2.0**-53, torch.float32: 2.0**-24, torch.bfloat16: 2.0**-8}
CHUNKS = (1, 2, 5, 8, 64)
SAME = torch.tensor([[0] * 5 + [1] * 20 + [2] * 12, [-1] * 3 + [0] * 34])


def values(length=37, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, length, 4, generator=generator, dtype=torch.float64).to(dtype)


def slow(v, eta, *, inclusive, same=None):
    """The sums as they are written, and the sums of magnitudes, both in float64."""
    v = v.double()
    rates = torch.as_tensor(eta, dtype=torch.float64).expand(v.shape[1])
    out, size = torch.zeros_like(v), torch.zeros_like(v)
    for t in range(v.shape[2]):
        for i in range(t + inclusive):
            weight = rates ** (t - i)
            if same is not None:
                weight = weight * (same[:, i] == same[:, t])[:, None]
            term = weight[..., None] * v[:, :, i]
            out[:, :, t] += term
            size[:, :, t] += term.abs()
    return out, size


def allowed(size, dtype, length):
    """T terms are added; a weight is a product of at most six powers, each a rounding off.

    Half types are summed in float32 and rounded once.
    """
    inner = U[torch.float32] if dtype == torch.bfloat16 else U[dtype]
    once = U[dtype] if dtype == torch.bfloat16 else 0.0
    gamma = (length + 12) * inner / (1 - (length + 12) * inner)
    return (gamma + once * (1 + gamma)) * size


def rate(eta, dtype):
    """eta as the computing type holds it."""
    wide = torch.float32 if dtype == torch.bfloat16 else dtype
    return torch.as_tensor(eta, dtype=wide).double()


@pytest.mark.parametrize("dtype", U, ids=str)
@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("eta", [0.0, 0.3, 0.9, (0.1, 0.5, 0.99)], ids=str)
def test_chunks_give_the_sums_of_the_loops(dtype, chunk, eta):
    v = values(dtype=dtype)
    given = torch.tensor(eta) if isinstance(eta, tuple) else eta
    for f, inclusive in ((momentum_sum, False), (averaged, True)):
        for same in (None, SAME):
            wanted, size = slow(v, rate(given, dtype), inclusive=inclusive, same=same)
            found = f(v, given, same=same, chunk=chunk)
            assert found.dtype == dtype
            assert ((found.double() - wanted).abs() <= allowed(size, dtype, 37)).all()


@pytest.mark.parametrize("chunk", CHUNKS)
def test_sums_that_are_nearly_right_are_seen(chunk):
    v = values()
    wanted, size = slow(v, 0.5, inclusive=False)
    bound = allowed(size, torch.float64, 37)
    one_less = averaged(v, 0.5, chunk=chunk)  # with the token itself
    late = momentum_sum(v, 0.5, chunk=chunk) / 0.5  # eta^(t-i-1)
    for near in (one_less, late):
        assert ((near - wanted).abs() > bound)[:, :, 1:].all()
    apart, size = slow(v, 0.5, inclusive=False, same=SAME)
    across = momentum_sum(v, 0.5, chunk=chunk)
    first = [5, 6, 25]  # of the first row, just behind a boundary
    gap = (across - apart).abs()[0][:, first]
    assert (gap > allowed(size, torch.float64, 37)[0][:, first]).all()


def test_long_sums_stay_linear_and_exact():
    """Three levels of chunks: 4 x 4 x 4 and a rest."""
    v = values(length=70)
    wanted, size = slow(v, 0.97, inclusive=False)
    found = momentum_sum(v, 0.97, chunk=4)
    assert ((found - wanted).abs() <= allowed(size, torch.float64, 70)).all()


@pytest.mark.parametrize("eta", [0.0, 0.7, (0.2, 0.5, 0.9)], ids=str)
def test_the_last_token_alone_is_the_last_of_all(eta):
    v = values()
    given = torch.tensor(eta, dtype=torch.float64) if isinstance(eta, tuple) else eta
    wanted, size = slow(v, given, inclusive=False)
    found = last_momentum(v, given)
    bound = allowed(size, torch.float64, 37)[:, :, -1:]
    assert found.shape == (2, 3, 1, 4) and ((found - wanted[:, :, -1:]).abs() <= bound).all()


@pytest.mark.parametrize("same", [None, SAME[:, :9]], ids=["one", "several"])
@pytest.mark.parametrize("f", [momentum_sum, averaged])
def test_gradients_of_values_and_etas_are_those_of_differences(f, same):
    v = values(length=9).requires_grad_()
    eta = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v, eta: f(v, eta, same=same, chunk=4), (v, eta))
    assert torch.autograd.gradgradcheck(
        lambda v, eta: f(v[:1, :, :5], eta, same=None if same is None else same[:1, :5], chunk=2),
        (v, eta),
    )


def test_autocast_does_not_lower_the_precision():
    v = values(dtype=torch.float32)
    wanted = momentum_sum(v, 0.9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(momentum_sum(v, 0.9), wanted)
        assert torch.equal(last_momentum(v, 0.9), last_momentum(v, 0.9))


def test_no_token_gives_no_sum():
    v = values(length=0)
    assert momentum_sum(v, 0.5).shape == v.shape == averaged(v, 0.5).shape


def test_the_first_token_has_no_momentum():
    v = values(length=1)
    assert (momentum_sum(v, 0.5) == 0).all() and torch.equal(averaged(v, 0.5), v)


@pytest.mark.parametrize(
    ("v", "more", "message"),
    [
        (torch.zeros(3), {}, r"expected values \[\.\.\., T, d\]"),
        (torch.zeros(2, 3, 4, 5), {"chunk": 0}, "a chunk of at least one token"),
        (torch.zeros(2, 3, 4, 5), {"same": torch.zeros(2, 5)}, r"expected sequences \[B, T\]"),
        (torch.zeros(4, 5), {"same": torch.zeros(1, 4)}, r"expected sequences \[B, T\]"),
    ],
)
def test_wrong_shapes_are_refused(v, more, message):
    with pytest.raises(ValueError, match=message):
        momentum_sum(v, 0.5, **more)
