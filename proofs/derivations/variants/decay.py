"""RetNet, Mamba-2 and gated linear attention: steps with weight decay, and whole layers."""

from typing import Any

from proofs.derivations.variants.parts import (
    outer,
    share_base,
)
from proofs.rules import BLOCKS, CANCEL, DIFFERENTIATE, EXPAND, IDENTITY, UNITS
from proofs.steps import Derivation, Direct, Induction, Invariant, Step


def _decay_apart(ops: Any, v: Any, middle: Any) -> Any:
    """(a c) W + V_n diag(a A) K_n^T + v (middle) k^T."""
    row = ops.scale(v["alpha_t"], v["A_n"])
    return (
        ops.scale(ops.scale(v["alpha_t"], v["c_n"]), v["W"])
        + v["V_n"] @ ops.diag(row.T) @ v["K_n"].T
        + v["v"] @ middle @ v["k"].T
    )


_DECAYED = Induction(
    {
        "S": Invariant(
            closed=lambda ops, v, s: (
                ops.scale(s["c"], v["W"]) + v["V"] @ ops.diag(s["A"].T) @ v["K"].T
            ),
            base=(
                Step(IDENTITY, share_base),
                Step(
                    CANCEL,
                    lambda ops, v: (
                        share_base(ops, v)
                        + v["V"] @ ops.diag(ops.empty(ops.identity(ops.ones(v["W"]))).T) @ v["K"].T
                    ),
                ),
            ),
            step=(
                Step(
                    "hypothesis",
                    lambda ops, v: (
                        ops.scale(
                            v["alpha_t"],
                            ops.scale(v["c_n"], v["W"])
                            + v["V_n"] @ ops.diag(v["A_n"].T) @ v["K_n"].T,
                        )
                        + ops.scale(v["beta_t"], v["v"] @ v["k"].T)
                    ),
                ),
                Step(
                    EXPAND,
                    lambda ops, v: (
                        ops.scale(ops.scale(v["alpha_t"], v["c_n"]), v["W"])
                        + v["V_n"] @ ops.diag(ops.scale(v["alpha_t"], v["A_n"]).T) @ v["K_n"].T
                        + ops.scale(v["beta_t"], v["v"] @ v["k"].T)
                    ),
                ),
                Step(UNITS, lambda ops, v: _decay_apart(ops, v, ops.diag(v["beta_t"].T))),
                Step(
                    BLOCKS,
                    lambda ops, v: (
                        ops.scale(ops.scale(v["alpha_t"], v["c_n"]), v["W"])
                        + ops.hcat(v["V_n"], v["v"])
                        @ ops.diag(ops.hcat(ops.scale(v["alpha_t"], v["A_n"]), v["beta_t"]).T)
                        @ ops.hcat(v["K_n"], v["k"]).T
                    ),
                ),
            ),
        )
    }
)
_CHANNEL_DECAYED = Induction(
    {
        "S": Invariant(
            closed=lambda ops, v, s: s["D"] + v["V"] @ s["P"].T,
            base=(Step(CANCEL, lambda ops, v: v["W"] + v["V"] @ ops.empty(v["K"]).T),),
            step=(
                Step(
                    "hypothesis",
                    lambda ops, v: (
                        (v["D_n"] + v["V_n"] @ v["P_n"].T) @ ops.diag(v["a"]) + v["v"] @ v["k"].T
                    ),
                ),
                Step(
                    EXPAND,
                    lambda ops, v: (
                        v["D_n"] @ ops.diag(v["a"])
                        + v["V_n"] @ (ops.diag(v["a"]) @ v["P_n"]).T
                        + v["v"] @ v["k"].T
                    ),
                ),
                Step(
                    BLOCKS,
                    lambda ops, v: (
                        v["D_n"] @ ops.diag(v["a"])
                        + ops.hcat(v["V_n"], v["v"])
                        @ ops.hcat(ops.diag(v["a"]) @ v["P_n"], v["k"]).T
                    ),
                ),
            ),
        )
    }
)
DECAY: dict[str, Derivation] = {
    "scalar-decay-step": Direct(
        (
            Step(
                DIFFERENTIATE,
                lambda ops, v: (
                    v["S"] - (ops.scale(ops.identity(v["a"]) - v["a"], v["S"]) - outer(v))
                ),
            ),
            Step(
                EXPAND,
                lambda ops, v: (
                    v["S"]
                    - ops.scale(ops.identity(v["a"]), v["S"])
                    + ops.scale(v["a"], v["S"])
                    + outer(v)
                ),
            ),
            Step(
                IDENTITY,
                lambda ops, v: v["S"] - v["S"] + ops.scale(v["a"], v["S"]) + outer(v),
            ),
            Step(CANCEL, lambda ops, v: ops.scale(v["a"], v["S"]) + outer(v)),
        )
    ),
    "channel-decay-step": Direct(
        (
            Step(
                DIFFERENTIATE,
                lambda ops, v: v["S"] - (v["S"] @ ops.diag(ops.ones(v["S"]).T - v["a"]) - outer(v)),
            ),
            Step(
                EXPAND,
                lambda ops, v: (
                    v["S"]
                    - v["S"] @ ops.diag(ops.ones(v["S"]).T)
                    + v["S"] @ ops.diag(v["a"])
                    + outer(v)
                ),
            ),
            Step(
                IDENTITY,
                lambda ops, v: v["S"] - v["S"] + v["S"] @ ops.diag(v["a"]) + outer(v),
            ),
            Step(CANCEL, lambda ops, v: v["S"] @ ops.diag(v["a"]) + outer(v)),
        )
    ),
    "decayed-recurrence": _DECAYED,
    "channel-decayed-recurrence": _CHANNEL_DECAYED,
}
