"""A decoder of linear attention that every step of the study runs as it runs a real one.

Its blocks hand queries, keys and values to the `Run` of the study by a stand-in, as other classes
do; only the core differs: o = sum_j v_j (k_j q) over what a token sees, without softmax and scale.
Letters: B batch, T tokens, C context tokens, V vocabulary, d width, H heads, h head width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from empirical.inference.attention import Run
from empirical.models.architectures import Block, Projection
from empirical.models.decoder import LoadedModel, TokenizerEncoder

BOS, EOS, LABELS, FIRST = 0, 1, ((2,), (3,)), 4  # token ids; the episode's own begin at FIRST
WORDS = ("negative", "positive")


class LinearRun(Run):
    """`Run` with linear attention: the same context, the same watch, no softmax."""

    def attend(
        self,
        layer: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        scaling: float,
        bias: Tensor | None = None,
    ) -> Tensor:
        """Outputs [B,T,H,h] of query, key, value [B,H,T,h]; `mask` is boolean, or None: causal.

        Raises:
            ValueError: for a bias, which linear attention has no place for.
        """
        if bias is not None:
            raise ValueError("expected linear attention without a bias on its scores, got one")
        q, length = query * scaling, query.shape[2]
        context = None if self.prefix is None else self.prefix.keys[layer]
        if self.watch is not None:
            self.watch.saw(layer, q, key, value, context)
        seen = torch.ones(length, length, dtype=torch.bool).tril() if mask is None else mask
        out = ((q @ key.mT) * seen) @ value
        if self.prefix is not None:
            out = out + (q @ self.prefix.keys[layer].mT) @ self.prefix.values[layer]
        return out.transpose(1, 2)


def linearly(module: Any, attend: Callable[..., Tensor]) -> dict[str, Callable[..., Any]]:
    """The stand-in: the run that is inside, its core exchanged for linear attention.

    Raises:
        TypeError: when the core is not that of a `Run`.
    """
    del module
    run = getattr(getattr(attend, "func", None), "__self__", None)
    if not isinstance(attend, partial) or not isinstance(run, Run):
        raise TypeError(f"expected the attention of a Run, got {attend!r}")
    own, layer = LinearRun(run.blocks, run.prefix, run.watch), attend.args[0]

    def core(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        return own.attend(layer, query, key, value, mask, 1.0)

    return {"core": core}


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """One layer: query, key, value [H,h,d] and output [d,H,h]; no biases."""

    query: Tensor
    key: Tensor
    value: Tensor
    output: Tensor


class Output(nn.Module):
    """P o + D z: the out-projection, and the step D [d,d] on the layer's input, zero at first."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        zeros = weight.new_zeros(len(weight), len(weight))
        self.step = nn.Parameter(zeros, requires_grad=False)

    def forward(self, attended: Tensor, z: Tensor) -> Tensor:
        """[B,T,d] of heads [B,T,H h] and inputs [B,T,d]."""
        return attended @ self.weight.T + z @ self.step.T


def _linear(rows: Tensor) -> nn.Linear:
    """A fixed map of weight `rows` [out,in] without bias."""
    module = nn.Linear(rows.shape[1], rows.shape[0], bias=False, dtype=rows.dtype)
    module.weight = nn.Parameter(rows.clone(), requires_grad=False)
    return module


class LinearAttention(nn.Module):
    """One layer's attention, its core left to the run."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self.heads = weights.query.shape[0]
        self.query, self.key, self.value = (
            _linear(w.flatten(0, 1)) for w in (weights.query, weights.key, weights.value)
        )
        self.out = Output(weights.output.flatten(1).clone())

    def core(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Never its own.

        Raises:
            RuntimeError: outside a run.
        """
        raise RuntimeError("expected to be called inside a run, got a call of the model alone")

    def forward(self, z: Tensor, mask: Tensor | None) -> Tensor:
        """[B,T,d] of the layer's inputs [B,T,d]."""
        q, k, v = (
            module(z).view(*z.shape[:2], self.heads, -1).transpose(1, 2)
            for module in (self.query, self.key, self.value)
        )
        done: Tensor = self.out(self.core(q, k, v, mask).flatten(2), z)
        return done

    def block(self) -> Block:
        """As the study sees it."""
        channels = torch.arange(self.query.weight.shape[0]).view(self.heads, -1)
        q, k, v = (
            Projection(module=m, channels=channels) for m in (self.query, self.key, self.value)
        )
        return Block(attention=self, query=q, key=k, value=v, output=self.out, stand_in=linearly)


