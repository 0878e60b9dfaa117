"""Finetuning of the key and value projections, as the paper's code does it, undone on leaving.

Plain SGD, constant rate, batch 1, one pass in demonstration order; the loss of an example is the
mean NLL over all its tokens after BOS. Where one map makes queries as well (GPT-2, GPT-NeoX), only
its channels of keys and values move.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from empirical.core.errors import UserError
from empirical.core.progress import Advance, ignore
from empirical.inference.attention import Run, Watch
from empirical.inference.forward import states
from empirical.models.architectures import logits
from empirical.models.decoder import LoadedModel


class DivergedError(UserError):
    """Finetuning reached a non-finite loss or weight."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A parameter and the output channels (on `axis`) that move; None: all of them."""

    parameter: Tensor
    channels: Tensor | None
    axis: int = 0

    def part(self) -> Tensor:
        """The values that move: the parameter itself, or a copy of some channels."""
        whole = self.parameter.detach()
        return whole if self.channels is None else whole.index_select(self.axis, self.channels)

    def step(self, gradient: Tensor, rate: float) -> None:
        """Move against the gradient of the whole parameter, in place."""
        if self.channels is None:
            self.parameter.sub_(rate * gradient)
            return
        moved = self.part() - rate * gradient.index_select(self.axis, self.channels)
        self.put(moved)

    def put(self, values: Tensor) -> None:
        """Set the values that move."""
        if self.channels is None:
            self.parameter.copy_(values)
        else:
            self.parameter.index_copy_(self.axis, self.channels, values)


def trained(model: LoadedModel) -> list[Trained]:
    """Weights and biases of every key and value projection."""
    found: list[Trained] = []
    for block in model.blocks:
        shared = block.key.module is block.value.module
        pairs = [(block.key,), (block.value,)] if not shared else [(block.key, block.value)]
        for maps in pairs:
            module, axis = maps[0].module, int(maps[0].transposed)
            channels = torch.cat([m.channels.flatten() for m in maps]).sort().values
            whole = len(channels) == module.weight.shape[axis]
            kept = None if whole else channels.to(module.weight.device)
            found.append(Trained(parameter=module.weight, channels=kept, axis=axis))
            if module.bias is not None:
                found.append(Trained(parameter=module.bias, channels=kept))
    return found


def loss(model: LoadedModel, tokens: Sequence[int], run: Run | None = None) -> Tensor:
    """Mean NLL of tokens 1.. given their prefixes; log-softmax in float32 or wider."""
    own = Run(model.blocks) if run is None else run
    last = states(model, own, [tokens], len(tokens))[0, :-1]
    out = logits(model.model, last)
    out = out.to(torch.promote_types(out.dtype, torch.float32))
    return torch.nn.functional.cross_entropy(out, torch.tensor(tokens[1:], device=out.device))


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


Step = Callable[[Sequence[int]], float]  # one step on an example, in place; the loss before it


def _descend(
    moving: list[Trained],
    examples: Sequence[Sequence[int]],
    rate: float,
    advance: Advance,
    step: Step,
    what: str,
) -> list[float]:
    """One pass in place; the losses, which are no longer finite once training diverged.

    Raises:
        DivergedError: at the first loss, or after the last step at weights, not finite.
    """
    losses: list[float] = []
    for tokens in examples:
        losses.append(step(tokens))
        if not math.isfinite(losses[-1]):
            break
        advance(1)
    if not math.isfinite(losses[-1]) or not all(
        bool(torch.isfinite(t.part()).all()) for t in moving
    ):
        raise DivergedError(
            f"expected finite losses and weights at rate {rate:g}, got a divergence"
            f"{what} (last loss {losses[-1]:g} at step {len(losses)}); choose a smaller rate"
        )
    return losses


def move(moving: Sequence[Trained], gradients: Sequence[Tensor], rate: float) -> None:
    """One step of SGD, in place, against a gradient for each part."""
    with torch.no_grad():
        for t, g in zip(moving, gradients, strict=True):
            t.step(g, rate)


@contextmanager
def restoring(model: LoadedModel, moving: Sequence[Trained]) -> Iterator[None]:
    """On leaving, the values of `moving` and every `requires_grad` flag are put back bit for bit.

    Gradients are wanted of nothing while inside, unless the body asks.
    """
    before = [t.part().clone() for t in moving]
    flags = [(p, p.requires_grad) for p in model.model.parameters()]
    try:
        for p, _ in flags:
            p.requires_grad_(False)
        yield
    finally:
        with torch.no_grad():
            for t, old in zip(moving, before, strict=True):
                t.put(old)
        for p, flag in flags:
            p.requires_grad_(flag)


@contextmanager
def descended(
    model: LoadedModel,
    examples: Sequence[Sequence[int]],
    rate: float,
    advance: Advance,
    stepping: Callable[[list[Trained]], Step],
    what: str,
) -> Iterator[list[float]]:
    """The model after one pass of a rule of steps over `examples`; yields the losses.

    `stepping` makes the rule from the parts that move; `what` follows "a divergence" in errors. On
    leaving, weights are restored bit for bit and `requires_grad` flags as they were. `advance(1)`
    is called after every step.

    Raises:
        UserError: without examples, for a rate that is not positive and finite, or weights
            narrower than float32.
        DivergedError: when a loss or a weight is no longer finite.
    """
    if not examples:
        raise UserError("expected at least one example to finetune on, got none; pass some")
    moving = trained(model)
    _check([t.parameter for t in moving], rate)
    with restoring(model, moving):
        for t in moving:
            t.parameter.requires_grad_(True)
        losses = _descend(moving, examples, rate, advance, stepping(moving), what)
        for t in moving:
            t.parameter.requires_grad_(False)
        yield losses


def finetuned(
    model: LoadedModel,
    examples: Sequence[Sequence[int]],
    rate: float,
    advance: Advance = ignore,
    watch: Watch | None = None,
) -> AbstractContextManager[list[float]]:
    """`descended` by the paper's finetuning on `examples` ([BOS] prompt label each).

    `watch` sees each forward pass before its step.

    Raises:
        UserError: on entering, as `descended`; `DivergedError` as well.
    """

    def stepping(moving: list[Trained]) -> Step:
        run = Run(model.blocks, watch=watch)

        def step(tokens: Sequence[int]) -> float:
            with torch.enable_grad():
                value = loss(model, tokens, run)
                gradients = torch.autograd.grad(value, [t.parameter for t in moving])
            move(moving, gradients, rate)
            return float(value.detach())

        return step

    return descended(model, examples, rate, advance, stepping, "")
