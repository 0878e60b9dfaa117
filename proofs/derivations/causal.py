"""Derivations of A6 and A7."""

from typing import Any

from proofs.derivations.attention import OUTER_PRODUCTS
from proofs.rules import BLOCKS, CANCEL, DISTRIBUTE, EXPAND, REGROUP
from proofs.steps import Derivation, Direct, Induction, Invariant, Step


def _whole(ops: Any, v: Any) -> Any:
    """W Q + V causal(K^T Q) over the examples so far and the new block."""
    Q, K = ops.hcat(v["Q_n"], v["q"]), ops.hcat(v["K_n"], v["k"])
    return v["W"] @ Q + ops.hcat(v["V_n"], v["v"]) @ ops.causal(K.T @ Q)


def _so_far(ops: Any, v: Any) -> Any:
    return v["W"] @ v["Q_n"] + v["V_n"] @ ops.causal(v["K_n"].T @ v["Q_n"])


def _read(ops: Any, v: Any, inside: Any) -> Any:
    """[outputs so far, W q + V_n K_n^T q + what the new block adds]."""
    new = v["W"] @ v["q"] + v["V_n"] @ (v["K_n"].T @ v["q"]) + inside
    return ops.hcat(_so_far(ops, v), new)


def _outputs(*steps: Step) -> Induction:
    return Induction(
        {
            "S": OUTER_PRODUCTS,
            "O": Invariant(
                closed=lambda ops, v, s: v["W"] @ v["Q"] + v["V"] @ ops.causal(v["K"].T @ v["Q"]),
                base=(
                    Step(
                        CANCEL,
                        lambda ops, v: ops.empty(v["V"]) + v["V"] @ ops.causal(v["K"].T @ v["Q"]),
                    ),
                    Step(
                        CANCEL,
                        lambda ops, v: v["W"] @ v["Q"] + v["V"] @ ops.causal(v["K"].T @ v["Q"]),
                    ),
                ),
                step=(
                    *steps,
                    Step(CANCEL, _with_zero),
                    Step(BLOCKS, _whole),
                ),
            ),
        }
    )


def _with_zero(ops: Any, v: Any) -> Any:
    """The first column of blocks has a zero below, which the mask puts there."""
    first = v["W"] @ v["Q_n"] + (
        v["V_n"] @ ops.causal(v["K_n"].T @ v["Q_n"]) + v["v"] @ ops.zeros_like(v["k"].T @ v["Q_n"])
    )
    second = v["W"] @ v["q"] + (
        v["V_n"] @ (v["K_n"].T @ v["q"]) + v["v"] @ ops.causal(v["k"].T @ v["q"])
    )
    return ops.hcat(first, second)


CAUSAL: dict[str, Derivation] = {
    "causal-recurrence": _outputs(
        Step(
            "hypothesis",
            lambda ops, v: ops.hcat(
                _so_far(ops, v),
                (v["W"] + v["V_n"] @ v["K_n"].T + v["v"] @ v["k"].T) @ v["q"],
            ),
        ),
        Step(DISTRIBUTE, lambda ops, v: _read(ops, v, v["v"] @ (v["k"].T @ v["q"]))),
        Step(BLOCKS, lambda ops, v: _read(ops, v, v["v"] @ ops.causal(v["k"].T @ v["q"]))),
    ),
    "causal-chunks": _outputs(
        Step(
            "hypothesis",
            lambda ops, v: ops.hcat(
                _so_far(ops, v),
                (v["W"] + v["V_n"] @ v["K_n"].T) @ v["q"] + v["v"] @ ops.causal(v["k"].T @ v["q"]),
            ),
        ),
        Step(EXPAND, lambda ops, v: _read(ops, v, v["v"] @ ops.causal(v["k"].T @ v["q"]))),
    ),
    "order-of-demonstrations": Direct(
        (
            Step(BLOCKS, lambda ops, v: v["V_1"] @ v["K_1"].T + v["V_2"] @ v["K_2"].T),
            Step(REGROUP, lambda ops, v: v["V_2"] @ v["K_2"].T + v["V_1"] @ v["K_1"].T),
            Step(
                BLOCKS,
                lambda ops, v: ops.hcat(v["V_2"], v["V_1"]) @ ops.hcat(v["K_2"], v["K_1"]).T,
            ),
        )
    ),
}
