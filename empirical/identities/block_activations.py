"""What meets in the blocks of a decoder while it reads, as the model itself computes it.

The model reads with its own attention code, and what entered every block and left it is kept. Then
each block is asked again, with the very arguments it was called with, for the queries, keys and
values that it hands to its attention (`empirical.inference.attention`). Everything is in the
model's dtype. Letters: H query heads, G key-value heads, h head width, d model width, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from empirical.inference.attention import Run, attending, to_groups
from empirical.inference.forward import without_cache
from empirical.models.architectures import Block, Projection, adapter_of, backbone, qk_norm
from empirical.models.architectures.qk_norm import Norm
from empirical.models.decoder import LoadedModel, default_dtype_of


@dataclass(frozen=True, kw_only=True)
class BlockActivations:
    """One block over T tokens.

    `entered` [T,d]; `query` [H,h,T], `key` and `value` [G,h,T] leave the projections; `normed_q`,
    `normed_k` leave their norms; q [H,h,T], k and v [G,h,T] meet in scores of scaling q^T k.
    `rotation` is J [h,h], C and S [h,T] of rotary positions. `output` [H,h,1] is what the model's
    own attention gave its last token, before the output projection.
    """

    block: Block
    entered: Tensor
    query: Tensor
    key: Tensor
    value: Tensor
    q: Tensor
    k: Tensor
    v: Tensor
    scaling: float
    rotation: tuple[Tensor, Tensor, Tensor] | None
    query_norm: Norm | None
    key_norm: Norm | None
    normed_q: Tensor
    normed_k: Tensor
    output: Tensor

    @property
    def before(self) -> Tensor:
        """Keys [G,h,T] as a rotation finds them."""
        return self.normed_k


@dataclass(kw_only=True)
class TokenBatch:
    """What one pass left: per layer the arguments of its attention and its output [H h]."""

    calls: dict[int, tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=dict)
    outputs: dict[int, Tensor] = field(default_factory=dict)


@contextmanager
def evaluating(model: LoadedModel) -> Iterator[None]:
    """Evaluation mode and torch's default dtype for the model while inside."""
    training = [m for m in model.model.modules() if m.training]
    model.model.eval()
    try:
        with default_dtype_of(model):
            yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _own_code(model: LoadedModel) -> Iterator[None]:
    """The model's own attention in plain steps (scores, softmax, product) while inside."""
    config = model.model.config
    before = config._attn_implementation
    config._attn_implementation = adapter_of(config).quirks.plain_attention
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        config._attn_implementation = before


def last(x: Tensor, tokens: int = 1) -> Tensor:
    """The rows of the last tokens of [1,T,d] or [T,d]: [tokens,d]."""
    return x.detach().reshape(-1, x.shape[-1])[-tokens:].clone()


def run_with_cache(
    model: LoadedModel,
    blocks: Sequence[Block],
    ids: Sequence[int],
    also: Mapping[Any, Any] | None = None,
) -> TokenBatch:
    """One pass of the model over `ids`; all hooks removed.

    `also`: further modules, each with a forward hook of its own.
    """
    found = TokenBatch()
    handles = [module.register_forward_hook(hook) for module, hook in (also or {}).items()]
    try:
        for i, block in enumerate(blocks):

            def enter(_m: Any, args: Any, kwargs: Any, i: int = i) -> None:
                found.calls[i] = (args, kwargs)

            def leave(_m: Any, args: Any, i: int = i) -> None:
                found.outputs[i] = last(args[0])

            handles.append(block.attention.register_forward_pre_hook(enter, with_kwargs=True))
            handles.append(block.output.register_forward_pre_hook(leave))
        tokens = torch.tensor([list(ids)], device=model.device)
        with evaluating(model), _own_code(model), torch.no_grad():
            backbone(model.model)(input_ids=tokens, **without_cache(model))
    finally:
        for handle in handles:
            handle.remove()
    return found


class _Handed(Run):
    """A run that keeps what one block hands to its attention, and computes no attention."""

    handed: tuple[Tensor, Tensor, Tensor, float]

    def attend(
        self,
        layer: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        scaling: float,
        bias: Tensor | None = None,
    ) -> Tensor:
        """Keep the arguments; [B,T,H,h] of zeros, which only the output projection reads."""
        del layer, mask, bias
        self.handed = (query, key, value, scaling)
        return torch.zeros_like(query).transpose(1, 2)


