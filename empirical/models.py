"""Loading and building the decoders of the study (XGLM, which also holds fairseq's dense LMs)."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from tokenizers import ByteLevelBPETokenizer, Tokenizer
from transformers import XGLMConfig, XGLMForCausalLM

from empirical.errors import UserError

ARCHITECTURES = ("xglm",)
EMBEDDED = Path(__file__).parent / "embedded"


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


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Sizes of a decoder; the defaults are fairseq-dense-125M."""

    layers: int = 12
    width: int = 768
    heads: int = 12
    ffn: int = 3072
    positions: int = 2048


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


def read_tokenizer(folder: Path) -> Any:
    """`tokenizer.json`, or `vocab.json` with `merges.txt` (GPT-2 BPE, no space added in front).

    Raises:
        UserError: when the folder has neither.
    """
    folder = Path(folder)
    if (folder / "tokenizer.json").is_file():
        return Tokenizer.from_file(str(folder / "tokenizer.json"))
    vocab, merges = folder / "vocab.json", folder / "merges.txt"
    if vocab.is_file() and merges.is_file():
        return ByteLevelBPETokenizer(str(vocab), str(merges), add_prefix_space=False)
    raise UserError(
        f"expected tokenizer.json, or vocab.json with merges.txt, in {folder}, got neither; "
        "pass a folder with a tokenizer (--tokenizer DIR)"
    )


def wrap(model: Any, tokenizer: Any, name: str) -> LoadedModel:
    """A `LoadedModel` around a decoder that is already built."""
    config = model.config
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


def _check_folder(folder: Path) -> None:
    """Raise unless a local folder has a known configuration and weights.

    Raises:
        UserError: otherwise.
    """
    if not (folder / "config.json").is_file():
        raise UserError(f"expected config.json in {folder}, got none; pass a model folder")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(
            f"expected JSON in {folder / 'config.json'}, got {error}; copy the file again"
        ) from error
    _check_architecture(config, str(folder))
    known = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
    if not any((folder / name).is_file() for name in known):
        raise UserError(
            f"expected weights ({', '.join(known)}) in {folder}, got none; "
            "copy the weights there or name another model"
        )


def _check_architecture(config: Mapping[str, Any], name: str) -> None:
    kind = config.get("model_type")
    if kind not in ARCHITECTURES:
        raise UserError(
            f"expected an architecture among {', '.join(ARCHITECTURES)} in {name}, got {kind!r}; "
            "name a supported model"
        )


def check_finite(model: Any, name: str) -> None:
    """Scan every weight.

    Raises:
        UserError: naming the first tensor with a NaN or an infinity.
    """
    for key, value in model.state_dict().items():
        bad = int((~torch.isfinite(value)).sum())
        if bad:
            raise UserError(
                f"expected finite weights in {name}, got {bad} non-finite values in {key}; "
                "the file is damaged, fetch it again"
            )


def load(
    name: str,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    tokenizer: Path | None = None,
) -> LoadedModel:
    """The model called "embedded", one in a local folder, or one on the hub.

    Raises:
        UserError: for a folder without weights, an unknown architecture, non-finite weights, or a
            hub that cannot be reached.
    """
    from transformers import AutoConfig, AutoTokenizer

    folder = EMBEDDED if name == "embedded" else Path(name)
    local = name == "embedded" or folder.is_dir()
    if local:
        _check_folder(folder)
    where = str(folder) if local else name
    try:
        if not local:
            _check_architecture(AutoConfig.from_pretrained(name).to_dict(), name)
        model: Any = XGLMForCausalLM.from_pretrained(where, dtype=dtype)
        model = model.to(device)
        if tokenizer is not None or local:
            text = read_tokenizer(folder if tokenizer is None else tokenizer)
        else:
            text = AutoTokenizer.from_pretrained(name).backend_tokenizer
    except (OSError, ValueError, SafetensorError) as error:
        what = "a readable local model" if local else "a local folder or a reachable hub model"
        raise UserError(
            f"expected {what} at {where!r}, got {type(error).__name__}: "
            f"{str(error).splitlines()[0]}; check the name, the files and the network"
        ) from error
    check_finite(model, name)
    return wrap(model, text, name)


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
