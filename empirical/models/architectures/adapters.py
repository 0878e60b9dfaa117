"""The adapters: one row for each architecture, by `model_type` of its configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from empirical.core.errors import UserError
from empirical.models.architectures import attention_functions
from empirical.models.architectures.attention_block import Block, Projection, StandIn

Find = Callable[[Any, Any], dict[str, Any]]  # attention module, configuration -> Block fields


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """`path`: from the model to the list of layers, then from a layer to its attention module.

    `find` gives the projections; `extras` what the scores have beside q k, by layer.
    """

    path: tuple[str, str]
    find: Find
    output: str
    rotary: bool = False
    extras: Callable[[Any, Any], dict[str, Any]] = lambda _module, _config: {}
    stand_in: StandIn | None = None


def _separate(module: Any, config: Any) -> dict[str, Any]:
    """q_proj, k_proj and v_proj, each [heads h, d]."""
    width = getattr(module, "head_dim", None) or config.head_dim
    return {
        name: Projection(
            module=part,
            channels=torch.arange(part.weight.shape[0]).view(-1, width),
        )
        for name, part in (("query", module.q_proj), ("key", module.k_proj),
                           ("value", module.v_proj))
    }  # fmt: skip


def _thirds(module: Any, config: Any) -> dict[str, Any]:
    """c_attn of GPT-2 and GPT-1: [d, 3d], queries, then keys, then values."""
    channels = torch.arange(module.c_attn.weight.shape[1]).view(3, config.num_attention_heads, -1)
    names = ("query", "key", "value")
    return {
        name: Projection(module=module.c_attn, channels=part, transposed=True)
        for name, part in zip(names, channels, strict=True)
    }


def _triples(module: Any, config: Any) -> dict[str, Any]:
    """query_key_value of GPT-NeoX and BLOOM: [H 3 h, d], three parts head by head."""
    fused = module.query_key_value
    channels = torch.arange(fused.weight.shape[0]).view(config.num_attention_heads, 3, -1)
    return {
        name: Projection(module=fused, channels=channels[:, i])
        for i, name in enumerate(("query", "key", "value"))
    }


def _falcon(module: Any, config: Any) -> dict[str, Any]:
    """query_key_value of Falcon: by group (new), one key for all queries, or by head."""
    fused, h = module.query_key_value, module.head_dim
    heads = torch.arange(fused.weight.shape[0]).view(-1, h)
    if config.new_decoder_architecture:
        by_group = heads.view(config.num_kv_heads, -1, h)
        q, k, v = by_group[:, :-2].flatten(0, 1), by_group[:, -2], by_group[:, -1]
    elif config.multi_query:
        q, k, v = heads[:-2], heads[-2:-1], heads[-1:]
    else:
        return _triples(module, config)
    return {
        name: Projection(module=fused, channels=part)
        for name, part in (("query", q), ("key", k), ("value", v))
    }


def _window(module: Any, _config: Any) -> dict[str, Any]:
    return {"window": getattr(module, "sliding_window", None)}


def _config_window(_module: Any, config: Any) -> dict[str, Any]:
    """One window for every layer (Mistral, StarCoder2)."""
    return {"window": config.sliding_window}


def _qwen(module: Any, _config: Any) -> dict[str, Any]:
    return _window(module, None) | {"normed": hasattr(module, "k_norm")}


def _gemma2(module: Any, _config: Any) -> dict[str, Any]:
    return _window(module, None) | {"softcap": module.attn_logit_softcapping}


def _gemma3(module: Any, _config: Any) -> dict[str, Any]:
    """No soft cap: transformers' class reads one from the configuration and never applies it."""
    return _window(module, None) | {"normed": True}


def _normed(_module: Any, _config: Any) -> dict[str, Any]:
    return {"normed": True}


def _stablelm(module: Any, _config: Any) -> dict[str, Any]:
    return {"normed": module.qk_layernorm}