def block_activations(
    model: LoadedModel, blocks: Sequence[Block], reading: TokenBatch, layer: int
) -> BlockActivations:
    """What met in one block of a pass: it alone runs again, with zeros for its attention."""
    block, (args, kwargs) = blocks[layer], reading.calls[layer]
    left: dict[int, Tensor] = {}
    passed: dict[int, tuple[Tensor, Tensor]] = {}
    found = qk_norm.modules(block.attention, block.qk_norm)
    run = _Handed(blocks)
    with ExitStack() as stack:
        for p in (block.query, block.key, block.value):
            hook = _keep_output(left, p.module)
            stack.callback(p.module.register_forward_hook(hook).remove)
        for norm in found or ():
            hook = _keep_both(passed, norm)
            stack.callback(norm.register_forward_hook(hook).remove)
        stack.enter_context(evaluating(model))
        stack.enter_context(torch.no_grad())
        stack.enter_context(attending(model.model, run))
        block.attention.forward(*args, **kwargs)
    parts = {
        name: _heads(p, left)
        for name, p in (("query", block.query), ("key", block.key), ("value", block.value))
    }
    handed_q, handed_k, handed_v, scaling = run.handed
    q, (k, v) = handed_q[0].mT, (to_groups(x, block.groups)[0].mT for x in (handed_k, handed_v))
    factor = _own_factor(block, parts["query"], q)
    states = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
    return BlockActivations(
        block=block,
        entered=states[0].detach(),
        query=parts["query"],
        key=parts["key"],
        value=parts["value"],
        q=q if factor == 1 else parts["query"],
        k=k,
        v=v,
        scaling=scaling * factor,
        rotation=rotation(block, kwargs, block.width) if block.rotary else None,
        output=reading.outputs[layer].view(block.heads, block.width, 1),
        **_normed(block, found, parts, passed),
    )


def _keep_output(left: dict[int, Tensor], module: Any) -> Any:
    def hook(_m: Any, _args: Any, out: Tensor) -> None:
        left[id(module)] = out[0].detach()

    return hook


def _keep_both(passed: dict[int, tuple[Tensor, Tensor]], module: Any) -> Any:
    def hook(_m: Any, args: Any, out: Tensor) -> None:
        passed[id(module)] = (args[0][0].detach(), out[0].detach())

    return hook


def _heads(projection: Projection, left: Mapping[int, Tensor]) -> Tensor:
    """[heads,h,T] of what its module returned."""
    return projection.of(left[id(projection.module)]).permute(1, 2, 0)


def _own_factor(block: Block, projected: Tensor, handed: Tensor) -> float:
    """By what the block multiplies queries itself before it hands them over (OPT), else 1."""
    factor: float = getattr(block.attention, "scaling", 1.0)
    scaled_here = block.linear_keys and not torch.equal(projected, handed)
    return factor if scaled_here and torch.equal(projected * factor, handed) else 1.0


def _normed(
    block: Block,
    found: tuple[Any, Any] | None,
    parts: Mapping[str, Tensor],
    passed: Mapping[int, tuple[Tensor, Tensor]],
) -> dict[str, Any]:
    """Norms and what left them; the projections themselves where there are none."""
    if found is None or block.qk_norm is None:
        return {
            "query_norm": None,
            "key_norm": None,
            "normed_q": parts["query"],
            "normed_k": parts["key"],
        }
    made: dict[str, Any] = {}
    for name, module in zip(("query", "key"), found, strict=True):
        raw, (x, out) = parts[name], passed[id(module)]
        if x.dim() == 2:  # all heads side by side
            x, out = (y.unflatten(-1, (len(raw), -1)) for y in (x, out))  # type: ignore[no-untyped-call] # torch's gap
        order = qk_norm.as_heads(x, raw)
        made[f"normed_{name[0]}"] = out.permute(order)
        made[f"{name}_norm"] = qk_norm.read(module, len(raw), block.width, block.qk_norm)
    return made


def rotation(block: Block, kwargs: Mapping[str, Any], width: int) -> tuple[Tensor, Tensor, Tensor]:
    """J [h,h], C and S [h,T]: the model's own tables and its own rotation of unit vectors.

    Channels that are not turned have C = 1 and S = 0.
    """
    assert block.rotation is not None, "asked of a block that turns its keys"
    cos, sin, turn = block.rotation(block.attention, kwargs)
    turned = cos.shape[-1]
    rest = cos.new_zeros(len(cos), width - turned)
    J = cos.new_zeros(width, width)
    unit = torch.eye(turned, dtype=cos.dtype, device=cos.device)
    J[:turned, :turned] = turn(unit[None, None])[0, 0].mT
    return J, torch.cat([cos, rest + 1], -1).mT, torch.cat([sin, rest], -1).mT
