"""A decoder of the study with its encoder and geometry."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from empirical.core.errors import UserError
from empirical.models.architectures import Block, adapter_of, blocks_of


@dataclass(frozen=True, kw_only=True)
class TokenizerEncoder:
    """A byte-level BPE with the model's own BOS and EOS."""

    tokenizer: Any
    bos: int
    eos: int

    @cached_property
    def prepends(self) -> bool:
        """Whether the tokenizer puts a space in front of every text by itself (Llama 2's kind)."""
        one = self.tokenizer.encode("x", add_special_tokens=False).tokens
        two = self.tokenizer.encode(" x", add_special_tokens=False).tokens
        return bool(one and two and one[0].startswith("\u2581") and len(two) > len(one))

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, no special tokens; a space in front is never doubled."""
        if self.prepends and text.startswith(" "):
            text = text[1:]
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

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The self-attention block of every layer of `model`."""
        return blocks_of(self.model)


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
        UserError: for an architecture without an adapter, or when the configuration names no BOS or
            EOS token.
    """
    config = model.config
    bos, eos = (_first(x) for x in (config.bos_token_id, config.eos_token_id))
    if not (type(bos) is int and type(eos) is int):
        raise UserError(
            f"expected one bos_token_id and one eos_token_id in the configuration of {name}, got "
            f"{config.bos_token_id} and {config.eos_token_id}; add them to config.json"
        )
    if not 0 <= min(bos, eos) <= max(bos, eos) < config.vocab_size:
        raise UserError(
            f"expected bos_token_id and eos_token_id from 0 to below vocab_size "
            f"{config.vocab_size} in the "
            f"configuration of {name}, got {bos} and {eos}; correct config.json"
        )
    blocks = blocks_of(model)
    return LoadedModel(
        model=model.eval(),
        encoder=TokenizerEncoder(tokenizer=tokenizer, bos=bos, eos=eos),
        name=name,
        device=next(model.parameters()).device,
        n_layers=len(blocks),
        n_heads=blocks[0].heads,
        width=config.hidden_size,
        max_length=_max_length(config, name),
    )


def _max_length(config: Any, name: str) -> int:
    """Tokens that a decoder can read.

    Raises:
        UserError: when neither the configuration nor its architecture names them.
    """
    named = getattr(config, "max_position_embeddings", None)
    length: int | None = named or adapter_of(config).quirks.trained_length
    if length is None:
        raise UserError(
            f"expected max_position_embeddings of at least 1 in the configuration of {name}, got "
            f"{named}; correct config.json"
        )
    return length


def _first(token: Any) -> Any:
    """The first of a list of tokens (Llama 3 and Gemma name several that end a text)."""
    return token[0] if isinstance(token, list) and token else token
