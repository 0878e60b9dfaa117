"""Finetuning in which no gradient passes between layers, undone on leaving.

Layer-causal gradient descent (LCGD) of Deutch et al., arXiv 2311.07772: a layer's keys and values
are trained by the loss of an exit right behind that layer, so that, as in context, what a layer
learns comes from the layers below it alone. The layer's input counts as a constant; its output goes
through the frozen final norm and output layer. GPT-1 and OPT-350M have no final norm: their layers
end with one, and their exits are the output layer alone (OPT-350M's with its projection).

Plain SGD, constant rate, batch 1, one pass, as in `empirical.finetune`. Letters: L layers, T
tokens, d model width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from empirical.attention import Run, Watch
from empirical.decoder import LoadedModel
from empirical.errors import UserError
from empirical.finetune import DivergedError, Trained, restoring, trained
from empirical.finetune import check_trainable as check_trainable
from empirical.forward import states
from empirical.layer_modules import early_exit, layers_of
from empirical.progress import Advance, ignore


@contextmanager
def _kept_outputs(layers: Sequence[Any]) -> Iterator[list[Tensor]]:
    """What each layer gave [1,T,d], in order; the hooks are removed on leaving."""
    gave: list[Tensor] = []

    def leave(_m: Any, _given: Any, out: Any) -> None:
        gave.append(out if isinstance(out, Tensor) else out[0])

    handles = []
    try:
        for layer in layers:
            handles.append(layer.register_forward_hook(leave))
        yield gave
    finally:
        for handle in handles:
            handle.remove()


def _of_each_layer(layers: Sequence[Any], moving: Sequence[Trained]) -> list[list[Trained]]:
    """The parts of `moving` that stand in each layer."""
    inside = [{id(p) for p in layer.parameters()} for layer in layers]
    return [[t for t in moving if id(t.parameter) in own] for own in inside]


def _exit_loss(model: LoadedModel, gave: Tensor, tokens: Sequence[int]) -> Tensor:
    """Mean NLL of tokens 1.. from what one layer gave [1,T,d]; in float32 or wider."""
    out = early_exit(model.model, gave[0, :-1])
    out = out.to(torch.promote_types(out.dtype, torch.float32))
    return torch.nn.functional.cross_entropy(out, torch.tensor(tokens[1:], device=out.device))


def _step(
    model: LoadedModel, by_layer: list[list[Trained]], tokens: Sequence[int], rate: float, run: Run
) -> float:
    """One step of every layer on its own loss, in place; the sum of the losses before it."""
    total = 0.0
    gradients: list[Tensor] = []
    with torch.enable_grad():
        with _kept_outputs(layers_of(model.model)) as gave:
            states(model, run, [tokens], len(tokens))
        # One exit at a time: the scores of the whole vocabulary are held for one layer alone. Its
        # gradient is asked of that layer's own weights, so what enters the layer is a constant.
        for own, out in zip(by_layer, gave, strict=True):
            value = _exit_loss(model, out, tokens)
            gradients += torch.autograd.grad(value, [t.parameter for t in own])
            total += float(value.detach())
    with torch.no_grad():
        for t, g in zip((t for own in by_layer for t in own), gradients, strict=True):
            t.step(g, rate)
    return total


def _descend(
    model: LoadedModel,
    moving: list[Trained],
    examples: Sequence[Sequence[int]],
    rate: float,
    advance: Advance,
    watch: Watch | None,
) -> list[float]:
    """One pass in place; the sums of losses.

    Raises:
        DivergedError: at the first loss, or after the last step at weights, not finite.
    """
    losses: list[float] = []
    by_layer = _of_each_layer(layers_of(model.model), moving)
    run = Run(model.blocks, watch=watch)
    for tokens in examples:
        losses.append(_step(model, by_layer, tokens, rate, run))
        if not math.isfinite(losses[-1]):
            break
        advance(1)
    if not math.isfinite(losses[-1]) or not all(
        bool(torch.isfinite(t.part()).all()) for t in moving
    ):
        raise DivergedError(
            f"expected finite losses and weights at rate {rate:g}, got a divergence of layer-causal"
            f" finetuning (last loss {losses[-1]:g} at step {len(losses)}); choose a smaller rate"
        )
    return losses


@contextmanager
def layer_causally_finetuned(
    model: LoadedModel,
    examples: Sequence[Sequence[int]],
    rate: float,
    advance: Advance = ignore,
    watch: Watch | None = None,
) -> Iterator[list[float]]:
    """The model after one pass of LCGD over `examples` ([BOS] prompt label each).

    Yields the losses, for each example the sum over layers. On leaving, weights are restored bit
    for bit and `requires_grad` flags as they were. `advance(1)` is called after every step. `watch`
    sees each forward pass before its step.

    Raises:
        UserError: without examples, for a rate that is not positive and finite, or weights
            narrower than float32.
        DivergedError: when a loss or a weight is no longer finite.
    """
    if not examples:
        raise UserError("expected at least one example to finetune on, got none; pass some")
    moving = trained(model)
    check_trainable([t.parameter for t in moving], rate)
    with restoring(model, moving):
        for t in moving:
            t.parameter.requires_grad_(True)
        losses = _descend(model, moving, examples, rate, advance, watch)
        for t in moving:
            t.parameter.requires_grad_(False)
        yield losses
