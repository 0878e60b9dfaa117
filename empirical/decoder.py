"""A decoder of the study (XGLM, which also holds fairseq's dense LMs), its encoder and geometry."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from empirical.errors import UserError


@dataclass(frozen=True, kw_only=True)
class TokenizerEncoder:
    """A byte-level BPE with the model's own BOS and EOS."""

    tokenizer: Any
    bos: int
    eos: int

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, no special tokens."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A decoder in evaluation mode with its encoder and geometry."""

    model: Any
    encoder: TokenizerEncoder
    name: str
    device: torch.device
    n_layers: int
    n_heads: int
    width: int
    max_length: int


@contextmanager
def default_dtype_of(model: LoadedModel) -> Iterator[None]:
    """torch's default dtype is the weights' own while inside, when they are float64.

    transformers' XGLM builds its mask limit in the default dtype, which overflows in float64
    otherwise. The default is restored on leaving.
    """
    before = torch.get_default_dtype()
    wide = next(model.model.parameters()).dtype == torch.float64
    torch.set_default_dtype(torch.float64 if wide else before)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def wrap(model: Any, tokenizer: Any, name: str) -> LoadedModel:
    """A `LoadedModel` around a decoder that is already built.

    Raises:
        UserError: when its configuration names no BOS or EOS token.
    """
    config = model.config
    special = (config.bos_token_id, config.eos_token_id)
    if not all(type(token) is int for token in special):
        raise UserError(
            f"expected one bos_token_id and one eos_token_id in the configuration of {name}, got "
            f"{config.bos_token_id} and {config.eos_token_id}; add them to config.json"
        )
    encoder = TokenizerEncoder(
        tokenizer=tokenizer, bos=config.bos_token_id, eos=config.eos_token_id
    )
    return LoadedModel(
        model=model.eval(),
        encoder=encoder,
        name=name,
        device=next(model.parameters()).device,
        n_layers=config.num_layers,
        n_heads=config.attention_heads,
        width=config.d_model,
        max_length=config.max_position_embeddings,
    )
