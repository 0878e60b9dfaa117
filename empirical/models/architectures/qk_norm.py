"""Norms of queries and keys, read off their modules.

A key k becomes g k / sqrt(mean(k^2) + epsilon): over its own channels or those of all heads
(OLMo 2), the mean of the channels subtracted before where the module is a layer norm (Phi,
StableLM), the gain g = 1 + weight in Gemma. Letters: G heads, h head width, T tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class NormModules:
    """Names of the norms in an attention module.

    `unit_offset`: their gain is 1 + weight.
    """

    query: str
    key: str
    unit_offset: bool


@dataclass(frozen=True, kw_only=True)
class Norm:
    """`gain` [G,h,1]; `added` [G,h,1] after it, or None; over all heads where `joint`.

    `centred`: the mean over channels is subtracted first. `narrow`: computed in float32 whatever
    the dtype of the weights.
    """

    gain: Tensor
    added: Tensor | None
    epsilon: float
    joint: bool = False
    centred: bool = False
    narrow: bool = False

    def centre(self, K: Tensor) -> Tensor:
        """K [..., h, T] without the mean of its channels, where that is subtracted."""
        return K - K.mean(-2, keepdim=True) if self.centred else K


def modules(attention: Any, names: NormModules | None) -> tuple[Any, Any] | None:
    """The norms of queries and keys of an attention module; None where it has none."""
    if names is None:
        return None
    return getattr(attention, names.query), getattr(attention, names.key)


def read(module: Any, heads: int, width: int, names: NormModules) -> Norm:
    """The norm that a module, one of those named, applies to heads of a width.

    Raises:
        ValueError: for a module of another shape.
    """
    parts = list(getattr(module, "norms", ())) or [module]
    weight = torch.stack([p.weight.detach() for p in parts])  # [1 or G, h], or [1, G h]
    joint = weight.shape[1] == heads * width and heads > 1
    layer_norm = isinstance(parts[0], torch.nn.LayerNorm)
    if weight.shape[1] not in (width, heads * width):
        raise ValueError(f"expected a norm over {width} channels, got {weight.shape[1]}")
    if names.unit_offset:
        weight = 1 + weight.float()
    bias = [b.detach() for b in (getattr(p, "bias", None) for p in parts) if b is not None]
    added = torch.stack(bias) if bias else None
    return Norm(
        gain=_by_head(weight, heads, width),
        added=None if added is None else _by_head(added, heads, width),
        epsilon=parts[0].eps if hasattr(parts[0], "eps") else parts[0].variance_epsilon,
        joint=joint,
        centred=layer_norm,
        narrow=not layer_norm,
    )


def _by_head(values: Tensor, heads: int, width: int) -> Tensor:
    """[1 or G, h] or [1, G h] as [G, h, 1]."""
    return values.reshape(-1, width).expand(heads, width)[..., None]


def as_heads(x: Tensor, raw: Tensor) -> tuple[int, ...]:
    """How to permute x, [T,G,h] or [G,T,h], to the [G,h,T] that `raw` has.

    Raises:
        ValueError: when x holds other values than `raw`.
    """
    for order in ((1, 2, 0), (0, 2, 1)):
        moved = x.permute(order)
        if moved.shape == raw.shape and torch.equal(moved, raw):
            return order
    raise ValueError("expected a norm of what the projection returned, got other values")
