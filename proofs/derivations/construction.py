"""Derivations of von Oswald's construction."""

from typing import Any

from proofs.rules import DIFFERENTIATE, EXPAND, MULTIPLY_BLOCKS
from proofs.statements.construction import gd_step, layer, no_weights, values
from proofs.steps import Derivation, Direct, Induction, Invariant, Step


def _gradient(ops: Any, v: Any, W: Any, rate: Any) -> Any:
    """W - rate (W X - Y) X^T, the gradient carried out."""
    return W - ops.scale(rate, (W @ v["X"] - v["Y"]) @ v["X"].T)


def _after(ops: Any, v: Any, W: Any) -> Any:
    """[X; Y - W X]."""
    return ops.vcat(v["X"], v["Y"] - W @ v["X"])


def _corrected(ops: Any, v: Any, step: Any) -> Any:
    """[X - beta X X^T X; Y - step X]."""
    X = v["X"] - ops.scale(v["beta"], v["X"] @ v["X"].T) @ v["X"]
    return ops.vcat(X, v["Y"] - step @ v["X"])


def _layer_at(ops: Any, v: Any, Z: Any) -> Any:
    """A layer with W_0 = 0 and the next rate."""
    return layer(ops, v, values(ops, v, no_weights(ops, v)), v["gamma_t"], Z, Z)


CONSTRUCTION: dict[str, Derivation] = {
    "one-layer-one-step": Direct(
        (
            Step(
                MULTIPLY_BLOCKS,
                lambda ops, v: ops.vcat(
                    v["x"],
                    v["y"] - (_gradient(ops, v, v["W"], v["gamma"]) - v["W"]) @ v["x"],
                ),
            ),
            Step(
                DIFFERENTIATE,
                lambda ops, v: ops.vcat(
                    v["x"],
                    v["y"] - (gd_step(ops, v, v["W"], v["gamma"], v["X"]) - v["W"]) @ v["x"],
                ),
            ),
        )
    ),
    "layers-are-steps": Induction(
        {
            "Z": Invariant(
                closed=lambda ops, v, s: _after(ops, v, s["W"]),
                base=(Step(EXPAND, lambda ops, v: _after(ops, v, no_weights(ops, v))),),
                step=(
                    Step("hypothesis", lambda ops, v: _layer_at(ops, v, _after(ops, v, v["W_n"]))),
                    Step(
                        MULTIPLY_BLOCKS,
                        lambda ops, v: _after(ops, v, _gradient(ops, v, v["W_n"], v["gamma_t"])),
                    ),
                    Step(
                        DIFFERENTIATE,
                        lambda ops, v: _after(
                            ops, v, gd_step(ops, v, v["W_n"], v["gamma_t"], v["X"])
                        ),
                    ),
                ),
            )
        }
    ),
    "curvature-correction": Direct(
        (
            Step(
                MULTIPLY_BLOCKS,
                lambda ops, v: _corrected(
                    ops, v, _gradient(ops, v, no_weights(ops, v), v["gamma"])
                ),
            ),
            Step(
                DIFFERENTIATE,
                lambda ops, v: _corrected(
                    ops, v, gd_step(ops, v, no_weights(ops, v), v["gamma"], v["X"])
                ),
            ),
        )
    ),
}
