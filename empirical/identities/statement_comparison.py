"""A statement of the catalogue as a comparison: both sides and the near miss on a layer's tensors.

The left side is computed by torch, its gradients by autograd; the other two carry a running
rounding bound. Letters as in `empirical.identities.bindings`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dualform.rounding import Tracked
from empirical.identities.comparison import Need, Sides
from empirical.identities.layer_capture import LayerCapture
from empirical.identities.mlp import BlockOps, PlainBlockOps
from proofs.statements import Side, Statement, by_id

STEPS = 8  # of a recurrence over the context, so about an eighth of its tokens a step
Variables = Mapping[str, Tensor]
Options = Mapping[str, Any]  # of the operations: see `_options`


@dataclass(frozen=True, kw_only=True)
class StatementComparison:
    """A statement by its `id`, with the `variables` that a layer holds for it.

    `coincides` says head by head why its near miss is true (see `Sides`); `head_by_head` holds the
    [n, n] matrices of one head at a time.
    """

    id: str
    variables: Callable[[LayerCapture], Variables]
    needs: frozenset[Need]
    coincides: Callable[[Variables], Sequence[str | None]] | None = None
    head_by_head: bool = False

    def sides(self, at: LayerCapture) -> tuple[Sides]:
        """Both sides and the near miss, in the dtype of the capture.

        Raises:
            ValueError: for a statement without a near miss, or a capture that lacks a need.
        """
        statement, options = by_id(self.id), _options(at)
        if statement.near_miss is None:
            raise ValueError(f"expected a near miss of the true statement {self.id}, got none")
        v = self.variables(at)
        if self.head_by_head:
            heads = [_evaluated(statement, _one_head(v, i), options) for i in range(len(at.q))]
            left, right, near = map(_stacked, zip(*heads, strict=True))
        else:
            left, right, near = _evaluated(statement, v, options)
        why = () if self.coincides is None else self.coincides(v)
        return (Sides(left=left, right=right, near=near, coincides=why),)


def _options(at: LayerCapture) -> Options:
    """Block sizes of recurrences, and the activation of the layer's MLP where it has a form."""
    block = -(-(at.shown.stop - at.shown.start) // STEPS)
    act = {} if isinstance(at.mlp, str) else {"function": at.mlp.activation}
    return {"block": max(1, block)} | act


def _one_head(v: Variables, head: int) -> Variables:
    return {name: x[head] if x.dim() == 3 else x for name, x in v.items()}


def _stacked(heads: Sequence[Tracked]) -> Tracked:
    return Tracked(torch.stack([x.value for x in heads]), torch.stack([x.error for x in heads]))


def _evaluated(
    statement: Statement, v: Variables, options: Options
) -> tuple[Tracked, Tracked, Tracked]:
    """Left, right and near miss."""
    assert statement.near_miss is not None, "asked for true statements"
    sides = (statement.lhs, statement.rhs, statement.near_miss)
    left, right, near = (_tracked(side, v, options) for side in sides)
    # The left side is torch's own, its gradients autograd's.
    return left.elsewhere(_over_heads(statement.lhs, v, options)), right, near


def _tracked(side: Side, v: Variables, options: Options) -> Tracked:
    made: Tracked = side(BlockOps(**options), {k: Tracked(x) for k, x in v.items()})
    return made


def _over_heads(side: Side, v: Variables, options: Options) -> Tensor:
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
