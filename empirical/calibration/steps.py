"""The explicit gradient steps that stand for finetuning, by autograd, as steps D [d,d] per layer.

Letters: H heads, h head width, d width, C context tokens, i inputs, o outputs, N demonstrations.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from empirical.calibration.construct import Regression, normal
from empirical.calibration.linear import LinearModel
from empirical.inference.forward import read_context


def linear_loss_steps(model: LinearModel, context: Sequence[int]) -> list[Tensor]:
    """One step of rate one on L(W) = -sum_j <W k_j, v_j> from zero, head by head, in every layer.

    Keys and values are those of the demonstrations as they reach the layer. Behind the projections
    the step is D = sum_heads P W W_Q.
    """
    prefix, found = read_context(model, context), []
    for block, out, keys, values in zip(
        model.blocks, model.outputs, prefix.keys, prefix.values, strict=True
    ):
        H, _, h = keys.shape
        W = keys.new_zeros(H, h, h, requires_grad=True)
        loss = -((keys @ W.mT) * values).sum()
        (gradient,) = torch.autograd.grad(loss, W)
        P = out.weight.detach().view(-1, H, h).movedim(1, 0)  # [H,d,h]
        found.append((P @ (-gradient @ block.query.weight())).sum(0))
    return found


def descended(task: Regression, W_0: Tensor, rates: Sequence[float]) -> list[Tensor]:
    """W_0, W_1, ...: gradient descent on |W X - Y|^2 / 2, one step for every rate."""
    found = [W_0]
    for rate in rates:
        W = found[-1].detach().requires_grad_()
        (gradient,) = torch.autograd.grad(((W @ task.X - task.Y) ** 2).sum() / 2, W)
        found.append((W - rate * gradient).detach())
    return found


def regression_steps(weights: Sequence[Tensor], width: int, sign: float) -> list[Tensor]:
    """D = sign [[0, 0], [W_(l+1) - W_l, 0]] for each step of a descent; outputs behind inputs."""
    o, i = weights[0].shape
    found = []
    for before, after in zip(weights[:-1], weights[1:], strict=True):
        D = before.new_zeros(width, width)
        D[i : i + o, :i] = sign * (after - before)
        found.append(D)
    return found


def unrelated_steps(steps: Sequence[Tensor], generator: np.random.Generator) -> list[Tensor]:
    """A normal draw of the norm of each step."""
    found = []
    for step in steps:
        drawn = normal(generator, *step.shape)
        found.append(drawn * (torch.linalg.norm(step) / torch.linalg.norm(drawn)))
    return found
