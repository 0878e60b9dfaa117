"""For six classes that do not call transformers' attention interface: functions in their place.

Each computes queries, keys and values with the module's own parts and hands them to `attend`, with
the meaning of transformers' attention functions: attend(query, key, value, mask, scaling) for
[B,H,T,h] tensors returns [B,T,H,h]. No cache is used while they stand in.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from empirical.models.architectures.attention_block import Attend

Functions = dict[str, Callable[..., Any]]


def _heads(x: Tensor, width: int) -> Tensor:
    """[B,T,H h] -> [B,H,T,h]."""
    return x.view(*x.shape[:-1], -1, width).transpose(1, 2)


def _without_cache(others: dict[str, Any]) -> None:
    """Refuse a cache, which would be passed over.

    Raises:
        ValueError: for one, empty or not.
    """
    for name in ("past_key_values", "layer_past"):
        if others.get(name) is not None:
            raise ValueError(
                f"expected no cache, got {name} of class {type(others[name]).__name__}; call the "
                "model with use_cache=False (a shared context is a Prefix)"
            )


def xglm(module: Any, attend: Attend) -> Functions:
    """XGLM (fairseq's dense models): separate projections, scaled queries."""

    def forward(hidden_states: Tensor, attention_mask: Tensor | None = None, **others: Any) -> Any:
        _without_cache(others)
        q, k, v = (
            _heads(p(hidden_states), module.head_dim)
            for p in (module.q_proj, module.k_proj, module.v_proj)
        )
        out = attend(q, k, v, attention_mask, module.scaling)
        return module.out_proj(out.flatten(2)), None

    return {"forward": forward}


def gpt_neo(module: Any, attend: Attend) -> Functions:
    """GPT-Neo: scores without a scale, local windows added by the core."""
    del module

    def _attn(query: Tensor, key: Tensor, value: Tensor, attention_mask: Any = None) -> Any:
        return attend(query, key, value, attention_mask, 1.0).transpose(1, 2), None

    return {"_attn": _attn}


def gptj(module: Any, attend: Attend) -> Functions:
    """GPT-J: rotary positions are the module's own."""

    def _attn(query: Tensor, key: Tensor, value: Tensor, attention_mask: Any = None) -> Any:
        scaling = module.head_dim**-0.5
        return attend(query, key, value, attention_mask, scaling).transpose(1, 2), None

    return {"_attn": _attn}


def openai_gpt(module: Any, attend: Attend) -> Functions:
    """GPT-1: keys come transposed, and the mask is of padding alone."""

    def _attn(query: Tensor, key: Tensor, value: Tensor, attention_mask: Any = None,
              output_attentions: bool = False) -> Any:  # fmt: skip
        del output_attentions
        scaling = value.shape[-1] ** -0.5 if module.scale else 1.0
        mask = None
        if attention_mask is not None:
            n = query.shape[-2]
            causal = torch.ones(n, n, dtype=torch.bool, device=query.device).tril()
            mask = causal & (attention_mask == 0)
        return [attend(query, key.transpose(-1, -2), value, mask, scaling).transpose(1, 2)]

    return {"_attn": _attn}


def bloom(module: Any, attend: Attend) -> Functions:
    """BLOOM: ALiBi, and the residual is added inside the attention module."""

    def forward(hidden_states: Tensor, residual: Tensor, alibi: Tensor, attention_mask: Any,
                **others: Any) -> Any:  # fmt: skip
        _without_cache(others)
        q, k, v = module._reshape(module.query_key_value(hidden_states))
        bias = alibi.view(q.shape[0], module.num_heads, 1, -1)
        out = attend(q, k, v, attention_mask, module.inv_norm_factor, bias=bias)
        return module.dense(out.flatten(2)) + residual, None

    return {"forward": forward}


def falcon(module: Any, attend: Attend) -> Functions:
    """Falcon: rotary positions, or ALiBi that the model has put into the mask."""
    from transformers.models.falcon.modeling_falcon import apply_rotary_pos_emb

    def forward(hidden_states: Tensor, alibi: Any, attention_mask: Any,
                position_embeddings: Any = None, **others: Any) -> Any:  # fmt: skip
        _without_cache(others)
        q, k, v = (
            x.transpose(1, 2) for x in module._split_heads(module.query_key_value(hidden_states))
        )
        if alibi is None:
            rotate: Any = apply_rotary_pos_emb
            q, k = rotate(q, k, *position_embeddings)
        out = attend(q, k, v, attention_mask, module.inv_norm_factor)
        return module.dense(out.flatten(2)), None

    return {"forward": forward}
