"""The named scales: what they say of themselves is what is built, and what the paper prints."""

from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from transformers import XGLMForCausalLM

from empirical.cli import options
from empirical.core.errors import UserError
from empirical.momentum.scales import ETAS, SCALES, Scale, layers, scale
from empirical.momentum.train import config_of
from empirical.results.attention_kinds import KINDS, MOMENTUM, PLAIN, Layer


@pytest.mark.parametrize("name", SCALES)
def test_the_stated_parameters_are_those_of_the_model(name: str) -> None:
    """The slow twin counts the tensors of the class, which share the embedding."""
    with torch.device("meta"):
        model = XGLMForCausalLM(config_of(SCALES[name]))
    assert sum(p.numel() for p in model.parameters()) == SCALES[name].parameters


def test_a_count_that_takes_the_shared_embedding_twice_is_another() -> None:
    at = SCALES["nano"]
    with torch.device("meta"):
        model = XGLMForCausalLM(config_of(at))
    twice = sum(p.numel() for _, p in model.named_parameters(remove_duplicate=False))
    assert twice == at.parameters + at.vocabulary * at.width


def test_the_scale_of_the_paper_is_the_one_that_it_prints() -> None:
    """Dai et al., section 5: 350M, 512K tokens a batch, 500K steps."""
    at = SCALES["paper"]
    assert (at.layers, at.width, at.ffn, at.heads, at.length) == (24, 1024, 4096, 16, 1024)
    assert (at.rows * at.length, at.steps, at.warmup) == (512 * 1024, 500_000, 20_000)
    assert (at.betas, at.epsilon, at.rate, at.clip) == ((0.9, 0.98), 1e-6, 3e-4, 2.0)
    assert 345e6 < at.parameters < 355e6
    assert (at.lengths, at.dtype) == ((256, 512, 1024), "bfloat16")


def test_small_has_about_thirty_million_parameters() -> None:
    assert 25e6 < SCALES["small"].parameters < 35e6


def test_cost_is_six_operations_for_each_parameter_and_token_and_attention() -> None:
    """By hand: 2 windows of 8 tokens, 3 steps; attention is 2 products of width x places, half of
    them masked, three times that with the backward pass, for each of the layers.
    """
    at = replace(SCALES["nano"], layers=2, width=4, length=8, rows=2, steps=3)
    assert at.tokens == 48
    forward = 2 * at.parameters + at.layers * 2 * (2 * at.width * at.length / 2)
    assert at.flops == 48 * 3 * forward


@pytest.mark.parametrize("name", SCALES)
def test_lengths_are_a_quarter_half_and_all(name: str) -> None:
    a, b, c = SCALES[name].lengths
    assert (4 * a, 2 * b, c) == (SCALES[name].length,) * 3


@pytest.mark.parametrize("name", SCALES)
def test_a_checkpoint_never_cuts_a_line_of_the_curve_in_two(name: str) -> None:
    """A run that goes on from it would otherwise average that line over fewer steps."""
    assert SCALES[name].save % SCALES[name].every == 0


def test_every_number_of_a_scale_has_to_be_equal_between_models() -> None:
    at = SCALES["nano"]
    assert set(at.settings()) == {*asdict(at)}
    for key, value in asdict(at).items():
        other: Any = value + 1 if isinstance(value, int | float) else value * 2
        assert other != value and replace(at, **{key: other}).settings() != at.settings(), key


def test_by_default_the_claim_and_its_controls_are_swept_and_the_others_seen_once() -> None:
    found = layers((), (), False)
    assert found[0] == Layer() and len(found) == len(set(found)) == 1 + 3 * len(ETAS) + 2
    for kind in ("momentum", "averaged_values", "recency_bias"):
        assert [x.eta for x in found if x.kind == kind] == list(ETAS)
    assert [x.eta for x in found if x.kind in ("heavy_ball", "averaged_keys")] == [0.5, 0.5]
    assert {x.kind for x in found} == {*KINDS} and not any(x.learned for x in found)


def test_learned_etas_are_one_model_more() -> None:
    without, found = layers((), (), False), layers((), (), True)
    assert found[:-1] == without
    assert found[-1] == Layer(kind=MOMENTUM, eta=0.5, learned=True)


def test_what_is_asked_for_is_what_is_trained_with_plain_attention_beside_it() -> None:
    found = layers(("heavy_ball", PLAIN, "heavy_ball"), (0.2, 0.4), False)
    assert found == (Layer(), *(Layer(kind="heavy_ball", eta=eta) for eta in (0.2, 0.4)))
    swept = layers((), (0.9, 0.4), False)
    assert {x.eta for x in swept if x.kind == "averaged_keys"} == {0.4}, "the nearest to a half"


def test_an_unknown_kind_or_scale_is_named() -> None:
    with pytest.raises(UserError, match="expected a kind of attention among plain, .*'moment'"):
        layers(("moment",), (0.5,), False)
    with pytest.raises(UserError, match="expected a scale among nano, small, paper, got 'mega'"):
        scale("mega")
    assert isinstance(scale("nano"), Scale)


@pytest.mark.parametrize("text", ["1", "-0.1", "0.5,0.5", "a", "", "nan"])
def test_etas_that_are_none_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(UserError, match="expected different etas from 0 to below 1"):
        options.etas(text)
    assert options.etas("0,0.5") == (0.0, 0.5)
