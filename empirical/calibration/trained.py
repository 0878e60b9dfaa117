"""A linear self-attention layer trained on in-context regression, which becomes gradient descent.

All of W_K, W_Q, W_V and the rows of P that write outputs are trained by Adam from normal draws; the
rows of P that write inputs have no gradient and stay zero. For normal inputs of covariance I the
best such layer is one step of gradient descent from zero (Ahn et al., arXiv 2306.00297; Mahankali
et al., arXiv 2307.03576), at the rate that is best on average. Letters: B episodes, i inputs, o
outputs, N demonstrations, n queries, d = i + o.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from empirical.calibration.construct import Regression, normal
from empirical.calibration.linear import Weights
from empirical.core.progress import Advance, ignore

INPUTS, OUTPUTS, SHOWN = 5, 5, 20
BATCH, QUERIES, STEPS, RATE = 64, 8, 1500, 0.003
LAST = 300  # final steps, on whose episodes the rate of the gradient step is chosen


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """The layer; the best `rate` of a gradient step, and the loss of the layer, on its episodes."""

    weights: Weights
    rate: float
    loss: float


def episodes(generator: np.random.Generator) -> Regression:
    """A batch of episodes: X [B,i,N], Y [B,o,N], x [B,i,n], y [B,o,n]."""
    W = normal(generator, BATCH, OUTPUTS, INPUTS) / INPUTS**0.5
    X, x = normal(generator, BATCH, INPUTS, SHOWN), normal(generator, BATCH, INPUTS, QUERIES)
    return Regression(X=X, Y=W @ X, x=x, y=W @ x)


def predicted(layer: Weights, task: Regression) -> Tensor:
    """What the layer adds to the outputs of each query, which sees itself as well: [B,o,n]."""
    tokens = torch.cat([task.X, task.Y], -2)
    asked = torch.cat([task.x, torch.zeros_like(task.y)], -2)
    K, V, q = layer.key[0], layer.value[0], layer.query[0] @ asked
    own = (V @ asked) * ((K @ asked) * q).sum(-2, keepdim=True)
    seen = (V @ tokens) @ ((K @ tokens).mT @ q) + own
    return layer.output[-OUTPUTS:, 0] @ seen


def train(generator: np.random.Generator, advance: Advance = ignore, steps: int = STEPS) -> Trained:
    """Adam on the squared error of the queries; a generator gives weights and episodes.

    Raises:
        ValueError: for fewer steps than the rate is chosen on.
    """
    if steps < LAST:
        raise ValueError(f"expected at least {LAST} steps, got {steps}")
    d = INPUTS + OUTPUTS
    free = {name: normal(generator, 1, d, d) / d**0.5 for name in ("query", "key", "value")}
    free["output"] = normal(generator, OUTPUTS, 1, d) / (d**0.5 * SHOWN)
    for value in free.values():
        value.requires_grad_()
    adam = torch.optim.Adam(free.values(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    upper = torch.zeros(INPUTS, 1, d, dtype=torch.float64)
    along = squared = loss = 0.0
    for step in range(steps):
        task = episodes(generator)
        layer = Weights(**{**free, "output": torch.cat([upper, free["output"]])})
        with torch.enable_grad():
            error = ((predicted(layer, task) - task.y) ** 2).sum(-2).mean()
            adam.zero_grad()
            error.backward()  # type: ignore[no-untyped-call] # torch's own gap
        adam.step()
        schedule.step()
        if step >= steps - LAST:
            moved = (task.Y @ task.X.mT) @ task.x  # of a step of rate one from zero
            along += float((moved * task.y).sum())
            squared += float((moved * moved).sum())
            loss += float(error.detach()) / LAST
        advance(1)
    fixed = {k: v.detach() for k, v in free.items()}
    fixed["output"] = torch.cat([upper, fixed["output"]])
    return Trained(weights=Weights(**fixed), rate=along / squared, loss=loss)
