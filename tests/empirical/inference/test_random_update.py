"""A random change of every trained part, of the norm of the true change, undone on leaving.

Bound. The weights that a change leaves are rounded in float64 and in their own dtype: entry by
entry by at most (u + v) |w + d|, v the unit roundoff of float64, so the norm of what was really
added is off by at most (u + v) ||w + d||, and by the roundings of the norm itself (n + 4 of them, n
entries, in the code and in the test).
"""

import numpy as np
import pytest
import torch
from scipy import stats

from empirical.core.errors import UserError
from empirical.inference.finetune import DivergedError, finetuned, trained
from empirical.inference.random_update import randomly_updated, update_norms
from empirical.models.decoder import LoadedModel, wrap
from tests.support.models import architectures
from tests.support.models.tiny_models import tiny, tokenizer

EXAMPLES = [(1, 5, 9, 4, 70), (1, 8, 3, 71)]
RATE = 0.1
f32, f64 = torch.float32, torch.float64
kinds = pytest.mark.parametrize("name", ["xglm", "gpt2", "falcon-groups", "bloom", "llama"])


def loaded(name: str, dtype: torch.dtype = f32) -> LoadedModel:
    return wrap(architectures.tiny(name, dtype), tokenizer(), name)


def seeded(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def values(model: LoadedModel) -> list[np.ndarray]:
    return [t.part().double().clone().numpy() for t in trained(model)]


def lengths(after: list[np.ndarray], before: list[np.ndarray]) -> list[float]:
    return [float(np.sqrt(((a - b) ** 2).sum())) for a, b in zip(after, before, strict=True)]


def off(after: np.ndarray, dtype: torch.dtype) -> float:
    """How far the length of a change can be off by rounding the weights."""
    u, v = torch.finfo(dtype).eps / 2, np.finfo(np.float64).eps / 2
    return float((u + v) * np.linalg.norm(after))


@kinds
def test_norms_are_those_of_what_finetuning_adds(name: str) -> None:
    model = loaded(name)
    before = values(model)
    with finetuned(model, EXAMPLES, RATE):
        want = lengths(values(model), before)
    steps: list[int] = []
    got = update_norms(model, EXAMPLES, RATE, steps.append)
    v = np.finfo(np.float64).eps
    for a, b, part in zip(got, want, before, strict=True):
        assert abs(a - b) <= (part.size + 4) * v * b
    assert max(got) > 0 and steps == [1, 1]
    assert all(np.array_equal(a, b) for a, b in zip(values(model), before, strict=True))
    first = update_norms(model, EXAMPLES[:1], RATE)  # near miss: of the first step alone
    assert any(abs(a - b) > (p.size + 4) * v * b
               for a, b, p in zip(first, want, before, strict=True))  # fmt: skip


@kinds
@pytest.mark.parametrize("dtype", [f32, f64])
def test_every_part_moves_by_exactly_its_norm(name: str, dtype: torch.dtype) -> None:
    model = loaded(name, dtype)
    before = values(model)
    norms = tuple(0.5 + i / 8 for i in range(len(before)))
    queries = [b.query.augmented() for b in model.blocks]
    with randomly_updated(model, norms, seeded()):
        after = values(model)
        assert all(torch.equal(b.query.augmented(), q)
                   for b, q in zip(model.blocks, queries, strict=True))  # fmt: skip
    draws = np.random.default_rng(0)
    for length, norm, part in zip(lengths(after, before), norms, after, strict=True):
        limit = off(part, dtype) + 2 * (part.size + 4) * 2.0**-53 * norm
        assert abs(length - norm) <= limit
        # Near misses: the next part's norm, and a draw that has this norm on average alone.
        assert abs(length - (norm + 0.125)) > limit
        drawn = float(np.linalg.norm(draws.standard_normal(part.size))) / part.size**0.5
        assert abs(drawn * norm - norm) > limit


def test_the_direction_is_normal_and_another_for_every_part_and_seed() -> None:
    """Kolmogorov and Smirnov at level 1e-9; parts and seeds share no direction."""
    model = loaded("xglm", f64)
    before = values(model)
    norms = tuple(float(np.sqrt(b.size)) for b in before)  # entries of variance one
    found = []
    for seed in (5, 6, 5):
        with randomly_updated(model, norms, seeded(seed)):
            found.append([a - b for a, b in zip(values(model), before, strict=True)])
    x = np.concatenate([d.ravel() for d in found[0]])
    assert stats.kstest(x, "norm").pvalue > 1e-9 and len(x) > 4000
    flat = np.sqrt(3) * (2 * stats.norm.cdf(x) - 1)  # near miss: a uniform draw
    assert stats.kstest(flat, "norm").pvalue < 1e-9
    same = [np.array_equal(a, b) for a, b in zip(found[0], found[2], strict=True)]
    other = [np.array_equal(a, b) for a, b in zip(found[0], found[1], strict=True)]
    assert all(same) and not any(other)
    assert not np.array_equal(found[0][0], found[0][2])


def test_draws_leave_the_global_state_alone_and_do_not_depend_on_the_dtype() -> None:
    state, moves = torch.random.get_rng_state(), []
    for dtype in (f32, f64):
        model = loaded("xglm", dtype)
        before = values(model)
        with randomly_updated(model, (1.0,) * len(before), seeded()):
            after = values(model)
            moves.append([a - b for a, b in zip(after, before, strict=True)])
    assert torch.equal(torch.random.get_rng_state(), state)
    for narrow, wide, part in zip(*moves, after, strict=True):
        # each entry of float32 weights was rounded once
        assert (np.abs(narrow - wide) <= 2.0**-24 * np.abs(part) * (1 + 2.0**-20)).all()


@kinds
def test_weights_and_flags_are_restored_bit_for_bit_even_after_an_error(name: str) -> None:
    model = loaded(name)
    before = {k: v.clone() for k, v in model.model.state_dict().items()}
    flags = [p.requires_grad for p in model.model.parameters()]
    norms = (1.0,) * len(trained(model))
    with pytest.raises(RuntimeError, match="stop"), randomly_updated(model, norms, seeded()):
        assert not all(torch.equal(v, before[k]) for k, v in model.model.state_dict().items())
        raise RuntimeError("stop")
    assert all(torch.equal(v, before[k]) for k, v in model.model.state_dict().items())
    assert [p.requires_grad for p in model.model.parameters()] == flags


def test_a_norm_of_zero_moves_nothing() -> None:
    model = tiny(f32)
    before = values(model)
    norms = (0.0, *(1.0,) * (len(before) - 1))
    with randomly_updated(model, norms, seeded()):
        after = values(model)
    moved = [not np.array_equal(a, b) for a, b in zip(after, before, strict=True)]
    assert moved == [False, *[True] * (len(before) - 1)]


def test_norms_of_another_model_and_divergence_are_refused() -> None:
    model = tiny(f32)
    with pytest.raises(UserError, match="one norm for each of 8 trained parts, got 2; take them"):
        with randomly_updated(model, (1.0, 1.0), seeded()):
            pass
    for bad in (float("nan"), -1.0, float("inf")):
        with pytest.raises(UserError, match=f"finite and at least 0, got {bad}; take them"):
            with randomly_updated(model, (1.0,) * 7 + (bad,), seeded()):
                pass
    with pytest.raises(DivergedError, match="choose a smaller rate"):
        update_norms(model, EXAMPLES, 1e38)