def _phi(module: Any, _config: Any) -> dict[str, Any]:
    return {"normed": module.qk_layernorm}


def _gpt_neo_window(module: Any, config: Any) -> dict[str, Any]:
    return {"window": config.window_size if module.attention_type == "local" else None}


def _bloom_positions(_module: Any, config: Any) -> dict[str, Any]:
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor

    def bias(start: int, length: int) -> Tensor:
        ones = torch.ones(1, start + length)
        table: Tensor = build_alibi_tensor(ones, config.n_head, torch.float32)
        return table[:, 0, start:]

    return {"position_bias": bias}


def _falcon_positions(module: Any, config: Any) -> dict[str, Any]:
    from transformers.models.falcon.modeling_falcon import build_alibi_tensor

    def bias(start: int, length: int) -> Tensor:
        ones = torch.ones(1, start + length, dtype=torch.long)
        table: Tensor = build_alibi_tensor(ones, config.num_attention_heads, torch.float64)
        scaled: Tensor = table[:, 0, start:] / module.head_dim**0.5
        return scaled

    if config.alibi:
        return {"position_bias": bias}
    return {"rotary": True}


_LLAMA = ("model.layers", "self_attn")
ADAPTERS: Mapping[str, Adapter] = {
    "xglm": Adapter(
        path=_LLAMA, find=_separate, output="out_proj", stand_in=attention_functions.xglm
    ),
    "gpt2": Adapter(path=("transformer.h", "attn"), find=_thirds, output="c_proj"),
    "openai-gpt": Adapter(
        path=("transformer.h", "attn"), find=_thirds, output="c_proj",
        stand_in=attention_functions.openai_gpt,
    ),
    "gpt_neo": Adapter(
        path=("transformer.h", "attn.attention"), find=_separate, output="out_proj",
        extras=_gpt_neo_window, stand_in=attention_functions.gpt_neo,
    ),
    "gptj": Adapter(
        path=("transformer.h", "attn"), find=_separate, output="out_proj", rotary=True,
        stand_in=attention_functions.gptj,
    ),
    "gpt_neox": Adapter(
        path=("gpt_neox.layers", "attention"), find=_triples, output="dense", rotary=True
    ),
    "opt": Adapter(path=("model.decoder.layers", "self_attn"), find=_separate, output="out_proj"),
    "bloom": Adapter(
        path=("transformer.h", "self_attention"), find=_triples, output="dense",
        extras=_bloom_positions, stand_in=attention_functions.bloom,
    ),
    "falcon": Adapter(
        path=("transformer.h", "self_attention"), find=_falcon, output="dense",
        extras=_falcon_positions, stand_in=attention_functions.falcon,
    ),
    "llama": Adapter(path=_LLAMA, find=_separate, output="o_proj", rotary=True),
    "mistral": Adapter(
        path=_LLAMA, find=_separate, output="o_proj", rotary=True, extras=_config_window
    ),
    "qwen2": Adapter(path=_LLAMA, find=_separate, output="o_proj", rotary=True, extras=_qwen),
    "qwen3": Adapter(path=_LLAMA, find=_separate, output="o_proj", rotary=True, extras=_qwen),
    "gemma2": Adapter(path=_LLAMA, find=_separate, output="o_proj", rotary=True, extras=_gemma2),
    "gemma3_text": Adapter(
        path=_LLAMA, find=_separate, output="o_proj", rotary=True, extras=_gemma3
    ),
    "phi": Adapter(path=_LLAMA, find=_separate, output="dense", rotary=True, extras=_phi),
    "olmo2": Adapter(path=_LLAMA, find=_separate, output="o_proj", rotary=True, extras=_normed),
    "stablelm": Adapter(
        path=_LLAMA, find=_separate, output="o_proj", rotary=True, extras=_stablelm
    ),
    "starcoder2": Adapter(
        path=_LLAMA, find=_separate, output="o_proj", rotary=True, extras=_config_window
    ),
}  # fmt: skip
KNOWN = tuple(sorted(ADAPTERS))


