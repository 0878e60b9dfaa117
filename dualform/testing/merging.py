"""Merging softmax attention over two blocks of keys.

F = (1 - w) F_1 + w F_2 with w = Z_2 / (Z_1 + Z_2) for the log masses log Z_1 and log Z_2, and
log Z = log(Z_1 + Z_2): the identity by which flash and cascade attention merge blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dualform.layouts import laid_out
from dualform.rounding import Tracked
from dualform.testing.cases import Case, Domain
from dualform.testing.comparing import Agreement, Identity, compare
from dualform.testing.hunting import EXAMPLES, Report, generic, search_for
from dualform.testing.implementation import Implementation
from dualform.testing.messages import ConformanceError, Unusable
from dualform.testing.reference import in_arithmetic
from dualform.variants import arithmetic as A

Merge = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
IDENTITY = Identity(
    name="softmax block merging",
    formula="F = (1 - w) F_1 + w F_2, w = Z_2 / (Z_1 + Z_2), and log Z = log(Z_1 + Z_2)",
)


def check_block_merging(
    merge: Merge,
    *,
    dtypes: tuple[torch.dtype, ...] = (torch.float64, torch.float32),
    base: float | None = None,
    examples: int = EXAMPLES,
) -> Report:
    """`merge(F_1, log Z_1, F_2, log Z_2) -> (F, log Z)` for F [B, H, T, d_v], log Z [B, H, T].

    base: 2.0 for logarithms to base 2; natural ones without it.

    Raises:
        ConformanceError: with the smallest failing example.
        Uninformative: when too few examples could tell.
        Unusable: when `merge` does not return a pair of tensors.
    """
    kernel = Implementation(call=merge, dtypes=dtypes)
    domain = Domain(dtypes=dtypes)
    try:
        return search_for(
            "block merging",
            lambda case: _merged(kernel, case, base),
            domain=domain,
            examples=examples,
        )
    except ConformanceError as error:
        other, words = (None, "natural logarithms: base=None")
        if base is None:
            other, words = (2.0, "logarithms to base 2: base=2.0")
        hints = (f"agrees with {words}",) if _agrees(kernel, other) else ()
        raise ConformanceError(replace(error.finding, hints=hints)) from error.__cause__


def _agrees(kernel: Implementation, base: float | None) -> bool:
    """Whether generic answers are those of logarithms to `base`."""
    try:
        return all(
            a.telling for seed in (11, 12) for a in _merged(kernel, generic(kernel, seed), base)
        )
    except ConformanceError:
        return False


def _merged(kernel: Implementation, case: Case, base: float | None) -> list[Agreement]:
    blocks = _blocks(case, base)
    answer: Any = kernel.call(*(x for block in blocks for x in block))
    if not isinstance(answer, tuple) or len(answer) != 2:
        raise Unusable(f"expected a pair (F, log Z), got {type(answer).__name__}; return both")
    room = _whole(blocks, case.dtype, base)
    want = _whole(blocks, torch.float64, base)
    made = []
    for place, got, w, r in zip(("F", "log Z"), answer, want, room, strict=True):
        got = got if place == "F" else got.unsqueeze(-1)
        made.append(
            compare(got, w, 2 * r.error, place=place, identity=IDENTITY, case=case, kernel=kernel)
        )
    return made


def _blocks(case: Case, base: float | None) -> list[tuple[Tensor, Tensor]]:
    """Outputs and log masses of two blocks, the masses within e^8 of each other."""
    generator = torch.Generator().manual_seed(case.seed)
    shape = (case.batch, case.heads, case.tokens)
    made = []
    for _ in range(2):
        F = torch.randn(*shape, case.d_v, generator=generator, dtype=torch.float64)
        mass = 4 * torch.rand(shape, generator=generator, dtype=torch.float64)
        mass = mass / (torch.tensor(base).log() if base else 1.0)
        made.append((laid_out(F.to(case.dtype), case.layout), mass.to(case.dtype)))
    return made


def _whole(
    blocks: list[tuple[Tensor, Tensor]], kind: torch.dtype, base: float | None
) -> tuple[Any, Any]:
    """The merged output and log mass, bounded; the largest mass is taken out as data."""
    lift = in_arithmetic(kind)
    F = [lift(f) for f, _ in blocks]
    logs: list[Any] = [lift(m.unsqueeze(-1)) for _, m in blocks]
    if base is not None:
        scale = A.constant(logs[0], float(torch.tensor(base, dtype=torch.float64).log()))
        logs = [m * scale for m in logs]
    peak = A.lift(Tracked(torch.maximum(logs[0].value, logs[1].value)))
    z = [A.exp(m - peak) for m in logs]
    total = z[0] + z[1]
    log_mass = peak + A.log(total)
    if base is not None:
        log_mass = log_mass / scale
    return (z[0] * F[0] + z[1] * F[1]) / total, log_mass
