"""Plain SGD on key and value projections; everything restored bit for bit."""

import pytest
import torch

from empirical.core.errors import UserError
from empirical.inference.finetune import DivergedError, finetuned, loss, trained
from empirical.models.decoder import wrap
from tests.support.models import architectures
from tests.support.models.tiny_models import queries, tiny, tokenizer


def examples() -> list[tuple[int, ...]]:
    return [(1, *q.prompt, 70) for q in queries(3)]


def test_weights_and_flags_are_restored_bit_for_bit_even_after_an_error() -> None:
    model = tiny(torch.float32)
    before = {k: v.clone() for k, v in model.model.state_dict().items()}
    flags = [p.requires_grad for p in model.model.parameters()]
    with pytest.raises(RuntimeError, match="stop"), finetuned(model, examples(), 0.1):
        raise RuntimeError("stop")
    assert all(torch.equal(v, before[k]) for k, v in model.model.state_dict().items())
    assert [p.requires_grad for p in model.model.parameters()] == flags


def test_only_key_and_value_projections_move() -> None:
    model = tiny(torch.float32)
    before = {k: v.clone() for k, v in model.model.state_dict().items()}
    with finetuned(model, examples(), 0.1):
        moved = {k for k, v in model.model.state_dict().items() if not torch.equal(v, before[k])}
    # a key bias shifts every score of a query alike: its gradient is zero up to rounding
    assert all("k_proj" in k or "v_proj" in k for k in moved)
    assert {k for k in before if "v_proj" in k or "k_proj.weight" in k} <= moved


def test_a_step_equals_the_library_optimiser_to_one_rounding() -> None:
    """The twin is torch.optim.SGD; the two subtractions differ by at most one rounding."""
    model, twin = tiny(), tiny()
    optimiser = torch.optim.SGD([t.parameter for t in trained(twin)], lr=0.5)
    first = examples()[:1]
    optimiser.zero_grad()
    loss(twin, first[0]).backward()
    optimiser.step()
    u = torch.finfo(torch.float64).eps
    with finetuned(model, first, 0.5):
        # rate 0.5 scales without rounding, so both round the same subtraction once
        for one, other in zip(trained(model), trained(twin), strict=True):
            a, b = one.parameter, other.parameter
            assert bool(((a - b).abs() <= u * a.abs()).all())


def test_bad_rates_and_divergence_say_what_to_do() -> None:
    model = tiny(torch.float32)
    with pytest.raises(UserError, match="positive finite learning rate, got 0"):
        with finetuned(model, examples(), 0):
            pass
    with pytest.raises(DivergedError, match="choose a smaller rate"):
        with finetuned(model, examples(), 1e38):
            pass


def test_half_precision_is_refused() -> None:
    with pytest.raises(UserError, match="expected float32 weights"):
        with finetuned(tiny(torch.bfloat16), examples(), 0.1):
            pass


def test_training_stops_at_the_first_loss_that_is_not_finite() -> None:
    steps: list[int] = []
    with pytest.raises(DivergedError, match=r"last loss (nan|inf) at step 2\)"):
        with finetuned(tiny(torch.float32), examples(), 1e38, steps.append):
            pass
    assert steps == [1]


def test_no_examples_are_refused() -> None:
    with pytest.raises(UserError, match="at least one example to finetune on, got none"):
        with finetuned(tiny(torch.float32), [], 0.1):
            pass


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "bloom", "falcon", "falcon-groups"])
def test_of_a_map_that_makes_queries_as_well_only_keys_and_values_move(name: str) -> None:
    small = architectures.tiny(name, torch.float32)
    model = wrap(small, tokenizer(), name)
    before = [(b.query.augmented(), b.key.augmented(), b.value.augmented()) for b in model.blocks]
    rest = {k: v.clone() for k, v in small.state_dict().items()}
    with finetuned(model, [(1, 5, 9, 4, 70), (1, 8, 3, 71)], 0.1):
        for block, (q, k, v) in zip(model.blocks, before, strict=True):
            assert torch.equal(block.query.augmented(), q)
            assert not torch.equal(block.key.augmented(), k)
            assert not torch.equal(block.value.augmented(), v)
        moved = {k for k, v in small.state_dict().items() if not torch.equal(v, rest[k])}
    assert moved and all("c_attn" in k or "query_key_value" in k for k in moved)
    assert all(torch.equal(v, rest[k]) for k, v in small.state_dict().items())
