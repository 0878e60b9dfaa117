"""GPT-NeoX and BLOOM, which share one layout of queries, keys and values; BLOOM's ALiBi.

Letters: T tokens, H heads, h head width, d model width.
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


def triples(attention: Any, config: Any, outputs: Sequence[int]) -> HeadChannels:
    """query_key_value: [H 3 h, d], three parts head by head."""
    del attention
    by_head = torch.arange(outputs[0]).view(config.num_attention_heads, 3, -1)
    return HeadChannels(*by_head.unbind(1))


def sequential_where_configured(adapter: Adapter, config: Any) -> Adapter:
    """GPT-NeoX: the MLP behind attention and not beside it, without `use_parallel_residual`."""
    return replace(adapter, parallel=bool(config.use_parallel_residual))


def bloom_positions(attention: Any, config: Any) -> PositionBias:
    """BLOOM's ALiBi: slope times position."""
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor

    del attention

    def bias(start: int, length: int) -> Tensor:
        ones = torch.ones(1, start + length)
        table: Tensor = build_alibi_tensor(ones, config.n_head, torch.float32)
        return table[:, 0, start:]

    return bias


def bloom(attention: Any, attend: Attend) -> Functions:
    """BLOOM: ALiBi, and the residual is added inside the attention module."""

    def forward(
        hidden_states: Tensor, residual: Tensor, alibi: Tensor, attention_mask: Any, **others: Any
    ) -> Any:
        check_without_cache(others)
        q, k, v = attention._reshape(attention.query_key_value(hidden_states))
        bias = alibi.view(q.shape[0], attention.num_heads, 1, -1)
        out = attend(q, k, v, attention_mask, attention.inv_norm_factor, bias=bias)
        return attention.dense(out.flatten(2)) + residual, None

    return {"forward": forward}
