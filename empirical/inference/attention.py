"""The attention that every run of the study computes with, for all architectures alike.

While `attending`, each block of the model hands its queries, keys and values to `Run.attend`:
through transformers' attention interface, or a stand-in for classes that do not call it. There a
context that was read once is shared by a whole batch without being copied: B1 of the catalogue,
softmax over context and query merged from two parts. Letters: B batch, T tokens of this pass, C
context tokens, H query heads, G key-value heads, R = H/G, h head width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from empirical.models.architectures import Block

NAME = "dualform"
SCORES_BYTES = 2**27  # memory for the scores towards the context at any time


@dataclass(frozen=True, kw_only=True)
class Prefix:
    """Keys and values of a context, per layer [G,C,h], as they meet queries; C tokens."""

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]

    @property
    def length(self) -> int:
        """C."""
        return self.keys[0].shape[1]


class Watch(Protocol):
    """Someone who looks at what meets in a block."""

    def saw(self, layer: int, q: Tensor, k: Tensor, v: Tensor, context: Tensor | None) -> None:
        """Scaled queries [B,H,T,h], keys and values [B,G,T,h], keys of the context [G,C,h]."""


class Run:
    """One way to run a model: with or without a context in front, watched or not.

    `shift` is added to every position that the model is told.
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        prefix: Prefix | None = None,
        watch: Watch | None = None,
        shift: int = 0,
    ) -> None:
        self.blocks, self.prefix, self.watch = tuple(blocks), prefix, watch
        self.shift = shift

    @property
    def start(self) -> int:
        """The position of the first token of a pass."""
        return self.shift + (0 if self.prefix is None else self.prefix.length)

    def attend(
        self,
        layer: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        scaling: float,
        bias: Tensor | None = None,
    ) -> Tensor:
        """Attention outputs [B,T,H,h] of query [B,H,T,h], key and value [B,G,T,h].

        `mask` is None (causal), boolean (True is seen) or additive; `bias` [B,H,1,T] is added to
        the scores. Behind a context both are formed here, and padding has to be on the right.

        Raises:
            ValueError: when the model was given a cache that holds tokens.
        """
        if key.shape[2] != query.shape[2]:
            raise ValueError(
                f"expected as many keys as queries, got {key.shape[2]} and {query.shape[2]}; call "
                "the model without past_key_values (a shared context is a Prefix)"
            )
        q = query * scaling
        block = self.blocks[layer]
        context = None if self.prefix is None else self.prefix.keys[layer]
        if self.watch is not None:
            self.watch.saw(layer, q, key, value, context)
        if self.prefix is not None:
            pair = (self.prefix.keys[layer], self.prefix.values[layer])
            return _behind(q, key, value, *pair, block).transpose(1, 2)
        return _alone(q, key, value, mask, bias, block).transpose(1, 2)


def _causal(length: int, window: int | None, device: torch.device) -> Tensor:
    """True where a token sees another of its own sequence: [T,T]."""
    seen = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    return seen if window is None else seen.triu(1 - window)


def _additive(seen: Tensor, like: Tensor) -> Tensor:
    """0 where seen, else minus infinity."""
    return like.new_zeros(seen.shape).masked_fill_(~seen, -torch.inf)


def _capped(scores: Tensor, cap: float | None) -> Tensor:
    return scores if cap is None else cap * torch.tanh(scores / cap)


def _alone(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, bias: Tensor | None, block: Block
) -> Tensor:
    """Attention within a sequence: [B,H,T,h]."""
    length = q.shape[2]
    narrow = block.window is not None and length > block.window
    if mask is None and bias is None and block.softcap is None and not narrow:
        q, k, v = (x.contiguous() for x in (q, k, v))
        return torch.nn.functional.scaled_dot_product_attention(
            q, k, v, is_causal=length > 1, scale=1.0, enable_gqa=q.shape[1] != k.shape[1]
        )
    q, k, v = (x.contiguous() for x in (q, k, v))
    own = _causal(length, block.window, q.device)
    if mask is None:
        mask = own
    elif narrow:
        mask = mask & own if mask.dtype == torch.bool else mask + _additive(own, mask)
    if bias is not None:
        mask = bias + (_additive(mask, q) if mask.dtype == torch.bool else mask)
    if block.softcap is None:
        return torch.nn.functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, scale=1.0, enable_gqa=q.shape[1] != k.shape[1]
        )
    scores = _capped(_scores(q, k), block.softcap).flatten(1, 2)
    if mask.dtype == torch.bool:  # padding may see nothing: minus infinity alone would give nan
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    else:
        scores = scores + mask
    weights = by_group(torch.softmax(scores, -1), k.shape[1])
    return (weights @ v[:, :, None]).flatten(1, 2)


def _scores(q: Tensor, k: Tensor) -> Tensor:
    """[B,G,R,T,T] of q [B,H,T,h] and k [B,G,T,h]."""
    return by_group(q, k.shape[1]) @ k[:, :, None].mT


