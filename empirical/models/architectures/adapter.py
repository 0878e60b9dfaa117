"""What an architecture must state: where its parts are and how they differ from the plain ones.

No field has a default: an entry that leaves one out is a TypeError as the table is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from empirical.models.architectures.attention_block import HeadChannels, PositionBias, StandIn
from empirical.models.architectures.qk_norm import NormModules
from empirical.models.architectures.rotation import Rotation

# (attention module, configuration, how many output channels each map has) -> whose they are.
Channels = Callable[[Any, Any, Sequence[int]], HeadChannels]


@dataclass(frozen=True, kw_only=True)
class MLP:
    """Paths from a layer to the parts of its MLP, second(activation(first(a))).

    `gate`: to the map g of activation(g(a)) * first(a), or None. `own_activation`: the class name
    of an activation that only this architecture has, if it keeps the bound that
    `empirical.identities.mlp` has for GELU, SiLU and ReLU; else None.
    """

    first: str
    second: str
    activation: str
    gate: str | None
    own_activation: str | None


@dataclass(frozen=True, kw_only=True)
class Quirks:
    """What a class does otherwise than nearly all.

    `plain_attention`: transformers' name of the class's own attention in plain steps.
    `config_overrides`: attributes of the configuration that are set before weights are loaded.
    `trained_length`: tokens, where the configuration names no `max_position_embeddings`.
    """

    plain_attention: str
    config_overrides: Mapping[str, Any]
    trained_length: int | None


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """One architecture.

    `layers` is the path from the model to the list of its layers, `attention` from a layer to its
    attention module; from there, `maps` are the names of the linear maps of queries, keys and
    values (or of the one that makes all three), `channels` finds their heads in what these return,
    and `output` is the projection whose output is h.

    Scores beside q k, None for what no layer has: `rotation` of keys and queries, the modules of
    `qk_norm`, and by attention module and configuration `window`, `softcap`, `position_bias` (as
    in `Block`). `stand_in`: for classes that do not call transformers' attention interface.

    `parallel`: the MLP reads what attention reads, beside it. `final_norm`: paths from the model to
    what is applied after the last layer, in order; a module that is None is left out.

    `configured`: the entry under a configuration, where settings change it; None where none does.
    """

    layers: str
    attention: str
    maps: tuple[str, ...]
    channels: Channels
    output: str
    rotation: Rotation | None
    qk_norm: NormModules | None
    window: Callable[[Any, Any], int | None] | None
    softcap: Callable[[Any, Any], float | None] | None
    position_bias: Callable[[Any, Any], PositionBias] | None
    stand_in: StandIn | None
    mlp: MLP
    parallel: bool
    final_norm: tuple[str, ...]
    quirks: Quirks
    configured: Callable[[Adapter, Any], Adapter] | None
