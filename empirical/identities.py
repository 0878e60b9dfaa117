"""The catalogue on every layer and head of a real decoder, each side under its rounding bound.

Only what is exactly true is a check. The share of softmax on the demonstrations and the size of
the softmax relaxation are metrics. Letters as in `empirical.sites`; T = n + m tokens.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dualform.ops import TrackedOps
from dualform.rounding import Tracked, compare
from empirical import softmax_split
from empirical.errors import UserError
from empirical.metrics import Number, Undefined
from empirical.models import default_dtype_of
from empirical.sites import (
    NEEDS_UPDATE,
    NO_SITE,
    SITES,
    LayerCapture,
    Projections,
    Update,
    augmented,
    by_head,
    keys_and_values,
)
from proofs.statements import by_id

SOFTMAX_SPLIT = "softmax-split"
Progress = Callable[[str], None]


class CheckRefused(AssertionError):
    """A layer check failed, was vacuous, or could not refuse its near miss."""


@dataclass(frozen=True, kw_only=True)
class LayerCheck:
    """gap/bound of a statement, and of its near miss, on one head.

    The statement holds where `worst_ratio` <= 1; the near miss is refused where
    `near_miss_ratio` > 1. `finite`: no side overflowed. `nontrivial`: some entry is not zero.
    """

    statement: str
    layer: int
    head: int
    worst_ratio: float
    near_miss_ratio: float
    nontrivial: bool
    finite: bool


@dataclass(frozen=True, kw_only=True)
class SoftmaxShare:
    """Metrics, no checks, of one head at the last token.

    `demonstrations` is lambda, the share of softmax mass on the context. `relaxation` is
    |V K^T q - F| / |F| for softmax attention F, and `cosine` that of V K^T q and F.
    """

    layer: int
    head: int
    demonstrations: float
    relaxation: Number
    cosine: Number


def require(checks: Sequence[LayerCheck]) -> None:
    """Raise unless every check holds, is non-trivial and refuses its near miss.

    Raises:
        CheckRefused: naming the first that does not, or for no checks.
    """
    if not checks:
        raise CheckRefused("expected at least one layer check, got none")
    for c in checks:
        where = f"{c.statement}, layer {c.layer}, head {c.head}"
        if not c.finite:
            raise CheckRefused(f"expected finite sides at {where}, got an overflow")
        if not c.worst_ratio <= 1:
            raise CheckRefused(f"expected gap/bound of at most 1 at {where}, got {c.worst_ratio}")
        if not c.nontrivial:
            raise CheckRefused(f"expected a side that is not zero at {where}, got zeros")
        if not c.near_miss_ratio > 1:
            raise CheckRefused(
                f"expected the near miss to be refused at {where}, "
                f"got gap/bound {c.near_miss_ratio}"
            )


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


def projections(model: torch.nn.Module) -> list[Projections]:
    """A copy of [W b] of query, key and value, per layer.

    Raises:
        UserError: for a model that is not built like XGLM.
    """
    return [
        Projections(
            query=augmented(b.q_proj, b.num_heads),
            key=augmented(b.k_proj, b.num_heads),
            value=augmented(b.v_proj, b.num_heads),
        )
        for b in blocks(model)
    ]


def updates_between(before: Sequence[Projections], after: Sequence[Projections]) -> list[Update]:
    """What finetuning added to keys and values, per layer."""
    return [
        Update(value=a.value - b.value, key=a.key - b.key)
        for b, a in zip(before, after, strict=True)
    ]


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
            found = dict(zip(map(id, chosen), torch.autograd.grad(loss, chosen), strict=True))
    finally:
        for p, flag in flags:
            p.requires_grad_(flag)

    def step(layer: torch.nn.Linear, heads: int) -> Tensor:
        weight = found[id(layer.weight)]
        bias = weight.new_zeros(weight.shape[0]) if layer.bias is None else found[id(layer.bias)]
        return -rate * by_head(weight, bias, heads)

    return [
        Update(value=step(b.v_proj, b.num_heads), key=step(b.k_proj, b.num_heads))
        for b in blocks(model)
    ]


def capture_layers(
    model: torch.nn.Module,
    context_ids: Sequence[int],
    query_ids: Sequence[int],
    *,
    updates: Sequence[Update] | None = None,
    dtype: torch.dtype | None = None,
) -> list[LayerCapture]:
    """One forward pass over context and query; the states entering every self-attention.

    The pass runs in the model's dtype; what it leaves is then copied to `dtype` (the model's own by
    default), and q is computed there. Hooks are removed on every way out.

    Raises:
        UserError: for an empty context or query, or a model that is not built like XGLM.
    """
    for name, ids in (("context", context_ids), ("query", query_ids)):
        if not len(ids):
            raise UserError(f"expected at least one {name} token, got none; pass {name}_ids")
    found = blocks(model)
    states: dict[int, Tensor] = {}
    handles = []
    try:
        for i, block in enumerate(found):

            def keep(_m: Any, args: Any, kwargs: Any, i: int = i) -> None:
                entering = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
                states[i] = entering[0].detach().clone()

            handles.append(block.register_forward_pre_hook(keep, with_kwargs=True))
        with _evaluating(model), torch.no_grad():
            model(input_ids=_ids(model, [*context_ids, *query_ids]), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    n, out = len(context_ids), []
    for i, p in enumerate(projections(model)):
        kind = dtype or states[i].dtype
        x = states[i].to(kind).mT
        x = torch.cat([x, x.new_ones(1, x.shape[1])])
        p = Projections(query=p.query.to(kind), key=p.key.to(kind), value=p.value.to(kind))
        change = None
        if updates is not None:
            change = Update(value=updates[i].value.to(kind), key=updates[i].key.to(kind))
        out.append(
            LayerCapture(
                projections=p, X_demo=x[:, :n], X=x[:, n:], q=p.query @ x[:, -1:], update=change
            )
        )
    return out


def _per_head(
    statement: str, layer: int, left: Tracked, right: Tracked, near: Tracked
) -> list[LayerCheck]:
    checks = []
    for head in range(left.value.shape[0]):
        a, b, c = (Tracked(x.value[head], x.error[head]) for x in (left, right, near))
        seen, missed = compare(a, b), compare(a, c)
        checks.append(
            LayerCheck(
                statement=statement,
                layer=layer,
                head=head,
                worst_ratio=seen.worst_ratio,
                near_miss_ratio=missed.worst_ratio,
                nontrivial=seen.nontrivial,
                finite=seen.finite and missed.finite,
            )
        )
    return checks


def _chosen(statements: Sequence[str] | None) -> list[str]:
    names = [*SITES, SOFTMAX_SPLIT] if statements is None else list(statements)
    for name in names:
        if name in NO_SITE:
            raise UserError(
                f"expected a statement with a site in a layer, got {name!r} ({NO_SITE[name]}); "
                f"choose among {', '.join([*SITES, SOFTMAX_SPLIT])}"
            )
        if name not in SITES and name != SOFTMAX_SPLIT:
            raise UserError(
                f"expected statements among {', '.join([*SITES, SOFTMAX_SPLIT])}, got {name!r}; "
                "correct the id"
            )
    return names


def check_layers(
    model: torch.nn.Module,
    context_ids: list[int],
    query_ids: list[int],
    *,
    statements: Sequence[str] | None = None,
    progress: Progress | None = None,
    updates: Sequence[Update] | None = None,
    rate: float = 1.0,
    dtype: torch.dtype | None = None,
) -> list[LayerCheck]:
    """Every statement on every head of every layer, in `dtype` (the model's own by default).

    `updates` is a real finetuning update (`updates_between`); without it, finetuning statements
    use one gradient step at `rate` on the context. Nothing is judged here: see `require`. The near
    miss of `finetuning-dual` lacks a term of second order in the update, which the float32 bound
    cannot see where the update is small: then `require` refuses, and `dtype=torch.float64` decides.

    Raises:
        UserError: for an unknown statement or one without a site, an empty context or query, or a
            model that is not built like XGLM.
    """
    names = _chosen(statements)
    if updates is None and NEEDS_UPDATE & set(names):
        updates = gradient_step(model, context_ids, rate)
    captured = capture_layers(model, context_ids, query_ids, updates=updates, dtype=dtype)
    checks = []
    for layer, at in enumerate(captured):
        if progress is not None:
            progress(f"layer {layer + 1} of {len(captured)}")
        for name in names:
            if name == SOFTMAX_SPLIT:
                left, right, near = _softmax_sides(at)
            else:
                statement = by_id(name)
                if statement.near_miss is None:
                    raise ValueError(f"expected a near miss of the true statement {name}, got none")
                v = {key: Tracked(value) for key, value in SITES[name](at).items()}
                left, right, near = (
                    side(TrackedOps, v)
                    for side in (statement.lhs, statement.rhs, statement.near_miss)
                )
            checks += _per_head(name, layer, left, right, near)
    return checks


def _scaled_scores(at: LayerCapture) -> tuple[Tensor, Tensor, int]:
    """s [H,1,T] with the factor h^(-1/2), V [H,h,T], and n; computed in the capture's dtype."""
    k, v = keys_and_values(at, torch.cat([at.X_demo, at.X], 1))
    return at.q.mT @ k * at.q.shape[1] ** -0.5, v, at.X_demo.shape[1]


def _softmax_sides(at: LayerCapture) -> tuple[Tracked, Tracked, Tracked]:
    s, v, n = _scaled_scores(at)
    return softmax_split.sides(s[..., :n], s[..., n:], v[..., :n], v[..., n:])


def softmax_shares(
    model: torch.nn.Module, context_ids: Sequence[int], query_ids: Sequence[int]
) -> list[SoftmaxShare]:
    """lambda and the size of the softmax relaxation per layer and head, from float64 copies.

    Raises:
        UserError: as `capture_layers`.
    """
    out = []
    captured = capture_layers(model, context_ids, query_ids, dtype=torch.float64)
    for layer, at in enumerate(captured):
        s, v, n = _scaled_scores(at)
        weights = torch.softmax(s, -1)
        exact = (v @ weights.mT)[..., 0]
        relaxed = (v @ (s * at.q.shape[1] ** 0.5).mT)[..., 0]
        for head in range(exact.shape[0]):
            f, r = exact[head], relaxed[head]
            size, other = float(f.norm()), float(r.norm())
            zero = Undefined("the attention output is zero")
            out.append(
                SoftmaxShare(
                    layer=layer,
                    head=head,
                    demonstrations=float(weights[head, 0, :n].sum()),
                    relaxation=zero if size == 0 else float((r - f).norm()) / size,
                    cosine=zero if size * other == 0 else float(f @ r) / size / other,
                )
            )
    return out
