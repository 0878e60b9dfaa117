"""Decoders of transformers, seen alike: `blocks_of(model)` is the one way in.

`KNOWN` are the architectures (`model_type`) that have an adapter.
"""

from empirical.models.architectures.adapters import KNOWN, adapter_of, check_known
from empirical.models.architectures.attention_block import Block, Projection
from empirical.models.architectures.blocks import blocks_of
from empirical.models.architectures.final_norm import backbone, logits

__all__ = [
    "KNOWN",
    "Block",
    "Projection",
    "adapter_of",
    "backbone",
    "blocks_of",
    "check_known",
    "logits",
]
