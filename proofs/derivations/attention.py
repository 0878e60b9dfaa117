"""Derivations of A3 and A4."""

from proofs.rules import BLOCKS, CANCEL, DIFFERENTIATE, DISTRIBUTE, REGROUP, SIGNS
from proofs.steps import Derivation, Direct, Induction, Invariant, Step

OUTER_PRODUCTS = Invariant(
    closed=lambda ops, v, s: v["W"] + v["V"] @ v["K"].T,
    base=(Step(CANCEL, lambda ops, v: v["W"] + v["V"] @ v["K"].T),),
    step=(
        Step(
            "hypothesis",
            lambda ops, v: v["W"] + v["V_n"] @ v["K_n"].T + v["v"] @ v["k"].T,
        ),
        Step(
            BLOCKS,
            lambda ops, v: v["W"] + ops.hcat(v["V_n"], v["v"]) @ ops.hcat(v["K_n"], v["k"]).T,
        ),
    ),
)

ATTENTION: dict[str, Derivation] = {
    "context-split": Direct(
        (
            Step(
                BLOCKS,
                lambda ops, v: (
                    ops.hcat(v["W_V"] @ v["X_demo"], v["W_V"] @ v["X"])
                    @ (ops.hcat(v["W_K"] @ v["X_demo"], v["W_K"] @ v["X"]).T @ v["q"])
                ),
            ),
            Step(
                BLOCKS,
                lambda ops, v: (
                    (
                        (v["W_V"] @ v["X_demo"]) @ (v["W_K"] @ v["X_demo"]).T
                        + (v["W_V"] @ v["X"]) @ (v["W_K"] @ v["X"]).T
                    )
                    @ v["q"]
                ),
            ),
            Step(
                DISTRIBUTE,
                lambda ops, v: (
                    ((v["W_V"] @ v["X_demo"]) @ (v["W_K"] @ v["X_demo"]).T) @ v["q"]
                    + ((v["W_V"] @ v["X"]) @ (v["W_K"] @ v["X"]).T) @ v["q"]
                ),
            ),
            Step(
                REGROUP,
                lambda ops, v: (
                    (v["W_V"] @ v["X"]) @ ((v["W_K"] @ v["X"]).T @ v["q"])
                    + (v["W_V"] @ v["X_demo"]) @ ((v["W_K"] @ v["X_demo"]).T @ v["q"])
                ),
            ),
        )
    ),
    "outer-product-sum": Induction({"S": OUTER_PRODUCTS}),
    "linear-loss-step": Direct(
        (
            Step(DIFFERENTIATE, lambda ops, v: v["W"] - (-(v["V"] @ v["K"].T))),
            Step(SIGNS, lambda ops, v: v["W"] + v["V"] @ v["K"].T),
        )
    ),
    "squared-loss-step-from-zero": Direct(
        (
            Step(
                DIFFERENTIATE,
                lambda ops, v: (
                    ops.zeros_like(v["V"] @ v["K"].T)
                    - (ops.zeros_like(v["V"] @ v["K"].T) @ v["K"] - v["V"]) @ v["K"].T
                ),
            ),
            Step(CANCEL, lambda ops, v: -((-v["V"]) @ v["K"].T)),
            Step(SIGNS, lambda ops, v: v["V"] @ v["K"].T),
        )
    ),
    "squared-loss-step-anywhere": Direct(
        (
            Step(
                DIFFERENTIATE,
                lambda ops, v: (v["W"] - (v["W"] @ v["K"] - v["V"]) @ v["K"].T) @ v["q"],
            ),
            Step(
                SIGNS,
                lambda ops, v: (v["W"] + (v["V"] - v["W"] @ v["K"]) @ v["K"].T) @ v["q"],
            ),
            Step(
                DISTRIBUTE,
                lambda ops, v: v["W"] @ v["q"] + ((v["V"] - v["W"] @ v["K"]) @ v["K"].T) @ v["q"],
            ),
            Step(
                REGROUP,
                lambda ops, v: v["W"] @ v["q"] + (v["V"] - v["W"] @ v["K"]) @ (v["K"].T @ v["q"]),
            ),
        )
    ),
}
