"""TTT-Linear: mini-batch descent from a learned start."""

from typing import Any

from proofs.statements.model import Statement
from proofs.statements.variants.parts import (
    TOKENS,
    square,
)


def _mini_batches(ops: Any, v: Any, errors: bool) -> Any:
    def step(s: Any, k: Any, x: Any) -> dict[str, Any]:
        residual = s["S"] @ k - x
        made = {"S": s["S"] - ops.scale(v["eta"], square(ops, s["S"], k, x))}
        if errors:
            made["E"] = ops.hcat(s["E"], -ops.scale(v["eta"], residual + residual))
        return made

    start = {"S": v["W"]} | ({"E": ops.empty(v["V"])} if errors else {})
    return ops.fold(step, start, v["K"], v["V"])


TTT: tuple[Statement, ...] = (
    Statement(
        id="ttt-linear-dual",
        title="TTT-Linear is its learned start plus attention to mini-batch errors",
        source="Sun et al. 2407.04620, dual form; any mini-batch size",
        variables=TOKENS | {"eta": ("1", "1")},
        lhs=lambda ops, v: _mini_batches(ops, v, False)["S"],
        rhs=lambda ops, v: v["W"] + _mini_batches(ops, v, True)["E"] @ v["K"].T,
        near_miss=lambda ops, v: (
            v["W"] - ops.scale(v["eta"], (v["W"] @ v["K"] - v["V"]) @ v["K"].T)
        ),
        remark="Its loss has no one half, so the errors count twice. The near miss forgets "
        "that, and takes all of them at the start.",
    ),
)
