"""Where a layer of a real decoder holds the variables of each statement.

Biases are exact: with a row of ones under the hidden states, [W b][X; 1] = W X + b 1^T, so that the
2-D statements hold unchanged on width d + 1. Letters: H heads, h head width, d model width,
n context tokens, m query tokens. Matrices with a head axis are a batch over heads.
"""

from __future__ import annotations

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
class Examples:
    """What an update is made of: `inputs` [d+1, n] over a row of ones, errors [H, h, n] each."""

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
    """Change of [W_V b_V] and [W_K b_K] by finetuning: [H, h, d+1] each, and where it is from."""

    value: Tensor
    key: Tensor
    examples: Examples

    def to(self, dtype: torch.dtype) -> Update:
        """A copy in another dtype."""
        return Update(
            value=self.value.to(dtype), key=self.key.to(dtype), examples=self.examples.to(dtype)
        )


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


def _pairs(at: LayerCapture) -> Variables:
    """The demonstrations' keys and values, and W_ZSL."""
    dual = _linear_attention(at)
    return {"W": dual["W"], "V": dual["E"], "K": dual["X"]}


def _squared_loss_step(at: LayerCapture) -> Variables:
    """A step on the demonstrations' keys and values, from W_ZSL."""
    return {**_pairs(at), "q": at.q}


def _pairs_from_zero(at: LayerCapture) -> Variables:
    """The demonstrations' keys and values alone."""
    dual = _linear_attention(at)
    return {"V": dual["E"], "K": dual["X"]}


def _regression(at: LayerCapture) -> Variables:
    """Regression of the demonstrations' values on their keys, from W_ZSL."""
    dual = _linear_attention(at)
    return {"W": dual["W"], "X": dual["X"], "T": dual["E"]}


def _online_regression(at: LayerCapture) -> Variables:
    """The same with a rate of 1/|K'|^2, at which no block of steps overshoots.

    Raises:
        ValueError: when a head's keys are all zero.
    """
    found = _regression(at)
    square = (found["X"] * found["X"]).sum((-2, -1), keepdim=True)
    if not bool((square > 0).all()):
        raise ValueError("expected keys that are not all zero, got a head of zeros")
    return {**found, "gamma": 1 / square}


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


def _finetuning_by_examples(at: LayerCapture) -> Variables:
    """The query's tokens under weights moved by the finetuning examples.

    Raises:
        ValueError: for a capture without an update.
    """
    dual = _finetuning(at)
    assert at.update is not None, "checked by _finetuning"
    made = at.update.examples
    return {
        "W_V": dual["W_V"],
        "W_K": dual["W_K"],
        "E_V": made.value_errors,
        "E_K": made.key_errors,
        "Z": made.inputs,
        "X": at.X,
        "q": at.q,
    }


def _halves(at: LayerCapture) -> Variables:
    """The demonstrations' keys and values in two blocks.

    Raises:
        ValueError: for fewer than two context tokens.
    """
    k, v = keys_and_values(at, at.X_demo)
    half = k.shape[-1] // 2
    if half == 0:
        raise ValueError("expected at least two context tokens, got one")
    return {
        "V_1": v[..., :half],
        "K_1": k[..., :half],
        "V_2": v[..., half:],
        "K_2": k[..., half:],
    }


def _without_bias(augmented_weight: Tensor) -> tuple[Tensor, Tensor]:
    """W [H, h, d] and b [H, h, 1] of [W b]."""
    return augmented_weight[..., :-1], augmented_weight[..., -1:]


def _biases(at: LayerCapture) -> Variables:
    """The projections with their biases beside them, and the states without their row of ones."""
    (W_V, b_V), (W_K, b_K) = map(_without_bias, (at.projections.value, at.projections.key))
    found = {"W_V": W_V, "W_K": W_K, "b_V": b_V, "b_K": b_K}
    return found | {"X_demo": at.X_demo[:-1], "X": at.X[:-1], "q": at.q}


def _overlap(at: LayerCapture) -> Variables:
    """The in-context update and the zero-shot weights, both of low rank."""
    (k, v), (k_demo, v_demo) = keys_and_values(at, at.X), keys_and_values(at, at.X_demo)
    return {"V": v_demo, "K": k_demo, "E": v, "Z": k}


