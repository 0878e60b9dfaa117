"""What separates the many decoders of LLaMA's layout: windows, soft caps, norms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from empirical.models.architectures.adapter import Adapter


def window_of_layer(attention: Any, config: Any) -> int | None:
    """That of the layer (Qwen, Gemma)."""
    del config
    window: int | None = attention.sliding_window
    return window


def window_of_model(attention: Any, config: Any) -> int | None:
    """One window for every layer (Mistral, StarCoder2)."""
    del attention
    window: int | None = config.sliding_window
    return window


def softcap(attention: Any, config: Any) -> float | None:
    """Gemma 2. Gemma 3's class reads one from the configuration and never applies it."""
    del config
    cap: float | None = attention.attn_logit_softcapping
    return cap


def norms_where_configured(adapter: Adapter, config: Any) -> Adapter:
    """Phi, StableLM: norms of queries and keys with `qk_layernorm` alone."""
    return adapter if config.qk_layernorm else replace(adapter, qk_norm=None)
