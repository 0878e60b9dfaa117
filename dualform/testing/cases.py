"""Examples: sizes, a seed, memory layout and magnitudes, from which tensors are built.

Letters: B batch, H heads, T tokens, q and k [B, H, T, d_k], v [B, H, T, d_v].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor

from dualform.layouts import LAYOUTS, laid_out


@dataclass(frozen=True, kw_only=True)
class Case:
    """One example; `chunk` is None for code without chunks, `cut` splits the tokens in two."""

    seed: int
    batch: int
    heads: int
    repeat: int
    tokens: int
    d_k: int
    d_v: int
    dtype: torch.dtype
    layout: str
    exponents: Mapping[str, int]
    chunk: int | None
    cut: int
    from_state: bool

    def __str__(self) -> str:
        parts = [f"batch {self.batch}, heads {self.heads * self.repeat}"]
        parts += [f"key heads {self.heads}"] if self.repeat > 1 else []
        parts += [f"tokens {self.tokens}, d_k {self.d_k}, d_v {self.d_v}", _short(self.dtype)]
        parts += [self.layout] if self.layout != "contiguous" else []
        parts += [f"chunk {self.chunk}"] if self.chunk is not None else []
        parts += ["from a given state"] if self.from_state else []
        return ", ".join(parts)


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@dataclass(frozen=True, kw_only=True)
class Domain:
    """The sizes that an implementation accepts; see `Implementation` for the meanings."""

    dtypes: Sequence[torch.dtype] = (torch.float32,)
    multiple: int = 1
    longest: int = 9
    widest: int = 4
    chunks: Sequence[int] = ()
    square: bool = False
    grouped: bool = False
    states: bool = False
    parts: int = 1


@st.composite
def cases(draw: st.DrawFn, domain: Domain) -> Case:
    """Examples that shrink to one head, one token and one channel, at magnitude one."""
    most = domain.longest // domain.multiple
    chunk = draw(st.sampled_from(domain.chunks)) if domain.chunks else None
    pieces = draw(st.integers(domain.parts, max(most, domain.parts)))
    d_k = draw(st.integers(1, domain.widest))
    return Case(
        seed=draw(st.integers(0, 2**10)),
        batch=draw(st.integers(1, 2)),
        heads=draw(st.integers(1, 2)),
        repeat=draw(st.integers(1, 2)) if domain.grouped else 1,
        tokens=domain.multiple * pieces,
        d_k=d_k,
        d_v=d_k if domain.square else draw(st.integers(1, domain.widest)),
        dtype=draw(st.sampled_from(domain.dtypes)),
        layout=draw(st.sampled_from(LAYOUTS)),
        exponents={name: draw(st.sampled_from((0, 1, 2, 3, -1, -2, -3))) for name in "qv"},
        chunk=chunk,
        cut=domain.multiple * draw(st.integers(min(1, pieces - 1), max(pieces - 1, 0))),
        from_state=draw(st.booleans()) if domain.states else False,
    )


def attention_inputs(
    *, dtypes: Sequence[torch.dtype] = (torch.float32,), longest: int = 9, widest: int = 4
) -> st.SearchStrategy[tuple[Tensor, Tensor, Tensor]]:
    """(q, k, v) [B, H, T, d] for tests of your own; keys have norms near one."""
    domain = Domain(dtypes=tuple(dtypes), longest=longest, widest=widest)
    return cases(domain).map(lambda case: tuple(draw_qkv(case)))  # type: ignore[arg-type,return-value]


def draw_qkv(case: Case, *, positive: bool = False) -> list[Tensor]:
    """Normal queries and values times powers of two, normal keys times d_k^(-1/2)."""
    generator = torch.Generator().manual_seed(case.seed)
    heads, out = case.heads * case.repeat, []
    for name, h, d in (("q", heads, case.d_k), ("k", case.heads, case.d_k)):
        x = torch.randn(case.batch, h, case.tokens, d, generator=generator, dtype=torch.float64)
        x = x.abs() if positive else x
        out.append(x * (2.0 ** case.exponents[name] if name == "q" else case.d_k**-0.5))
    shape = (case.batch, case.heads, case.tokens, case.d_v)
    v = torch.randn(shape, generator=generator, dtype=torch.float64)
    out.append(v * 2.0 ** case.exponents["v"])
    return [laid_out(x.to(case.dtype), case.layout) for x in out]
