"""Copies of a decoder with random weights: all of them, or those of the blocks alone.

What a similarity reads on them is owed to the architecture (and with `random_blocks` to embeddings
and norms), not to anything learned. Weights are drawn by the class's own rule of transformers
(`_init_weights`: normal matrices of the configuration's standard deviation, GPT-2's residual maps
narrower; zero biases; gains of one), here from a generator that is passed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers.pytorch_utils import Conv1D

from empirical.core.errors import UserError
from empirical.models.architectures import check_known
from empirical.models.architectures.final_norm import layers_of
from empirical.models.decoder import LoadedModel

Scale = Literal["initial", "trained"]
CONV1D_STD = 0.02  # of transformers' constructor
_RANDOM = {
    function
    for _, function in inspect.getmembers(nn.init, inspect.isfunction)
    if "generator" in inspect.signature(function).parameters
}


class _DrawingFrom(TorchFunctionMode):
    """The functions of `torch.nn.init` draw from this generator while inside."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generator = generator

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """`func` with the generator, where it takes one."""
        del types
        named = dict(kwargs or {})
        return func(*args, **named | ({"generator": self.generator} if func in _RANDOM else {}))


def is_norm(module: Any) -> bool:
    """Whether a module is a layer norm, by its class's name, as transformers itself asks."""
    name = type(module).__name__
    return "LayerNorm" in name or "RMSNorm" in name


def block_parameters(model: Any) -> frozenset[str]:
    """Names of the parameters inside layers that are of no norm."""
    layers = {id(p) for layer in layers_of(model) for p in layer.parameters()}
    norms = {id(p) for m in model.modules() if is_norm(m) for p in m.parameters()}
    return frozenset(n for n, p in model.named_parameters() if id(p) in layers - norms)


def _initialise(model: Any, generator: torch.Generator) -> None:
    """Every parameter anew by the class's rule, in place, on the CPU.

    Raises:
        UserError: naming a parameter that the rule passes over.
    """
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(torch.nan)
        # From the last module to the first: a module after its parts, as the rule of GPT-2 wants
        # it, and a tied output layer before the embedding, whose draw is the one that stays.
        with _DrawingFrom(generator):
            for module in reversed(list(model.modules())):
                if isinstance(module, Conv1D):  # GPT-1's class leaves it to the constructor
                    nn.init.normal_(module.weight, std=CONV1D_STD)
                    nn.init.zeros_(module.bias)
                if any(True for _ in module.parameters()):  # tables without weights are kept
                    model._init_weights(module)
    for name, p in model.named_parameters():
        if not bool(torch.isfinite(p).all()):
            raise UserError(
                f"expected an initial value for every weight of {type(model).__name__}, got none "
                f"for {name}; its class has no rule for it, leave this control away"
            )


def _to_scale(new: Tensor, old: Tensor, generator: torch.Generator) -> None:
    """A matrix drawn again with the standard deviation of the trained one, in place."""
    if new.dim() > 1:
        new.normal_(0.0, float(old.double().std(correction=0)), generator=generator)


def _redrawn(
    model: LoadedModel, generator: torch.Generator, scale: Scale, names: frozenset[str] | None
) -> Any:
    """A copy whose parameters of these names (None: all) are new; the others are the trained ones.

    Raises:
        UserError: for another scale, an unknown architecture, or a class without a rule.
    """
    if scale not in ("initial", "trained"):
        raise UserError(f"expected scale 'initial' or 'trained', got {scale!r}; choose one")
    check_known(getattr(model.model.config, "model_type", None), model.name)
    made = deepcopy(model.model).cpu()
    _initialise(made, generator)
    with torch.no_grad():
        olds = dict(model.model.named_parameters())
        for name, new in made.named_parameters():
            if names is not None and name not in names:
                new.copy_(olds[name])
            elif scale == "trained":
                _to_scale(new, olds[name], generator)
    return made.to(model.device)


def fully_random(
    model: LoadedModel, generator: torch.Generator, scale: Scale = "initial"
) -> LoadedModel:
    """A copy without anything learned: every weight drawn anew, tied ones still tied.

    Draws come from `generator` (on the CPU). With scale "trained" every matrix is normal with the
    standard deviation of the trained one, so that norms of updates can be compared.

    Raises:
        UserError: for another scale, an unknown architecture, or a class without a rule.
    """
    made = _redrawn(model, generator, scale, None)
    return replace(model, model=made, name=f"untrained {model.name}")


def random_blocks(
    model: LoadedModel, generator: torch.Generator, scale: Scale = "initial"
) -> LoadedModel:
    """A copy with the trained embeddings (token, position, output) and norms, all else random.

    Norms inside the blocks are kept as well, those of queries and keys included. `scale` and draws
    are as in `fully_random`.

    Raises:
        UserError: for another scale, an unknown architecture, or a class without a rule.
    """
    made = _redrawn(model, generator, scale, block_parameters(model.model))
    return replace(model, model=made, name=f"random blocks {model.name}")
