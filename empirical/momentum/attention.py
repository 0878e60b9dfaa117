"""Momentum attention and its relatives as attention functions of transformers.

Registered under the names of `KINDS` when this file is imported, with the mask of "sdpa". The sums
are made from the values (or keys) that the function is given, which with a cache are all of them:
the state follows the cache, however that is cropped, reordered or expanded. The softmax is torch's.
Letters: B rows, H heads, G heads of keys and values, T queries, S keys, d width of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from dualform.momentum import averaged, last_momentum, momentum_sum
from empirical.core.errors import UserError
from empirical.momentum.sequence_positions import Places, places_of
from empirical.results.attention_kinds import (
    AVERAGED_KEYS,
    AVERAGED_VALUES,
    HEAVY_BALL,
    MOMENTUM,
    RECENCY_BIAS,
)

RATE, LOGIT = "momentum_eta", "momentum_logit"  # attributes of an attention module
_HARMLESS = {
    "position_ids",
    "cache_position",
    "use_cache",
    "output_attentions",
    "output_hidden_states",
    "return_dict",
    "num_items_in_batch",
}


def rate_of(module: nn.Module) -> float | Tensor:
    """eta of a layer: learned [H], or a number.

    Raises:
        UserError: for a module that has none.
    """
    logit = getattr(module, LOGIT, None)
    if logit is not None:
        return torch.sigmoid(logit)
    eta = getattr(module, RATE, None)
    if eta is None:
        raise UserError(
            f"expected an eta at every attention layer, got none at {type(module).__name__}; make "
            "the model with empirical.momentum.adapt.adapt or load"
        )
    return float(eta)


def _check(module: nn.Module, keys: int, others: Mapping[str, Any]) -> None:
    """Refuse what this file would silently leave out.

    Raises:
        UserError: for a sliding window that hides a key, a soft cap, sinks, position biases.
    """
    window = others.get("sliding_window")
    if window is not None and window < keys:
        raise UserError(
            f"expected attention to all earlier tokens, got a window of {window} for {keys} of "
            "them; momentum sums have no meaning there: choose a model with full attention"
        )
    known = _HARMLESS | {"sliding_window"}
    left = [k for k, x in others.items() if x is not None and x is not False and k not in known]
    if left:
        raise UserError(
            f"expected plain softmax attention in {type(module).__name__}, got {', '.join(left)}; "
            "choose a model without"
        )


def _repeated(x: Tensor, heads: int) -> Tensor:
    """[B, G, S, d] to [B, H, S, d]."""
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], 1)


def _softmax(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None, drop: float
) -> Tensor:
    """Softmax attention [B, H, T, d] by torch's kernel; causal where there is no mask."""
    alone = mask is None and query.shape[-2] > 1
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, dropout_p=drop, scale=scale, is_causal=alone
    )


def beside(x: Tensor, eta: float | Tensor, places: Places) -> Tensor:
    """m of the queries, sum over earlier tokens i of eta^(t-i) x_i: x [B, H, S, d] to [B, H, T, d].

    With one query it is a weighted sum; otherwise a scan over all keys.
    """
    if places.same is None and places.queries == 1:
        return last_momentum(x, eta)
    found = momentum_sum(x, eta, same=places.same)
    return found[..., places.first : places.first + places.queries, :]


def _weights(eta: float | Tensor, like: Tensor) -> Tensor:
    """eta as [1 or H, 1, 1], in float32 at least."""
    wide = torch.promote_types(like.dtype, torch.float32)
    return torch.as_tensor(eta, dtype=wide, device=like.device).reshape(-1, 1, 1)


def recency(eta: float | Tensor, places: Places, like: Tensor) -> Tensor:
    """(t - i) log eta where query t sees key i, minus infinity elsewhere: [1|B,1|H,T,S]."""
    apart = places.apart(like.device).to(like.dtype)
    log = _weights(eta, like).log()
    bias = torch.where(apart > 0, apart.clamp(min=1) * log, 0.0)
    return torch.where(places.visible(like.device), bias, -torch.inf).to(like.dtype)


def grown(eta: float | Tensor, places: Places, like: Tensor) -> Tensor:
    """1 + eta + ... + eta^(t-i), where query t sees key i: [1 or H, T, S]."""
    steps = torch.arange(places.keys, device=like.device)
    sums = (_weights(eta, like)[..., 0] ** steps).cumsum(-1)  # [1 or H, S], added: no quotient
    apart = places.apart(like.device)
    return torch.where(apart >= 0, sums[:, apart.clamp(min=0)], 0.0)