def check_known(kind: object, name: str) -> None:
    """Refuse an architecture without an adapter.

    Raises:
        UserError: listing the known ones, and what an adapter must give.
    """
    if kind not in ADAPTERS:
        raise UserError(
            f"expected an architecture among {', '.join(KNOWN)} in {name}, got {kind!r}; name a "
            "supported model, or add an adapter to empirical/models/architectures/adapters.py: "
            "the path to "
            "each layer's attention, its query, key and value channels, its output projection, "
            "and what its scores have beside q k (rotation, norms, window, soft cap, position bias)"
        )


def _check_causal(config: Any, name: str) -> None:
    """Refuse what attends to more than its own past.

    Raises:
        UserError: naming the setting.
    """
    past_alone = {"use_bidirectional_attention": False, "add_cross_attention": False,
                  "is_encoder_decoder": False, "is_causal": True}  # fmt: skip
    for setting, wanted in past_alone.items():
        value = getattr(config, setting, wanted)
        if bool(value) != wanted:
            raise UserError(
                f"expected a decoder whose tokens attend to their own past alone in {name}, got "
                f"{setting}={value} in its configuration; name a causal model without it"
            )


def _check_linear(attention: Any, name: str) -> None:
    """Refuse projections that are not their weight and bias (adapters, packed weights).

    Raises:
        UserError: naming the class.
    """
    from transformers.pytorch_utils import Conv1D

    for part in ("q_proj", "k_proj", "v_proj", "c_attn", "query_key_value"):
        module = getattr(attention, part, None)
        linear = isinstance(module, (torch.nn.Linear, Conv1D))
        if module is not None and not (linear and module.weight.is_floating_point()):
            raise UserError(
                f"expected queries, keys and values from plain linear maps in {name}, got {part} "
                f"of class {type(module).__name__}; merge adapters into the weights, and load "
                "without quantisation"
            )


def _follow(thing: Any, path: str) -> Any:
    for part in path.split("."):
        thing = getattr(thing, part)
    return thing


def _check_window(window: object, kind: str) -> None:
    """Refuse a window that hides every token.

    Raises:
        UserError: otherwise than None or a whole number of at least 1.
    """
    if window is not None and not (type(window) is int and window >= 1):
        raise UserError(
            f"expected a window of at least 1 token, or none, in the configuration of the {kind} "
            f"model, got {window!r}; correct config.json"
        )


def blocks_of(model: Any) -> tuple[Block, ...]:
    """The self-attention block of every layer.

    Raises:
        UserError: for an architecture without an adapter, a model without its output layer, one
            that attends to more than its own past, or projections that are not plain linear maps.
    """
    config, name = getattr(model, "config", None), type(model).__name__
    kind = getattr(config, "model_type", name)
    check_known(kind, name)
    _check_causal(config, name)
    if backbone(model) is model:
        raise UserError(
            f"expected a model with its output layer, got a {name} alone; load it with "
            "AutoModelForCausalLM"
        )
    adapter = ADAPTERS[kind]
    found = []
    for layer in _follow(model, adapter.path[0]):
        module = _follow(layer, adapter.path[1])
        _check_linear(module, name)
        extras = adapter.extras(module, config)
        _check_window(extras.get("window"), kind)
        found.append(
            Block(
                attention=module,
                output=_follow(module, adapter.output),
                stand_in=adapter.stand_in,
                **{"rotary": adapter.rotary} | adapter.find(module, config)
                | extras,
            )
        )  # fmt: skip
    return tuple(found)


def backbone(model: Any) -> Any:
    """The module that turns token ids into final states, without the output layer."""
    return model.base_model


def logits(model: Any, states: Tensor) -> Tensor:
    """The output layer on chosen final states [..., d]: [..., vocabulary]."""
    out: Tensor = model.get_output_embeddings()(states)
    cap = getattr(model.config, "final_logit_softcapping", None)
    return out if cap is None else cap * torch.tanh(out / cap)
