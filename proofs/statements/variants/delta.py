"""DeltaNet, Gated DeltaNet and Kimi delta attention: steps on the recall error."""

from typing import Any

from proofs.statements.model import Statement
from proofs.statements.variants.parts import (
    CHANNELS,
    GATES,
    PAIR,
    A,
    B,
    delta_step,
    erase,
    one,
    recall,
    share_and_errors,
    write,
)


def _penalised_delta(ops: Any, v: Any) -> Any:
    """One step of rate b on |U k - v|^2 / 2 + (1 - a)/b |U|^2 / 2."""
    weight = (ops.identity(v["a"]) - v["a"]) @ ops.inverse(v["b"])

    def objective(U: Any) -> Any:
        return recall(ops, v)(U) + ops.scale(weight, ops.half_square(U))

    return v["S"] - ops.scale(v["b"], ops.grad(objective, v["S"]))


def _gated_delta(ops: Any, v: Any, errors: bool) -> Any:
    """S = a S + b (v - a S k) k^T, with its errors."""

    def step(s: Any, k: Any, x: Any, a: Any, b: Any) -> dict[str, Any]:
        S = ops.scale(a, s["S"])
        made = {"S": S - ops.scale(b, ops.grad(lambda U: ops.half_square(U @ k - x), S))}
        if errors:
            made["c"] = ops.scale(a, s["c"])
            made["E"] = ops.hcat(ops.scale(a, s["E"]), -ops.scale(b, S @ k - x))
        return made

    start = {"S": v["W"]}
    if errors:
        start |= {"c": one(ops, v), "E": ops.empty(v["V"])}
    return ops.scan(step, start, v["K"], v["V"], v["alpha"], v["beta"])


DELTA_STEPS: tuple[Statement, ...] = (
    Statement(
        id="delta-rule-step",
        title="DeltaNet: a step of rate b on the squared recall error",
        source="Schlag et al. 2102.11174; Yang et al. 2406.06484",
        variables=PAIR | B,
        lhs=lambda ops, v: delta_step(ops, v, v["S"]),
        rhs=lambda ops, v: v["S"] @ erase(ops, v) + write(ops, v),
        near_miss=lambda ops, v: v["S"] + write(ops, v),
        remark="The near miss writes without erasing.",
    ),
    Statement(
        id="gated-delta-step",
        title="Gated DeltaNet: decoupled decay, then the delta step at the decayed state",
        source="Yang et al. 2412.06464",
        variables=PAIR | A | B,
        lhs=lambda ops, v: delta_step(ops, v, ops.scale(v["a"], v["S"])),
        rhs=lambda ops, v: ops.scale(v["a"], v["S"]) @ erase(ops, v) + write(ops, v),
        near_miss=lambda ops, v: (
            ops.scale(v["a"], v["S"]) + ops.scale(v["b"], (v["v"] - v["S"] @ v["k"]) @ v["k"].T)
        ),
        remark="The near miss is the next statement's update.",
    ),
    Statement(
        id="penalised-delta-step",
        title="Gradient at the undecayed state: a step on recall error and weight decay together",
        source="the table of C, gradient-at-S order",
        variables=PAIR | A | B,
        lhs=_penalised_delta,
        rhs=lambda ops, v: (
            ops.scale(v["a"], v["S"]) + ops.scale(v["b"], (v["v"] - v["S"] @ v["k"]) @ v["k"].T)
        ),
        near_miss=lambda ops, v: ops.scale(v["a"], v["S"]) @ erase(ops, v) + write(ops, v),
        assumes="b is not zero",
        remark="The near miss is Gated DeltaNet, which takes the gradient after the decay.",
    ),
    Statement(
        id="channel-delta-step",
        title="Kimi delta attention: channel decay, then the delta step at the decayed state",
        source="Kimi Linear, 2510.26692; the table of C",
        variables=PAIR | CHANNELS | B,
        lhs=lambda ops, v: delta_step(ops, v, v["S"] @ ops.diag(v["a"])),
        rhs=lambda ops, v: v["S"] @ ops.diag(v["a"]) @ erase(ops, v) + write(ops, v),
        near_miss=lambda ops, v: v["S"] @ erase(ops, v) @ ops.diag(v["a"]) + write(ops, v),
        remark="The near miss decays after erasing.",
    ),
)
DELTA_LAYERS: tuple[Statement, ...] = (
    Statement(
        id="gated-delta-dual",
        title="Gated DeltaNet is a decayed linear layer plus attention to its own errors",
        source="Yang et al. 2412.06464 in the dual form of Irie et al. 2202.05798",
        variables=GATES,
        lhs=lambda ops, v: _gated_delta(ops, v, False)["S"],
        rhs=lambda ops, v: share_and_errors(ops, v, _gated_delta(ops, v, True)),
        near_miss=lambda ops, v: v["W"] + _gated_delta(ops, v, True)["E"] @ v["K"].T,
        remark="With alpha of one this is DeltaNet. The near miss does not decay the start.",
    ),
)