class LinearBody(nn.Module):
    """Embedding and layers, each added to its input.

    `shown` [V]: tokens that are demonstrations; where `mutual`, every token of their sequence sees
    them, before it and behind it, as in von Oswald et al.; otherwise all is causal.
    """

    def __init__(self, table: Tensor, layers: Sequence[Weights], shown: Tensor | None) -> None:
        super().__init__()
        self.table = nn.Parameter(table, requires_grad=False)
        self.layers = nn.ModuleList(LinearAttention(w) for w in layers)
        self.shown = shown

    def forward(self, input_ids: Tensor) -> tuple[Tensor]:
        """Final states [B,T,d]."""
        z, mask = self.table[input_ids], None
        if self.shown is not None:
            length = input_ids.shape[1]
            causal = torch.ones(length, length, dtype=torch.bool).tril()
            mask = causal | self.shown[input_ids][:, None, None, :]
        for layer in self.layers:
            z = z + layer(z, mask)
        return (z,)


class LinearDecoder(nn.Module):
    """Body and output layer: the two label words read `readout` [d], with either sign."""

    def __init__(self, body: LinearBody, readout: Tensor) -> None:
        super().__init__()
        self.base_model = body
        rows = torch.zeros_like(body.table)
        rows[LABELS[0][0]], rows[LABELS[1][0]] = -readout, readout
        self.head = _linear(rows)
        self.config = SimpleNamespace(vocab_size=len(rows), _attn_implementation="none")

    def get_output_embeddings(self) -> nn.Module:
        """The output layer."""
        return self.head


@dataclass(frozen=True, kw_only=True)
class LinearModel(LoadedModel):
    """A `LoadedModel` whose blocks are its own."""

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The attention of every layer."""
        return tuple(layer.block() for layer in self.model.base_model.layers)

    @property
    def outputs(self) -> list[Output]:
        """The out-projection of every layer."""
        return [layer.out for layer in self.model.base_model.layers]


def linear_model(
    name: str,
    table: Tensor,
    layers: Sequence[Weights],
    readout: Tensor,
    shown: Tensor | None = None,
) -> LinearModel:
    """A model over a table [V,d] whose first FIRST rows are BOS, EOS and the label words."""
    model = LinearDecoder(LinearBody(table, layers, shown), readout)
    return LinearModel(
        model=model.eval(),
        encoder=TokenizerEncoder(tokenizer=None, bos=BOS, eos=EOS),
        name=name,
        device=table.device,
        n_layers=len(layers),
        n_heads=layers[0].query.shape[0],
        width=table.shape[1],
        max_length=2**20,
    )


@contextmanager
def stepped(model: LinearModel, steps: Sequence[Tensor]) -> Iterator[None]:
    """The model with a step D [d,d] added to every layer; undone on leaving, bit for bit.

    Raises:
        ValueError: unless there is one step for every layer.
    """
    if len(steps) != model.n_layers:
        raise ValueError(f"expected {model.n_layers} steps, one for each layer, got {len(steps)}")
    before = [out.step.detach().clone() for out in model.outputs]
    try:
        with torch.no_grad():
            for out, step in zip(model.outputs, steps, strict=True):
                out.step.copy_(step)
        yield
    finally:
        with torch.no_grad():
            for out, old in zip(model.outputs, before, strict=True):
                out.step.copy_(old)
