"""Queries, keys and values as output channels of an attention's linear maps.

Letters: d model width, h head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from empirical.core.errors import UserError
from empirical.models.architectures.adapter import Adapter
from empirical.models.architectures.attention_block import HeadChannels, Projection


def separate(attention: Any, config: Any, outputs: Sequence[int]) -> HeadChannels:
    """Three maps, each [heads h, d]."""
    width = getattr(attention, "head_dim", None) or config.head_dim
    return HeadChannels(*(torch.arange(n).view(-1, width) for n in outputs))


def projections_of(adapter: Adapter, attention: Any, config: Any, name: str) -> list[Projection]:
    """Queries, keys and values of an attention of the model called `name`.

    Raises:
        UserError: for maps that are not their weight and bias.
    """
    from transformers.pytorch_utils import Conv1D

    maps = [_linear(attention, part, name) for part in adapter.maps]
    transposed = [isinstance(x, Conv1D) for x in maps]
    outputs = [x.weight.shape[1 if t else 0] for x, t in zip(maps, transposed, strict=True)]
    channels = adapter.channels(attention, config, outputs)
    share = len(channels) // len(maps)  # one map makes all three, or each its own
    return [
        Projection(module=maps[i // share], channels=x, transposed=transposed[i // share])
        for i, x in enumerate(channels)
    ]


def _linear(attention: Any, part: str, name: str) -> Any:
    """A map of an attention that is its weight and bias (no adapter, no packed weights).

    Raises:
        UserError: naming the class of another.
    """
    from transformers.pytorch_utils import Conv1D

    module = getattr(attention, part)
    linear = isinstance(module, (torch.nn.Linear, Conv1D))
    if not (linear and module.weight.is_floating_point()):
        raise UserError(
            f"expected queries, keys and values from plain linear maps in {name}, got {part} "
            f"of class {type(module).__name__}; merge adapters into the weights, and load "
            "without quantisation"
        )
    return module
