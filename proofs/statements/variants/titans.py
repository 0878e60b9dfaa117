"""Titans: descent with momentum and weight decay."""

from typing import Any

from proofs.statements.model import Statement
from proofs.statements.variants.parts import (
    TOKENS,
    one,
    share_and_errors,
    square,
)


def _titans(ops: Any, v: Any, errors: bool) -> Any:
    """M = (1 - alpha) M + P, P = eta P - theta grad |M k - v|^2."""

    def step(s: Any, k: Any, x: Any, alpha: Any, eta: Any, theta: Any) -> dict[str, Any]:
        P = ops.scale(eta, s["P"]) - ops.scale(theta, square(ops, s["M"], k, x))
        made = {"M": s["M"] - ops.scale(alpha, s["M"]) + P, "P": P}
        if errors:
            residual, F = s["M"] @ k - x, ops.scale(eta, s["F"])
            e = -ops.scale(theta, residual + residual)
            made["c"] = s["c"] - ops.scale(alpha, s["c"])
            made["E"] = ops.hcat(s["E"] - ops.scale(alpha, s["E"]) + F, e)
            made["F"] = ops.hcat(F, e)
        return made

    start = {"M": v["W"], "P": ops.zeros_like(v["W"])}
    if errors:
        start |= {"c": one(ops, v), "E": ops.empty(v["V"]), "F": ops.empty(v["V"])}
    return ops.scan(step, start, v["K"], v["V"], v["alpha"], v["eta"], v["theta"])


TITANS: tuple[Statement, ...] = (
    Statement(
        id="titans-dual",
        title="Titans is gradient descent with momentum and weight decay, and has its dual form",
        source="Behrouz et al. 2501.00663, eq. 13-14, with a linear memory",
        variables=TOKENS | {"alpha": ("1", "n"), "eta": ("1", "n"), "theta": ("1", "n")},
        lhs=lambda ops, v: _titans(ops, v, False)["M"],
        rhs=lambda ops, v: share_and_errors(ops, v, _titans(ops, v, True)),
        near_miss=lambda ops, v: v["W"] + _titans(ops, v, True)["E"] @ v["K"].T,
        remark="The near miss does not decay the start.",
    ),
)
