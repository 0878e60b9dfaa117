"""The catalogue on every layer and head of a real decoder, each side under its rounding bound.

Only what is exactly true is a check. The share of softmax on the demonstrations and the size of
the softmax relaxation are metrics. Letters as in `empirical.sites`; T = n + m tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dualform.ops import TensorOps, TrackedOps
from dualform.rounding import Tracked, compare
from empirical import softmax_split
from empirical.errors import UserError
from empirical.layers import blocks, each_layer, gradient_step
from empirical.metrics import Number, Undefined
from empirical.sites import (
    NEEDS_UPDATE,
    NO_SITE,
    SITES,
    LayerCapture,
    Update,
    Variables,
    keys_and_values,
)
from proofs.statements import Side, by_id

SOFTMAX_SPLIT = "softmax-split"
STEPS = 8  # of a recurrence over the context, so about an eighth of its tokens a step
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


def chosen(statements: Sequence[str] | None) -> list[str]:
    """Ids that have a site in a layer; all of them for None.

    Raises:
        UserError: for an unknown statement or one without a site.
    """
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

    `updates` is a real finetuning update (`finetune_dual.Training.updates`); without it, finetuning
    statements use one gradient step at `rate` on the context. Nothing is judged here: see
    `require`. The near miss of `finetuning-dual` lacks a term of second order in the update, which
    the float32 bound cannot see where the update is small: then `require` refuses, and
    `dtype=torch.float64` decides.

    Raises:
        UserError: for an unknown statement or one without a site, an empty context or query, or a
            model that is not built like XGLM.
    """
    names = chosen(statements)
    if updates is None and NEEDS_UPDATE & set(names):
        updates = gradient_step(model, context_ids, rate)
    total = model_layers(model)
    checks = []
    for layer, at in enumerate(
        each_layer(model, context_ids, query_ids, updates=updates, dtype=dtype)
    ):
        if progress is not None:
            progress(f"layer {layer + 1} of {total}")
        checks += check_layer(at, layer, names)
    return checks


def model_layers(model: torch.nn.Module) -> int:
    """How many layers the decoder has.

    Raises:
        UserError: for a model that is not built like XGLM.
    """
    return len(blocks(model))


def check_layer(at: LayerCapture, layer: int, names: Sequence[str]) -> list[LayerCheck]:
    """The statements `names` (see `chosen`) on every head of one captured layer.

    Raises:
        ValueError: for a statement without a near miss, or a capture without its update.
    """
    checks = []
    for name in names:
        if name == SOFTMAX_SPLIT:
            left, right, near = _softmax_sides(at)
        else:
            left, right, near = _sides(at, name)
        checks += _per_head(name, layer, left, right, near)
    return checks


def _sides(at: LayerCapture, name: str) -> tuple[Tracked, Tracked, Tracked]:
    statement = by_id(name)
    if statement.near_miss is None:
        raise ValueError(f"expected a near miss of the true statement {name}, got none")
    plain = SITES[name](at)
    v = {key: Tracked(value) for key, value in plain.items()}
    sides = (statement.lhs, statement.rhs, statement.near_miss)
    block = -(-at.X_demo.shape[1] // STEPS)
    left, right, near = (side(TrackedOps(block=block), v) for side in sides)
    # The left side is torch's own, its gradients autograd's.
    return left.elsewhere(_over_heads(statement.lhs, plain, block)), right, near


def _over_heads(side: Side, v: Variables, block: int) -> Tensor:
    """A side on plain tensors, each head by itself: those with three axes have heads in front."""
    names = list(v)

    def one(*values: Tensor) -> Tensor:
        made: Tensor = side(TensorOps(block=block), dict(zip(names, values, strict=True)))
        return made

    axes = tuple(0 if value.dim() == 3 else None for value in v.values())
    made: Tensor = torch.func.vmap(one, in_dims=axes)(*v.values())
    return made


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
    captured = each_layer(model, context_ids, query_ids, dtype=torch.float64)
    return [share for layer, at in enumerate(captured) for share in shares_of(at, layer)]


def shares_of(at: LayerCapture, layer: int) -> list[SoftmaxShare]:
    """The metrics of every head of one captured layer, computed in float64."""
    s, v, n = _scaled_scores(at)
    s, v = s.double(), v.double()
    weights = torch.softmax(s, -1)
    exact = (v @ weights.mT)[..., 0]
    relaxed = (v @ (s * at.q.shape[1] ** 0.5).mT)[..., 0]
    return [
        _share(layer, head, float(weights[head, 0, :n].sum()), exact[head], relaxed[head])
        for head in range(exact.shape[0])
    ]


def _share(layer: int, head: int, mass: float, f: Tensor, r: Tensor) -> SoftmaxShare:
    size, other = float(f.norm()), float(r.norm())
    zero = Undefined("the attention output is zero")
    return SoftmaxShare(
        layer=layer,
        head=head,
        demonstrations=mass,
        relaxation=zero if size == 0 else float((r - f).norm()) / size,
        cosine=zero if size * other == 0 else float(f @ r) / size / other,
    )
