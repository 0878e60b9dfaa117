"""Finetuning of the key and value projections, as the paper's code does it, undone on leaving.

Plain SGD, constant rate, batch 1, one pass in demonstration order; the loss of an example is the
mean NLL over all its tokens after BOS.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from empirical.decoder import LoadedModel, default_dtype_of
from empirical.errors import UserError
from empirical.progress import Advance, ignore


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


def _check(trained: Sequence[Tensor], rate: float) -> None:
    """Refuse what cannot be finetuned.

    Raises:
        UserError: for a rate that is not positive and finite, or weights narrower than float32.
    """
    if not (math.isfinite(rate) and rate > 0):
        raise UserError(
            f"expected a positive finite learning rate, got {rate}; choose another rate"
        )
    if any(torch.finfo(p.dtype).bits < 32 for p in trained):
        raise UserError(
            f"expected float32 weights to finetune, got {trained[0].dtype}; load with float32"
        )


def _descend(
    model: LoadedModel,
    trained: list[Tensor],
    examples: Sequence[Sequence[int]],
    rate: float,
    advance: Advance,
) -> list[float]:
    """One pass of SGD in place; the losses, which are no longer finite once training diverged.

    Raises:
        DivergedError: at the first loss, or after the last step at weights, not finite.
    """
    losses: list[float] = []
    for tokens in examples:
        with torch.enable_grad():
            value = loss(model, tokens)
            gradients = torch.autograd.grad(value, trained)
        with torch.no_grad():
            for p, g in zip(trained, gradients, strict=True):
                p.sub_(rate * g)
        losses.append(float(value.detach()))
        if not math.isfinite(losses[-1]):
            break
        advance(1)
    if not math.isfinite(losses[-1]) or not all(bool(torch.isfinite(p).all()) for p in trained):
        raise DivergedError(
            f"expected finite losses and weights at rate {rate:g}, got a divergence "
            f"(last loss {losses[-1]:g} at step {len(losses)}); choose a smaller rate"
        )
    return losses


@contextmanager
def finetuned(
    model: LoadedModel,
    examples: Sequence[Sequence[int]],
    rate: float,
    advance: Advance = ignore,
) -> Iterator[list[float]]:
    """The model after one pass over `examples` ([BOS] prompt label each); yields the losses.

    On leaving, weights are restored bit for bit and `requires_grad` flags as they were.
    `advance(1)` is called after every step.

    Raises:
        UserError: without examples, for a rate that is not positive and finite, or weights
            narrower than float32.
        DivergedError: when a loss or a weight is no longer finite.
    """
    if not examples:
        raise UserError("expected at least one example to finetune on, got none; pass some")
    trained = trained_parameters(model)
    _check(trained, rate)
    before = [p.detach().clone() for p in trained]
    flags = [(p, p.requires_grad) for p in model.model.parameters()]
    try:
        for p, _ in flags:
            p.requires_grad_(False)
        for p in trained:
            p.requires_grad_(True)
        losses = _descend(model, trained, examples, rate, advance)
        for p in trained:
            p.requires_grad_(False)
        yield losses
    finally:
        with torch.no_grad():
            for p, old in zip(trained, before, strict=True):
                p.copy_(old)
        for p, flag in flags:
            p.requires_grad_(flag)
