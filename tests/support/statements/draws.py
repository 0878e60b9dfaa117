"""Draws of a statement's variables: a seed, sizes, layout and magnitudes, never entry by entry."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor

from dualform.layouts import LAYOUTS, laid_out
from proofs.statements import Statement


@dataclass(frozen=True, kw_only=True)
class Draw:
    """One example: sizes by name, leading dimensions, memory layout, exponents of two."""

    seed: int
    sizes: Mapping[str, int]
    batch: tuple[int, ...]
    layout: str
    exponents: Mapping[str, int]
    block: int


def sizes_of(statement: Statement) -> list[str]:
    """The names of its symbolic sizes."""
    return sorted({d for s in statement.variables.values() for d in s if not d.isdigit()})


def draws(statement: Statement, reach: int, largest: int = 7) -> st.SearchStrategy[Draw]:
    """Sizes 0 to `largest`, exponents within `reach`."""
    return st.builds(
        Draw,
        seed=st.integers(0, 2**31),
        sizes=st.fixed_dictionaries(
            {name: st.sampled_from([*range(2, largest + 1), 1, 0]) for name in sizes_of(statement)}
        ),
        batch=st.sampled_from([(), (2,), (2, 3)]),
        layout=st.sampled_from(LAYOUTS),
        exponents=st.fixed_dictionaries(
            {name: st.integers(-reach, reach) for name in statement.variables}
        ),
        block=st.integers(1, 3),
    )


def tensors(statement: Statement, draw: Draw, dtype: torch.dtype, device: str) -> dict[str, Tensor]:
    """Normal entries times powers of two, in `dtype`."""
    generator = torch.Generator().manual_seed(draw.seed)
    out = {}
    for name, (rows, columns) in statement.variables.items():
        r, c = (int(d) if d.isdigit() else draw.sizes[d] for d in (rows, columns))
        value = torch.randn(*draw.batch, r, c, generator=generator, dtype=torch.float64)
        value = (value * 2.0 ** draw.exponents[name]).to(dtype).to(device)
        out[name] = laid_out(value, draw.layout)
    return out


def integers(statement: Statement, seed: int, largest: int, reach: int) -> dict[str, Tensor]:
    """Non-zero integers of size at most `reach` in float64, sizes 1 to `largest`, no batch."""
    generator = torch.Generator().manual_seed(seed)
    sizes = {
        name: int(torch.randint(1, largest + 1, (), generator=generator))
        for name in sizes_of(statement)
    }
    out = {}
    for name, (rows, columns) in statement.variables.items():
        shape = tuple(int(d) if d.isdigit() else sizes[d] for d in (rows, columns))
        sign = 2 * torch.randint(0, 2, shape, generator=generator) - 1
        out[name] = (sign * torch.randint(1, reach + 1, shape, generator=generator)).double()
    return out
