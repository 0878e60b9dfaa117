"""Episodes and weights for which in-context learning is gradient descent, by construction.

von Oswald et al., arXiv 2212.07677: tokens (x; y), proposition 1 and section 3 (statements
one-layer-one-step and layers-are-steps of the catalogue); and layers of any weights, whose context
is one step on a linear loss (statement linear-loss-step). Letters: i inputs, o outputs, N
demonstrations, n queries, d width, H heads, h head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from empirical.calibration.linear import BOS, EOS, FIRST, Weights
from empirical.data.prompts import Query

F = torch.float64


@dataclass(frozen=True, kw_only=True, eq=False)
class Regression:
    """Demonstrations X [i,N], Y [o,N] = W X; queries x [i,n] and their answers y [o,n] = W x."""

    X: Tensor
    Y: Tensor
    x: Tensor
    y: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Prompted:
    """An episode as tokens: `table` [V,d], BOS (demonstration EOS)^N, queries.

    `lengths` are the tokens of each demonstration, `shown` [V] says which rows are theirs.
    """

    table: Tensor
    context: tuple[int, ...]
    lengths: tuple[int, ...]
    queries: tuple[Query, ...]

    @property
    def shown(self) -> Tensor:
        """Rows of the table that are demonstrations."""
        found = torch.zeros(len(self.table), dtype=torch.bool)
        found[list(set(self.context) - {BOS, EOS})] = True
        return found


def normal(generator: np.random.Generator, *shape: int) -> Tensor:
    """Normal draws, float64."""
    return torch.from_numpy(generator.normal(size=shape))


def regression(
    generator: np.random.Generator, inputs: int, outputs: int, shown: int, asked: int
) -> Regression:
    """Normal inputs, and normal weights of variance 1/i."""
    W = normal(generator, outputs, inputs) / inputs**0.5
    X, x = normal(generator, inputs, shown), normal(generator, inputs, asked)
    return Regression(X=X, Y=W @ X, x=x, y=W @ x)


def prompted(
    demonstrations: Sequence[Tensor], queries: Sequence[Tensor], labels: Sequence[int]
) -> Prompted:
    """Tokens of demonstrations and queries, [T,d] each; BOS, EOS and label words are zero."""
    rows = [demonstrations[0].new_zeros(FIRST, demonstrations[0].shape[1])]
    table = torch.cat([*rows, *demonstrations, *queries])
    ids = iter(range(FIRST, len(table)))
    shown = [tuple(next(ids) for _ in d) for d in demonstrations]
    asked = [tuple(next(ids) for _ in q) for q in queries]
    return Prompted(
        table=table,
        context=(BOS, *(t for d in shown for t in (*d, EOS))),
        lengths=tuple(len(d) for d in shown),
        queries=tuple(Query(prompt=q, label=k) for q, k in zip(asked, labels, strict=True)),
    )


def _tokens(columns: Tensor) -> list[Tensor]:
    return [row[None] for row in columns.T]


def classes(task: Regression) -> list[int]:
    """1 where the first output of a query is positive."""
    return [int(value > 0) for value in task.y[0]]


def pairs(task: Regression, W_0: Tensor) -> Prompted:
    """Tokens (x; y) and queries (x; -W_0 x)."""
    shown = torch.cat([task.X, task.Y])
    asked = torch.cat([task.x, -(W_0 @ task.x)])
    return prompted(_tokens(shown), _tokens(asked), classes(task))


def output_rows(inputs: int, width: int, sign: float) -> Tensor:
    """The readout [d] of the first output, which stands behind the inputs."""
    found = torch.zeros(width, dtype=F)
    found[inputs] = sign
    return found


def one_step(W_0: Tensor, rate: float) -> Weights:
    """Proposition 1: W_K = W_Q = [[I, 0], [0, 0]], W_V = [[0, 0], [W_0, -I]], P = rate I."""
    o, i = W_0.shape
    select, values = torch.zeros(i + o, i + o, dtype=F), torch.zeros(i + o, i + o, dtype=F)
    select[:i, :i] = torch.eye(i, dtype=F)
    values[i:, :i], values[i:, i:] = W_0, -torch.eye(o, dtype=F)
    whole = (rate * torch.eye(i + o, dtype=F))[:, None]
    return Weights(query=select[None], key=select[None], value=values[None], output=whole)


def marked_pairs(task: Regression) -> Prompted:
    """Tokens (x; y; x; 0; 0) and queries (x; 0; 0; 1; 0): a query is no key of the descent.

    In the last two rows a query sees itself, so that its zero-shot output is not zero.
    """
    N, n = task.X.shape[1], task.x.shape[1]
    none = torch.zeros(2, N, dtype=F)
    shown = torch.cat([task.X, task.Y, task.X, none])
    flag = torch.tensor([[1.0], [0.0]], dtype=F).expand(2, n)
    asked = torch.cat([task.x, torch.zeros_like(task.y), torch.zeros_like(task.x), flag])
    return prompted(_tokens(shown), _tokens(asked), classes(task))


def many_steps(inputs: int, outputs: int, rates: Sequence[float]) -> list[Weights]:
    """W_V = [[0, 0], [0, -I]] in every layer: one step of gradient descent from zero for each.

    A second head carries the mark of a query to the last row.
    """
    i, o, h = inputs, outputs, max(inputs, outputs)
    d = 2 * i + o + 2
    query, key, value = (torch.zeros(2, h, d, dtype=F) for _ in range(3))
    query[0, :i, :i], key[0, :i, i + o : 2 * i + o] = torch.eye(i), torch.eye(i)
    value[0, :o, i : i + o] = -torch.eye(o, dtype=F)
    for part in (query, key, value):
        part[1, 0, d - 2] = 1.0
    made = []
    for rate in rates:
        output = torch.zeros(d, 2, h, dtype=F)
        output[i : i + o, 0, :o] = rate * torch.eye(o, dtype=F)
        output[d - 1, 1, 0] = 1.0
        made.append(Weights(query=query, key=key, value=value, output=output))
    return made


def random_weights(
    generator: np.random.Generator,
    width: int,
    heads: int,
    size: int,
    scale: float,
    shared: bool = False,
) -> Weights:
    """Normal weights; P of `scale`. `shared`: keys are made by the weights of the queries."""
    query, key, value = (normal(generator, heads, size, width) / width**0.5 for _ in range(3))
    output = scale * normal(generator, width, heads, size) / (heads * size) ** 0.5
    return Weights(query=query, key=query if shared else key, value=value, output=output)


def random_prompts(
    generator: np.random.Generator, width: int, shown: int, asked: int, longest: int
) -> Prompted:
    """Normal tokens: 2..`longest` in a demonstration, 3..`longest` in a query; two classes."""
    demonstrations = [
        normal(generator, int(t), width) for t in generator.integers(2, longest + 1, shown)
    ]
    queries = [normal(generator, int(t), width) for t in generator.integers(3, longest + 1, asked)]
    return prompted(demonstrations, queries, [k % 2 for k in range(asked)])
