"""Where a layer of a real decoder holds the variables of each statement.

Biases are exact: with a row of ones under the hidden states, [W b][X; 1] = W X + b 1^T, so that the
2-D statements hold unchanged on width d + 1. Letters: H query heads, G key-value heads, h head
width, d model width, n context tokens, m query tokens, T = n + m. Matrices with a head axis are a
batch over query heads; keys and values of a group are repeated for its heads. Where a window hides
tokens from the last one, n and m count those that it sees, unless a statement is on the window.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from empirical.identities.applicability import NOT_APPLICABLE
from empirical.identities.comparison import Need
from empirical.identities.layer_capture import (
    Examples,
    LayerCapture,
    Projections,
    Update,
    keys_and_values,
    pairs,
)
from empirical.identities.statement_comparison import StatementComparison, Variables

__all__ = [
    "NOT_APPLICABLE",
    "BINDINGS",
    "COMPARISONS",
    "TRAINED",
    "Examples",
    "LayerCapture",
    "Projections",
    "Update",
    "Variables",
    "keys_and_values",
]


def _context_split(at: LayerCapture) -> Variables:
    p = at.projections
    return {"W_V": p.value, "W_K": p.key, "X_demo": at.X_demo, "X": at.X, "q": at.q}


def _linear_attention(at: LayerCapture) -> Variables:
    """W = W_ZSL = V K^T over the query's tokens; E, X = V', K' of the demonstrations."""
    k, v = keys_and_values(at, at.asking)
    k_demo, v_demo = keys_and_values(at, at.shown)
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

    Where keys are turned by their positions, R_t (W_K + D_K) x_t are the statement's keys for
    W_K := [R_t W_K x_t], D_K := [R_t D_K x_t] and X := I: one column for each token.

    Raises:
        ValueError: for a capture without an update.
    """
    if at.update is None:
        raise ValueError("expected a capture with a finetuning update, got none")
    p, move = at.projections, at.update
    shared = {"X": at.X, "q": at.q}
    if at.turned is None:
        return {"W_V": p.value, "W_K": p.key, "D_V": move.value, "D_K": move.key} | shared
    turned = at.turned.at(at.asking)
    k, v = keys_and_values(at, at.asking)
    one = torch.eye(at.X.shape[1], dtype=at.X.dtype, device=at.X.device)
    found = {"W_V": v, "W_K": k, "D_V": move.value @ at.X, "D_K": turned.turn(move.key @ at.X)}
    return found | shared | {"X": one}


def _finetuning_by_examples(at: LayerCapture) -> Variables:
    """The query's tokens under weights moved by the finetuning examples.

    Raises:
        ValueError: for a capture without an update.
    """
    if at.update is None:
        raise ValueError("expected a capture with a finetuning update, got none")
    p, made = at.projections, at.update.examples
    return {
        "W_V": p.value,
        "W_K": p.key,
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
    k, v = keys_and_values(at, at.shown)
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
    (k, v), (k_demo, v_demo) = pairs(at)
    return {"V": v_demo, "K": k_demo, "E": v, "Z": k}


def _value_step(at: LayerCapture) -> Variables:
    """One step on the values alone, with the demonstrations' values as errors."""
    _, v_demo = keys_and_values(at, at.shown)
    found = {"V_demo": v_demo, "X_demo": at.X_demo, "W_K": at.projections.key}
    return found | {"X": at.X, "q": at.q}


def _bias_column(at: LayerCapture) -> Variables:
    """Queries, keys and values of a head over each other, of the query's tokens."""
    p = at.projections
    W, b = _without_bias(torch.cat([p.query, p.key, p.value], 1))
    return {"W": W, "b": b, "X": at.X[:-1]}


def _heads(at: LayerCapture) -> Variables:
    """A head and the next one through their blocks of the output projection."""
    (k, v), (k_demo, v_demo) = pairs(at)
    W, D = v @ k.mT, v_demo @ k_demo.mT
    found = {"O": at.out, "W": W, "D": D, "q": at.q}
    return {f"{name}_{i + 1}": x.roll(-i, 0) for i in (0, 1) for name, x in found.items()}


def _group(at: LayerCapture) -> Variables:
    """Queries of a head and of the next one in its group."""
    (k, v), (k_demo, v_demo) = pairs(at)
    following = at.q.unflatten(0, (at.groups, -1)).roll(-1, 1).flatten(0, 1)  # type: ignore[no-untyped-call] # torch's gap
    found = {"V": v, "K": k, "V_demo": v_demo, "K_demo": k_demo}
    return found | {"q_1": at.q, "q_2": following}


def _turned(at: LayerCapture) -> Variables:
    """Keys before their rotation (after a norm, where there is one), and the tables of it.

    Raises:
        ValueError: where keys are not turned.
    """
    if at.turned is None:
        raise ValueError("expected keys that are turned by their positions, got others")
    found = {"J": at.turned.J, "q": at.q}
    for suffix, part in (("", at.asking), ("_demo", at.shown)):
        here = at.turned.at(part)
        _, v = keys_and_values(at, part)
        found |= {
            f"{k}{suffix}": x for k, x in (("V", v), ("K", here.K), ("C", here.C), ("S", here.S))
        }
    return found


