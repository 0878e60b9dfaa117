"""Finetuning in which no gradient passes between layers, undone on leaving.

Layer-causal gradient descent (LCGD) of Deutch et al., arXiv 2311.07772: a layer's keys and values
are trained by the loss of an exit right behind that layer, so that, as in context, what a layer
learns comes from the layers below it alone. The layer's input counts as a constant; its output goes
through the frozen final norm and output layer. GPT-1 and OPT-350M have no final norm: their layers
end with one, and their exits are the output layer alone (OPT-350M's with its projection).

Plain SGD, constant rate, batch 1, one pass, as in `empirical.inference.finetune`. Letters: L
layers, T tokens, d model width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor

from empirical.core.progress import Advance, ignore
from empirical.inference.attention import Run, Watch
from empirical.inference.finetune import Step, Trained, descended, move
from empirical.inference.forward import states
from empirical.models.architectures.final_norm import early_exit, layers_of
from empirical.models.decoder import LoadedModel


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


def layer_causally_finetuned(
    model: LoadedModel,
    examples: Sequence[Sequence[int]],
    rate: float,
    advance: Advance = ignore,
    watch: Watch | None = None,
) -> AbstractContextManager[list[float]]:
    """`descended` by LCGD on `examples` ([BOS] prompt label each).

    Yields the losses, for each example the sum over layers. `watch` sees each forward pass before
    its step.

    Raises:
        UserError: on entering, as `descended`; `DivergedError` as well.
    """

    def stepping(moving: list[Trained]) -> Step:
        layers, run = layers_of(model.model), Run(model.blocks, watch=watch)
        by_layer = _of_each_layer(layers, moving)
        in_order = [t for own in by_layer for t in own]

        def step(tokens: Sequence[int]) -> float:
            total, gradients = 0.0, list[Tensor]()
            with torch.enable_grad():
                with _kept_outputs(layers) as gave:
                    states(model, run, [tokens], len(tokens))
                # One exit at a time: the scores of the whole vocabulary are held for one layer
                # alone. Its gradient is asked of that layer's own weights, so that what enters the
                # layer is a constant.
                for own, out in zip(by_layer, gave, strict=True):
                    value = _exit_loss(model, out, tokens)
                    gradients += torch.autograd.grad(value, [t.parameter for t in own])
                    total += float(value.detach())
            move(in_order, gradients, rate)
            return total

        return step

    what = " of layer-causal finetuning"
    return descended(model, examples, rate, advance, stepping, what)
