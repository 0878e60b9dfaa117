"""Concrete losses that stand for "any differentiable loss" in numeric checks.

Each is a function of outputs and targets [..., o, n]; its gradient in the outputs is left to
autograd. Nothing in a statement knows which one is in use.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Sum over columns of logsumexp(y) - <t, y>: cross-entropy on logits with weights t."""
    if not outputs.numel():
        return outputs.sum()
    return torch.logsumexp(outputs, -2).sum() - (targets * outputs).sum()


def cubic(outputs: Tensor, targets: Tensor) -> Tensor:
    """Sum of y^3 - t y: neither quadratic nor convex, and exact on integers."""
    return (outputs * outputs * outputs).sum() - (targets * outputs).sum()


def linear(outputs: Tensor, targets: Tensor) -> Tensor:
    """<Y, T>, whose gradient in the outputs is T: how a network above a layer looks to it."""
    return (targets * outputs).sum()


def output_gradient(loss: Loss, outputs: Tensor, targets: Tensor) -> Tensor:
    """The gradient [..., o, n] of the loss in its outputs [..., o, n], by autograd."""
    made: Tensor = torch.func.grad(lambda y: loss(y, targets))(outputs)
    return made
