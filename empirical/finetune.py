"""Finetuning of the key and value projections, as the paper's code does it, undone on leaving.

Plain SGD, constant rate, batch 1, one pass in demonstration order; the loss of an example is the
mean NLL over all its tokens after BOS.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from empirical.errors import UserError
from empirical.models import LoadedModel, default_dtype_of


class DivergedError(UserError):
    """Finetuning reached a non-finite loss or weight."""


def trained_parameters(model: LoadedModel) -> list[Tensor]:
    """Weights and biases of every k_proj and v_proj."""
    blocks = [layer.self_attn for layer in model.model.model.layers]
    return [p for b in blocks for proj in (b.k_proj, b.v_proj) for p in proj.parameters()]


def loss(model: LoadedModel, tokens: Sequence[int]) -> Tensor:
    """Mean NLL of tokens 1.. given their prefixes; log-softmax in float32 or wider."""
    ids = torch.tensor([list(tokens)], device=model.device)
    with default_dtype_of(model):
        hidden = model.model.model(input_ids=ids, use_cache=False).last_hidden_state[0, :-1]
    logits = model.model.lm_head(hidden)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return torch.nn.functional.cross_entropy(logits, ids[0, 1:])


@contextmanager
def finetuned(
    model: LoadedModel, examples: Sequence[Sequence[int]], rate: float
) -> Iterator[list[float]]:
    """The model after one pass over `examples` ([BOS] prompt label each); yields the losses.

    On leaving, weights are restored bit for bit and `requires_grad` flags as they were.

    Raises:
        UserError: for a rate that is not positive and finite, or weights narrower than float32.
        DivergedError: when a loss or a weight is no longer finite.
    """
    if not (math.isfinite(rate) and rate > 0):
        raise UserError(
            f"expected a positive finite learning rate, got {rate}; choose another rate"
        )
    trained = trained_parameters(model)
    if any(torch.finfo(p.dtype).bits < 32 for p in trained):
        raise UserError(
            f"expected float32 weights to finetune, got {trained[0].dtype}; load with float32"
        )
    before = [p.detach().clone() for p in trained]
    flags = [(p, p.requires_grad) for p in model.model.parameters()]
    losses: list[float] = []
    try:
        for p, _ in flags:
            p.requires_grad_(False)
        for p in trained:
            p.requires_grad_(True)
        with torch.enable_grad():
            for tokens in examples:
                value = loss(model, tokens)
                gradients = torch.autograd.grad(value, trained)
                with torch.no_grad():
                    for p, g in zip(trained, gradients, strict=True):
                        p.sub_(rate * g)
                losses.append(float(value.detach()))
        finite = all(map(math.isfinite, losses)) and all(
            bool(torch.isfinite(p).all()) for p in trained
        )
        if not finite:
            raise DivergedError(
                f"expected finite losses and weights at rate {rate}, got a divergence "
                f"(losses {losses}); choose a smaller rate"
            )
        for p in trained:
            p.requires_grad_(False)
        yield losses
    finally:
        with torch.no_grad():
            for p, old in zip(trained, before, strict=True):
                p.copy_(old)
        for p, flag in flags:
            p.requires_grad_(flag)
