"""Longhorn: the implicit step on the recall error, and the sign printed for it."""

from typing import Any

from proofs.statements.model import Statement
from proofs.statements.variants.parts import (
    PAIR,
    B,
    delta_step,
    recall,
)


def epsilon(ops: Any, v: Any) -> Any:
    """b / (1 + b k^T k)."""
    return v["b"] @ ops.inverse(ops.identity(v["b"]) + (v["k"].T @ v["k"]) @ v["b"])


def longhorn(ops: Any, v: Any) -> Any:
    """S (I - e k k^T) + e v k^T."""
    kk, vk = v["k"] @ epsilon(ops, v) @ v["k"].T, v["v"] @ epsilon(ops, v) @ v["k"].T
    return v["S"] @ (ops.identity(v["k"]) - kk) + vk


def _proximal(ops: Any, v: Any, sign: int) -> Any:
    """The gradient of |U - S|^2 / 2 + sign b |U k - v|^2 / 2 at Longhorn's update."""

    def objective(U: Any) -> Any:
        near, fit = ops.half_square(U - v["S"]), ops.scale(v["b"], recall(ops, v)(U))
        return near + fit if sign > 0 else near - fit

    return ops.grad(objective, longhorn(ops, v))


_CAN_DIVIDE = "1 + b k^T k is not zero, which holds for every b of at least zero"
LONGHORN: tuple[Statement, ...] = (
    Statement(
        id="longhorn-implicit-step",
        title="Longhorn: the implicit step, its gradient taken at the state it arrives at",
        source="Liu et al. 2407.14207, theorem 3.1",
        variables=PAIR | B,
        lhs=longhorn,
        rhs=lambda ops, v: v["S"] - ops.scale(v["b"], ops.grad(recall(ops, v), longhorn(ops, v))),
        near_miss=lambda ops, v: delta_step(ops, v, v["S"]),
        assumes=_CAN_DIVIDE,
        remark="The near miss is the explicit step, DeltaNet.",
    ),
    Statement(
        id="longhorn-first-order-condition",
        title="Longhorn's update is where its proximal objective has gradient zero",
        source="Liu et al. 2407.14207, eq. 4 and theorem 3.1",
        variables=PAIR | B,
        lhs=lambda ops, v: _proximal(ops, v, 1),
        rhs=lambda ops, v: ops.zeros_like(v["S"]),
        near_miss=lambda ops, v: ops.scale(v["b"], (v["S"] @ v["k"] - v["v"]) @ v["k"].T),
        assumes=_CAN_DIVIDE,
        remark="For b of at least zero the objective is strictly convex, so this is its minimum. "
        "The near miss is the gradient before the step.",
    ),
    Statement(
        id="longhorn-printed-sign",
        title="False: Longhorn's update is stationary with the printed minus sign",
        source="the sign printed in the table of objectives of Yang et al. 2412.06464",
        variables=PAIR | B,
        lhs=lambda ops, v: _proximal(ops, v, -1),
        rhs=lambda ops, v: ops.zeros_like(v["S"]),
        near_miss=None,
        claim="false",
        witness={"S": ((0,),), "k": ((1,),), "v": ((1,),), "b": ((1,),)},
        remark="With the plus sign it is: longhorn-first-order-condition.",
    ),
)
