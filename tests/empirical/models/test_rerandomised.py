"""Random copies of every supported architecture: what is drawn, from what, and what is kept.

Distributions are compared with the normal one by Kolmogorov and Smirnov's test over all entries of
a model, at level 1e-9 with fixed seeds (chance of a false alarm over the whole file below 1e-7).
"""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from empirical.core.errors import UserError
from empirical.models.decoder import LoadedModel, wrap
from empirical.models.loading import load
from empirical.models.rerandomised import block_parameters, fully_random, random_blocks
from tests.support.models import architectures
from tests.support.models.architectures import VARIANTS
from tests.support.models.tiny_models import tokenizer

LEVEL = 1e-9
every_variant = pytest.mark.parametrize("name", VARIANTS)
f32 = torch.float32
# Written by hand: parts of the names of embeddings and what belongs to them, and of norms.
EMBEDDINGS = ("embed", "wte", "wpe", "lm_head", "project_")
GAINS_FROM_ZERO = ("gemma2", "gemma3_text")  # their norms multiply by 1 + weight
OWN_RANGE = {"starcoder2": 0.018042}


@cache
def trained(name: str) -> LoadedModel:
    return wrap(architectures.tiny(name, f32), tokenizer(), name)


@cache
def drawn_over(name: str) -> LoadedModel:
    return fully_random(trained(name), seeded())


@cache
def between(name: str) -> LoadedModel:
    return random_blocks(trained(name), seeded())


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def weights(model: LoadedModel) -> dict[str, torch.Tensor]:
    return dict(model.model.named_parameters())


def norm_named(key: str) -> bool:
    """By the parameter's own name, where the code asks its module's class."""
    return any(part in key for part in ("norm", "ln_"))


def initial_std(name: str, key: str) -> float:
    """By hand: 0.02, or the configuration's; GPT-2's residual maps over the root of 2 L."""
    std = OWN_RANGE.get(name, 0.02)
    return std / 4**0.5 if VARIANTS[name].kind == "gpt2" and "c_proj" in key else std


def standardised(model: LoadedModel, std: dict[str, float]) -> np.ndarray:
    """All entries of the matrices, over their standard deviations; rows of zeros are padding."""
    rows = [p[p.abs().amax(1) > 0].flatten() / std[k] for k, p in weights(model).items()
            if p.dim() > 1]  # fmt: skip
    return np.asarray(torch.cat([x.detach() for x in rows]))


@every_variant
def test_of_a_fully_random_model_nothing_is_as_it_was(name: str) -> None:
    before, made = trained(name), drawn_over(name)
    assert made.name == f"untrained {name}" and not made.model.training
    for key, new in weights(made).items():
        assert not torch.equal(new, weights(before)[key]), key
        if new.dim() == 1:
            gain = norm_named(key) and key.endswith("weight") and name not in GAINS_FROM_ZERO
            assert torch.equal(new, torch.full_like(new, float(gain))), key


@every_variant
def test_matrices_are_normal_with_the_initial_deviation_of_their_class(name: str) -> None:
    made = drawn_over(name)
    std = {k: initial_std(name, k) for k in weights(made)}
    x = standardised(made, std)
    assert stats.kstest(x, "norm").pvalue > LEVEL and len(x) > 10_000
    wider = standardised(made, {k: 1.1 * s for k, s in std.items()})  # near misses
    flat = stats.uniform(-(3**0.5), 2 * 3**0.5).ppf(stats.norm.cdf(x))
    assert max(stats.kstest(miss, "norm").pvalue for miss in (wider, flat)) < LEVEL


def test_residual_maps_of_gpt_2_are_narrower_than_its_others() -> None:
    made = drawn_over("gpt2")
    x = standardised(made, dict.fromkeys(weights(made), 0.02))  # near miss: one deviation for all
    assert stats.kstest(x, "norm").pvalue < LEVEL


@every_variant
def test_random_blocks_keep_embeddings_and_every_norm_bit_for_bit(name: str) -> None:
    before, made = trained(name), between(name)
    kept = {k for k, p in weights(made).items() if torch.equal(p, weights(before)[k])}
    top = {k for k in weights(before) if any(x in k for x in EMBEDDINGS)}
    norms = {k for k in weights(before) if norm_named(k)}
    assert kept == top | norms and top and norms
    rest = set(weights(before)) - kept
    assert len(rest) >= 2 * 4 and all(".0." in k or ".1." in k for k in rest)
    assert all(torch.count_nonzero(weights(made)[k]) == 0 for k in rest if k.endswith("bias"))
    assert made.name == f"random blocks {name}"


