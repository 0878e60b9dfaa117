"""Where a layer of a real decoder holds the variables of each statement.

Biases are exact: with a row of ones under the hidden states, [W b][X; 1] = W X + b 1^T, so that the
2-D statements hold unchanged on width d + 1. Letters: H heads, h head width, d model width,
n context tokens, m query tokens. Matrices with a head axis are a batch over heads.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Projections:
    """[W b] of query, key and value per head: [H, h, d+1] each."""

    query: Tensor
    key: Tensor
    value: Tensor


@dataclass(frozen=True, kw_only=True)
class Update:
    """Change of [W_V b_V] and [W_K b_K] by finetuning: [H, h, d+1] each."""

    value: Tensor
    key: Tensor


@dataclass(frozen=True, kw_only=True)
class LayerCapture:
    """One layer while it reads context and query.

    `X_demo` [d+1, n] and `X` [d+1, m] are the states entering self-attention over a row of ones;
    `q` [H, h, 1] is the unscaled query of the last token; `update` is what finetuning adds.
    """

    projections: Projections
    X_demo: Tensor
    X: Tensor
    q: Tensor
    update: Update | None


Variables = Mapping[str, Tensor]


def keys_and_values(at: LayerCapture, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """K, V [H, h, T] of `tokens` [d+1, T], in the arithmetic of their dtype."""
    return at.projections.key @ tokens, at.projections.value @ tokens


def _context_split(at: LayerCapture) -> Variables:
    p = at.projections
    return {"W_V": p.value, "W_K": p.key, "X_demo": at.X_demo, "X": at.X, "q": at.q}


def _linear_attention(at: LayerCapture) -> Variables:
    """W = W_ZSL = V K^T over the query's tokens; E, X = V', K' of the demonstrations."""
    k, v = keys_and_values(at, at.X)
    k_demo, v_demo = keys_and_values(at, at.X_demo)
    return {"W": v @ k.mT, "E": v_demo, "X": k_demo, "q": at.q}


def _squared_loss_step(at: LayerCapture) -> Variables:
    """A step on the demonstrations' keys and values, from W_ZSL."""
    dual = _linear_attention(at)
    return {"W": dual["W"], "V": dual["E"], "K": dual["X"], "q": at.q}


def _finetuning(at: LayerCapture) -> Variables:
    """The query's tokens under weights with and without a real finetuning update.

    Raises:
        ValueError: for a capture without an update.
    """
    if at.update is None:
        raise ValueError("expected a capture with a finetuning update, got none")
    p = at.projections
    return {
        "W_V": p.value,
        "W_K": p.key,
        "D_V": at.update.value,
        "D_K": at.update.key,
        "X": at.X,
        "q": at.q,
    }


SITES: Mapping[str, Callable[[LayerCapture], Variables]] = {
    "context-split": _context_split,
    "linear-attention-dual": _linear_attention,
    "squared-loss-step-anywhere": _squared_loss_step,
    "finetuning-dual": _finetuning,
}

NEEDS_UPDATE = frozenset({"finetuning-dual"})

NO_SITE: Mapping[str, str] = {
    "squared-loss-step-from-zsl": "the claim is false and refuted by its witness; on a layer it "
    "would hold only where W_ZSL K' vanishes",
}


def by_head(weight: Tensor, bias: Tensor, heads: int) -> Tensor:
    """[weight bias] of weight [H h, d] and bias [H h], as [H, h, d+1]."""
    both = torch.cat([weight, bias[:, None]], 1)
    return both.reshape(heads, -1, both.shape[1])


def augmented(layer: torch.nn.Linear, heads: int) -> Tensor:
    """[W b] split over the heads: [H, h, d+1]; a missing bias counts as zero."""
    weight = layer.weight.detach()
    bias = weight.new_zeros(weight.shape[0]) if layer.bias is None else layer.bias.detach()
    return by_head(weight, bias, heads)
