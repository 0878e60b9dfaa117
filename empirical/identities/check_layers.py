"""The catalogue on every layer and head of a real decoder, each side under its rounding bound.

Only what is exactly true is a check. The share of softmax on the demonstrations and the size of
the softmax relaxation are metrics. A statement that does not apply to a layer says why, and so
does one whose near miss is true there. Letters as in `empirical.identities.bindings`; T = n + m
tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dualform.rounding import Tracked, compare, unit_roundoff
from empirical.core.errors import UserError
from empirical.identities import recomputation, softmax_mixture
from empirical.identities.applicability import NOT_APPLICABLE, reason_against
from empirical.identities.bindings import BINDINGS, NEEDS_UPDATE, LayerCapture, Update, Variables
from empirical.identities.capture_layers import each_layer, gradient_step
from empirical.identities.mlp import BlockOps, PlainBlockOps
from empirical.identities.softmax_metrics import scores
from empirical.models.decoder import LoadedModel
from empirical.results.layer_check import LayerCheck, NotApplicable, worse
from proofs.statements import Side, by_id

SOFTMAX_SPLIT = "softmax-split"
# Checks of what the model computed, and the exact softmax form: not in the catalogue themselves.
BESIDE = (SOFTMAX_SPLIT, recomputation.KEYS, recomputation.SOFTMAX, recomputation.MLP)
ONE_BY_ONE = frozenset({"context-split-normalised-keys"})  # its [n, n] matrices differ by head
STEPS = 8  # of a recurrence over the context, so about an eighth of its tokens a step
Progress = Callable[[str], None]


def _compared(
    statement: str, layer: int, head: int | None, left: Tracked, right: Tracked, near: Tracked
) -> LayerCheck:
    seen, missed = compare(left, right), compare(left, near)
    return LayerCheck(
        statement=statement,
        layer=layer,
        head=head,
        worst_ratio=seen.worst_ratio,
        near_miss_ratio=missed.worst_ratio,
        nontrivial=seen.nontrivial,
        finite=seen.finite and missed.finite,
    )


def _per_head(
    statement: str, layer: int, left: Tracked, right: Tracked, near: Tracked
) -> list[LayerCheck]:
    """Head by head; one check of the whole block for sides without a head axis."""
    if left.value.dim() == 2:
        return [_compared(statement, layer, None, left, right, near)]
    return [
        _compared(
            statement, layer, head,
            *(Tracked(x.value[head], x.error[head]) for x in (left, right, near)),
        )
        for head in range(left.value.shape[0])
    ]  # fmt: skip


def chosen(statements: Sequence[str] | None) -> list[str]:
    """Ids that have a site in a layer; all of them for None.

    Raises:
        UserError: for an unknown statement or one without a site.
    """
    every = [*BINDINGS, *BESIDE]
    names = every if statements is None else list(statements)
    for name in names:
        if name in NOT_APPLICABLE:
            raise UserError(
                f"expected a statement with a site in a layer, got {name!r} "
                f"({NOT_APPLICABLE[name]}); "
                f"choose among {', '.join(every)}"
            )
        if name not in every:
            raise UserError(
                f"expected statements among {', '.join(every)}, got {name!r}; correct the id"
            )
    return names


def check_layers(
    model: LoadedModel,
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
    `require`. A statement is left out of layers to which it does not apply (`reason_against`). The
    near miss of `finetuning-dual` lacks a term of second order in the update, which the float32
    bound cannot see where the update is small: then `require` refuses, and `dtype=torch.float64`
    decides.

    Raises:
        UserError: for an unknown statement or one without a site, or an empty context or query.
    """
    names = chosen(statements)
    if updates is None and NEEDS_UPDATE & set(names):
        updates = gradient_step(model, context_ids, rate)
    checks = []
    for layer, at in enumerate(
        each_layer(model, context_ids, query_ids, updates=updates, dtype=dtype)
    ):
        if progress is not None:
            progress(f"layer {layer + 1} of {model.n_layers}")
        checks += check_layer(at, layer, names)
    return checks


def not_applicable(at: LayerCapture, layer: int, names: Sequence[str]) -> list[NotApplicable]:
    """Those of the statements `names` that `check_layer` leaves out, and why."""
    found = ((name, reason_against(name, at)) for name in names)
    return [
        NotApplicable(statement=name, layer=layer, reason=reason)
        for name, reason in found
        if reason is not None
    ]


def check_layer(at: LayerCapture, layer: int, names: Sequence[str]) -> list[LayerCheck]:
    """The statements `names` (see `chosen`) that apply, on every head of one captured layer.

    Raises:
        ValueError: for a statement without a near miss, or a capture without its update.
    """
    checks = []
    for name in names:
        if reason_against(name, at) is None:
            checks += _named(name, at, _check(name, at, layer))
    return checks


