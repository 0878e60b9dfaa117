"""The layers of a decoder, and what stands between the last of them and the output layer.

Letters: d model width, D width of the output layer's input (d, but for OPT-350M).
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Any

from torch import Tensor

from empirical.models.architectures import logits
from empirical.models.architectures.adapters import ADAPTERS

_LLAMA = ("model.norm",)
# Modules applied in order after the last layer, by model type; one that is None is left out. GPT-1
# has none, and OPT-350M a projection alone: their layers end with a norm of their own.
ENDS: Mapping[str, tuple[str, ...]] = {
    "xglm": ("model.layer_norm",),
    "gpt2": ("transformer.ln_f",),
    "openai-gpt": (),
    "gpt_neo": ("transformer.ln_f",),
    "gptj": ("transformer.ln_f",),
    "gpt_neox": ("gpt_neox.final_layer_norm",),
    "opt": ("model.decoder.final_layer_norm", "model.decoder.project_out"),
    "bloom": ("transformer.ln_f",),
    "falcon": ("transformer.ln_f",),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gemma2": _LLAMA,
    "gemma3_text": _LLAMA,
    "phi": ("model.final_layernorm",),
    "olmo2": _LLAMA,
    "stablelm": _LLAMA,
    "starcoder2": _LLAMA,
}


def layers_of(model: Any) -> list[Any]:
    """The module of every layer, in order."""
    return list(attrgetter(ADAPTERS[model.config.model_type].path[0])(model))


def final_states(model: Any, states: Tensor) -> Tensor:
    """What the last layer gave, [..., d], as the output layer takes it, [..., D]."""
    for path in ENDS[model.config.model_type]:
        module = attrgetter(path)(model)
        states = states if module is None else module(states)
    return states


def early_exit(model: Any, states: Tensor) -> Tensor:
    """The output layer on what any layer gave: [..., d] -> [..., vocabulary]."""
    return logits(model, final_states(model, states))
