"""Record attention outputs and pre-softmax scores at one position of every sequence.

q and k come from the projections and the last row is formed here, so a fused attention kernel
cannot hide it. Letters: B batch, T tokens of this pass, L layers, H heads, d width.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from empirical.decoder import LoadedModel


@dataclass(kw_only=True)
class Recorder:
    """Holds what the hooks saw in one forward pass; `at` before it, `take` after it."""

    heads: int
    positions: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    outputs: list[Tensor] = field(default_factory=list)
    queries: list[Tensor] = field(default_factory=list)
    keys: list[Tensor] = field(default_factory=list)

    def at(self, positions: Tensor) -> None:
        """Record at `positions` [B] (indices into this pass's tokens) from now on."""
        self.positions = positions
        self.outputs, self.queries, self.keys = [], [], []

    def _pick(self, value: Tensor) -> Tensor:
        rows = torch.arange(value.shape[0], device=value.device)
        return value[rows, self.positions.to(value.device)].detach()

    def take(self, first: int) -> tuple[Tensor, list[Tensor]]:
        """h [B,L,d], and per sequence m [L,H,T_i] for the tokens first..position."""
        h = torch.stack(self.outputs, 1).cpu()
        q, k = torch.stack(self.queries, 1), torch.stack(self.keys, 1)
        q = q.reshape(*q.shape[:-1], self.heads, -1)
        k = k.reshape(*k.shape[:-1], self.heads, -1)
        m = torch.einsum("blhd,blthd->blht", q, k).cpu()
        ends = (self.positions + 1).tolist()
        return h, [m[i, :, :, first:end].clone() for i, end in enumerate(ends)]


@contextmanager
def capture(model: LoadedModel) -> Iterator[Recorder]:
    """Hooks on every self-attention block; always removed on leaving."""
    recorder = Recorder(heads=model.n_heads)
    handles = []

    def on_output(_m: Any, _i: Any, out: Tensor) -> None:
        recorder.outputs.append(recorder._pick(out))

    def on_key(_m: Any, _i: Any, out: Tensor) -> None:
        recorder.keys.append(out.detach())

    try:
        for layer in model.model.model.layers:
            block = layer.self_attn
            scaling = block.scaling

            def on_query(_m: Any, _i: Any, out: Tensor, scaling: float = scaling) -> None:
                recorder.queries.append(recorder._pick(out) * scaling)

            handles.append(block.q_proj.register_forward_hook(on_query))
            handles.append(block.k_proj.register_forward_hook(on_key))
            handles.append(block.out_proj.register_forward_hook(on_output))
        yield recorder
    finally:
        for handle in handles:
            handle.remove()