def test_near_misses_that_forget_norms_or_embeddings_are_seen() -> None:
    """The same blocks without the trained norms inside, or without the trained embedding."""
    before = trained("qwen3")
    kept = block_parameters(before.model)
    assert not any(norm_named(k) for k in kept)
    whole = weights(drawn_over("qwen3"))
    forgotten = {k for k, p in whole.items() if not torch.equal(p, weights(before)[k])}
    assert {"model.layers.0.self_attn.k_norm.weight", "model.norm.weight",
            "model.embed_tokens.weight", "lm_head.weight"} <= forgotten - kept  # fmt: skip


@every_variant
def test_tied_embeddings_stay_tied_and_others_apart(name: str) -> None:
    before = trained(name).model
    tied = before.get_output_embeddings().weight is before.get_input_embeddings().weight
    for made in (drawn_over(name).model, between(name).model):
        ends = made.get_output_embeddings().weight, made.get_input_embeddings().weight
        assert (ends[0] is ends[1]) == tied
    assert {n for n in VARIANTS if trained(n).model.config.tie_word_embeddings} >= {"xglm", "gpt2"}


@every_variant
def test_draws_are_those_of_the_generator_and_of_nothing_else(name: str) -> None:
    before = {k: v.clone() for k, v in trained(name).model.state_dict().items()}
    buffers = {k: v.clone() for k, v in trained(name).model.named_buffers()}
    state = torch.random.get_rng_state()
    one, two = drawn_over(name), fully_random(trained(name), seeded())
    other = fully_random(trained(name), seeded(4))
    random_blocks(trained(name), seeded(), scale="trained")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(v, before[k]) for k, v in trained(name).model.state_dict().items())
    assert all(torch.equal(v, buffers[k]) for k, v in one.model.named_buffers())
    for key, p in weights(one).items():
        assert torch.equal(p, weights(two)[key])
        assert p.dim() == 1 or not torch.equal(p, weights(other)[key])


@pytest.mark.parametrize("name", ["xglm", "gpt2", "qwen3", "bloom", "opt-350m"])
@pytest.mark.parametrize("build", [fully_random, random_blocks])
def test_at_the_trained_scale_every_matrix_keeps_its_deviation(name: str, build: object) -> None:
    before = trained(name)
    made = build(before, seeded(), scale="trained")  # type: ignore[operator]
    initial = build(before, seeded())  # type: ignore[operator]
    drawn = [k for k, p in weights(made).items()
             if p.dim() > 1 and not torch.equal(p, weights(before)[k])]  # fmt: skip
    x, y = (
        np.concatenate([(weights(m)[k] / weights(before)[k].std()).detach().flatten()
                        for k in drawn]) for m in (made, initial)
    )  # fmt: skip
    assert stats.kstest(x, "norm").pvalue > LEVEL and len(x) > 10_000
    assert stats.kstest(y, "norm").pvalue < LEVEL  # near miss: the initial scale
    assert all(torch.equal(p, weights(initial)[k]) for k, p in weights(made).items()
               if k not in drawn)  # fmt: skip


def test_a_model_read_from_files_is_drawn_over_too(model: Path) -> None:
    """What transformers read from a file it marks as done, and passes over if asked again."""
    read = load(str(model))
    made = fully_random(read, seeded())
    assert not any(torch.equal(p, weights(read)[k]) for k, p in weights(made).items()
                   if p.dim() > 1)  # fmt: skip


def test_a_weight_that_no_rule_knows_and_a_wrong_scale_are_refused() -> None:
    with pytest.raises(UserError, match="expected scale 'initial' or 'trained', got 'half'"):
        fully_random(trained("gpt2"), seeded(), scale="half")  # type: ignore[arg-type]
    strange = wrap(architectures.randomised(architectures.tiny("gpt2", f32).config), tokenizer(),
                   "strange")  # fmt: skip
    layer = strange.model.transformer.h[0]
    layer.register_parameter("gate", torch.nn.Parameter(torch.ones(3)))
    with pytest.raises(UserError, match=r"got none for transformer\.h\.0\.gate; its class has no"):
        random_blocks(strange, seeded())
