"""B5 on real blocks: the MLP behind an attention, and what it reads with and without the context.

The statement needs an MLP W_2 sigma(W_1 a + b_1) + b_2 that reads what attention has just added to.
With a layer norm between the two, a stands for what the MLP reads, and the residual is added by
itself, as the statement's remark says. Letters: d model width, p MLP width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor

from dualform.ops import TensorOps, TrackedOps
from dualform.rounding import Tracked, rounded, unit_roundoff
from empirical.identities import block_activations
from empirical.identities.comparison import DirectComparison, LayerComparison, Need, Sides
from empirical.identities.layer_capture import LayerCapture, MLPActivations, WholeBlock
from empirical.models.architectures import adapter_of
from empirical.models.architectures.adapter import Adapter
from empirical.models.architectures.final_norm import layers_of
from empirical.models.decoder import LoadedModel

_GATED = (
    "its MLP is gated, W_2 (sigma(W_g a) . W_1 a): two first matrices change by rank one, and the "
    "statement has one"
)
_BESIDE = (
    "its MLP reads what attention reads, beside it: what attention makes of the context never "
    "enters the MLP of the same block"
)
ALONE = "the context is one token, which stands in front of the query without a context too"

# Functions of one number in use as activations: all of them are x times something in [0, 1] (or
# the positive part), their slope is at most 1.13 (that of GELU; SiLU 1.10), and each is computed
# with an error of at most 8 u |x|: a relative error of 7 u in the argument of erf, tanh or a
# sigmoid moves these by at most 3.5 u, they err by 4 u themselves, and two more steps follow.
SLOPE, ULPS = 1.13, 8
_KNOWN = frozenset(
    {
        "GELUActivation",
        "GELU",
        "GELUTanh",
        "PytorchGELUTanh",
        "NewGELUActivation",
        "FastGELUActivation",
        "QuickGELUActivation",
        "ReLU",
        "SiLU",
        "SiLUActivation",
    }
)


def activated(a: Tracked, function: Callable[[Tensor], Tensor]) -> Tracked:
    """An activation: its slope times its operand's error, and its own."""
    value = function(a.value)
    own = ULPS * unit_roundoff(value) * a.value.double().abs()
    return rounded(value, SLOPE * a.read() + own)


@dataclass(frozen=True, slots=True)
class BlockOps(TrackedOps):
    """Error-tracking tensors with the activation of a real MLP."""

    function: Callable[[Tensor], Tensor] = torch.relu

    def activation(self, a: Tracked) -> Tracked:
        """The activation."""
        return activated(a, self.function)


@dataclass(frozen=True, slots=True)
class PlainBlockOps(TensorOps):
    """Plain tensors with the activation of a real MLP."""

    function: Callable[[Tensor], Tensor] = torch.relu

    def activation(self, a: Tensor) -> Tensor:
        """The activation."""
        return self.function(a)


@dataclass(kw_only=True)
class MLPCache:
    """What MLPs had for the last two tokens, by layer and place: [2, d] or [2, p]."""

    seen: dict[tuple[int, str], Tensor] = field(default_factory=dict)

    def of(self, layer: int, token: int = -1) -> MLPActivations:
        """One layer and token."""
        read, hidden, active, gave = (
            self.seen[layer, x][token, :, None] for x in ("read", "hidden", "active", "gave")
        )
        return MLPActivations(read=read, hidden=hidden, active=active, gave=gave)


def _form(adapter: Adapter) -> str | None:
    """Why the blocks of a decoder have another form than the statement; None where they have it."""
    if adapter.parallel:
        return _BESIDE
    return None if adapter.mlp.gate is None else _GATED


class Mlps:
    """The MLPs of a decoder, or the reason why they have another form."""

    def __init__(self, model: LoadedModel) -> None:
        adapter = adapter_of(model.model.config)
        self.model, self.reason = model, _form(adapter)
        self.parts: list[tuple[Any, Any, Any]] = []
        if self.reason is None:
            mlp = adapter.mlp
            parts_of = attrgetter(mlp.first, mlp.second, mlp.activation)
            self.parts = [parts_of(layer) for layer in layers_of(model.model)]
            strange = {type(act).__name__ for *_, act in self.parts} - _KNOWN - {mlp.own_activation}
            if strange:
                names = ", ".join(sorted(strange))
                self.reason = f"the rounding of its activation ({names}) has no bound here"

    def watch(self) -> tuple[MLPCache, dict[Any, Any]]:
        """What will be seen, and the hooks that see it."""
        found, hooks = MLPCache(), dict[Any, Any]()
        for i, parts in enumerate(self.parts):
            for module, names in zip(parts, (("read", "hidden"), ("active", "gave")), strict=False):

                def keep(_m: Any, args: Any, out: Tensor, i: int = i, names: Any = names) -> None:
                    for name, x in zip(names, (args[0], out), strict=True):
                        found.seen[i, name] = block_activations.last(x, 2)

                hooks[module] = keep
        return found, hooks

    def without(self, blocks: Sequence[Any], ids: Sequence[int]) -> MLPCache | None:
        """What the MLPs read of `ids` alone; None where they have another form."""
        if self.reason is not None:
            return None
        found, hooks = self.watch()
        block_activations.run_with_cache(self.model, blocks, ids, hooks)
        return found

    def at(self, layer: int, seen: MLPCache, alone: MLPCache | None) -> WholeBlock | str:
        """One layer for the statement, or the reason."""
        if alone is None:
            return self.reason or ALONE
        first, second, act = self.parts[layer]
        return WholeBlock(
            first=_augmented(first),
            second=_augmented(second),
            activation=act,
            within=seen.of(layer),
            alone=alone.of(layer),
            before=seen.of(layer, -2),
        )


def _augmented(module: Any) -> Tensor:
    """[W b] of a linear map [out, in+1]; zeros where it has no bias."""
    from transformers.pytorch_utils import Conv1D

    weight: Tensor = module.weight.detach()
    weight = weight.mT if isinstance(module, Conv1D) else weight
    bias = module.bias
    column = weight.new_zeros(weight.shape[0]) if bias is None else bias.detach()
    return torch.cat([weight, column[:, None]], 1)


def _recomputed(at: LayerCapture) -> list[Sides]:
    """The MLP of the last token, each step against what the step before it left.

    The left sides are the model's own. The near miss is what it makes of the token before.

    Raises:
        ValueError: where the block has no MLP of the form of block-as-weight-change.
    """
    if isinstance(at.mlp, str):
        raise ValueError(f"expected an MLP of two linear maps, got none: {at.mlp}")
    own, before = at.mlp.within, at.mlp.before
    one = own.read.new_ones(1, 1)

    def steps(had: MLPActivations) -> tuple[Tracked, Tracked, Tracked]:
        assert not isinstance(at.mlp, str)
        return (
            Tracked(at.mlp.first) @ Tracked(torch.cat([had.read, one])),
            activated(Tracked(had.hidden), at.mlp.activation),
            Tracked(at.mlp.second) @ Tracked(torch.cat([had.active, one])),
        )

    left = (own.hidden, own.active, own.gave)
    return [
        Sides(left=right.elsewhere(theirs), right=right, near=near)
        for theirs, right, near in zip(left, steps(own), steps(before), strict=True)
    ]


COMPARISONS: tuple[LayerComparison, ...] = (
    DirectComparison(id="mlp-as-run", needs=frozenset({Need.MLP}), sides=_recomputed),
)
