"""Decoders of transformers, seen alike: where each keeps its attention, and how to look inside.

`blocks_of(model)` is the one way in; `KNOWN` lists the architectures (`model_type` of the
configuration) that have an adapter.
"""

from empirical.models.architectures.adapters import KNOWN, backbone, blocks_of, check_known, logits
from empirical.models.architectures.attention_block import Block, Projection

__all__ = ["KNOWN", "Block", "Projection", "backbone", "blocks_of", "check_known", "logits"]
