"""The Mesa layer: its normal equations, and the inverse after one more pair."""

from typing import Any

from proofs.rules import CANCEL, DIFFERENTIATE, EXPAND, IDENTITY, INVERSE
from proofs.steps import Derivation, Direct, Step


def _mesa(ops: Any, v: Any) -> tuple[Any, Any, Any]:
    """G = V B K^T, A = K B K^T + Lambda and their S = G A^(-1)."""
    B = ops.diag(v["b"])
    G, A = v["V"] @ B @ v["K"].T, v["K"] @ B @ v["K"].T + ops.diag(v["lam"])
    return G, A, G @ ops.inverse(A)


def _rank_one(ops: Any, v: Any, *middles: Any) -> Any:
    """I + P k k^T - the sum of P k (middle) k^T."""
    P, k = ops.inverse(v["A"]), v["k"]
    total = ops.identity(v["A"]) + P @ k @ k.T
    for m in middles:
        total = total - P @ k @ m @ k.T
    return total


def _m(ops: Any, v: Any) -> tuple[Any, Any, Any]:
    """1, k^T P k, and (1 + k^T P k)^(-1)."""
    P, k = ops.inverse(v["A"]), v["k"]
    inner = k.T @ P @ k
    one = ops.identity(inner)
    return one, inner, ops.inverse(one + inner)


MESA: dict[str, Derivation] = {
    "mesa-normal-equations": Direct(
        (
            Step(
                DIFFERENTIATE,
                lambda ops, v: (
                    (_mesa(ops, v)[2] @ v["K"] - v["V"]) @ ops.diag(v["b"]) @ v["K"].T
                    + _mesa(ops, v)[2] @ ops.diag(v["lam"])
                ),
            ),
            Step(
                EXPAND,
                lambda ops, v: _mesa(ops, v)[2] @ _mesa(ops, v)[1] - _mesa(ops, v)[0],
            ),
            Step(INVERSE, lambda ops, v: _mesa(ops, v)[0] - _mesa(ops, v)[0]),
            Step(CANCEL, lambda ops, v: ops.zeros_like(v["V"] @ v["K"].T)),
        )
    ),
    "mesa-rank-one-update": Direct(
        (
            Step(
                EXPAND,
                lambda ops, v: (
                    ops.inverse(v["A"]) @ v["A"]
                    + ops.inverse(v["A"]) @ v["k"] @ v["k"].T
                    - ops.inverse(v["A"])
                    @ v["k"]
                    @ _m(ops, v)[2]
                    @ v["k"].T
                    @ (ops.inverse(v["A"]) @ v["A"])
                    - ops.inverse(v["A"]) @ v["k"] @ (_m(ops, v)[2] @ _m(ops, v)[1]) @ v["k"].T
                ),
            ),
            Step(
                INVERSE,
                lambda ops, v: _rank_one(ops, v, _m(ops, v)[2], _m(ops, v)[2] @ _m(ops, v)[1]),
            ),
            Step(
                IDENTITY,
                lambda ops, v: _rank_one(
                    ops, v, _m(ops, v)[2] @ _m(ops, v)[0], _m(ops, v)[2] @ _m(ops, v)[1]
                ),
            ),
            Step(
                EXPAND,
                lambda ops, v: _rank_one(ops, v, _m(ops, v)[2] @ (_m(ops, v)[0] + _m(ops, v)[1])),
            ),
            Step(
                INVERSE,
                lambda ops, v: (
                    ops.identity(v["A"])
                    + ops.inverse(v["A"]) @ v["k"] @ v["k"].T
                    - ops.inverse(v["A"]) @ v["k"] @ v["k"].T
                ),
            ),
            Step(CANCEL, lambda ops, v: ops.identity(v["A"])),
        )
    ),
}
