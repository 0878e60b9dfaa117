"""Derivations of A1."""

from collections.abc import Mapping
from typing import Any

from proofs.rules import BLOCKS, CANCEL, DIFFERENTIATE, DISTRIBUTE, REGROUP, SCALARS
from proofs.steps import Derivation, Direct, Induction, Invariant, Step


def _g(ops: Any, v: Mapping[str, Any]) -> Any:
    """The output gradient of the one step."""
    return ops.output_gradient(v["W"] @ v["X"], v["T"])


def _next_g(ops: Any, v: Mapping[str, Any]) -> Any:
    """The output gradient of the next step, at the weights S_n."""
    return ops.output_gradient(v["S_n"] @ v["x"], v["t"])


def _next_r(_ops: Any, v: Mapping[str, Any]) -> Any:
    """The residual of the next step, at the weights S_n."""
    return v["S_n"] @ v["x"] - v["t"]


def _by_induction(error: Any) -> Induction:
    """Both recurrences: the next step adds -gamma (error) x^T."""
    return Induction(
        {
            "S": Invariant(
                closed=lambda ops, v, s: v["W"] + s["E"] @ v["X"].T,
                base=(Step(CANCEL, lambda ops, v: v["W"] + ops.empty(v["T"]) @ v["X"].T),),
                step=(
                    Step(
                        DIFFERENTIATE,
                        lambda ops, v: v["S_n"] - ops.scale(v["gamma"], error(ops, v) @ v["x"].T),
                    ),
                    Step(
                        "hypothesis",
                        lambda ops, v: (
                            v["W"]
                            + v["E_n"] @ v["X_n"].T
                            - ops.scale(v["gamma"], error(ops, v) @ v["x"].T)
                        ),
                    ),
                    Step(
                        SCALARS,
                        lambda ops, v: (
                            v["W"]
                            + v["E_n"] @ v["X_n"].T
                            + (-ops.scale(v["gamma"], error(ops, v))) @ v["x"].T
                        ),
                    ),
                    Step(
                        BLOCKS,
                        lambda ops, v: (
                            v["W"]
                            + ops.hcat(v["E_n"], -ops.scale(v["gamma"], error(ops, v)))
                            @ ops.hcat(v["X_n"], v["x"]).T
                        ),
                    ),
                ),
            )
        }
    )


LINEAR_LAYER: dict[str, Derivation] = {
    "linear-attention-dual": Direct(
        (
            Step(DISTRIBUTE, lambda ops, v: v["W"] @ v["q"] + (v["E"] @ v["X"].T) @ v["q"]),
            Step(REGROUP, lambda ops, v: v["W"] @ v["q"] + v["E"] @ (v["X"].T @ v["q"])),
        )
    ),
    "squared-loss-gradient": Direct(
        (Step(DIFFERENTIATE, lambda ops, v: (v["W"] @ v["X"] - v["T"]) @ v["X"].T),)
    ),
    "generic-loss-gradient": Direct((Step(DIFFERENTIATE, lambda ops, v: _g(ops, v) @ v["X"].T),)),
    "one-step-dual": Direct(
        (
            Step(
                DIFFERENTIATE,
                lambda ops, v: (v["W"] - ops.scale(v["gamma"], _g(ops, v) @ v["X"].T)) @ v["q"],
            ),
            Step(
                SCALARS,
                lambda ops, v: (v["W"] + (-ops.scale(v["gamma"], _g(ops, v))) @ v["X"].T) @ v["q"],
            ),
            Step(
                DISTRIBUTE,
                lambda ops, v: (
                    v["W"] @ v["q"] + ((-ops.scale(v["gamma"], _g(ops, v))) @ v["X"].T) @ v["q"]
                ),
            ),
            Step(
                REGROUP,
                lambda ops, v: (
                    v["W"] @ v["q"] + (-ops.scale(v["gamma"], _g(ops, v))) @ (v["X"].T @ v["q"])
                ),
            ),
        )
    ),
    "many-steps-dual": _by_induction(_next_g),
    "many-steps-squared-loss": _by_induction(_next_r),
}
