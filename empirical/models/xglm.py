"""Untrained decoders of any size, a function of their seed."""

import re
from dataclasses import dataclass
from typing import Any

import torch
from transformers import XGLMConfig, XGLMForCausalLM

from empirical.core.errors import UserError
from empirical.models.decoder import LoadedModel, wrap
from empirical.models.tokenizer import BOS, EOS, PAD


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Sizes of a decoder; the defaults are fairseq-dense-125M."""

    layers: int = 12
    width: int = 768
    heads: int = 12
    ffn: int = 3072
    positions: int = 2048


# The published dense models of fairseq.
_RANDOM_SIZES = {
    "125M": Geometry(),
    "355M": Geometry(layers=24, width=1024, heads=16, ffn=4096),
    "1.3B": Geometry(layers=24, width=2048, heads=32, ffn=8192),
    "2.7B": Geometry(layers=32, width=2560, heads=32, ffn=10240),
}


def random_geometry(name: str) -> tuple[Geometry, int] | None:
    """Geometry and seed of `random:SIZE` (125M, 355M, 1.3B, 2.7B) or `random:WIDTHxLAYERSxHEADS`.

    Each may end in `@SEED`; otherwise the seed is 0.

    None for a name that does not start with `random:`.

    Raises:
        UserError: for a size that no decoder can have.
    """
    if not name.startswith("random:"):
        return None
    found = re.fullmatch(r"random:(?:(125M|355M|1\.3B|2\.7B)|(\d+)x(\d+)x(\d+))(?:@(\d+))?", name)
    if found is None:
        raise UserError(
            f"expected random:SIZE ({', '.join(_RANDOM_SIZES)}) or random:WIDTHxLAYERSxHEADS (and "
            f"@SEED), got {name!r}; "
            "for example random:96x4x4@1"
        )
    size, *numbers, seed = found.groups()
    if int(seed or 0) >= 2**63:
        raise UserError(f"expected a seed below 2^63, got {name!r}; for example random:96x4x4@1")
    if size:
        return _RANDOM_SIZES[size], int(seed or 0)
    width, layers, heads = map(int, numbers)
    if layers < 1 or heads < 1 or width < 4 or width % heads or width % 2:
        raise UserError(
            "expected one layer and one head or more, and an even width from 4 on that the heads "
            f"divide, got {name!r}; for example random:96x4x4"
        )
    return Geometry(layers=layers, width=width, heads=heads, ffn=4 * width), int(seed or 0)


def random_xglm(
    geometry: Geometry,
    seed: int | torch.Generator,
    tokenizer: Any,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> LoadedModel:
    """An untrained decoder: N(0, 0.02²) matrices, zero biases, unit layer norms, tied embeddings.

    The vocabulary is the tokenizer's with BOS and EOS after it. The global random state is left
    as it was; all draws come from `seed` (an integer or a generator on the CPU).
    """
    n = int(tokenizer.get_vocab_size())
    config = XGLMConfig(
        vocab_size=n + 2,
        max_position_embeddings=geometry.positions,
        d_model=geometry.width,
        ffn_dim=geometry.ffn,
        num_layers=geometry.layers,
        attention_heads=geometry.heads,
        dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        layerdrop=0.0,
        scale_embedding=True,
        tie_word_embeddings=True,
        bos_token_id=n,
        eos_token_id=n + 1,
        pad_token_id=None,
    )
    generator = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        model: Any = XGLMForCausalLM(config)
    with torch.no_grad():
        for key, value in model.named_parameters():
            if value.dim() == 2:
                value.normal_(0.0, 0.02, generator=generator)
            else:
                value.fill_(1.0 if "norm" in key and key.endswith("weight") else 0.0)
    return wrap(model.to(device=device, dtype=dtype), tokenizer, f"random-{geometry.width}")


def configuration(
    vocabulary: int, *, width: int, ffn: int, layers: int = 4, heads: int = 4
) -> XGLMConfig:
    """The fairseq dense architecture at any size, without dropout."""
    return XGLMConfig(
        vocab_size=vocabulary,
        d_model=width,
        ffn_dim=ffn,
        num_layers=layers,
        attention_heads=heads,
        max_position_embeddings=2048,
        activation_function="gelu",
        scale_embedding=True,
        dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        layerdrop=0.0,
        bos_token_id=BOS,
        pad_token_id=PAD,
        eos_token_id=EOS,
        decoder_start_token_id=BOS,
    )
