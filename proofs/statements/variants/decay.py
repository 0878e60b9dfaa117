"""RetNet, Mamba-2 and gated linear attention: steps with weight decay, and whole layers."""

from typing import Any

from proofs.statements.model import Statement
from proofs.statements.variants.parts import (
    CHANNELS,
    GATES,
    PAIR,
    TOKENS,
    A,
    one,
    outer,
)


def _decayed_linear(ops: Any, v: Any) -> Any:
    """One step of rate 1 on -<U k, v> + (1 - a) |U|^2 / 2."""
    rest = ops.identity(v["a"]) - v["a"]

    def objective(U: Any) -> Any:
        return ops.scale(rest, ops.half_square(U)) - ops.inner(U @ v["k"], v["v"])

    return v["S"] - ops.grad(objective, v["S"])


def _channel_linear(ops: Any, v: Any) -> Any:
    """The same with a decay of its own for every key channel."""
    rest = ops.ones(v["S"]).T - v["a"]

    def objective(U: Any) -> Any:
        return ops.half_square(U, rest) - ops.inner(U @ v["k"], v["v"])

    return v["S"] - ops.grad(objective, v["S"])


def _decayed(ops: Any, v: Any) -> Any:
    """S = a S + b v k^T, token by token."""
    return ops.scan(
        lambda s, x, k, a, b: {"S": ops.scale(a, s["S"]) + ops.scale(b, x @ k.T)},
        {"S": v["W"]},
        v["V"],
        v["K"],
        v["alpha"],
        v["beta"],
    )["S"]


def _decay_weights(ops: Any, v: Any) -> Any:
    """The products of later decays, and each write's strength times them."""
    return ops.scan(
        lambda s, x, k, a, b: {
            "c": ops.scale(a, s["c"]),
            "A": ops.hcat(ops.scale(a, s["A"]), b),
        },
        {"c": one(ops, v), "A": ops.empty(one(ops, v))},
        v["V"],
        v["K"],
        v["alpha"],
        v["beta"],
    )


def _channel_decayed(ops: Any, v: Any, keys: bool) -> Any:
    """S = S Diag(a) + v k^T, and the keys that decay with it."""

    def step(s: Any, x: Any, k: Any, a: Any) -> dict[str, Any]:
        D = ops.diag(a)
        made = {"S": s["S"] @ D + x @ k.T}
        if keys:
            made |= {"D": s["D"] @ D, "P": ops.hcat(D @ s["P"], k)}
        return made

    start = {"S": v["W"]}
    if keys:
        start |= {"D": v["W"], "P": ops.empty(v["K"])}
    return ops.scan(step, start, v["V"], v["K"], v["A"])


DECAY_STEPS: tuple[Statement, ...] = (
    Statement(
        id="scalar-decay-step",
        title="RetNet and Mamba-2: a step on the linear loss with weight decay",
        source="Sun et al. 2307.08621; Dao and Gu 2405.21060; the table of C",
        variables=PAIR | A,
        lhs=_decayed_linear,
        rhs=lambda ops, v: ops.scale(v["a"], v["S"]) + outer(v),
        near_miss=lambda ops, v: v["S"] + outer(v),
        remark="The near miss does not decay.",
    ),
    Statement(
        id="channel-decay-step",
        title="Gated linear attention: weight decay of its own for every key channel",
        source="Yang et al. 2312.06635; the table of C",
        variables=PAIR | CHANNELS,
        lhs=_channel_linear,
        rhs=lambda ops, v: v["S"] @ ops.diag(v["a"]) + outer(v),
        near_miss=lambda ops, v: (v["S"] + outer(v)) @ ops.diag(v["a"]),
        remark="The near miss decays after the write.",
    ),
)
DECAY_LAYERS: tuple[Statement, ...] = (
    Statement(
        id="decayed-recurrence",
        title="A decayed recurrence weights each pair by its strength times all later decays",
        source="Sun et al. 2307.08621; both states of the Mesa layer, 2506.05233",
        variables=GATES,
        lhs=_decayed,
        rhs=lambda ops, v: (
            ops.scale(_decay_weights(ops, v)["c"], v["W"])
            + v["V"] @ ops.diag(_decay_weights(ops, v)["A"].T) @ v["K"].T
        ),
        near_miss=lambda ops, v: v["W"] + v["V"] @ ops.diag(v["beta"].T) @ v["K"].T,
        remark="The near miss does not decay.",
    ),
    Statement(
        id="channel-decayed-recurrence",
        title="Gated linear attention is linear attention over keys that decay",
        source="Yang et al. 2312.06635, the parallel form",
        variables=TOKENS | {"A": ("h", "n")},
        lhs=lambda ops, v: _channel_decayed(ops, v, False)["S"],
        rhs=lambda ops, v: (
            _channel_decayed(ops, v, True)["D"] + v["V"] @ _channel_decayed(ops, v, True)["P"].T
        ),
        near_miss=lambda ops, v: v["W"] + v["V"] @ v["K"].T,
        remark="D is the start after all decays, P the keys, each after the later ones.",
    ),
)
