"""Derivations of A5."""

from typing import Any

from proofs.rules import DISTRIBUTE, REGROUP, TRANSPOSE
from proofs.steps import Derivation, Direct, Step


def _expansion(V: Any, K: Any, dV: Any, dK: Any, q: Any) -> tuple[Step, ...]:
    """From (V + dV)((K + dK)^T q) to the four products, given as functions of the variables."""
    return (
        Step(
            TRANSPOSE,
            lambda ops, v: (V(v) + dV(v)) @ ((K(v).T + dK(v).T) @ q(v)),
        ),
        Step(
            REGROUP,
            lambda ops, v: ((V(v) + dV(v)) @ (K(v).T + dK(v).T)) @ q(v),
        ),
        Step(
            DISTRIBUTE,
            lambda ops, v: (
                (V(v) @ K(v).T + dV(v) @ K(v).T + V(v) @ dK(v).T + dV(v) @ dK(v).T) @ q(v)
            ),
        ),
    )


def _q(v: Any) -> Any:
    return v["q"]


FINETUNING: dict[str, Derivation] = {
    "finetuning-dual": Direct(
        (
            Step(
                DISTRIBUTE,
                lambda ops, v: (
                    (v["W_V"] @ v["X"] + v["D_V"] @ v["X"])
                    @ ((v["W_K"] @ v["X"] + v["D_K"] @ v["X"]).T @ v["q"])
                ),
            ),
            *_expansion(
                lambda v: v["W_V"] @ v["X"],
                lambda v: v["W_K"] @ v["X"],
                lambda v: v["D_V"] @ v["X"],
                lambda v: v["D_K"] @ v["X"],
                _q,
            ),
        )
    ),
    "finetuning-dual-by-examples": Direct(
        (
            Step(
                DISTRIBUTE,
                lambda ops, v: (
                    (v["W_V"] @ v["X"] + (v["E_V"] @ v["Z"].T) @ v["X"])
                    @ ((v["W_K"] @ v["X"] + (v["E_K"] @ v["Z"].T) @ v["X"]).T @ v["q"])
                ),
            ),
            Step(
                REGROUP,
                lambda ops, v: (
                    (v["W_V"] @ v["X"] + v["E_V"] @ (v["Z"].T @ v["X"]))
                    @ ((v["W_K"] @ v["X"] + v["E_K"] @ (v["Z"].T @ v["X"])).T @ v["q"])
                ),
            ),
            *_expansion(
                lambda v: v["W_V"] @ v["X"],
                lambda v: v["W_K"] @ v["X"],
                lambda v: v["E_V"] @ (v["Z"].T @ v["X"]),
                lambda v: v["E_K"] @ (v["Z"].T @ v["X"]),
                _q,
            ),
        )
    ),
}
