"""The layers of a decoder, and what stands between the last of them and the logits.

Letters: d model width, D width of the output layer's input (d, but for OPT-350M).
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import torch
from torch import Tensor

from empirical.models.architectures.adapters import adapter_of


def backbone(model: Any) -> Any:
    """The module that turns token ids into final states, without the output layer."""
    return model.base_model


def layers_of(model: Any) -> list[Any]:
    """The module of every layer, in order."""
    return list(attrgetter(adapter_of(model.config).layers)(model))


def final_states(model: Any, states: Tensor) -> Tensor:
    """What the last layer gave, [..., d], as the output layer takes it, [..., D]."""
    for path in adapter_of(model.config).final_norm:
        module = attrgetter(path)(model)
        states = states if module is None else module(states)
    return states


def logits(model: Any, states: Tensor) -> Tensor:
    """The output layer on chosen final states [..., D]: [..., vocabulary]."""
    out: Tensor = model.get_output_embeddings()(states)
    cap = getattr(model.config, "final_logit_softcapping", None)
    return out if cap is None else cap * torch.tanh(out / cap)


def early_exit(model: Any, states: Tensor) -> Tensor:
    """The output layer on what any layer gave: [..., d] -> [..., vocabulary]."""
    return logits(model, final_states(model, states))
