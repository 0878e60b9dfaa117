"""One self-attention block as the study sees it, whatever class it is of.

Letters: B batch, T tokens, d model width, H query heads, G key-value heads, h head width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from empirical.models.architectures.qk_norm import NormModules
from empirical.models.architectures.rotation import Rotation

# (attention module, call of the core) -> the functions that stand in for its own while it is run.
Attend = Callable[..., Tensor]
StandIn = Callable[[Any, Attend], dict[str, Callable[..., Any]]]
PositionBias = Callable[[int, int], Tensor]


class HeadChannels(NamedTuple):
    """Output channels of linear maps, by head: query [H,h], key and value [G,h]."""

    query: Tensor
    key: Tensor
    value: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Projection:
    """Queries, keys or values: output channels `channels` [heads, h] of one linear map.

    `transposed`: the weight is [in, out] (GPT-2's Conv1D) and not [out, in].
    """

    module: Any
    channels: Tensor
    transposed: bool = False

    @property
    def heads(self) -> int:
        """How many heads it has (H for queries, G for keys and values)."""
        return int(self.channels.shape[0])

    def weight(self) -> Tensor:
        """[heads, h, d], a copy."""
        weight: Tensor = self.module.weight.detach()
        return (weight.mT if self.transposed else weight)[self.channels]

    def bias(self) -> Tensor:
        """[heads, h]; zeros where the map has none."""
        bias = self.module.bias
        zeros: Tensor = self.module.weight.new_zeros(self.channels.shape)
        return zeros if bias is None else bias.detach()[self.channels].view_as(zeros)

    def augmented(self) -> Tensor:
        """[W b]: [heads, h, d+1]."""
        return torch.cat([self.weight(), self.bias()[..., None]], -1)

    def of(self, output: Tensor) -> Tensor:
        """Its part of what the module returned: [..., out] -> [..., heads, h]."""
        return output[..., self.channels.to(output.device)]

    def of_parameters(self, weight: Tensor, bias: Tensor | None) -> Tensor:
        """[W b]-shaped values [heads, h, d+1] read off tensors shaped like the parameters."""
        rows = (weight.mT if self.transposed else weight)[self.channels]
        column = rows.new_zeros(self.channels.shape) if bias is None else bias[self.channels]
        return torch.cat([rows, column[..., None]], -1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """One block: where its projections are and what its scores have beside q k.

    `output` is the module whose output is h: after the output projection, before a norm or the
    residual. `softcap` c replaces a score s by c tanh(s / c); `window` w hides keys w or more
    tokens back; `position_bias(start, length)` [H, length] is added to the scores of keys at
    positions start..start+length-1 (ALiBi). `rotation` and `qk_norm` say by what keys are
    turned, or normalised, between their projection and the scores. `stand_in` is for classes that
    do not call transformers' attention interface.
    """

    attention: Any
    query: Projection
    key: Projection
    value: Projection
    output: Any
    softcap: float | None = None
    window: int | None = None
    position_bias: PositionBias | None = None
    rotation: Rotation | None = None
    qk_norm: NormModules | None = None
    stand_in: StandIn | None = None

    @property
    def heads(self) -> int:
        """Query heads H."""
        return self.query.heads

    @property
    def groups(self) -> int:
        """Key-value heads G, a divisor of H."""
        return self.key.heads

    @property
    def width(self) -> int:
        """Head width h."""
        return self.query.channels.shape[1]

    @property
    def rotary(self) -> bool:
        """Whether queries and keys are turned."""
        return self.rotation is not None

    @property
    def normed(self) -> bool:
        """Whether queries and keys are normalised."""
        return self.qk_norm is not None

    @property
    def linear_keys(self) -> bool:
        """Whether the keys that meet the queries are the projection's own outputs."""
        return not (self.rotary or self.normed)
