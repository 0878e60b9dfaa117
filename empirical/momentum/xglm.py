"""XGLM's attention by the attention interface of transformers, which its class does not use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.models.xglm.modeling_xglm import XGLMAttention

from empirical.core.errors import UserError
from empirical.momentum.attention import FUNCTIONS

IMPLEMENTATION = "momentum_implementation"  # attribute of a module: a kind, or absent: plain


class InterfacedXGLMAttention(XGLMAttention):
    """The same projections and numbers as the class, with any attention function between them."""

    def forward(  # type: ignore[override] # fewer keywords, and no third output
        self,
        hidden_states: Tensor,
        key_value_states: Tensor | None = None,
        past_key_values: Any = None,
        attention_mask: Tensor | None = None,
        **others: Any,
    ) -> tuple[Tensor, None]:
        """hidden_states [B,T,D] to [B,T,D]; the interface gives no attention weights.

        Raises:
            UserError: for cross-attention, which has no order of tokens.
        """
        if key_value_states is not None:
            raise UserError("expected a decoder alone, got cross-attention; build it without")
        query, key, value = (
            project(hidden_states).unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        kind = getattr(self, IMPLEMENTATION, None)
        attend: Callable[..., tuple[Tensor, Any]]
        attend = sdpa_attention_forward if kind is None else FUNCTIONS[kind]
        mixed, _ = attend(
            self,
            query,
            key,
            value,
            attention_mask,
            scaling=self.scaling,
            dropout=(self.dropout or 0.0) if self.training else 0.0,
        )
        out: Tensor = self.out_proj(mixed.flatten(-2))
        return out, None


def interfaced(module: torch.nn.Module, kind: str | None) -> None:
    """Make an XGLM attention use the interface with this kind (None: plain)."""
    module.__class__ = InterfacedXGLMAttention
    setattr(module, IMPLEMENTATION, kind)


def is_xglm(module: torch.nn.Module) -> bool:
    """Whether it is an attention layer of that class."""
    return isinstance(module, XGLMAttention)
