"""SHA-256 of the weights and the tokenizer of a model, and the name of its device."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from empirical.models.decoder import LoadedModel


# Of a configuration: what says where it lies or by what it was written, not what is computed.
_ORIGIN = ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype")


def model_sha256(model: LoadedModel) -> str:
    """SHA-256 over weights, configuration, tokenizer and special tokens."""
    config = {k: v for k, v in model.model.config.to_dict().items() if k not in _ORIGIN}
    text = json.dumps([config, model.encoder.bos, model.encoder.eos], sort_keys=True, default=str)
    words = _tokenizer_text(model.encoder.tokenizer)
    parts = (weights_sha256(model.model), text, words)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _tokenizer_text(tokenizer: Any) -> str:
    return str(tokenizer.to_str())


def device_name(device: torch.device) -> str:
    """`cpu`, or `cuda` with the name of the card."""
    if device.type != "cuda":
        return device.type
    return f"cuda ({torch.cuda.get_device_name(device)})"


def weights_sha256(model: torch.nn.Module) -> str:
    """SHA-256 over name, dtype, shape and bytes of every tensor of the state, in name order."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        flat = value.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
