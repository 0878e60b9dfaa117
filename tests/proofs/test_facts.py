"""Facts of analysis: their lemmas, and the same facts on tensors."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dualform.relaxation import noise_floor, positive_features, relaxation, taylor
from proofs import facts
from proofs.facts import LEMMAS, REFUTED
from proofs.statements import FACTS, Fact
from proofs.verdict import as_claimed, prove

pytestmark = pytest.mark.dual_form

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
TRUE = [f for f in FACTS if f.claim == "true"]


@pytest.mark.parametrize("fact", FACTS, ids=lambda f: f.id)
def test_every_fact_comes_out_as_claimed(fact: Fact) -> None:
    assert as_claimed(fact, prove(fact)), prove(fact).detail


def test_the_tables_of_lemmas_hold_every_fact_and_no_other() -> None:
    assert set(LEMMAS) == {f.id for f in TRUE}
    assert set(REFUTED) == {f.id for f in FACTS if f.claim == "false"}


@pytest.mark.parametrize("fact", TRUE, ids=lambda f: f.id)
def test_the_near_miss_is_undecided_and_its_formula_another(fact: Fact) -> None:
    wrong = dataclasses.replace(fact, value=fact.near_value)
    verdict = prove(wrong)
    assert verdict.status == "undecided" and f"of {fact.id} does not hold" in verdict.detail
    assert wrong.formula == fact.near_miss != fact.formula


@pytest.mark.parametrize("fact", TRUE, ids=lambda f: f.id)
def test_every_lemma_is_needed(fact: Fact, monkeypatch: pytest.MonkeyPatch) -> None:
    lemmas = LEMMAS[fact.id](facts.sp.Rational(fact.value))
    for i in range(len(lemmas)):
        broken = (
            *lemmas[:i],
            dataclasses.replace(lemmas[i], check=lambda: False),
            *lemmas[i + 1 :],
        )
        monkeypatch.setitem(LEMMAS, fact.id, lambda _, broken=broken: broken)
        assert f"lemma {i + 1} of {fact.id}" in prove(fact).detail


def test_a_false_claim_that_is_the_value_is_undecided() -> None:
    fact = next(f for f in FACTS if f.claim == "false")
    assert prove(dataclasses.replace(fact, value="1/4")).status == "undecided"


def test_a_fact_without_lemmas_is_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(LEMMAS, "noise-floor")
    assert prove(next(f for f in FACTS if f.id == "noise-floor")).status == "undecided"


def test_the_second_derivative_with_another_power_is_refused() -> None:
    assert facts.second_derivative() and not facts.second_derivative(third_moment=False)


seeds = st.integers(0, 2**31)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_softmax_attention_is_within_the_bound_of_its_relaxation(dtype: torch.dtype) -> None:
    telling = []

    @given(seeds, st.integers(1, 9), st.integers(1, 4), st.integers(-6, 2))
    def fuzz(seed: int, n: int, o: int, exponent: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        V = torch.randn(2, o, n, generator=generator, dtype=torch.float64).to(dtype)
        s = (torch.randn(2, 1, n, generator=generator, dtype=torch.float64) * 2.0**exponent).to(
            dtype
        )
        found = relaxation(V, s).ratio()
        assert bool((found <= 1).all())
        telling.append(bool((found > 0).any()))

    fuzz()
    assert sum(telling) >= (8 if dtype in (torch.float64, torch.float32) else 2)


def test_the_relaxation_bound_is_reached_up_to_2_7_and_its_near_miss_is_broken() -> None:
    V = torch.tensor([[1.0, 0, 0, 0, 0]], dtype=torch.float64)
    for x in (1e-2, 1e-3):
        found = float(relaxation(V, V * x).ratio())
        assert 1 / 2.7 < found < 1
        assert found * 24 / 8 > 1  # the near miss has 1/24 in place of 1/8


def test_scores_all_equal_give_the_mean_exactly() -> None:
    V = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = relaxation(V, torch.full((1, 4), 7.0, dtype=torch.float64))
    assert not found.bound.any() and not found.ratio().any()


def test_attention_over_no_keys_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one key"):
        relaxation(torch.zeros(2, 0), torch.zeros(1, 0))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("degree", [0, 1, 2, 5])
def test_the_exponential_is_within_the_remainder_of_its_polynomial(
    degree: int, dtype: torch.dtype
) -> None:
    s = torch.linspace(-6, 6, 201, dtype=torch.float64).to(dtype)[None]
    found = taylor(s, degree).ratio()
    assert bool((found <= 1).all()) and bool((found > 0.3).any())


def test_the_remainder_is_sharp_and_its_near_miss_is_broken() -> None:
    for degree in (0, 1, 2):
        s = torch.tensor([[1e-3]], dtype=torch.float64)
        ratio = float(taylor(s, degree).ratio())
        assert 0.99 < ratio <= 1 and ratio * (degree + 2) > 1


def test_positive_features_are_unbiased_by_quadrature() -> None:
    """Gauss-Hermite quadrature integrates over the normal directions to rounding."""
    import numpy

    nodes, weights = numpy.polynomial.hermite_e.hermegauss(60)
    w = torch.tensor(nodes)[:, None]
    p = torch.tensor(weights) / math.sqrt(2 * math.pi)
    for a, b in ((0.3, -0.7), (1.1, 0.9)):
        left, right = (
            positive_features(torch.tensor([[x]], dtype=torch.float64), w) * 60**0.5 for x in (a, b)
        )
        mean = float((p[:, None] * left * right).sum())
        assert abs(mean - math.exp(a * b)) < 1e-12
        without_norms = mean * math.exp((a * a + b * b) / 2)
        assert abs(without_norms - math.exp(a * b)) > 0.1


def test_positive_features_estimate_the_kernel() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(3, 1, generator=generator, dtype=torch.float64) / 2 for _ in range(2))
    w = torch.randn(200_000, 3, generator=generator, dtype=torch.float64)
    products = positive_features(a, w) * positive_features(b, w) * w.shape[0]
    standard_error = float(products.std()) / w.shape[0] ** 0.5
    assert abs(float(products.mean()) - math.exp(float((a * b).sum()))) < 4 * standard_error


def test_the_noise_floor_is_the_similarity_of_orthogonal_updates() -> None:
    h, a, b = torch.zeros(3, 3, dtype=torch.float64).fill_diagonal_(1.0)
    for rho_a, rho_b in ((1.0, 1.0), (3.0, 3.0), (0.1, 7.0)):
        u = [(h + x * r**0.5) / (1 + r) ** 0.5 - h for x, r in ((a, rho_a), (b, rho_b))]
        cosine = float(u[0] @ u[1] / (u[0].norm() * u[1].norm()))
        assert abs(cosine - noise_floor(rho_a, rho_b)) < 1e-14
    assert round(noise_floor(1, 1), 3) == 0.146 and noise_floor(3, 3) == 0.25


def test_a_floor_of_no_update_is_refused() -> None:
    with pytest.raises(ValueError, match="positive squared norms"):
        noise_floor(0.0, 1.0)
