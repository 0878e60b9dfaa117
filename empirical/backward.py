"""What enters every key and value projection in training, and the gradients that come back.

Letters as in `empirical.sites`: H heads, h head width, d model width, n tokens over all examples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from empirical.sites import Examples

Name = Literal["k", "v"]


@dataclass(frozen=True, kw_only=True)
class Record:
    """One layer, by example: states [T, d] that entered, gradients [T, d] in the outputs."""

    heads: int
    inputs: list[Tensor] = field(default_factory=list)
    gradients: dict[Name, list[Tensor]] = field(default_factory=lambda: {"k": [], "v": []})

    def entered(self) -> Tensor:
        """All states over a row of ones: [d+1, n]."""
        x = torch.cat(self.inputs).mT
        return torch.cat([x, x.new_ones(1, x.shape[1])])

    def came_back(self, name: Name) -> Tensor:
        """All gradients in the outputs of one projection: [H, h, n]."""
        g = torch.cat(self.gradients[name]).mT
        return g.reshape(self.heads, -1, g.shape[1])

    def lengths(self) -> tuple[int, ...]:
        """Tokens of each example."""
        return tuple(len(x) for x in self.inputs)

    def examples(self, rate: float) -> Examples:
        """The errors of plain SGD at `rate`: minus the rate times the gradients."""
        return Examples(
            inputs=self.entered(),
            key_errors=-rate * self.came_back("k"),
            value_errors=-rate * self.came_back("v"),
        )


def _keep(record: Record, name: Name) -> Any:
    def hook(_m: Any, args: Any, out: Any) -> None:
        if not out.requires_grad:
            return
        if name == "k":
            record.inputs.append(args[0][0].detach().clone())
        came = record.gradients[name]
        out.register_hook(lambda g: came.append(g[0].detach().clone()))

    return hook


@contextmanager
def recording(blocks: Sequence[Any]) -> Iterator[list[Record]]:
    """A record of every self-attention block while inside; hooks always removed on leaving.

    Passes without gradients are not recorded. Batches of one example are expected.
    """
    records = [Record(heads=block.num_heads) for block in blocks]
    handles = []
    try:
        for record, block in zip(records, blocks, strict=True):
            handles.append(block.k_proj.register_forward_hook(_keep(record, "k")))
            handles.append(block.v_proj.register_forward_hook(_keep(record, "v")))
        yield records
    finally:
        for handle in handles:
            handle.remove()