def _momentum(q: Tensor, k: Tensor, v: Tensor, places: Places, eta: Any, *how: Any) -> Tensor:
    return _softmax(q, k, v, *how) + beside(v, eta, places)


def _averaged_values(
    q: Tensor, k: Tensor, v: Tensor, places: Places, eta: Any, *how: Any
) -> Tensor:
    return _softmax(q, k, averaged(v, eta, same=places.same), *how)


def _averaged_keys(q: Tensor, k: Tensor, v: Tensor, places: Places, eta: Any, *how: Any) -> Tensor:
    if k.shape[-1] != v.shape[-1]:
        raise UserError(
            f"expected keys as wide as values for {AVERAGED_KEYS}, got {k.shape[-1]} and "
            f"{v.shape[-1]}; choose another kind"
        )
    return _softmax(q, k, v, *how) + beside(k, eta, places)


def _recency_bias(
    q: Tensor, k: Tensor, v: Tensor, places: Places, eta: Any, mask: Any, scale: Any, drop: Any
) -> Tensor:
    found = _softmax(q, k, v, recency(eta, places, q).expand(q.shape[0], -1, -1, -1), scale, drop)
    return found if mask is None else _only_real(found, places)


def _heavy_ball(
    q: Tensor, k: Tensor, v: Tensor, places: Places, eta: Any, mask: Any, scale: Any, drop: Any
) -> Tensor:
    scores = (q @ k.mT).float() if q.dtype != torch.float64 else q @ k.mT
    scores = scores * (q.shape[-1] ** -0.5 if scale is None else scale)
    seen = places.visible(q.device)
    p = scores.masked_fill(~seen, torch.finfo(scores.dtype).min).softmax(-1)
    p = F.dropout(p * grown(eta, places, q), drop)
    return _only_real(p.to(v.dtype) @ v, places)


def _only_real(found: Tensor, places: Places) -> Tensor:
    """Zero at padding, which sees nothing."""
    if places.same is None:
        return found
    asked = places.same[:, places.first : places.first + places.queries] >= 0
    return found.where(asked[:, None, :, None], 0.0)


Rule = Callable[..., Tensor]
RULES: Mapping[str, Rule] = {
    MOMENTUM: _momentum,
    AVERAGED_VALUES: _averaged_values,
    HEAVY_BALL: _heavy_ball,
    RECENCY_BIAS: _recency_bias,
    AVERAGED_KEYS: _averaged_keys,
}


def _function(rule: Rule) -> Callable[..., tuple[Tensor, None]]:
    def attend(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        scaling: float | None = None,
        dropout: float = 0.0,
        is_causal: bool | None = None,
        **others: Any,
    ) -> tuple[Tensor, None]:
        """query [B,H,T,d], key and value [B,G,S,d]; the output is [B,T,H,d], without weights.

        Raises:
            UserError: for attention that is not causal, or not plain softmax attention.
        """
        if is_causal is False or getattr(module, "is_causal", True) is False:
            raise UserError(
                "expected causal attention, got a layer that looks ahead; choose a decoder"
            )
        _check(module, key.shape[2], others)
        eta = rate_of(module)
        if attention_mask is not None and attention_mask.shape[-1] != key.shape[2]:
            attention_mask = attention_mask[..., : key.shape[2]]
        places = places_of(attention_mask, query.shape[2], key.shape[2])
        key, value = (_repeated(x[:, :, : places.keys], query.shape[1]) for x in (key, value))
        found = rule(query, key, value, places, eta, attention_mask, scaling, dropout)
        return found.transpose(1, 2).contiguous(), None

    return attend


def causal_mask(
    *, q_length: int, q_offset: Any = 0, local_size: int | None = None, **given: Any
) -> Tensor | None:
    """transformers' mask for torch's kernel, where no window and no chunk hides a token.

    A chunk's mask looks like packed sequences, and a window's like left padding where there is
    one query: a mask alone cannot be asked.

    Raises:
        UserError: for a window or chunks that are shorter than the text.
    """
    if local_size is not None and int(q_offset) + q_length > local_size:
        raise UserError(
            f"expected attention to all earlier tokens, got a window or chunks of {local_size} for "
            f"{int(q_offset) + q_length} of them; momentum sums have no meaning there: choose a "
            "model with full attention"
        )
    mask: Tensor | None = sdpa_mask(
        q_length=q_length, q_offset=q_offset, local_size=local_size, **given
    )
    return mask


FUNCTIONS = {kind: _function(rule) for kind, rule in RULES.items()}
for _name, _attend in FUNCTIONS.items():
    AttentionInterface.register(_name, _attend)
    AttentionMaskInterface.register(_name, causal_mask)
