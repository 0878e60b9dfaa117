"""One layer while it reads context and query, with the names that statements use.

Letters as in `empirical.identities.bindings`: H query heads, G key-value heads, h head width, d
model width, p MLP width, n context tokens, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from empirical.identities.block_activations import BlockActivations
from empirical.models.architectures.qk_norm import Norm


@dataclass(frozen=True, kw_only=True)
class Projections:
    """[W b] per head: query [H, h, d+1]; key and value [G, h, d+1], or [H, h, d+1] repeated."""

    query: Tensor
    key: Tensor
    value: Tensor

    def per_query(self) -> Projections:
        """Keys and values repeated for the query heads of their group."""
        heads = len(self.query)
        return replace(self, key=repeated(self.key, heads), value=repeated(self.value, heads))

    def to(self, dtype: torch.dtype) -> Projections:
        """A copy in another dtype."""
        return Projections(
            query=self.query.to(dtype), key=self.key.to(dtype), value=self.value.to(dtype)
        )


@dataclass(frozen=True, kw_only=True)
class Examples:
    """What an update is made of: `inputs` [d+1, n], errors [G, h, n] each.

    Under the inputs is a row of ones, or of zeros where the projections have no bias.
    """

    inputs: Tensor
    key_errors: Tensor
    value_errors: Tensor

    def to(self, dtype: torch.dtype) -> Examples:
        """A copy in another dtype."""
        return Examples(
            inputs=self.inputs.to(dtype),
            key_errors=self.key_errors.to(dtype),
            value_errors=self.value_errors.to(dtype),
        )


@dataclass(frozen=True, kw_only=True)
class Update:
    """Change of [W_V b_V] and [W_K b_K] by finetuning: [G, h, d+1] each, and where it is from."""

    value: Tensor
    key: Tensor
    examples: Examples

    def to(self, dtype: torch.dtype) -> Update:
        """A copy in another dtype."""
        return replace(
            self,
            value=self.value.to(dtype),
            key=self.key.to(dtype),
            examples=self.examples.to(dtype),
        )

    def per_query(self, heads: int) -> Update:
        """Repeated for the query heads of every group."""
        made = self.examples
        return Update(
            value=repeated(self.value, heads),
            key=repeated(self.key, heads),
            examples=replace(
                made,
                key_errors=repeated(made.key_errors, heads),
                value_errors=repeated(made.value_errors, heads),
            ),
        )


def repeated(x: Tensor, heads: int) -> Tensor:
    """[G, ...] -> [H, ...], a group's values for each of its query heads; itself where G = H."""
    return x if len(x) == heads else x.repeat_interleave(heads // len(x), 0)


@dataclass(frozen=True, kw_only=True)
class AttentionKV:
    """Keys and values as they meet the queries: [H, h, T] each."""

    k: Tensor
    v: Tensor


@dataclass(frozen=True, kw_only=True)
class Rotary:
    """K [H, h, T] enters as K . C + (J K) . S: J [h, h], C and S [h, T]."""

    K: Tensor
    J: Tensor
    C: Tensor
    S: Tensor

    def at(self, part: slice) -> Rotary:
        """Some of the tokens."""
        return replace(self, K=self.K[..., part], C=self.C[..., part], S=self.S[..., part])

    def turn(self, K: Tensor) -> Tensor:
        """Other keys of the same positions."""
        return K * self.C + (self.J @ K) * self.S


@dataclass(frozen=True, kw_only=True)
class QKNorm:
    """K [H, h, T] becomes diag(g) K diag(r): g [H, h, 1], r [H, T, 1]; q [H, h, 1] after its norm.

    Where the norm subtracts the mean of a key's channels, K is without it already.
    """

    K: Tensor
    g: Tensor
    r: Tensor
    q: Tensor


@dataclass(frozen=True, kw_only=True)
class MLPActivations:
    """What an MLP had for one token: `read` and `gave` [d, 1], [p, 1] between them."""

    read: Tensor
    hidden: Tensor
    active: Tensor
    gave: Tensor


@dataclass(frozen=True, kw_only=True)
class WholeBlock:
    """W_2 sigma(W_1 a + b_1) + b_2: [W_1 b_1] [p, d+1], [W_2 b_2] [d, p+1], in the model's dtype.

    Of the last token, `within` a context, where a is a_C, and `alone`; `before`: of the token
    before it, within the context.
    """

    first: Tensor
    second: Tensor
    activation: Callable[[Tensor], Tensor]
    within: MLPActivations
    alone: MLPActivations
    before: MLPActivations

    def variables(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """By the names of block-as-weight-change."""
        found = {"a": self.alone.read, "a_C": self.within.read}
        for i, both in ((1, self.first), (2, self.second)):
            found |= {f"W_{i}": both[:, :-1], f"b_{i}": both[:, -1:]}
        return {name: x.to(dtype) for name, x in found.items()}


@dataclass(frozen=True, kw_only=True)
class LayerCapture:
    """One layer while it reads a context of `context` tokens and a query.

    `tokens` [d+1, T] are the states entering self-attention over a row of ones, of which the last
    one sees those from `first` on; `q` [H, h, 1] is its unscaled query, as it meets keys. `met` is
    None where keys are linear in the states; `update` is what finetuning adds. Scores are
    scaling q^T k, through the soft cap, plus `bias` [H, T]. `out` [H, d, h] are the blocks of the
    output projection; `mlp` and `normed` may be the reason why their form is another.
    """

    projections: Projections
    tokens: Tensor
    context: int
    first: int
    q: Tensor
    met: AttentionKV | None
    scaling: float
    softcap: float | None
    window: int | None
    bias: Tensor | None
    groups: int
    turned: Rotary | None
    normed: QKNorm | str | None
    out: Tensor
    mlp: WholeBlock | str
    update: Update | None
    meeting: BlockActivations

    @property
    def shown(self) -> slice:
        """Tokens of the demonstrations that the last token sees."""
        return slice(min(self.first, self.context), self.context)

    @property
    def asking(self) -> slice:
        """Tokens of the query that its last token sees."""
        return slice(max(self.first, self.context), self.tokens.shape[1])

    @property
    def X_demo(self) -> Tensor:
        """[d+1, n]."""
        return self.tokens[:, self.shown]

    @property
    def X(self) -> Tensor:
        """[d+1, m]."""
        return self.tokens[:, self.asking]


def keys_and_values(at: LayerCapture, part: slice) -> tuple[Tensor, Tensor]:
    """K, V [H, h, :] of some tokens: products with their states, or as they meet queries."""
    if at.met is not None:
        return at.met.k[..., part], at.met.v[..., part]
    tokens = at.tokens[:, part]
    return at.projections.key @ tokens, at.projections.value @ tokens


def pairs(at: LayerCapture) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """K, V of the query's tokens, and of the demonstrations."""
    return keys_and_values(at, at.asking), keys_and_values(at, at.shown)


def captured(
    meeting: BlockActivations,
    context: int,
    mlp: WholeBlock | str,
    update: Update | None,
    dtype: torch.dtype,
) -> LayerCapture:
    """What met in a block, copied to `dtype`; what follows from it is computed there."""
    block, heads = meeting.block, meeting.block.heads
    x = meeting.entered.to(dtype).mT
    x = torch.cat([x, x.new_ones(1, x.shape[1])])
    p = Projections(
        query=block.query.augmented(), key=block.key.augmented(), value=block.value.augmented()
    )
    p = p.to(dtype).per_query()
    k, v = (repeated(y.to(dtype), heads) for y in (meeting.k, meeting.v))
    length, window = x.shape[1], block.window
    bias = block.position_bias
    return LayerCapture(
        projections=p,
        tokens=x,
        context=context,
        first=0 if window is None else max(0, length - window),
        q=p.query @ x[:, -1:] if block.linear_keys else meeting.q[..., -1:].to(dtype),
        met=None if block.linear_keys else AttentionKV(k=k, v=v),
        scaling=meeting.scaling,
        softcap=block.softcap,
        window=window,
        bias=None if bias is None else bias(0, length).to(x),
        groups=block.groups,
        turned=_turned(meeting, dtype),
        normed=_normalised(meeting, dtype),
        out=_output_blocks(block.output, heads).to(dtype),
        mlp=mlp,
        update=None if update is None else update.to(dtype).per_query(heads),
        meeting=meeting,
    )


def _turned(meeting: BlockActivations, dtype: torch.dtype) -> Rotary | None:
    if meeting.rotation is None:
        return None
    J, C, S = (x.to(dtype) for x in meeting.rotation)
    K = repeated(meeting.before.to(dtype), meeting.block.heads)
    return Rotary(K=K, J=J, C=C, S=S)


def _normalised(meeting: BlockActivations, dtype: torch.dtype) -> QKNorm | str | None:
    norm = meeting.key_norm
    if norm is None:
        return None
    if norm.added is not None and bool((norm.added != 0).any()):
        return "the norm adds a bias to keys after their division, which the statement has not"
    K = norm.centre(meeting.key.to(dtype))
    heads, q = meeting.block.heads, meeting.normed_q
    return QKNorm(
        K=repeated(K, heads),
        g=repeated(norm.gain.to(dtype), heads),
        r=repeated(_one_over_norm(norm, K), heads),
        q=q[..., -1:].to(dtype),
    )


def _one_over_norm(norm: Norm, K: Tensor) -> Tensor:
    """r [G, T, 1] of K [G, h, T]."""
    square = (K * K).mean(-2)
    if norm.joint:
        square = square.mean(0, keepdim=True).expand_as(square)
    return (square + norm.epsilon).rsqrt()[..., None]


def _output_blocks(module: Any, heads: int) -> Tensor:
    """[H, d, h]: the columns of an output projection that read each head."""
    from transformers.pytorch_utils import Conv1D

    weight: Tensor = module.weight.detach()
    if isinstance(module, Conv1D):
        weight = weight.mT
    return weight.reshape(len(weight), heads, -1).transpose(0, 1)
