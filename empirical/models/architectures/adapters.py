"""The adapters: one entry for each architecture, by `model_type` of its configuration.

An entry states everything, or is another with a difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from empirical.core.errors import UserError
from empirical.models.architectures import falcon, gpt, llama, neox_bloom, rotation
from empirical.models.architectures.adapter import MLP, Adapter, Quirks
from empirical.models.architectures.projections import separate
from empirical.models.architectures.qk_norm import NormModules
from empirical.models.architectures.xglm import xglm

_NO_QUIRKS = Quirks(plain_attention="eager", config_overrides={}, trained_length=None)
_NORMS = NormModules(query="q_norm", key="k_norm", unit_offset=False)
_LAYER_NORMS = NormModules(query="q_layernorm", key="k_layernorm", unit_offset=False)
_DENSE_MLP = MLP(
    first="mlp.dense_h_to_4h",
    second="mlp.dense_4h_to_h",
    activation="mlp.act",
    gate=None,
    own_activation=None,
)

_GPT2 = Adapter(
    layers="transformer.h",
    attention="attn",
    maps=("c_attn",),
    channels=gpt.thirds,
    output="c_proj",
    rotation=None,
    qk_norm=None,
    window=None,
    softcap=None,
    position_bias=None,
    stand_in=None,
    mlp=MLP(
        first="mlp.c_fc",
        second="mlp.c_proj",
        activation="mlp.act",
        gate=None,
        own_activation=None,
    ),
    parallel=False,
    final_norm=("transformer.ln_f",),
    quirks=_NO_QUIRKS,
    configured=None,
)
_OPT = Adapter(
    layers="model.decoder.layers",
    attention="self_attn",
    maps=("q_proj", "k_proj", "v_proj"),
    channels=separate,
    output="out_proj",
    rotation=None,
    qk_norm=None,
    window=None,
    softcap=None,
    position_bias=None,
    stand_in=None,
    mlp=MLP(first="fc1", second="fc2", activation="activation_fn", gate=None, own_activation=None),
    parallel=False,
    # OPT-350M has a projection alone: its layers end with a norm of their own.
    final_norm=("model.decoder.final_layer_norm", "model.decoder.project_out"),
    quirks=_NO_QUIRKS,
    configured=None,
)
_GPT_NEOX = Adapter(
    layers="gpt_neox.layers",
    attention="attention",
    maps=("query_key_value",),
    channels=neox_bloom.triples,
    output="dense",
    rotation=rotation.rotate_half,
    qk_norm=None,
    window=None,
    softcap=None,
    position_bias=None,
    stand_in=None,
    mlp=_DENSE_MLP,
    parallel=True,
    final_norm=("gpt_neox.final_layer_norm",),
    quirks=_NO_QUIRKS,
    configured=neox_bloom.sequential_where_configured,
)
_LLAMA = Adapter(
    layers="model.layers",
    attention="self_attn",
    maps=("q_proj", "k_proj", "v_proj"),
    channels=separate,
    output="o_proj",
    rotation=rotation.rotate_half,
    qk_norm=None,
    window=None,
    softcap=None,
    position_bias=None,
    stand_in=None,
    mlp=MLP(
        first="mlp.up_proj",
        second="mlp.down_proj",
        activation="mlp.act_fn",
        gate="mlp.gate_proj",
        own_activation=None,
    ),
    parallel=False,
    final_norm=("model.norm",),
    quirks=_NO_QUIRKS,
    configured=None,
)

ADAPTERS: Mapping[str, Adapter] = {
    "xglm": replace(
        _OPT,
        layers="model.layers",
        stand_in=xglm,
        final_norm=("model.layer_norm",),
        # The class makes the sinusoid of this position zero, or fails on it; nothing is padded.
        quirks=replace(_NO_QUIRKS, config_overrides={"pad_token_id": None}),
    ),
    "gpt2": _GPT2,
    # Its layers end with a norm of their own.
    "openai-gpt": replace(_GPT2, stand_in=gpt.openai_gpt, final_norm=()),
    "gpt_neo": replace(
        _GPT2,
        attention="attn.attention",
        maps=("q_proj", "k_proj", "v_proj"),
        channels=separate,
        output="out_proj",
        window=gpt.local_window,
        stand_in=gpt.gpt_neo,
    ),
    "gptj": replace(
        _GPT2,
        maps=("q_proj", "k_proj", "v_proj"),
        channels=separate,
        output="out_proj",
        rotation=gpt.rotate_every_two,
        stand_in=gpt.gptj,
        mlp=replace(_GPT2.mlp, first="mlp.fc_in", second="mlp.fc_out"),
        parallel=True,
    ),
    "gpt_neox": _GPT_NEOX,
    "opt": _OPT,
    "bloom": replace(
        _GPT2,
        attention="self_attention",
        maps=("query_key_value",),
        channels=neox_bloom.triples,
        output="dense",
        position_bias=neox_bloom.bloom_positions,
        stand_in=neox_bloom.bloom,
        mlp=replace(_DENSE_MLP, activation="mlp.gelu_impl", own_activation="BloomGelu"),
        # Positions are relative and the configuration names no length: that of its training.
        quirks=replace(_NO_QUIRKS, trained_length=2048),
    ),
    "falcon": replace(
        _GPT_NEOX,
        layers="transformer.h",
        attention="self_attention",
        channels=falcon.channels,
        stand_in=falcon.falcon,
        final_norm=("transformer.ln_f",),
        configured=falcon.configured,
    ),
    "llama": _LLAMA,
    "mistral": replace(_LLAMA, window=llama.window_of_model),
    "qwen2": replace(_LLAMA, window=llama.window_of_layer),
    "qwen3": replace(_LLAMA, window=llama.window_of_layer, qk_norm=_NORMS),
    "gemma2": replace(_LLAMA, window=llama.window_of_layer, softcap=llama.softcap),
    "gemma3_text": replace(
        _LLAMA, window=llama.window_of_layer, qk_norm=replace(_NORMS, unit_offset=True)
    ),
    "phi": replace(
        _LLAMA,
        output="dense",
        qk_norm=_LAYER_NORMS,
        mlp=MLP(
            first="mlp.fc1",
            second="mlp.fc2",
            activation="mlp.activation_fn",
            gate=None,
            own_activation=None,
        ),
        parallel=True,
        final_norm=("model.final_layernorm",),
        configured=llama.norms_where_configured,
    ),
    "olmo2": replace(_LLAMA, qk_norm=_NORMS),
    "stablelm": replace(_LLAMA, qk_norm=_LAYER_NORMS, configured=llama.norms_where_configured),
    "starcoder2": replace(_LLAMA, window=llama.window_of_model, mlp=_GPT2.mlp),
}
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


def adapter_of(config: Any) -> Adapter:
    """The entry of an architecture, under a configuration.

    Raises:
        UserError: for an architecture without one.
    """
    check_known(config.model_type, type(config).__name__)
    adapter = ADAPTERS[config.model_type]
    return adapter if adapter.configured is None else adapter.configured(adapter, config)
