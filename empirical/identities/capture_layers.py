"""What the layers of a real decoder hold while it reads: projections, states, updates.

Letters as in `empirical.identities.bindings`: H query heads, G key-value heads, h head width, d
model width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from empirical.core.errors import UserError
from empirical.identities import block_activations
from empirical.identities.layer_capture import LayerCapture, Projections, Update, captured
from empirical.identities.mlp import Mlps
from empirical.identities.projection_gradients import recording
from empirical.inference.finetune import loss
from empirical.models.architectures import Block, Projection
from empirical.models.decoder import LoadedModel


def projections(blocks: Sequence[Block]) -> list[Projections]:
    """A copy of [W b] of query [H, h, d+1], key and value [G, h, d+1], per layer."""
    return [
        Projections(query=b.query.augmented(), key=b.key.augmented(), value=b.value.augmented())
        for b in blocks
    ]


def gradient_step(model: LoadedModel, ids: Sequence[int], rate: float = 1.0) -> list[Update]:
    """-rate times the gradient of the mean NLL of `ids` at keys and values; weights stay put.

    Raises:
        UserError: for fewer than two tokens.
    """
    if len(ids) < 2:
        raise UserError(f"expected two tokens or more to take a step on, got {len(ids)}; add some")
    blocks = model.blocks
    with recording(blocks) as records:
        found = _gradients(model, blocks, ids)

    def step(p: Projection) -> Tensor:
        bias = None if p.module.bias is None else found[id(p.module.bias)]
        made = p.of_parameters(found[id(p.module.weight)], bias)
        return -rate * made

    return [
        Update(value=step(b.value), key=step(b.key), examples=record.examples(rate))
        for b, record in zip(blocks, records, strict=True)
    ]


def _gradients(
    model: LoadedModel, blocks: Sequence[Block], ids: Sequence[int]
) -> dict[int, Tensor]:
    """Gradients at every key and value parameter by its `id`; `requires_grad` flags restored."""
    maps = [p.module for b in blocks for p in (b.value, b.key)]
    chosen = list({id(x): x for m in maps for x in m.parameters()}.values())
    flags = [(p, p.requires_grad) for p in model.model.parameters()]
    try:
        for p, _ in flags:
            p.requires_grad_(False)
        for p in chosen:
            p.requires_grad_(True)
        with block_activations.evaluating(model), torch.enable_grad():
            made = torch.autograd.grad(loss(model, ids), chosen)
        return dict(zip(map(id, chosen), made, strict=True))
    finally:
        for p, flag in flags:
            p.requires_grad_(flag)


def each_layer(
    model: LoadedModel,
    context_ids: Sequence[int],
    query_ids: Sequence[int],
    *,
    updates: Sequence[Update] | None = None,
    dtype: torch.dtype | None = None,
) -> Iterator[LayerCapture]:
    """A pass over context and query, then the capture of one layer after the other.

    The pass runs in the model's dtype, with its own attention code; what it leaves is then copied
    to `dtype` (the model's own by default). Copies of one layer are held at a time. A second pass,
    over the first token and the query, shows what each MLP reads without the context.

    Raises:
        UserError: for an empty context or query.
        ValueError: for a dtype narrower than the model's, which would round what is taken as exact.
    """
    states = next(model.model.parameters()).dtype
    if dtype is not None and torch.promote_types(states, dtype) != dtype:
        raise ValueError(f"expected {states} or wider for a model of {states}, got {dtype}")
    for name, ids in (("context", context_ids), ("query", query_ids)):
        if not len(ids):
            raise UserError(f"expected at least one {name} token, got none; pass {name}_ids")
    blocks, mlps = model.blocks, Mlps(model)
    seen, hooks = mlps.watch()
    reading = block_activations.run_with_cache(model, blocks, [*context_ids, *query_ids], hooks)
    alone = None
    if len(context_ids) > 1:
        alone = mlps.without(blocks, [context_ids[0], *query_ids])
    for i in range(len(blocks)):
        met = block_activations.block_activations(model, blocks, reading, i)
        yield captured(
            met,
            len(context_ids),
            mlps.at(i, seen, alone),
            None if updates is None else updates[i],
            dtype or states,
        )


def capture_layers(
    model: LoadedModel,
    context_ids: Sequence[int],
    query_ids: Sequence[int],
    *,
    updates: Sequence[Update] | None = None,
    dtype: torch.dtype | None = None,
) -> list[LayerCapture]:
    """`each_layer`, all at once.

    Raises:
        UserError: as `each_layer`.
    """
    return list(each_layer(model, context_ids, query_ids, updates=updates, dtype=dtype))
