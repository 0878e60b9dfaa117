"""Record attention outputs, queries and pre-softmax scores at one position of every sequence.

Queries and keys are taken where they meet, and the last row of the scores is formed here, so that a
fused attention kernel cannot hide it and no map is kept. Letters: B batch, T tokens of this pass,
C context tokens, L layers, H query heads, G key-value heads, h head width, d model width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from empirical.inference.attention import by_group, to_groups
from empirical.models.architectures import Block

ROUND = 8  # padded lengths, and rows of products with few, are multiples of it


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What one pass left: h [B,L,d]; m: B tensors [L,H,T_i]; c [B,L,C]; q [B,L,H h]; on the CPU.

    `c`, the scores towards the context summed over heads, is None without a context, and c and q
    are None where they were not asked for.
    """

    h: Tensor
    m: list[Tensor]
    c: Tensor | None
    q: Tensor | None


@dataclass(kw_only=True)
class Recorder:
    """Holds what was seen in one forward pass: `at` before it, `take` after it."""

    layers: int
    positions: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    wide: bool = False
    outputs: list[Tensor] = field(default_factory=list)
    scores: list[Tensor] = field(default_factory=list)
    queries: list[Tensor] = field(default_factory=list)
    context: list[Tensor] = field(default_factory=list)

    def at(self, positions: Tensor, wide: bool = False) -> None:
        """Record at `positions` [B] of this pass's tokens from now on; `wide`: c and q as well."""
        self.positions, self.wide = positions, wide
        self.outputs, self.scores, self.queries, self.context = [], [], [], []

    def _pick(self, value: Tensor) -> Tensor:
        rows = torch.arange(value.shape[0], device=value.device)
        return value[rows, self.positions.to(value.device)].detach()

    def saw(self, layer: int, q: Tensor, k: Tensor, _v: Tensor, context: Tensor | None) -> None:
        """Scores of the recorded row: scaled queries [B,H,T,h], keys [B,G,T,h], context [G,C,h]."""
        del layer
        asked = self._pick(q.transpose(1, 2))  # [B,H,h]
        # Of one layout and no fewer rows whatever the batch: the last bits can depend on both.
        keys = k.detach().contiguous()
        rows = by_group(asked, k.shape[1]).contiguous()
        self.scores.append((rows @ keys.mT).flatten(1, 2))
        if not self.wide:
            return
        self.queries.append(asked.flatten(1))
        if context is not None:
            # Summed over the query heads of a group first: their keys are the same.
            shared = by_group(asked, context.shape[0]).sum(2)
            rows, n = shared.flatten(1), len(shared)
            rows = torch.cat([rows, rows[-1:].expand(-n % ROUND, -1)])
            table = context.permute(0, 2, 1).reshape(rows.shape[1], -1)
            self.context.append((rows @ table)[:n])

    def take(self, first: int) -> Taken:
        """The scores are those towards the tokens first..position.

        Raises:
            RuntimeError: when a layer was not seen exactly once.
        """
        if len(self.outputs) != self.layers or len(self.scores) != self.layers:
            raise RuntimeError(
                f"expected every one of {self.layers} layers to be seen once, got "
                f"{len(self.outputs)} outputs and {len(self.scores)} rows of scores"
            )
        m = torch.stack(self.scores, 1).cpu()
        ends = (self.positions + 1).tolist()
        return Taken(
            h=torch.stack(self.outputs, 1).cpu(),
            m=[m[i, :, :, first:end].clone() for i, end in enumerate(ends)],
            c=torch.stack(self.context, 1).cpu() if self.context else None,
            q=torch.stack(self.queries, 1).cpu() if self.queries else None,
        )


@contextmanager
def capture(blocks: Sequence[Block]) -> Iterator[Recorder]:
    """A recorder, to be passed to a `Run` as its watch; its hooks are removed on leaving."""
    recorder = Recorder(layers=len(blocks))

    def on_output(_m: Any, _i: Any, out: Tensor) -> None:
        if len(recorder.positions):
            recorder.outputs.append(recorder._pick(out))

    handles = []
    try:
        for block in blocks:
            handles.append(block.output.register_forward_hook(on_output))
        yield recorder
    finally:
        for handle in handles:
            handle.remove()


@dataclass(kw_only=True)
class QueryLog:
    """Scaled queries [L,T,H h] of every example: a watch for training."""

    layers: int
    seen: list[list[Tensor]] = field(default_factory=list)

    def saw(self, layer: int, q: Tensor, _k: Tensor, _v: Tensor, _c: Tensor | None) -> None:
        """Scaled queries [1,H,T,h] of one example."""
        if layer == 0:
            self.seen.append([])
        self.seen[-1].append(q.detach()[0].transpose(0, 1).flatten(1).cpu())

    def stacked(self) -> Tensor:
        """[L,N,H h] over the tokens of all examples, their first tokens (BOS) left out."""
        return torch.stack(
            [torch.cat([example[i][1:] for example in self.seen]) for i in range(self.layers)]
        )


@dataclass(kw_only=True)
class Keep:
    """Keys and values of one sequence, layer by layer: a watch that makes a prefix."""

    groups: Sequence[int]
    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    def saw(self, layer: int, _q: Tensor, k: Tensor, v: Tensor, _c: Tensor | None) -> None:
        """Keys and values [1,G',T,h]; copies within a group are dropped."""
        for kept, x in ((self.keys, k), (self.values, v)):
            kept.append(to_groups(x.detach(), self.groups[layer])[0].contiguous())