def _check(name: str, at: LayerCapture, layer: int) -> list[LayerCheck]:
    if name == SOFTMAX_SPLIT:
        return _per_head(name, layer, *_softmax_sides(at))
    if name == recomputation.SOFTMAX:
        s = recomputation.softmax(at)
        return _per_head(name, layer, s.left, s.right, s.near)
    if name in (recomputation.KEYS, recomputation.MLP):
        found = recomputation.keys(at) if name == recomputation.KEYS else recomputation.mlp(at)
        steps = [_per_head(name, layer, s.left, s.right, s.near) for s in found]
        return [worse(*of_head) for of_head in zip(*steps, strict=True)]
    return _per_head(name, layer, *_sides(at, name))


def _named(name: str, at: LayerCapture, checks: list[LayerCheck]) -> list[LayerCheck]:
    """The checks, with the reason where a near miss is true of a head by what the head is."""
    if name == "bias-as-weight":
        bias = BINDINGS[name](at)["b"]
        return [
            replace(c, coincides="biases are zero or missing") if not bool((b != 0).any()) else c
            for c, b in zip(checks, bias, strict=True)
        ]
    if name == SOFTMAX_SPLIT:
        s, _, _ = scores(at)
        n = at.shown.stop - at.shown.start
        mass = torch.softmax(s.double(), -1)[:, 0, :n].sum(-1)
        least = s.shape[-1] * unit_roundoff(s)
        reason = "softmax gives the demonstrations less than it rounds away"
        return [
            replace(c, coincides=reason) if float(m) < least and c.near_miss_ratio <= 1 else c
            for c, m in zip(checks, mass, strict=True)
        ]
    return checks


def _sides(at: LayerCapture, name: str) -> tuple[Tracked, Tracked, Tracked]:
    statement = by_id(name)
    if statement.near_miss is None:
        raise ValueError(f"expected a near miss of the true statement {name}, got none")
    plain = BINDINGS[name](at)
    if name in ONE_BY_ONE:
        heads = [_one_head(plain, i) for i in range(len(at.q))]
        found = [_evaluated(name, at, v) for v in heads]
        return tuple(_stacked(sides) for sides in zip(*found, strict=True))  # type: ignore[return-value] # three
    return _evaluated(name, at, plain)


def _one_head(v: Variables, head: int) -> Variables:
    return {name: x[head] if x.dim() == 3 else x for name, x in v.items()}


def _stacked(sides: Sequence[Tracked]) -> Tracked:
    return Tracked(torch.stack([x.value for x in sides]), torch.stack([x.error for x in sides]))


def _options(at: LayerCapture) -> dict[str, Any]:
    """Block sizes of recurrences, and the activation of the layer's MLP where it has a form."""
    block = -(-(at.shown.stop - at.shown.start) // STEPS)
    act = {} if isinstance(at.mlp, str) else {"function": at.mlp.activation}
    return {"block": max(1, block)} | act


def _tracked(side: Side, at: LayerCapture, v: Variables) -> Tracked:
    made: Tracked = side(BlockOps(**_options(at)), {k: Tracked(x) for k, x in v.items()})
    return made


def _evaluated(name: str, at: LayerCapture, plain: Variables) -> tuple[Tracked, Tracked, Tracked]:
    statement = by_id(name)
    assert statement.near_miss is not None, "asked for true statements"
    sides = (statement.lhs, statement.rhs, statement.near_miss)
    left, right, near = (_tracked(side, at, plain) for side in sides)
    # The left side is torch's own, its gradients autograd's.
    return left.elsewhere(_over_heads(statement.lhs, plain, _options(at))), right, near


def _over_heads(side: Side, v: Variables, options: Mapping[str, Any]) -> Tensor:
    """A side on plain tensors, each head by itself: those with three axes have heads in front."""
    names, ops = list(v), PlainBlockOps(**options)

    def one(*values: Tensor) -> Tensor:
        made: Tensor = side(ops, dict(zip(names, values, strict=True)))
        return made

    axes = tuple(0 if value.dim() == 3 else None for value in v.values())
    if not any(axis == 0 for axis in axes):
        return one(*v.values())
    made: Tensor = torch.func.vmap(one, in_dims=axes)(*v.values())
    return made


def _softmax_sides(at: LayerCapture) -> tuple[Tracked, Tracked, Tracked]:
    s, _, v = scores(at)
    n = at.shown.stop - at.shown.start
    return softmax_mixture.sides(s[..., :n], s[..., n:], v[..., :n], v[..., n:])
