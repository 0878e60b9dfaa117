"""A random change of the trained weights, as long as the true one part by part, undone on leaving.

The null of every similarity between updates: if a direction drawn at random scores as much, the
score is owed to the length of the change and to where it is made.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from empirical.core.errors import UserError
from empirical.core.progress import Advance, ignore
from empirical.inference.finetune import Trained, finetuned, restoring, trained
from empirical.models.decoder import LoadedModel


def _norm(values: Tensor) -> float:
    return float(torch.linalg.vector_norm(values.double()))


def update_norms(
    model: LoadedModel,
    examples: Sequence[Sequence[int]],
    rate: float,
    advance: Advance = ignore,
) -> tuple[float, ...]:
    """Frobenius norm of what finetuning adds to each part of `finetune.trained`, in its order.

    Weights are restored.

    Raises:
        UserError: as `finetuned`; `DivergedError` where training diverges.
    """
    moving = trained(model)
    before = [t.part().clone() for t in moving]
    with finetuned(model, examples, rate, advance):
        changes = zip(moving, before, strict=True)
        return tuple(_norm(t.part().double() - old.double()) for t, old in changes)


def _draw(part: Tensor, norm: float, generator: torch.Generator) -> Tensor:
    """A float64 normal draw of the shape of `part`, scaled to `norm`, on its device."""
    drawn = torch.randn(part.shape, generator=generator, dtype=torch.float64)
    return (drawn * (norm / _norm(drawn))).to(part.device)


def _check_norms(moving: Sequence[Trained], norms: Sequence[float]) -> None:
    """Refuse norms that cannot be those of the parts.

    Raises:
        UserError: for another number of them, or one that is negative or not finite.
    """
    if len(norms) != len(moving):
        raise UserError(
            f"expected one norm for each of {len(moving)} trained parts, got {len(norms)}; take "
            "them from update_norms of the same model"
        )
    bad = [x for x in norms if not (math.isfinite(x) and x >= 0)]
    if bad:
        raise UserError(
            f"expected norms that are finite and at least 0, got {bad[0]}; take them from "
            "update_norms"
        )


@contextmanager
def randomly_updated(
    model: LoadedModel, norms: Sequence[float], generator: torch.Generator
) -> Iterator[None]:
    """The model with a normal draw of norm `norms[i]` added to the i-th part of `finetune.trained`.

    Draws come from `generator` (on the CPU), and are the same for every dtype and device. The
    weights that result are rounded once to their own dtype; on leaving they are restored bit for
    bit.

    Raises:
        UserError: for norms that cannot be those of the parts.
    """
    moving = trained(model)
    _check_norms(moving, norms)
    with restoring(model, moving):
        with torch.no_grad():
            for t, norm in zip(moving, norms, strict=True):
                part = t.part()
                t.put((part.double() + _draw(part, norm, generator)).to(part.dtype))
        yield
