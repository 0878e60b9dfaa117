"""The catalogue on every layer and head of a real decoder, each side under its rounding bound.

Only what is exactly true is a check. The share of softmax on the demonstrations and the size of
the softmax relaxation are metrics. A statement that does not apply to a layer says why, and so
does one whose near miss is true there. Letters as in `empirical.identities.bindings`; T = n + m
tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from dualform.rounding import Tracked, compare
from empirical.core.errors import UserError
from empirical.identities import bindings, mlp, recomputation, softmax_mixture
from empirical.identities.applicability import NOT_APPLICABLE, reason_against
from empirical.identities.capture_layers import each_layer, gradient_step
from empirical.identities.comparison import LayerComparison, Need, Sides
from empirical.identities.layer_capture import LayerCapture, Update
from empirical.models.decoder import LoadedModel
from empirical.results.layer_check import LayerCheck, NotApplicable, worse

# Checks of what the model computed, and the exact softmax form: not in the catalogue themselves.
_BESIDE: tuple[LayerComparison, ...] = (
    *softmax_mixture.COMPARISONS,
    *recomputation.COMPARISONS,
    *mlp.COMPARISONS,
)
BESIDE = tuple(c.id for c in _BESIDE)
COMPARISONS: tuple[LayerComparison, ...] = (*bindings.COMPARISONS, *_BESIDE)
Progress = Callable[[str], None]


def chosen(statements: Sequence[str] | None) -> list[LayerComparison]:
    """The comparisons of some ids, in their order; all of them for None.

    Raises:
        UserError: for an unknown statement or one without a site.
    """
    every = {c.id: c for c in COMPARISONS}
    names = every if statements is None else statements
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
    return [every[name] for name in names]


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
    comparisons = chosen(statements)
    if updates is None and any(Need.UPDATE in c.needs for c in comparisons):
        updates = gradient_step(model, context_ids, rate)
    checks = []
    for layer, at in enumerate(
        each_layer(model, context_ids, query_ids, updates=updates, dtype=dtype)
    ):
        if progress is not None:
            progress(f"layer {layer + 1} of {model.n_layers}")
        checks += check_layer(at, layer, comparisons)
    return checks


def not_applicable(
    at: LayerCapture, layer: int, comparisons: Sequence[LayerComparison]
) -> list[NotApplicable]:
    """Those of the comparisons that `check_layer` leaves out, and why."""
    found = ((c.id, reason_against(c, at)) for c in comparisons)
    return [
        NotApplicable(statement=name, layer=layer, reason=reason)
        for name, reason in found
        if reason is not None
    ]


def check_layer(
    at: LayerCapture, layer: int, comparisons: Sequence[LayerComparison]
) -> list[LayerCheck]:
    """The comparisons (see `chosen`) that apply, on every head of one captured layer.

    Raises:
        ValueError: for a statement without a near miss, or a capture without its update.
    """
    checks = []
    for c in comparisons:
        if reason_against(c, at) is None:
            steps = [_by_head(c.id, layer, sides) for sides in c.sides(at)]
            checks += [worse(*of_head) for of_head in zip(*steps, strict=True)]
    return checks


def _by_head(statement: str, layer: int, sides: Sides) -> list[LayerCheck]:
    """Head by head; one check of the whole block for sides without a head axis."""
    three = (sides.left, sides.right, sides.near)
    if sides.left.value.dim() == 2:
        return [_compared(statement, layer, None, three)]
    heads = range(len(sides.left.value))
    reasons = sides.coincides or [None] * len(heads)
    return [
        _compared(
            statement, layer, head, [Tracked(x.value[head], x.error[head]) for x in three], reason
        )
        for head, reason in zip(heads, reasons, strict=True)
    ]


def _compared(
    statement: str,
    layer: int,
    head: int | None,
    sides: Sequence[Tracked],
    coincides: str | None = None,
) -> LayerCheck:
    """One check of left, right and near miss."""
    left, right, near = sides
    seen, missed = compare(left, right), compare(left, near)
    return LayerCheck(
        statement=statement,
        layer=layer,
        head=head,
        worst_ratio=seen.worst_ratio,
        near_miss_ratio=missed.worst_ratio,
        nontrivial=seen.nontrivial,
        finite=seen.finite and missed.finite,
        coincides=coincides,
    )
