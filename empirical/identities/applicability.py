"""Why a statement of the catalogue is not checked: on any decoder, or on a layer at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from empirical.identities.comparison import LayerComparison, Need

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


def _after_W_K(at: LayerCapture, consequence: str) -> str | None:
    """What happens to keys after W_K and what follows from it; None where nothing happens."""
    if at.met is None:
        return None
    what, instead = _keys(at)
    return f"keys are {what} after W_K" + consequence.format(instead=instead)


def _no_demonstrations(at: LayerCapture) -> str | None:
    if at.shown.stop > at.shown.start:
        return None
    return f"the window of {at.window} tokens holds no demonstration"


def _one_demonstration(at: LayerCapture) -> str | None:
    one = at.shown.stop - at.shown.start == 1
    return "the last token sees one token of the demonstrations" if one else None


def _no_key_norm(at: LayerCapture) -> str | None:
    if at.normed is None:
        return "keys are not normalised"
    return at.normed if isinstance(at.normed, str) else None


def _no_window(at: LayerCapture) -> str | None:
    if at.window is None:
        return "attention has no window"
    return None if at.first else f"the window of {at.window} holds all {at.tokens.shape[1]} tokens"


def _unless(has: Callable[[LayerCapture], bool], reason: str) -> Callable[..., str | None]:
    return lambda at: None if has(at) else reason


_LACKS: Mapping[Need, Callable[[LayerCapture], str | None]] = {
    Need.UPDATE: lambda _at: None,  # not up to the layer: without one, there are no sides
    Need.DEMONSTRATIONS: _no_demonstrations,
    Need.TWO_DEMONSTRATIONS: _one_demonstration,
    Need.PROJECTED_KEYS: lambda at: _after_W_K(at, "; {instead} its place"),
    Need.PROJECTED_DEMONSTRATIONS: lambda at: _after_W_K(
        at, ", which its right side applies to the demonstrations"
    ),
    Need.KEYS_LINEAR_IN_W_K: lambda at: (
        None if at.normed is None else _after_W_K(at, ", so they are not linear in its change")
    ),
    Need.PROJECTED_EXAMPLES: lambda at: _after_W_K(
        at,
        ", and errors of other tokens cannot be; finetuning-dual has the form with turned keys",
    ),
    Need.ROTATION: _unless(
        lambda at: at.turned is not None, "keys are not turned by their positions"
    ),
    Need.KEY_NORM: _no_key_norm,
    Need.POSITION_SCORES: _unless(
        lambda at: at.bias is not None, "no scores of positions are added"
    ),
    Need.WINDOW: _no_window,
    Need.SHARED_KEYS: _unless(
        lambda at: at.groups != len(at.q), "every query head has keys and values of its own"
    ),
    Need.HEADS: _unless(lambda at: len(at.q) != 1, "there is one head"),
    Need.MLP: lambda at: at.mlp if isinstance(at.mlp, str) else None,
    Need.OTHER_TOKENS: _unless(
        lambda at: at.first != at.tokens.shape[1] - 1, "the last token sees itself alone"
    ),
}


def reason_against(comparison: LayerComparison, at: LayerCapture) -> str | None:
    """Why a comparison does not apply to a captured layer; None: it does."""
    lacks = (_LACKS[need](at) for need in Need if need in comparison.needs)
    return next((reason for reason in lacks if reason is not None), None)
