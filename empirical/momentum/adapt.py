"""Give a transformers model one of the compared layers, and save and load it with that layer.

`adapt` touches no existing weight. Learned etas are one logit for each head and layer, a parameter
of the attention module. The layer stands in the model's configuration under `momentum_layer`.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from empirical.core.errors import UserError
from empirical.momentum import xglm
from empirical.momentum.attention import LOGIT, RATE
from empirical.results.attention_kinds import PLAIN, Layer

CONFIG = "momentum_layer"  # attribute of a configuration
WEIGHTS = "model.safetensors"


def attentions(model: nn.Module) -> list[nn.Module]:
    """The attention layers of a decoder, in order.

    Raises:
        UserError: for a model without such layers.
    """
    found = [
        m
        for m in model.modules()
        if type(m).__name__.endswith("Attention") and hasattr(m, "layer_idx")
    ]
    if not found:
        raise UserError(
            f"expected a decoder whose attention layers go through transformers' attention "
            f"interface, got {type(model).__name__}; choose another architecture"
        )
    return found


def adapt(model: Any, layer: Layer) -> Any:
    """Set the layer of every attention in place, whatever it was before; the model again.

    Raises:
        UserError: for an architecture that does not use the attention interface.
    """
    modules = attentions(model)
    name = "sdpa" if layer.kind == PLAIN else layer.kind
    _set_implementation(model, name, modules)
    for module in modules:
        _forget(module)
        if xglm.is_xglm(module):
            xglm.interfaced(module, None if layer.kind == PLAIN else layer.kind)
        if layer.learned:
            assert layer.eta is not None  # a Layer that is learned has one
            start = math.log(layer.eta / (1 - layer.eta))
            like = next(module.parameters())
            heads = torch.full((_heads(model),), start, dtype=like.dtype, device=like.device)
            module.register_parameter(LOGIT, nn.Parameter(heads))
        elif layer.eta is not None:
            setattr(module, RATE, layer.eta)
    setattr(model.config, CONFIG, asdict(layer))
    return model


def _forget(module: nn.Module) -> None:
    module._parameters.pop(LOGIT, None)
    if hasattr(module, RATE):
        delattr(module, RATE)


def _heads(model: Any) -> int:
    return int(model.config.num_attention_heads)


def _set_implementation(model: Any, name: str, modules: list[nn.Module]) -> None:
    """Name the function in the configuration that mask and layers read.

    Raises:
        UserError: for an architecture that does not use the attention interface.
    """
    if all(map(xglm.is_xglm, modules)):
        model.config._attn_implementation = name
        return
    if not model._can_set_attn_implementation():  # else a warning, and plain attention goes on
        raise UserError(
            f"expected an architecture whose attention goes through transformers' attention "
            f"interface, got {type(model).__name__}; choose another architecture"
        )
    try:
        model.set_attn_implementation(name)
    except (ValueError, KeyError) as error:
        raise UserError(
            f"expected an architecture that takes the attention implementation {name}, got "
            f"{type(model).__name__}: {error}; choose another architecture"
        ) from error


def layer_of(model: Any) -> Layer:
    """The layer that `adapt` set; plain where it set none.

    Raises:
        UserError: for a configuration that holds something else there.
    """
    held = getattr(model.config, CONFIG, None)
    try:
        return Layer() if held is None else Layer(**held)
    except TypeError:
        raise UserError(
            f"expected kind, eta and learned under {CONFIG} of the configuration, got {held!r}; "
            "save the model again with empirical.momentum.adapt.save"
        ) from None


def rates(model: Any) -> tuple[tuple[float, ...], ...]:
    """Learned etas, layer by layer and head by head; empty where none is learned."""
    logits = [getattr(m, LOGIT, None) for m in attentions(model)]
    return tuple(tuple(torch.sigmoid(x.detach()).tolist()) for x in logits if x is not None)


def parameters(model: Any) -> list[tuple[str, Tensor]]:
    """Named parameters without learned etas: what all layers have in common."""
    return [(n, p) for n, p in model.named_parameters() if not n.endswith(LOGIT)]


def save(model: Any, folder: Path) -> None:
    """Write configuration and weights (safetensors), etas among them."""
    model.save_pretrained(folder)


def _read(folder: Path) -> Any:
    """The model without learned etas, and what transformers says of its weights.

    Raises:
        UserError: for a damaged file.
    """
    try:
        return AutoModelForCausalLM.from_pretrained(
            folder,
            output_loading_info=True,
            local_files_only=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
        )
    except SafetensorError as error:
        raise UserError(
            f"expected weights in {folder / WEIGHTS}, got a damaged file ({error}); copy it again"
        ) from None


def load(folder: Path) -> Any:
    """A model that `save` wrote, with its layer.

    Raises:
        UserError: for a folder without model, missing, unexpected or non-finite weights.
    """
    folder = Path(folder)
    if not (folder / "config.json").exists() or not (folder / WEIGHTS).exists():
        raise UserError(
            f"expected config.json and {WEIGHTS} in {folder}, got neither or one of them; train "
            "with --keep, or pass the folder of a model"
        )
    model, seen = _read(folder)
    layer = layer_of(model)
    adapt(model, layer)
    unexpected = {n for n in seen["unexpected_keys"] if not (layer.learned and n.endswith(LOGIT))}
    own = {n: p for n, p in model.named_parameters() if n.endswith(LOGIT)}
    held = {n: x for n, x in load_file(folder / WEIGHTS).items() if n.endswith(LOGIT)}
    shapes = {n for n in set(own) & set(held) if own[n].shape != held[n].shape}
    wrong = sorted(unexpected | set(seen["missing_keys"]) | (set(own) ^ set(held)) | shapes)
    wrong = wrong or sorted(map(str, seen["mismatched_keys"]))
    if wrong:
        raise UserError(
            f"expected the weights of a {type(model).__name__} with {layer.name} in {folder}, got "
            f"missing, unexpected or misshapen ones: {wrong[:3]}; "
            "save it again with empirical.momentum.adapt.save"
        )
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(held[name])
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise UserError(
                f"expected finite weights in {folder}, got others in {name}; train it again"
            )
    return model
