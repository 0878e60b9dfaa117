"""GPT-1, GPT-2, GPT-Neo and GPT-J: channels, windows, rotation, attention in place of their own.

Letters: B batch, T tokens, H heads, h head width, d model width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from empirical.models.architectures.attention_block import Attend, HeadChannels
from empirical.models.architectures.attention_functions import Functions
from empirical.models.architectures.rotation import RotaryTables


def thirds(attention: Any, config: Any, outputs: Sequence[int]) -> HeadChannels:
    """c_attn of GPT-2 and GPT-1: [d, 3d], queries, then keys, then values."""
    del attention
    return HeadChannels(*torch.arange(outputs[0]).view(3, config.num_attention_heads, -1))


def local_window(attention: Any, config: Any) -> int | None:
    """GPT-Neo: the configuration's, in layers that are local."""
    return config.window_size if attention.attention_type == "local" else None


def rotate_every_two(attention: Any, kwargs: Mapping[str, Any]) -> RotaryTables:
    """GPT-J: neighbours are turned, and its tables are its own."""
    from transformers.models.gptj.modeling_gptj import rotate_every_two

    at = kwargs["position_ids"][0]
    sin, cos = attention.embed_positions[at].chunk(2, -1)
    sin, cos = (x.repeat_interleave(2, -1) for x in (sin, cos))
    return RotaryTables(cos=cos, sin=sin, turn=rotate_every_two)


def gpt_neo(attention: Any, attend: Attend) -> Functions:
    """GPT-Neo: scores without a scale, local windows added by the core."""
    del attention

    def _attn(query: Tensor, key: Tensor, value: Tensor, attention_mask: Any = None) -> Any:
        return attend(query, key, value, attention_mask, 1.0).transpose(1, 2), None

    return {"_attn": _attn}


def gptj(attention: Any, attend: Attend) -> Functions:
    """GPT-J: rotary positions are the module's own."""

    def _attn(query: Tensor, key: Tensor, value: Tensor, attention_mask: Any = None) -> Any:
        scaling = attention.head_dim**-0.5
        return attend(query, key, value, attention_mask, scaling).transpose(1, 2), None

    return {"_attn": _attn}


def openai_gpt(attention: Any, attend: Attend) -> Functions:
    """GPT-1: keys come transposed, and the mask is of padding alone."""

    def _attn(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Any = None,
        output_attentions: bool = False,
    ) -> Any:
        del output_attentions
        scaling = value.shape[-1] ** -0.5 if attention.scale else 1.0
        mask = None
        if attention_mask is not None:
            n = query.shape[-2]
            causal = torch.ones(n, n, dtype=torch.bool, device=query.device).tril()
            mask = causal & (attention_mask == 0)
        return [attend(query, key.transpose(-1, -2), value, mask, scaling).transpose(1, 2)]

    return {"_attn": _attn}