def _normalised(at: LayerCapture) -> Variables:
    """Keys before their norm, and queries after it; both before a rotation.

    Raises:
        ValueError: where keys are not normalised in the form of the statement.
    """
    if at.normed is None or isinstance(at.normed, str):
        raise ValueError("expected keys that are normalised, got others")
    found = {"g": at.normed.g, "q": at.normed.q}
    for suffix, part in (("", at.asking), ("_demo", at.shown)):
        _, v = keys_and_values(at, part)
        found |= {
            f"V{suffix}": v,
            f"K{suffix}": at.normed.K[..., part],
            f"r{suffix}": at.normed.r[..., part, :],
        }
    return found


def _position_scores(at: LayerCapture) -> Variables:
    """Scaled queries, as the scores are K^T q + b.

    Raises:
        ValueError: where no position scores are added.
    """
    if at.bias is None:
        raise ValueError("expected scores of positions, got none")
    (k, v), (k_demo, v_demo) = pairs(at)
    found = {"V": v, "K": k, "V_demo": v_demo, "K_demo": k_demo, "q": at.q * at.scaling}
    b = at.bias[..., None]
    return found | {"b": b[:, at.asking], "b_demo": b[:, at.shown]}


def _window(at: LayerCapture) -> Variables:
    """All tokens, those outside the window with weight zero."""
    w = at.tokens.new_ones(at.tokens.shape[1], 1)
    w[: at.first] = 0
    found = {"q": at.q}
    for suffix, part in (("", slice(at.context, None)), ("_demo", slice(0, at.context))):
        k, v = keys_and_values(at, part)
        found |= {f"V{suffix}": v, f"K{suffix}": k, f"w{suffix}": w[part]}
    return found


def _whole_block(at: LayerCapture) -> Variables:
    """The MLP, and what it reads with and without the context.

    Raises:
        ValueError: where the block has no MLP of the statement's form.
    """
    if isinstance(at.mlp, str):
        raise ValueError(f"expected an MLP of two linear maps, got none: {at.mlp}")
    return at.mlp.variables(at.tokens.dtype)


def _zero_biases(v: Variables) -> tuple[str | None, ...]:
    """Where a bias is zero, leaving it out changes nothing."""
    return tuple(None if bool((b != 0).any()) else "biases are zero or missing" for b in v["b"])


def _binding(
    statement: str,
    variables: Callable[[LayerCapture], Variables],
    *needs: Need,
    coincides: Callable[[Variables], Sequence[str | None]] | None = None,
    head_by_head: bool = False,
) -> StatementComparison:
    return StatementComparison(
        id=statement,
        variables=variables,
        needs=frozenset(needs),
        coincides=coincides,
        head_by_head=head_by_head,
    )


_DEMOS = Need.DEMONSTRATIONS

COMPARISONS: tuple[StatementComparison, ...] = (
    _binding("context-split", _context_split, _DEMOS, Need.PROJECTED_KEYS),
    _binding("linear-attention-dual", _linear_attention, _DEMOS),
    _binding("squared-loss-step-anywhere", _squared_loss_step, _DEMOS),
    _binding("finetuning-dual", _finetuning, Need.UPDATE, Need.KEYS_LINEAR_IN_W_K),
    _binding("squared-loss-gradient", _regression, _DEMOS),
    _binding("many-steps-squared-loss", _online_regression, _DEMOS),
    _binding("outer-product-sum", _pairs, _DEMOS),
    _binding("linear-loss-step", _pairs, _DEMOS),
    _binding("squared-loss-step-from-zero", _pairs_from_zero, _DEMOS),
    _binding(
        "finetuning-dual-by-examples",
        _finetuning_by_examples,
        Need.UPDATE,
        Need.KEYS_LINEAR_IN_W_K,
        Need.PROJECTED_EXAMPLES,
    ),
    _binding("order-of-demonstrations", _halves, _DEMOS, Need.TWO_DEMONSTRATIONS),
    _binding("context-split-with-biases", _biases, _DEMOS, Need.PROJECTED_KEYS),
    _binding("update-overlap", _overlap, _DEMOS),
    _binding("finetuned-values-as-attention", _value_step, _DEMOS, Need.PROJECTED_DEMONSTRATIONS),
    _binding("bias-as-weight", _bias_column, coincides=_zero_biases),
    _binding("heads-through-the-output-projection", _heads, _DEMOS, Need.HEADS),
    _binding("grouped-queries", _group, _DEMOS, Need.SHARED_KEYS),
    _binding("context-split-rotary", _turned, _DEMOS, Need.ROTATION),
    # Its [n, n] matrices differ by head.
    _binding(
        "context-split-normalised-keys", _normalised, _DEMOS, Need.KEY_NORM, head_by_head=True
    ),
    _binding("context-split-alibi", _position_scores, _DEMOS, Need.POSITION_SCORES),
    _binding("context-split-window", _window, Need.WINDOW),
    _binding("block-as-weight-change", _whole_block, Need.MLP),
)
BINDINGS: Mapping[str, Callable[[LayerCapture], Variables]] = {
    c.id: c.variables for c in COMPARISONS
}

# Statements about training: they hold for the weights that a real finetuning leaves, which
# `empirical.identities.trained_weights` watches.
TRAINED = ("many-steps-dual", "one-step-dual")
