"""XGLM's attention in place of its own. Letters: B batch, T tokens, H heads, h head width."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from empirical.models.architectures.attention_block import Attend
from empirical.models.architectures.attention_functions import (
    Functions,
    by_head,
    check_without_cache,
)


def xglm(attention: Any, attend: Attend) -> Functions:
    """XGLM (fairseq's dense models): separate projections, scaled queries."""

    def forward(hidden_states: Tensor, attention_mask: Tensor | None = None, **others: Any) -> Any:
        check_without_cache(others)
        q, k, v = (
            by_head(p(hidden_states), attention.head_dim)
            for p in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        out = attend(q, k, v, attention_mask, attention.scaling)
        return attention.out_proj(out.flatten(2)), None

    return {"forward": forward}
