"""The Mesa layer: ridge regression of values on keys, exactly."""

from typing import Any

from proofs.statements.model import Statement


def _mesa_state(ops: Any, v: Any) -> Any:
    """G (H + Lambda)^(-1) with G = V B K^T, H = K B K^T."""
    B = ops.diag(v["b"])
    return v["V"] @ B @ v["K"].T @ ops.inverse(v["K"] @ B @ v["K"].T + ops.diag(v["lam"]))


def _mesa_gradient(ops: Any, v: Any, at: Any) -> Any:
    """The gradient of tr((U K - V) B (U K - V)^T)/2 + tr(U Lambda U^T)/2."""

    def objective(U: Any) -> Any:
        return ops.half_square(U @ v["K"] - v["V"], v["b"]) + ops.half_square(U, v["lam"])

    return ops.grad(objective, at)


def _sherman_morrison(ops: Any, v: Any) -> Any:
    """A^(-1) - A^(-1) k (1 + k^T A^(-1) k)^(-1) k^T A^(-1)."""
    P, k = ops.inverse(v["A"]), v["k"]
    one = ops.identity(k.T @ P @ k)
    return P - P @ k @ ops.inverse(one + k.T @ P @ k) @ k.T @ P


MESA: tuple[Statement, ...] = (
    Statement(
        id="mesa-normal-equations",
        title="The Mesa layer solves the weighted ridge regression of values on keys",
        source="von Oswald et al. 2309.05858 and 2506.05233",
        variables={
            "V": ("o", "n"),
            "K": ("h", "n"),
            "b": ("n", "1"),
            "lam": ("h", "1"),
        },
        lhs=lambda ops, v: _mesa_gradient(ops, v, _mesa_state(ops, v)),
        rhs=lambda ops, v: ops.zeros_like(v["V"] @ v["K"].T),
        near_miss=lambda ops, v: -(v["V"] @ ops.diag(v["b"]) @ v["K"].T),
        assumes="H + Lambda is invertible, as it is for b of at least zero and positive Lambda",
        remark="b holds each pair's strength times its later decays (decayed-recurrence). The near "
        "miss is the gradient at zero.",
    ),
    Statement(
        id="mesa-rank-one-update",
        title="One more pair changes the inverse by a matrix of rank one",
        source="Sherman and Morrison 1950: recursive least squares",
        variables={"A": ("h", "h"), "k": ("h", "1")},
        lhs=lambda ops, v: _sherman_morrison(ops, v) @ (v["A"] + v["k"] @ v["k"].T),
        rhs=lambda ops, v: ops.identity(v["A"]),
        near_miss=lambda ops, v: ops.identity(v["A"]) + ops.inverse(v["A"]) @ v["k"] @ v["k"].T,
        assumes="A is invertible and 1 + k^T A^(-1) k is not zero",
        remark="The near miss leaves the inverse as it was.",
    ),
)
