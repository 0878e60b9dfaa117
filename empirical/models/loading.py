"""Loading the decoders of the study: embedded, random, from a folder or from the hub."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from tokenizers import ByteLevelBPETokenizer, Tokenizer

from empirical.core.errors import UserError
from empirical.models.architectures import adapter_of, blocks_of, check_known
from empirical.models.decoder import LoadedModel, TokenizerEncoder, default_dtype_of, wrap
from empirical.models.xglm import Geometry, random_geometry, random_xglm

__all__ = [
    "Geometry",
    "LoadedModel",
    "TokenizerEncoder",
    "check_finite",
    "default_dtype_of",
    "load",
    "random_xglm",
    "read_tokenizer",
    "wrap",
]

# What reading damaged or unreachable files raises: the hub's and JSON's errors are among these.
_UNREADABLE = (
    OSError,
    ValueError,
    RuntimeError,
    KeyError,
    TypeError,
    AttributeError,
    EOFError,
    ImportError,
    UnpicklingError,
    SafetensorError,
    StrictDataclassError,
)
EMBEDDED = Path(__file__).parent / "embedded"


def read_tokenizer(folder: Path) -> Any:
    """`tokenizer.json`, or `vocab.json` with `merges.txt` (GPT-2 BPE, no space added in front).

    Raises:
        UserError: when the folder has neither, or they cannot be read.
    """
    folder = Path(folder)
    vocab, merges = folder / "vocab.json", folder / "merges.txt"
    try:
        if (folder / "tokenizer.json").is_file():
            return _whole(Tokenizer.from_file(str(folder / "tokenizer.json")))
        if vocab.is_file() and merges.is_file():
            return ByteLevelBPETokenizer(str(vocab), str(merges), add_prefix_space=False)
    except Exception as error:  # the library raises bare Exception for files it cannot parse
        raise UserError(
            f"expected tokenizer files that can be read in {folder}, got {error}; copy them again"
        ) from error
    raise UserError(
        f"expected tokenizer.json, or vocab.json with merges.txt, in {folder}, got neither; "
        "pass a folder with a tokenizer (--tokenizer DIR)"
    )


def _whole(tokenizer: Any) -> Any:
    """Without the truncation and padding that a tokenizer.json may have stored."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _check_folder(folder: Path) -> None:
    """Raise unless a local folder has a known configuration and weights.

    Raises:
        UserError: otherwise.
    """
    if not (folder / "config.json").is_file():
        raise UserError(f"expected config.json in {folder}, got none; pass a model folder")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:  # not JSON, or not UTF-8
        raise UserError(
            f"expected JSON in {folder / 'config.json'}, got {error}; copy the file again"
        ) from error
    if not isinstance(config, dict):
        raise UserError(
            f"expected a JSON object in {folder / 'config.json'}, got {type(config).__name__}; "
            "copy the file again"
        )
    check_known(config.get("model_type"), str(folder))
    known = (
        "model.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
    )
    if not any((folder / name).is_file() for name in known):
        raise UserError(
            f"expected weights ({', '.join(known)}) in {folder}, got none; "
            "copy the weights there or name another model"
        )


def _looks_local(name: str) -> bool:
    """Whether a name can only be a path: hub ids are taken as OWNER/NAME."""
    return name.startswith((".", "/", "~")) or name.count("/") != 1


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
    """The model called "embedded", a random one (`random_geometry`), one in a folder, or the hub's.

    Raises:
        UserError: for a folder without weights, an unknown architecture, weights that lack tensors
            or are not finite, or a hub that cannot be reached.
    """
    drawn = random_geometry(name)
    if drawn is not None:
        if tokenizer is None:
            raise UserError(
                f"expected a tokenizer for {name}, got none; "
                "pass the folder of a GPT-2 BPE with --tokenizer DIR"
            )
        model = random_xglm(drawn[0], drawn[1], read_tokenizer(tokenizer), device, dtype)
        return replace(model, name=name)
    folder = EMBEDDED if name == "embedded" else Path(name)
    local = name == "embedded" or folder.is_dir()
    if local:
        _check_folder(folder)
    elif _looks_local(name):
        raise UserError(
            f"expected a model folder at {name}, got nothing there; "
            "correct the path, or name `embedded`, random:125M or a hub model as OWNER/NAME"
        )
    text = None if tokenizer is None and not local else read_tokenizer(tokenizer or folder)
    model_, backend = _read(str(folder) if local else name, local, dtype)
    check_finite(model_, name)
    return wrap(model_.to(device), text or backend(), name)


def _read(where: str, local: bool, dtype: torch.dtype) -> tuple[Any, Callable[[], Any]]:
    """The decoder of a folder or hub id, and a function that reads the hub's tokenizer.

    Raises:
        UserError: when it cannot be read, or lacks tensors.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    def guarded(read: Callable[[], Any]) -> Any:
        try:
            return read()
        except _UNREADABLE as error:
            what = "a readable local model" if local else "a local folder or a reachable hub model"
            reason = (str(error).strip() or "no reason given").splitlines()[0]
            raise UserError(
                f"expected {what} at {where!r}, got {type(error).__name__}: {reason}; "
                "check the name, the files and the network"
            ) from error

    config = guarded(lambda: AutoConfig.from_pretrained(where))
    check_known(config.model_type, where)
    for setting, value in adapter_of(config).quirks.config_overrides.items():
        setattr(config, setting, value)
    model, seen = guarded(
        lambda: AutoModelForCausalLM.from_pretrained(
            where,
            config=config,
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    )
    _check_loaded(model, seen, where)
    return model, lambda: guarded(
        lambda: _whole(AutoTokenizer.from_pretrained(where).backend_tokenizer)
    )


def _check_loaded(model: Any, seen: dict[str, Any], where: str) -> None:
    """Refuse a file that is not of the model that its configuration describes.

    Raises:
        UserError: for tensors that are missing, of another shape, or of layers beyond the last.
    """
    missing = sorted(seen["missing_keys"])
    if missing:
        raise UserError(
            f"expected every weight of the model in {where}, got none for {len(missing)} tensors "
            f"({missing[0]} first); the file is incomplete, fetch it again"
        )
    mismatched = sorted(map(str, seen["mismatched_keys"]))
    if mismatched:
        raise UserError(
            f"expected weights of the shapes that config.json of {where} gives, got "
            f"{len(mismatched)} others ({mismatched[0]} first); take both from one model"
        )
    layers = len(blocks_of(model))
    for key in sorted(seen["unexpected_keys"]):
        found = re.search(r"\.(?:layers|h)\.(\d+)\.", key)
        if found and int(found.group(1)) >= layers:
            raise UserError(
                f"expected weights of the {layers} layers that config.json of {where} names, got "
                f"{key} as well; take both from one model"
            )
