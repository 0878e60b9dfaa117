"""What the layers of a real decoder hold while it reads: projections, states, updates.

Letters as in `empirical.sites`: H heads, h head width, d model width, n context tokens, m query
tokens.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from empirical.backward import recording
from empirical.decoder import default_dtype_of
from empirical.errors import UserError
from empirical.sites import LayerCapture, Projections, Update, augmented, by_head


def blocks(model: torch.nn.Module) -> list[Any]:
    """The self-attention module of every layer.

    Raises:
        UserError: for a model that is not built like XGLM.
    """
    layers = getattr(getattr(model, "model", None), "layers", None)
    names = ("q_proj", "k_proj", "v_proj", "num_heads", "scaling")
    found = [getattr(layer, "self_attn", None) for layer in layers or ()]
    if not found or not all(hasattr(b, name) for b in found for name in names):
        raise UserError(
            "expected a decoder with model.layers[i].self_attn.{q,k,v}_proj as XGLM has, "
            f"got {type(model).__name__}; load an XGLM checkpoint"
        )
    return found


def _projections(block: Any) -> Projections:
    return Projections(
        query=augmented(block.q_proj, block.num_heads),
        key=augmented(block.k_proj, block.num_heads),
        value=augmented(block.v_proj, block.num_heads),
    )


def projections(model: torch.nn.Module) -> list[Projections]:
    """A copy of [W b] [H, h, d+1] of query, key and value, per layer.

    Raises:
        UserError: for a model that is not built like XGLM.
    """
    return [_projections(b) for b in blocks(model)]


@contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    training = [m for m in model.modules() if m.training]
    model.eval()
    decoder: Any = model  # its .model holds the weights, which is all that is read
    try:
        with default_dtype_of(decoder):
            yield
    finally:
        for module in training:
            module.training = True


def _ids(model: torch.nn.Module, tokens: Sequence[int]) -> Tensor:
    return torch.tensor([list(tokens)], device=next(model.parameters()).device)


def gradient_step(model: torch.nn.Module, ids: Sequence[int], rate: float = 1.0) -> list[Update]:
    """-rate times the gradient of the mean NLL of `ids` at keys and values; weights stay put.

    Raises:
        UserError: for fewer than two tokens, or a model that is not built like XGLM.
    """
    if len(ids) < 2:
        raise UserError(f"expected two tokens or more to take a step on, got {len(ids)}; add some")
    with recording(blocks(model)) as records:
        found = _gradients(model, ids)

    def step(layer: torch.nn.Linear, heads: int) -> Tensor:
        weight = found[id(layer.weight)]
        bias = weight.new_zeros(weight.shape[0]) if layer.bias is None else found[id(layer.bias)]
        return -rate * by_head(weight, bias, heads)

    return [
        Update(
            value=step(b.v_proj, b.num_heads),
            key=step(b.k_proj, b.num_heads),
            examples=record.examples(rate),
        )
        for b, record in zip(blocks(model), records, strict=True)
    ]


def _gradients(model: torch.nn.Module, ids: Sequence[int]) -> dict[int, Tensor]:
    """Gradients at every key and value parameter by its `id`; `requires_grad` flags restored."""
    chosen = [p for b in blocks(model) for p in (*b.v_proj.parameters(), *b.k_proj.parameters())]
    flags = [(p, p.requires_grad) for p in model.parameters()]
    try:
        for p, _ in flags:
            p.requires_grad_(False)
        for p in chosen:
            p.requires_grad_(True)
        with _evaluating(model), torch.enable_grad():
            tokens = _ids(model, ids)
            logits = model(input_ids=tokens, use_cache=False).logits[0, :-1]
            loss = torch.nn.functional.cross_entropy(logits, tokens[0, 1:])
            return dict(zip(map(id, chosen), torch.autograd.grad(loss, chosen), strict=True))
    finally:
        for p, flag in flags:
            p.requires_grad_(flag)


def entering_states(model: torch.nn.Module, ids: Sequence[int]) -> list[Tensor]:
    """States [T, d] that enter every self-attention while the model reads `ids`; hooks removed.

    Raises:
        UserError: for a model that is not built like XGLM.
    """
    found = blocks(model)
    states: dict[int, Tensor] = {}
    handles = []
    try:
        for i, block in enumerate(found):

            def keep(_m: Any, args: Any, kwargs: Any, i: int = i) -> None:
                entering = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
                states[i] = entering[0].detach().clone()

            handles.append(block.register_forward_pre_hook(keep, with_kwargs=True))
        decoder: Any = model  # the blocks were found, so it is built like XGLM
        with _evaluating(model), torch.no_grad():
            decoder.model(input_ids=_ids(model, ids), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return [states[i] for i in range(len(found))]


def each_layer(
    model: torch.nn.Module,
    context_ids: Sequence[int],
    query_ids: Sequence[int],
    *,
    updates: Sequence[Update] | None = None,
    dtype: torch.dtype | None = None,
) -> Iterator[LayerCapture]:
    """One forward pass over context and query, then the capture of one layer after the other.

    The pass runs in the model's dtype; what it leaves is then copied to `dtype` (the model's own by
    default), and q is computed there. Copies of one layer are held at a time.

    Raises:
        UserError: for an empty context or query, or a model that is not built like XGLM.
    """
    for name, ids in (("context", context_ids), ("query", query_ids)):
        if not len(ids):
            raise UserError(f"expected at least one {name} token, got none; pass {name}_ids")
    states = entering_states(model, [*context_ids, *query_ids])
    n = len(context_ids)
    for i, block in enumerate(blocks(model)):
        kind = dtype or states[i].dtype
        x = states[i].to(kind).mT
        x = torch.cat([x, x.new_ones(1, x.shape[1])])
        p = _projections(block)
        p = Projections(query=p.query.to(kind), key=p.key.to(kind), value=p.value.to(kind))
        change = None
        if updates is not None:
            change = updates[i].to(kind)
        yield LayerCapture(
            projections=p, X_demo=x[:, :n], X=x[:, n:], q=p.query @ x[:, -1:], update=change
        )


def capture_layers(
    model: torch.nn.Module,
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
