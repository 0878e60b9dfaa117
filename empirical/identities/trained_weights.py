"""A1 on a real finetuning: trained key and value projections are the old ones plus E X^T.

X holds every token's state that entered a projection during finetuning, and E = -gamma times the
gradient of that step's loss in the projection's output, as the network above it sent it back: to
the projection, the network above is a linear loss. The weights that the optimiser left must equal
the old ones plus E X^T under a bound on the rounding of the optimiser's own steps. It holds of any
architecture: what follows a projection (rotation, norms, groups) is the network above it. Letters:
G key-value heads, h head width, d model width, n tokens over all examples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dualform.losses import linear
from dualform.ops import TrackedOps
from dualform.rounding import Comparison, Tracked, compare
from empirical.core.progress import Advance, ignore
from empirical.identities.bindings import TRAINED, Projections, Update
from empirical.identities.capture_layers import projections
from empirical.identities.projection_gradients import ProjectionGradients, recording
from empirical.inference.finetune import finetuned
from empirical.models.decoder import LoadedModel
from empirical.results.layer_check import LayerCheck, NotApplicable
from proofs.statements import by_id


@dataclass(frozen=True, kw_only=True)
class Training:
    """Weights before and after, what passed through each layer on the way, and the rate.

    `first` and `after_first` are of one step on the first example alone; `stale` is the record of
    all examples read at the initial weights.
    """

    rate: float
    before: list[Projections]
    after: list[Projections]
    records: list[ProjectionGradients]
    after_first: list[Projections]
    stale: list[ProjectionGradients]

    def updates(self) -> list[Update]:
        """What finetuning added per layer, and by which examples."""
        return [
            Update(
                value=new.value - old.value,
                key=new.key - old.key,
                examples=record.examples(self.rate),
            )
            for old, new, record in zip(self.before, self.after, self.records, strict=True)
        ]


ONE_EXAMPLE = "of one example many steps are one, and the near miss holds too: one-step-dual"


def statements(examples: int) -> tuple[str, ...]:
    """What can be checked: with one example, many steps are one, and their near miss holds too."""
    return TRAINED if examples > 1 else tuple(s for s in TRAINED if s != "many-steps-dual")


def not_trained(examples: int, layers: int) -> list[NotApplicable]:
    """The other statements on trained weights, and why."""
    left = [s for s in TRAINED if s not in statements(examples)]
    return [
        NotApplicable(statement=name, layer=layer, reason=ONE_EXAMPLE)
        for layer in range(layers)
        for name in left
    ]


def in_dtype(model: LoadedModel, dtype: torch.dtype) -> LoadedModel:
    """The model itself, or a copy of it in another dtype."""
    if next(model.model.parameters()).dtype == dtype:
        return model
    return replace(model, model=deepcopy(model.model).to(dtype))


def train(
    model: LoadedModel,
    examples: Sequence[Sequence[int]],
    rate: float,
    advance: Advance = ignore,
) -> Training:
    """Finetune on `examples` for real, watch, and restore the weights.

    `advance(1)` is called after every step of either pass over the examples.

    Raises:
        UserError: without examples or for a bad rate; `DivergedError` when training diverges.
    """
    found = model.blocks
    before = projections(found)
    with recording(found) as records, finetuned(model, examples, rate, advance):
        after = projections(found)
    after_first = before
    with recording(found) as stale:
        for i, example in enumerate(examples):
            with finetuned(model, [example], rate, advance):
                if i == 0:
                    after_first = projections(found)
    return Training(
        rate=rate,
        before=before,
        after=after,
        records=records,
        after_first=after_first,
        stale=stale,
    )


def _both(p: Projections) -> Tensor:
    """[W b] of keys over that of values: [G, 2h, d+1]."""
    return torch.cat([p.key, p.value], 1)


def _gradients(record: ProjectionGradients) -> Tensor:
    """Output gradients of keys over those of values: [G, 2h, n]."""
    return torch.cat([record.came_back("k"), record.came_back("v")], 1)


def check_training(training: Training) -> list[LayerCheck]:
    """The `statements` on the weights that finetuning left.

    Heads are those of keys and values, and a check is over both together. The near misses: every
    error taken at the initial weights, and a step that ascends.
    """
    sides = {"many-steps-dual": _many_steps, "one-step-dual": _one_step}
    checks = []
    for layer, record in enumerate(training.records):
        for name in statements(len(record.inputs)):
            for head, (seen, missed) in enumerate(sides[name](training, layer)):
                checks.append(
                    LayerCheck(
                        statement=name,
                        layer=layer,
                        head=head,
                        worst_ratio=seen.worst_ratio,
                        near_miss_ratio=missed.worst_ratio,
                        nontrivial=seen.nontrivial,
                        finite=seen.finite and missed.finite,
                    )
                )
    return checks


def _many_steps(training: Training, layer: int) -> Iterator[tuple[Comparison, Comparison]]:
    """The weights after all steps, head by head, and against errors at the initial weights."""
    record, statement = training.records[layer], by_id("many-steps-dual")
    old, new = _both(training.before[layer]), _both(training.after[layer])
    ops = TrackedOps(block=record.lengths(), loss_function=linear)
    real, stale = _gradients(record), _gradients(training.stale[layer])
    fixed = {"X": record.entered(), "gamma": old.new_full((1, 1), training.rate)}
    shared = {name: Tracked(value) for name, value in fixed.items()}
    for head in range(record.groups):
        v = {"W": Tracked(old[head]), "T": Tracked(real[head])} | shared
        found = statement.lhs(ops, v).elsewhere(new[head])
        near = statement.rhs(ops, v | {"T": Tracked(stale[head])})
        yield compare(found, statement.rhs(ops, v)), compare(found, near)


def _one_step(training: Training, layer: int) -> Iterator[tuple[Comparison, Comparison]]:
    """The output for the example's last token after one step on it, and after an ascent."""
    record, statement = training.stale[layer], by_id("one-step-dual")
    old, new = _both(training.before[layer]), _both(training.after_first[layer])
    n = record.lengths()[0]
    x, made = record.entered()[:, :n], _gradients(record)[..., :n]
    ops = TrackedOps(block=n, loss_function=linear)
    fixed = {"X": x, "q": x[:, -1:], "gamma": old.new_full((1, 1), training.rate)}
    shared = {name: Tracked(value) for name, value in fixed.items()}
    assert statement.near_miss is not None, "true statements have near misses"
    for head in range(record.groups):
        v = {"W": Tracked(old[head]), "T": Tracked(made[head])} | shared
        found = statement.lhs(ops, v).elsewhere(new[head] @ x[:, -1:])
        near = statement.near_miss(ops, v)
        yield compare(found, statement.rhs(ops, v)), compare(found, near)
