"""Random batches for the fuzzer: sizes, memory layouts, and a magnitude for every case.

A draw holds `batch` independent cases of one size; in each, every matrix has its own power of two.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def name_of(dtype: torch.dtype) -> str:
    """`float64` for torch.float64."""
    return str(dtype).removeprefix("torch.")


def seeded(*parts: Any) -> torch.Generator:
    """A generator that depends on `parts` and on nothing else."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def exponent_range(dtype: torch.dtype) -> tuple[int, int]:
    """Exponents of the smallest subnormal and of the largest number of the type."""
    limits = torch.finfo(dtype)
    least = math.frexp(limits.smallest_normal * limits.eps)[1] - 1
    return least, math.frexp(limits.max)[1] - 1


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How to draw: cases, sizes from `least` to `largest`, exponents in `span` (both included).

    With `positive`, entries lie in [1, 2), exponents are 0 and memory is contiguous.
    """

    batch: int
    largest: int
    least: int = 0
    span: tuple[int, int] = (-2, 2)
    positive: bool = False


@dataclass(frozen=True, kw_only=True)
class Example:
    """One draw: matrices [batch, ..., r, c] by name, the block of a recurrence, further options.

    `exponents` are those of the cases, for whoever wants to see one again.
    """

    inputs: dict[str, Tensor]
    block: int
    options: dict[str, Any]
    sizes: dict[str, int]
    layout: str
    exponents: dict[str, list[int]]


def one_of(choices: Sequence[Any], generator: torch.Generator) -> Any:
    """One of `choices`, each as likely."""
    return choices[int(torch.randint(len(choices), (), generator=generator))]


def size(plan: Plan, generator: torch.Generator) -> int:
    """A size; 1 is rarer than the others, and 0 is rarest."""
    usual = [n for n in range(2, plan.largest + 1) for _ in range(3)]
    return int(one_of(usual + [n for n in (1, 1, 0) if n >= plan.least], generator))


def exponents(plan: Plan, generator: torch.Generator) -> list[int]:
    """One exponent a case."""
    low, high = (0, 0) if plan.positive else plan.span
    return torch.randint(low, high + 1, (plan.batch,), generator=generator).tolist()


def entries(plan: Plan, shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """[batch, *shape] in float64: standard normal, or in [1, 2)."""
    made = (plan.batch, *shape)
    if plan.positive:
        return 1 + torch.rand(made, generator=generator, dtype=torch.float64)
    return torch.randn(made, generator=generator, dtype=torch.float64)


def scaled(value: Tensor, powers: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Case i times two to the power i, kept finite, in `dtype`."""
    by = torch.tensor([math.ldexp(1.0, e) for e in powers], dtype=torch.float64)
    most = torch.finfo(dtype).max
    made = value * by.reshape(-1, *[1] * (value.dim() - 1))
    return made.clamp(-most, most).to(dtype)
