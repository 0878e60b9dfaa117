"""The blocks of a decoder, as its entry describes them, and what is refused."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from empirical.core.errors import UserError
from empirical.models.architectures.adapter import Adapter
from empirical.models.architectures.adapters import adapter_of, check_known
from empirical.models.architectures.attention_block import Block
from empirical.models.architectures.final_norm import backbone, layers_of
from empirical.models.architectures.projections import projections_of


def blocks_of(model: Any) -> tuple[Block, ...]:
    """The self-attention block of every layer.

    Raises:
        UserError: for an architecture without an adapter, a model without its output layer, one
            that attends to more than its own past, or projections that are not plain linear maps.
    """
    config, name = getattr(model, "config", None), type(model).__name__
    check_known(getattr(config, "model_type", name), name)
    _check_causal(config, name)
    if backbone(model) is model:
        raise UserError(
            f"expected a model with its output layer, got a {name} alone; load it with "
            "AutoModelForCausalLM"
        )
    adapter = adapter_of(config)
    return tuple(_block(adapter, layer, config, name) for layer in layers_of(model))


def _block(adapter: Adapter, layer: Any, config: Any, name: str) -> Block:
    """The block of one layer of the model called `name`.

    Raises:
        UserError: for projections that are not plain linear maps, or a window of no token.
    """
    attention = attrgetter(adapter.attention)(layer)
    query, key, value = projections_of(adapter, attention, config, name)
    window = adapter.window and adapter.window(attention, config)
    _check_window(window, config.model_type)
    return Block(
        attention=attention,
        query=query,
        key=key,
        value=value,
        output=attrgetter(adapter.output)(attention),
        softcap=adapter.softcap and adapter.softcap(attention, config),
        window=window,
        position_bias=adapter.position_bias and adapter.position_bias(attention, config),
        rotation=adapter.rotation,
        qk_norm=adapter.qk_norm,
        stand_in=adapter.stand_in,
    )


def _check_causal(config: Any, name: str) -> None:
    """Refuse what attends to more than its own past.

    Raises:
        UserError: naming the setting.
    """
    past_alone = {
        "use_bidirectional_attention": False,
        "add_cross_attention": False,
        "is_encoder_decoder": False,
        "is_causal": True,
    }
    for setting, wanted in past_alone.items():
        value = getattr(config, setting, wanted)
        if bool(value) != wanted:
            raise UserError(
                f"expected a decoder whose tokens attend to their own past alone in {name}, got "
                f"{setting}={value} in its configuration; name a causal model without it"
            )


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
