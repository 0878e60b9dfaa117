"""Derivations of B1, B2 and B5."""

from typing import Any

from proofs.rules import (
    BLOCKS,
    CANCEL,
    DIFFERENTIATE,
    DISTRIBUTE,
    EXPAND,
    EXPONENTIAL,
    INVERSE,
    KHATRI_RAO,
    UNITS,
)
from proofs.statements.softmax import average, mass, softmax
from proofs.steps import Derivation, Direct, Step


def _split(V_demo: Any, w_demo: Any, V: Any, w: Any) -> tuple[Step, ...]:
    """From (V' w'^T + V w^T)/(Z' + Z) to the mixture; arguments are functions of (ops, v)."""

    def parts(ops: Any, v: Any) -> tuple[Any, ...]:
        a, b, c, d = (f(ops, v) for f in (V_demo, w_demo, V, w))
        one, two = mass(ops, b), mass(ops, d)
        return a @ b.T, one, c @ d.T, two, ops.inverse(one + two)

    def apart(ops: Any, v: Any) -> Any:
        A, Z_demo, B, Z, inverse = parts(ops, v)
        return A @ inverse + B @ inverse

    def with_masses(ops: Any, v: Any) -> Any:
        A, Z_demo, B, Z, inverse = parts(ops, v)
        first = A @ ops.inverse(Z_demo) @ Z_demo @ inverse
        return first + B @ ops.inverse(Z) @ Z @ inverse

    def with_total(ops: Any, v: Any) -> Any:
        A, Z_demo, B, Z, inverse = parts(ops, v)
        rest = (Z_demo + Z - Z_demo) @ inverse
        return B @ ops.inverse(Z) @ rest + A @ ops.inverse(Z_demo) @ (Z_demo @ inverse)

    def split_total(ops: Any, v: Any) -> Any:
        A, Z_demo, B, Z, inverse = parts(ops, v)
        rest = (Z_demo + Z) @ inverse - Z_demo @ inverse
        return B @ ops.inverse(Z) @ rest + A @ ops.inverse(Z_demo) @ (Z_demo @ inverse)

    def mixed(ops: Any, v: Any) -> Any:
        A, Z_demo, B, Z, inverse = parts(ops, v)
        rest = ops.identity(Z_demo) - Z_demo @ inverse
        return B @ ops.inverse(Z) @ rest + A @ ops.inverse(Z_demo) @ (Z_demo @ inverse)

    return (
        Step(DISTRIBUTE, apart),
        Step(INVERSE, with_masses),
        Step(CANCEL, with_total),
        Step(EXPAND, split_total),
        Step(INVERSE, mixed),
    )


def _joined(ops: Any, v: Any, w_demo: Any, w: Any) -> Any:
    total = ops.inverse(mass(ops, w_demo) + mass(ops, w))
    return (v["V_demo"] @ w_demo.T + v["V"] @ w.T) @ total


def _exp(name: str) -> Any:
    return lambda ops, v: ops.exp(v["q"].T @ v[name])


def _features_apart(ops: Any, v: Any, kernel: Any) -> Any:
    """V (a_0 1^T 1 + a_1 K^T Q + a_2 kernel)."""
    K, Q = v["K"], v["Q"]
    return v["V"] @ (
        ops.scale(v["a_0"], ops.ones(K).T @ ops.ones(Q))
        + ops.scale(v["a_1"], K.T @ Q)
        + ops.scale(v["a_2"], kernel)
    )


def _moved(ops: Any, v: Any) -> Any:
    """W_1 (a_C - a) (a^T a)^(-1) a^T."""
    move = v["W_1"] @ (v["a_C"] - v["a"])
    return move @ ops.inverse(v["a"].T @ v["a"]) @ v["a"].T


def _block_with(inside: Any) -> Any:
    """The block with `inside` before the activation, as a + W_2 sigma(inside) + (b_2 + a_C - a)."""
    return lambda ops, v: (
        v["a"]
        + v["W_2"] @ ops.activation(inside(ops, v) + v["b_1"])
        + (v["b_2"] + (v["a_C"] - v["a"]))
    )


def _average_shifted(ops: Any, v: Any, shift: Any) -> Any:
    """Exponentials with the factor exp(c) in front."""
    w = ops.exp(v["q"].T @ v["K"])
    return (v["V"] @ w.T @ shift) @ ops.inverse(shift @ mass(ops, w))