def _value_step(at: LayerCapture) -> Variables:
    """One step on the values alone, with the demonstrations' values as errors."""
    _, v_demo = keys_and_values(at, at.X_demo)
    found = {"V_demo": v_demo, "X_demo": at.X_demo, "W_K": at.projections.key}
    return found | {"X": at.X, "q": at.q}


SITES: Mapping[str, Callable[[LayerCapture], Variables]] = {
    "context-split": _context_split,
    "linear-attention-dual": _linear_attention,
    "squared-loss-step-anywhere": _squared_loss_step,
    "finetuning-dual": _finetuning,
    "squared-loss-gradient": _regression,
    "many-steps-squared-loss": _online_regression,
    "outer-product-sum": _pairs,
    "linear-loss-step": _pairs,
    "squared-loss-step-from-zero": _pairs_from_zero,
    "finetuning-dual-by-examples": _finetuning_by_examples,
    "order-of-demonstrations": _halves,
    "context-split-with-biases": _biases,
    "update-overlap": _overlap,
    "finetuned-values-as-attention": _value_step,
}

NEEDS_UPDATE = frozenset({"finetuning-dual", "finetuning-dual-by-examples"})

# Statements about training: they hold for the weights that a real finetuning leaves, which
# `empirical.finetune_dual` watches.
TRAINED = ("many-steps-dual", "one-step-dual")

_TRAINED_ELSEWHERE = (
    "about a training rule that the paper's finetuning does not use; its one-step and many-step "
    "forms are checked on the weights that a real finetuning leaves"
)
_OTHER_ATTENTION = "about an attention variant that the decoders loaded here do not contain"
_MOMENTUM = "about momentum attention, which the decoders loaded here do not contain"
_FALSE = "the claim is false and refuted by its witness"

NO_SITE: Mapping[str, str] = {
    "squared-loss-step-from-zsl": "the claim is false and refuted by its witness; on a layer it "
    "would hold only where W_ZSL K' vanishes",
    "generic-loss-gradient": "its loss is the network above a layer; one-step-dual checks the same "
    "gradient on the weights that a real step leaves",
    **dict.fromkeys(
        (
            "momentum-dual",
            "nesterov-dual",
            "weight-decay-dual",
            "momentum-coupled-decay-dual",
            "momentum-decoupled-decay-dual",
            "schedule-dual",
        ),
        _TRAINED_ELSEWHERE,
    ),
    **dict.fromkeys(
        (
            "coupled-decay-is-decoupled",
            "order-of-online-descent",
            "momentum-attention-is-momentum",
            "averaged-values-are-momentum",
            "softmax-leaves-zero-shot-alone",
            "longhorn-printed-sign",
        ),
        _FALSE,
    ),
    **dict.fromkeys(
        (
            "momentum-sum",
            "momentum-attention-is-a-recency-score",
            "heavy-ball-on-the-update",
            "averaged-values-inside-attention",
            "momentum-attention-difference",
        ),
        _MOMENTUM,
    ),
    **dict.fromkeys(
        (
            "causal-recurrence",
            "causal-chunks",
            "scalar-decay-step",
            "channel-decay-step",
            "delta-rule-step",
            "gated-delta-step",
            "penalised-delta-step",
            "channel-delta-step",
            "longhorn-implicit-step",
            "longhorn-first-order-condition",
            "mesa-normal-equations",
            "mesa-rank-one-update",
            "decayed-recurrence",
            "channel-decayed-recurrence",
            "gated-delta-dual",
            "ttt-linear-dual",
            "titans-dual",
            "one-layer-one-step",
            "layers-are-steps",
            "curvature-correction",
        ),
        _OTHER_ATTENTION,
    ),
    **dict.fromkeys(
        ("weights-split", "softmax-mixture", "softmax-shift"),
        "checked on every layer as softmax-split, which shifts the scores by their maximum",
    ),
    **dict.fromkeys(
        ("kernel-dual", "product-kernel", "taylor-features"),
        "about a feature map in place of the softmax; nothing in a layer is one of its variables",
    ),
    "bias-as-weight": "it is how every layer is read; where biases are zero, as at initialisation, "
    "its near miss holds too",
    "block-as-weight-change": "needs the MLP of the block, which the capture does not hold",
    **dict.fromkeys(
        (
            "heads-through-the-output-projection",
            "grouped-queries",
            "context-split-rotary",
            "context-split-alibi",
            "context-split-window",
            "context-split-normalised-keys",
        ),
        "about a part that decoders built like XGLM do not have, or that the capture does not hold",
    ),
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