def by_group(x: Tensor, groups: int) -> Tensor:
    """[B,H,...] -> [B,G,R,...]."""
    return x.reshape(x.shape[0], groups, -1, *x.shape[2:])


def _behind(
    q: Tensor, k: Tensor, v: Tensor, context_k: Tensor, context_v: Tensor, block: Block
) -> Tensor:
    """Attention over a shared context and each sequence's own tokens: [B,H,T,h]."""
    batch, heads, length, _ = q.shape
    row = heads * length * context_k.shape[1] * q.element_size()
    step = max(1, SCORES_BYTES // row)
    parts = [
        _merged(q[i : i + step], k[i : i + step], v[i : i + step], context_k, context_v, block)
        for i in range(0, batch, step)
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _merged(
    q: Tensor, k: Tensor, v: Tensor, context_k: Tensor, context_v: Tensor, block: Block
) -> Tensor:
    """B1: exp(scores) of both parts under one maximum, their sums and weighted values added."""
    batch, heads, length, width = q.shape
    groups, context = context_k.shape[:2]
    # Of one layout whatever the batch: the last bits of a product can depend on strides.
    q, k, v = (x.contiguous() for x in (q, to_groups(k, groups), to_groups(v, groups)))
    own = _capped(_scores(q, k), block.softcap)  # [B,G,R,T,T]
    own = own + _additive(_causal(length, block.window, q.device), q)
    # Every token of the batch asks the same keys: one product per group, nothing is copied.
    rows = by_group(q, groups).permute(1, 2, 0, 3, 4)  # [G,R,B,T,h]
    far = _capped(rows.flatten(1, 3) @ context_k.mT, block.softcap)  # [G,RBT,C]
    far = far.view(groups, -1, batch, length, context)
    if block.position_bias is not None:
        table = block.position_bias(0, context + length).to(q)
        table = table.view(groups, -1, context + length)
        far += table[:, :, None, None, :context]
        own = own + table[None, :, :, None, context:]
    if block.window is not None:
        far += _additive(_in_window(length, context, block.window, q.device), q)
    top = torch.maximum(far.amax(-1), own.permute(1, 2, 0, 3, 4).amax(-1))  # [G,R,B,T]
    far.sub_(top[..., None]).exp_()
    own = (own - top.permute(2, 0, 1, 3)[..., None]).exp_()
    mass = far.sum(-1).permute(2, 0, 1, 3) + own.sum(-1)  # [B,G,R,T]
    from_context = (far.flatten(1, 3) @ context_v).view(groups, -1, batch, length, width)
    out = from_context.permute(2, 0, 1, 3, 4) + own @ v[:, :, None]
    return (out / mass[..., None]).flatten(1, 2)


def to_groups(x: Tensor, groups: int) -> Tensor:
    """[B,G',T,h] with G' a multiple of G, whose copies within a group are equal -> [B,G,T,h]."""
    return x if x.shape[1] == groups else x[:, :: x.shape[1] // groups]


def _in_window(length: int, context: int, window: int, device: torch.device) -> Tensor:
    """True where token `context + t` sees context token j: [T,C]."""
    asking = torch.arange(context, context + length, device=device)[:, None]
    return asking - torch.arange(context, device=device) < window


_ACTIVE: dict[int, tuple[Run, int]] = {}  # id of an attention module -> its run and layer


def _interface(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """transformers' attention function; cap and window come from the block.

    Raises:
        ValueError: for a model that is training, whose attention drops out.
    """
    if dropout:
        raise ValueError("expected a model in evaluation mode, got dropout")
    run, layer = _ACTIVE[id(module)]
    factor = query.shape[-1] ** -0.5 if scaling is None else scaling
    return run.attend(layer, query, key, value, attention_mask, factor), None


AttentionInterface.register(NAME, _interface)
AttentionMaskInterface.register(NAME, sdpa_mask)


@contextmanager
def attending(model: Any, run: Run) -> Iterator[Run]:
    """`model` computes with `run` while inside; everything is as before on leaving.

    Raises:
        RuntimeError: when a run of the same model is already inside.
    """
    config = model.config
    before = config._attn_implementation
    if before == NAME:
        raise RuntimeError("expected no other run of this model at the same time, got one")
    replaced: list[tuple[Any, str, Any]] = []
    try:
        config._attn_implementation = NAME
        for layer, block in enumerate(run.blocks):
            _ACTIVE[id(block.attention)] = (run, layer)
            if block.stand_in is not None:
                functions = block.stand_in(block.attention, partial(run.attend, layer))
                for name, function in functions.items():
                    replaced.append((block.attention, name, vars(block.attention).get(name)))
                    setattr(block.attention, name, function)
        yield run
    finally:
        config._attn_implementation = before
        for module, name, own in replaced:
            if own is None:
                delattr(module, name)
            else:
                setattr(module, name, own)
        for block in run.blocks:
            _ACTIVE.pop(id(block.attention), None)
