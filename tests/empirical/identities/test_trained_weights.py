"""A1 on real training: what SGD leaves in a projection is the old weights plus E X^T."""

import dataclasses

import pytest
import torch

from empirical.core.errors import UserError
from empirical.identities.bindings import Projections
from empirical.identities.trained_weights import Training, check_training, in_dtype, train
from empirical.models.loading import LoadedModel
from empirical.results.layer_check import CheckRefused, require
from tests.support.models.tiny_models import LABELS, queries, tiny

pytestmark = pytest.mark.dual_form


def examples(model: LoadedModel, n: int = 4) -> list[tuple[int, ...]]:
    return [(model.encoder.bos, *q.prompt, *LABELS[q.label]) for q in queries(n, seed=3)]


def trained(dtype: torch.dtype = torch.float32) -> Training:
    model = tiny(dtype)
    return train(model, examples(model), 0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_trained_projections_are_the_old_ones_plus_errors_times_inputs(dtype: torch.dtype) -> None:
    model = tiny(dtype)
    weights = [p.clone() for p in model.model.parameters()]
    checks = check_training(train(model, examples(model), 0.05))
    assert len(checks) == 2 * model.n_layers * model.n_heads
    require(checks)  # holds, is not trivial, and the near misses are refused
    assert all(torch.equal(a, b) for a, b in zip(weights, model.model.parameters(), strict=True))
    assert not [m for m in model.model.modules() if m._forward_hooks]


def test_hooks_are_removed_and_weights_restored_when_training_diverges() -> None:
    model = tiny(torch.float32)
    weights = [p.clone() for p in model.model.parameters()]
    with pytest.raises(UserError, match="divergence"):
        train(model, examples(model), 1e30)
    assert all(torch.equal(a, b) for a, b in zip(weights, model.model.parameters(), strict=True))
    assert not [m for m in model.model.modules() if m._forward_hooks]


def test_a_claim_of_another_rate_is_refused() -> None:
    wrong = dataclasses.replace(trained(), rate=0.05 * 1.01)
    with pytest.raises(CheckRefused, match="gap/bound of at most 1"):
        require(check_training(wrong))


@pytest.mark.parametrize(("which", "name"), [("after", "many"), ("after_first", "one")])
def test_a_planted_change_of_one_weight_is_refused(which: str, name: str) -> None:
    right = trained()
    moved: list[Projections] = list(getattr(right, which))
    key = moved[1].key.clone()
    key[1, 0] *= 1 + 1e-4
    moved[1] = dataclasses.replace(moved[1], key=key)
    with pytest.raises(CheckRefused, match=f"{name}.*layer 1, head 1"):
        require(check_training(dataclasses.replace(right, **{which: moved})))


def test_errors_of_another_order_of_examples_are_refused() -> None:
    model = tiny(torch.float32)
    right = train(model, examples(model), 0.05)
    other = train(model, examples(model)[::-1], 0.05)
    with pytest.raises(CheckRefused, match="many-steps-dual"):
        require(check_training(dataclasses.replace(right, records=other.records)))


def test_a_copy_in_another_dtype_leaves_the_model_alone() -> None:
    model = tiny(torch.float32)
    wide = in_dtype(model, torch.float64)
    require(check_training(train(wide, examples(model), 1e-4)))
    assert {p.dtype for p in model.model.parameters()} == {torch.float32}
    assert in_dtype(model, torch.float32) is model


def test_no_examples_are_refused() -> None:
    with pytest.raises(UserError, match="at least one example"):
        train(tiny(), [], 0.1)
