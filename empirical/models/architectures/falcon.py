"""Falcon: grouped, single or plain keys; rotary positions or ALiBi; MLP beside attention or not.

Letters: T tokens, h head width, d model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from empirical.models.architectures.adapter import Adapter
from empirical.models.architectures.attention_block import Attend, HeadChannels, PositionBias
from empirical.models.architectures.attention_functions import Functions, check_without_cache
from empirical.models.architectures.neox_bloom import triples


def channels(attention: Any, config: Any, outputs: Sequence[int]) -> HeadChannels:
    """query_key_value: by group (new), one key for all queries, or by head."""
    h = attention.head_dim
    heads = torch.arange(outputs[0]).view(-1, h)
    if config.new_decoder_architecture:
        by_group = heads.view(config.num_kv_heads, -1, h)
        return HeadChannels(
            query=by_group[:, :-2].flatten(0, 1), key=by_group[:, -2], value=by_group[:, -1]
        )
    if config.multi_query:
        return HeadChannels(query=heads[:-2], key=heads[-2:-1], value=heads[-1:])
    return triples(attention, config, outputs)


def configured(adapter: Adapter, config: Any) -> Adapter:
    """With ALiBi in place of the rotation, or the MLP behind attention, where configured.

    transformers' plain Falcon adds ALiBi twice, in the mask and by itself: there torch's plain
    attention function takes its place, with the mask alone.
    """
    parallel = bool(config.new_decoder_architecture or config.parallel_attn)
    if not config.alibi:
        return replace(adapter, parallel=parallel)
    return replace(
        adapter,
        rotation=None,
        position_bias=positions,
        parallel=parallel,
        quirks=replace(adapter.quirks, plain_attention="sdpa"),
    )


def positions(attention: Any, config: Any) -> PositionBias:
    """ALiBi, scaled with the scores."""
    from transformers.models.falcon.modeling_falcon import build_alibi_tensor

    def bias(start: int, length: int) -> Tensor:
        ones = torch.ones(1, start + length, dtype=torch.long)
        table: Tensor = build_alibi_tensor(ones, config.num_attention_heads, torch.float64)
        scaled: Tensor = table[:, 0, start:] / attention.head_dim**0.5
        return scaled

    return bias


def falcon(attention: Any, attend: Attend) -> Functions:
    """Rotary positions, or ALiBi that the model has put into the mask."""
    from transformers.models.falcon.modeling_falcon import apply_rotary_pos_emb

    def forward(
        hidden_states: Tensor,
        alibi: Any,
        attention_mask: Any,
        position_embeddings: Any = None,
        **others: Any,
    ) -> Any:
        check_without_cache(others)
        fused = attention.query_key_value(hidden_states)
        q, k, v = (x.transpose(1, 2) for x in attention._split_heads(fused))
        if alibi is None:
            rotate: Any = apply_rotary_pos_emb
            q, k = rotate(q, k, *position_embeddings)
        out = attend(q, k, v, attention_mask, attention.inv_norm_factor)
        return attention.dense(out.flatten(2)), None

    return {"forward": forward}
