"""Derivations of B4 and B6."""

from typing import Any

from proofs.rules import BLOCKS, DISTRIBUTE, EXPAND, REGROUP, TRACE
from proofs.statements.architecture import affine, attend, normalised, rotated
from proofs.steps import Derivation, Direct, Step


def _both(ops: Any, v: Any, V: Any, K: Any) -> Any:
    """[V' V] ([K' K]^T q) from the parts."""
    return ops.hcat(V[0], V[1]) @ (ops.hcat(K[0], K[1]).T @ v["q"])


def _apart(v: Any, V: Any, K: Any) -> Any:
    """(V' K'^T + V K^T) q."""
    return (V[0] @ K[0].T + V[1] @ K[1].T) @ v["q"]


def _values(v: Any) -> tuple[Any, Any]:
    return v["V_demo"], v["V"]


def _split(V: Any, K: Any) -> tuple[Step, ...]:
    """From a layer over all tokens to its two parts; V and K give (demonstrations, query)."""
    return (
        Step(BLOCKS, lambda ops, v: _both(ops, v, V(ops, v), K(ops, v))),
        Step(BLOCKS, lambda ops, v: _apart(v, V(ops, v), K(ops, v))),
        Step(
            DISTRIBUTE,
            lambda ops, v: (
                (V(ops, v)[0] @ K(ops, v)[0].T) @ v["q"] + (V(ops, v)[1] @ K(ops, v)[1].T) @ v["q"]
            ),
        ),
        Step(
            REGROUP,
            lambda ops, v: (
                attend(V(ops, v)[1], K(ops, v)[1], v["q"])
                + attend(V(ops, v)[0], K(ops, v)[0], v["q"])
            ),
        ),
    )


def _parts(name: str) -> Any:
    """W X' + b 1 and W X + b 1."""
    return lambda ops, v: (
        affine(ops, v[f"W_{name}"], v[f"b_{name}"], v["X_demo"]),
        affine(ops, v[f"W_{name}"], v[f"b_{name}"], v["X"]),
    )


ARCHITECTURE: dict[str, Derivation] = {
    "context-split-with-biases": Direct(_split(_parts("V"), _parts("K"))),
    "bias-as-weight": Direct(
        (
            Step(
                BLOCKS,
                lambda ops, v: ops.hcat(v["W"], v["b"]) @ ops.vcat(v["X"], ops.ones(v["X"])),
            ),
        )
    ),
    "heads-through-the-output-projection": Direct(
        (
            Step(
                BLOCKS,
                lambda ops, v: (
                    v["O_1"] @ ((v["W_1"] + v["D_1"]) @ v["q_1"])
                    + v["O_2"] @ ((v["W_2"] + v["D_2"]) @ v["q_2"])
                ),
            ),
            Step(
                DISTRIBUTE,
                lambda ops, v: (
                    (v["O_1"] @ (v["W_1"] @ v["q_1"]) + v["O_2"] @ (v["W_2"] @ v["q_2"]))
                    + (v["O_1"] @ v["D_1"] @ v["q_1"] + v["O_2"] @ v["D_2"] @ v["q_2"])
                ),
            ),
        )
    ),
    "grouped-queries": Direct(
        (
            Step(
                BLOCKS,
                lambda ops, v: ops.hcat(
                    (v["V"] @ v["K"].T + v["V_demo"] @ v["K_demo"].T) @ v["q_1"],
                    (v["V"] @ v["K"].T + v["V_demo"] @ v["K_demo"].T) @ v["q_2"],
                ),
            ),
            Step(
                BLOCKS,
                lambda ops, v: (
                    (v["V"] @ v["K"].T + v["V_demo"] @ v["K_demo"].T) @ ops.hcat(v["q_1"], v["q_2"])
                ),
            ),
        )
    ),
    "context-split-rotary": Direct(
        _split(
            lambda ops, v: _values(v),
            lambda ops, v: (
                rotated(ops, v, v["K_demo"], "_demo"),
                rotated(ops, v, v["K"], ""),
            ),
        )
    ),
    "context-split-alibi": Direct(
        (
            Step(
                DISTRIBUTE,
                lambda ops, v: (
                    ops.hcat(*_values(v)) @ (ops.hcat(v["K_demo"], v["K"]).T @ v["q"])
                    + ops.hcat(*_values(v)) @ ops.vcat(v["b_demo"], v["b"])
                ),
            ),
            Step(
                BLOCKS,
                lambda ops, v: (
                    _apart(v, _values(v), (v["K_demo"], v["K"]))
                    + (v["V_demo"] @ v["b_demo"] + v["V"] @ v["b"])
                ),
            ),
            Step(
                DISTRIBUTE,
                lambda ops, v: (
                    (attend(v["V"], v["K"], v["q"]) + v["V"] @ v["b"])
                    + (attend(v["V_demo"], v["K_demo"], v["q"]) + v["V_demo"] @ v["b_demo"])
                ),
            ),
        )
    ),
    "context-split-window": Direct(
        (
            Step(
                BLOCKS,
                lambda ops, v: (
                    (
                        v["V_demo"] @ ops.diag(v["w_demo"]) @ v["K_demo"].T
                        + v["V"] @ ops.diag(v["w"]) @ v["K"].T
                    )
                    @ v["q"]
                ),
            ),
            Step(
                DISTRIBUTE,
                lambda ops, v: (
                    v["V"] @ ops.diag(v["w"]) @ (v["K"].T @ v["q"])
                    + v["V_demo"] @ ops.diag(v["w_demo"]) @ (v["K_demo"].T @ v["q"])
                ),
            ),
        )
    ),
    "context-split-normalised-keys": Direct(
        _split(
            lambda ops, v: _values(v),
            lambda ops, v: (normalised(ops, v, "_demo"), normalised(ops, v, "")),
        )
    ),
    "update-overlap": Direct(
        (
            Step(EXPAND, lambda ops, v: ops.trace(v["K"] @ (v["V"].T @ v["E"] @ v["Z"].T))),
            Step(
                TRACE,
                lambda ops, v: ops.trace((v["V"].T @ v["E"]) @ (v["Z"].T @ v["K"])),
            ),
        )
    ),
    "finetuned-values-as-attention": Direct(
        (
            Step(
                EXPAND,
                lambda ops, v: attend(
                    v["V_demo"], v["W_K"] @ (v["X"] @ v["X"].T) @ v["X_demo"], v["q"]
                ),
            ),
        )
    ),
}