SOFTMAX: dict[str, Derivation] = {
    "weights-split": Direct(
        (
            Step(BLOCKS, lambda ops, v: _joined(ops, v, v["w_demo"], v["w"])),
            *_split(
                lambda ops, v: v["V_demo"],
                lambda ops, v: v["w_demo"],
                lambda ops, v: v["V"],
                lambda ops, v: v["w"],
            ),
        )
    ),
    "softmax-mixture": Direct(
        (
            Step(BLOCKS, lambda ops, v: _joined(ops, v, _exp("K_demo")(ops, v), _exp("K")(ops, v))),
            *_split(lambda ops, v: v["V_demo"], _exp("K_demo"), lambda ops, v: v["V"], _exp("K")),
        )
    ),
    "softmax-shift": Direct(
        (
            Step(
                EXPONENTIAL,
                lambda ops, v: average(ops, v["V"], ops.exp(v["c"]) @ ops.exp(v["q"].T @ v["K"])),
            ),
            Step(
                EXPAND,
                lambda ops, v: (
                    (v["V"] @ ops.exp(v["q"].T @ v["K"]).T @ ops.exp(v["c"]).T)
                    @ ops.inverse(
                        ops.ones(v["K"]) @ ops.exp(v["q"].T @ v["K"]).T @ ops.exp(v["c"]).T
                    )
                ),
            ),
            Step(UNITS, lambda ops, v: _average_shifted(ops, v, ops.exp(v["c"]))),
            Step(
                EXPONENTIAL,
                lambda ops, v: (
                    v["V"]
                    @ ops.exp(v["q"].T @ v["K"]).T
                    @ ops.exp(v["c"])
                    @ (
                        ops.inverse(mass(ops, ops.exp(v["q"].T @ v["K"])))
                        @ ops.inverse(ops.exp(v["c"]))
                    )
                ),
            ),
            Step(
                UNITS,
                lambda ops, v: (
                    v["V"]
                    @ ops.exp(v["q"].T @ v["K"]).T
                    @ (ops.exp(v["c"]) @ ops.inverse(ops.exp(v["c"])))
                    @ ops.inverse(mass(ops, ops.exp(v["q"].T @ v["K"])))
                ),
            ),
            Step(INVERSE, lambda ops, v: softmax(ops, v["V"], v["K"], v["q"])),
        )
    ),
    "kernel-dual": Direct(
        (
            Step(
                DIFFERENTIATE,
                lambda ops, v: (
                    (
                        v["W"]
                        - (
                            -ops.scale(
                                ops.inverse(mass(ops, v["phi"].T @ v["Phi"])), v["V"] @ v["Phi"].T
                            )
                        )
                    )
                    @ v["phi"]
                ),
            ),
            Step(
                EXPAND,
                lambda ops, v: (
                    v["W"] @ v["phi"]
                    + ops.scale(
                        ops.inverse(mass(ops, v["phi"].T @ v["Phi"])),
                        v["V"] @ (v["phi"].T @ v["Phi"]).T,
                    )
                ),
            ),
            Step(
                UNITS,
                lambda ops, v: v["W"] @ v["phi"] + average(ops, v["V"], v["phi"].T @ v["Phi"]),
            ),
        )
    ),
    "product-kernel": Direct(
        (
            Step(
                KHATRI_RAO,
                lambda ops, v: (
                    v["V"] @ (ops.khatri_rao(v["A"], v["B"]).T @ ops.khatri_rao(v["C"], v["D"]))
                ),
            ),
        )
    ),
    "taylor-features": Direct(
        (
            Step(
                KHATRI_RAO,
                lambda ops, v: _features_apart(
                    ops, v, ops.khatri_rao(v["K"], v["K"]).T @ ops.khatri_rao(v["Q"], v["Q"])
                ),
            ),
            Step(
                EXPAND,
                lambda ops, v: (
                    v["V"] @ (ops.scale(v["a_0"], ops.ones(v["K"])).T @ ops.ones(v["Q"]))
                    + v["V"] @ (ops.scale(v["a_1"], v["K"]).T @ v["Q"])
                    + v["V"]
                    @ (
                        ops.scale(v["a_2"], ops.khatri_rao(v["K"], v["K"])).T
                        @ ops.khatri_rao(v["Q"], v["Q"])
                    )
                ),
            ),
            Step(
                BLOCKS,
                lambda ops, v: (
                    v["V"]
                    @ (
                        ops.vcat(
                            ops.scale(v["a_0"], ops.ones(v["K"])),
                            ops.scale(v["a_1"], v["K"]),
                            ops.scale(v["a_2"], ops.khatri_rao(v["K"], v["K"])),
                        ).T
                        @ ops.vcat(ops.ones(v["Q"]), v["Q"], ops.khatri_rao(v["Q"], v["Q"]))
                    )
                ),
            ),
        )
    ),
    "block-as-weight-change": Direct(
        (
            Step(CANCEL, _block_with(lambda ops, v: v["W_1"] @ v["a_C"])),
            Step(
                EXPAND,
                _block_with(lambda ops, v: v["W_1"] @ v["a"] + v["W_1"] @ (v["a_C"] - v["a"])),
            ),
            Step(
                INVERSE,
                _block_with(
                    lambda ops, v: (
                        v["W_1"] @ v["a"]
                        + v["W_1"]
                        @ (v["a_C"] - v["a"])
                        @ ops.inverse(v["a"].T @ v["a"])
                        @ (v["a"].T @ v["a"])
                    )
                ),
            ),
            Step(DISTRIBUTE, _block_with(lambda ops, v: (v["W_1"] + _moved(ops, v)) @ v["a"])),
        )
    ),
}
