"""Why a statement of the catalogue is not checked: on any decoder, or on a layer at hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # it loads torch, which reasons do not need
    from empirical.identities.layer_capture import LayerCapture

_TRAINED_ELSEWHERE = (
    "about a training rule that the paper's finetuning does not use; its one-step and many-step "
    "forms are checked on the weights that a real finetuning leaves"
)
_OTHER_ATTENTION = "about an attention variant that the decoders loaded here do not contain"
_MOMENTUM = "about momentum attention, which the decoders loaded here do not contain"
_FALSE = "the claim is false and refuted by its witness"

NOT_APPLICABLE: Mapping[str, str] = {
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
}


# Statements on keys as a linear map of the states, and what else has their form where it is not.
_ON_W_K = (
    "context-split",
    "context-split-with-biases",
    "finetuning-dual-by-examples",
    "finetuned-values-as-attention",
)
# The only ones that say nothing about demonstrations, or something about a window without any.
_WITHOUT_DEMONSTRATIONS = (
    "finetuning-dual",
    "finetuning-dual-by-examples",
    "bias-as-weight",
    "context-split-window",
    "block-as-weight-change",
    "keys-as-they-meet",
    "softmax-as-run",
    "mlp-as-run",
)


def _keys(at: LayerCapture) -> tuple[str, str]:
    """What happens to keys after W_K, and which statements have that form."""
    if at.turned is None:
        return "normalised", "context-split-normalised-keys takes"
    if at.normed is None:
        return "turned by their positions", "context-split-rotary takes"
    return (
        "normalised and turned by their positions",
        "context-split-normalised-keys and context-split-rotary take",
    )


def _unless_linear(name: str, at: LayerCapture) -> str | None:
    """Why a statement on W_K X does not hold of the keys that meet the queries."""
    if at.met is None or not (name in _ON_W_K or name == "finetuning-dual"):
        return None
    what, instead = _keys(at)
    if name.startswith("context-split"):
        return f"keys are {what} after W_K; {instead} its place"
    if name == "finetuned-values-as-attention":
        return f"keys are {what} after W_K, which its right side applies to the demonstrations"
    if at.normed is not None:
        return f"keys are {what} after W_K, so they are not linear in its change"
    if name == "finetuning-dual-by-examples":
        return (
            f"keys are {what} after W_K, and errors of other tokens cannot be; finetuning-dual "
            "has the form with turned keys"
        )
    return None


def _part(name: str, at: LayerCapture) -> str | None:
    """Why a statement on one part of an architecture has nothing to be checked on."""
    tokens = at.tokens.shape[1]
    found: dict[str, str | None] = {
        "context-split-rotary": None if at.turned else "keys are not turned by their positions",
        "context-split-normalised-keys": (
            "keys are not normalised" if at.normed is None
            else at.normed if isinstance(at.normed, str) else None
        ),
        "context-split-alibi": "no scores of positions are added" if at.bias is None else None,
        "context-split-window": (
            "attention has no window" if at.window is None
            else None if at.first else f"the window of {at.window} holds all {tokens} tokens"
        ),
        "grouped-queries": (
            "every query head has keys and values of its own"
            if at.groups == len(at.q) else None
        ),
        "heads-through-the-output-projection": "there is one head" if len(at.q) == 1 else None,
        "block-as-weight-change": at.mlp if isinstance(at.mlp, str) else None,
        "mlp-as-run": at.mlp if isinstance(at.mlp, str) else None,
        "softmax-as-run": "the last token sees itself alone" if at.first == tokens - 1 else None,
    }  # fmt: skip
    return found.get(name)


def reason_against(name: str, at: LayerCapture) -> str | None:
    """Why statement `name`, which has a site, does not apply to a captured layer; None: it does."""
    seen = at.shown.stop - at.shown.start
    if seen == 0 and name not in _WITHOUT_DEMONSTRATIONS:
        return f"the window of {at.window} tokens holds no demonstration"
    if seen == 1 and name == "order-of-demonstrations":
        return "the last token sees one token of the demonstrations"
    return _unless_linear(name, at) or _part(name, at)
