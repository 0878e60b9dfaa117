"""What enters the key projection of every layer: the vectors that the dual form pairs.

In Delta W = sum of e_i x_i^T (A1, Dai et al. eq. 7-9) a query x meets the inputs x_i of training.
The paper's Kendall pairs queries W_Q x instead. Letters: L layers, T tokens, d model width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from empirical.inference.attention import Run
from empirical.inference.forward import states
from empirical.models.architectures import Block
from empirical.models.decoder import LoadedModel


@dataclass(kw_only=True)
class InputLog:
    """Inputs [L,T,d] of every pass of one sequence."""

    layers: int
    seen: list[list[Tensor]] = field(default_factory=list)

    def add(self, layer: int, entered: Tensor) -> None:
        """What entered one layer: [1,T,d]."""
        if layer == 0:
            self.seen.append([])
        self.seen[-1].append(entered.detach()[0].cpu())

    def stacked(self) -> Tensor:
        """[L,N,d] over all passes, their first tokens (BOS) left out."""
        return torch.stack(
            [torch.cat([example[i][1:] for example in self.seen]) for i in range(self.layers)]
        )


@contextmanager
def logging_inputs(blocks: Sequence[Block]) -> Iterator[InputLog]:
    """A log of every pass inside; its hooks are removed on leaving."""
    log = InputLog(layers=len(blocks))

    def hook(layer: int) -> Any:
        def enter(_m: Any, args: tuple[Any, ...]) -> None:
            log.add(layer, args[0])

        return enter

    handles = []
    try:
        for layer, block in enumerate(blocks):
            handles.append(block.key.module.register_forward_pre_hook(hook(layer)))
        yield log
    finally:
        for handle in handles:
            handle.remove()


def last_inputs(model: LoadedModel, rows: Sequence[Sequence[int]]) -> Tensor:
    """Inputs at the last token of every row, read one by one: [n,L,d]."""
    found = []
    for tokens in rows:
        with torch.no_grad(), logging_inputs(model.blocks) as log:
            states(model, Run(model.blocks), [tokens], len(tokens))
        found.append(torch.stack([x[-1] for x in log.seen[0]]))
    return torch.stack(found)
