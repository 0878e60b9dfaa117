"""What enters every key and value projection in training, and the gradients that come back.

Letters as in `empirical.identities.bindings`: G key-value heads, h head width, d model width, n
tokens over all examples. Keys and values may be channels of one map (GPT-2, GPT-NeoX, Falcon).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from empirical.identities.bindings import Examples
from empirical.models.architectures import Block, Projection

Name = Literal["k", "v"]


@dataclass(frozen=True, kw_only=True)
class ProjectionGradients:
    """One layer, by example: states [T, d] that entered, gradients [T, G, h] in the outputs.

    `biased`: whether the projections have biases, which are the weights of a row of ones.
    """

    groups: int
    biased: bool = True
    inputs: list[Tensor] = field(default_factory=list)
    gradients: dict[Name, list[Tensor]] = field(default_factory=lambda: {"k": [], "v": []})

    def entered(self) -> Tensor:
        """All states over a row of ones, or of zeros where no bias can move: [d+1, n]."""
        x = torch.cat(self.inputs).mT
        return torch.cat([x, x.new_full((1, x.shape[1]), float(self.biased))])

    def came_back(self, name: Name) -> Tensor:
        """All gradients in the outputs of keys or values: [G, h, n]."""
        return torch.cat(self.gradients[name]).permute(1, 2, 0)

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


def _keep(record: ProjectionGradients, parts: Sequence[tuple[Name, Projection]]) -> Any:
    """A hook of one map, which makes keys, values or both."""

    def back(gradient: Tensor) -> None:
        for name, projection in parts:
            record.gradients[name].append(projection.of(gradient[0].detach()).clone())

    def hook(_m: Any, args: Any, out: Tensor) -> None:
        if not out.requires_grad:
            return
        if parts[0][0] == "k":
            record.inputs.append(args[0][0].detach().clone())
        out.register_hook(back)  # type: ignore[no-untyped-call] # torch's own gap

    return hook


@contextmanager
def recording(blocks: Sequence[Block]) -> Iterator[list[ProjectionGradients]]:
    """A record of every self-attention block while inside; hooks always removed on leaving.

    Passes without gradients are not recorded. Batches of one example are expected.
    """
    records = [
        ProjectionGradients(groups=block.groups, biased=block.key.module.bias is not None)
        for block in blocks
    ]
    handles = []
    try:
        for record, block in zip(records, blocks, strict=True):
            made: list[tuple[Name, Projection]] = [("k", block.key), ("v", block.value)]
            fused = block.key.module is block.value.module
            for parts in [made] if fused else [made[:1], made[1:]]:
                module = parts[0][1].module
                handles.append(module.register_forward_hook(_keep(record, parts)))
        yield records
    finally:
        for handle in handles:
            handle.remove()
