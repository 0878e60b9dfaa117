"""TTT-Linear: mini-batch descent from a learned start."""

from typing import Any

from proofs.derivations.variants.parts import (
    appended,
    doubled,
)
from proofs.rules import BLOCKS, CANCEL, DIFFERENTIATE, EXPAND
from proofs.steps import Derivation, Induction, Invariant, Step


def _ttt_residual(v: Any) -> Any:
    return v["S_n"] @ v["k"] - v["v"]


_TTT = Induction(
    {
        "S": Invariant(
            closed=lambda ops, v, s: v["W"] + s["E"] @ v["K"].T,
            base=(Step(CANCEL, lambda ops, v: v["W"] + ops.empty(v["V"]) @ v["K"].T),),
            step=(
                Step(
                    DIFFERENTIATE,
                    lambda ops, v: (
                        v["S_n"]
                        - ops.scale(
                            v["eta"],
                            _ttt_residual(v) @ v["k"].T + _ttt_residual(v) @ v["k"].T,
                        )
                    ),
                ),
                Step(
                    EXPAND,
                    lambda ops, v: v["S_n"] + doubled(ops, v["eta"], _ttt_residual(v)) @ v["k"].T,
                ),
                Step(
                    "hypothesis",
                    lambda ops, v: (
                        v["W"]
                        + v["E_n"] @ v["K_n"].T
                        + doubled(ops, v["eta"], _ttt_residual(v)) @ v["k"].T
                    ),
                ),
                Step(
                    BLOCKS,
                    lambda ops, v: (
                        v["W"]
                        + appended(ops, v, v["E_n"], doubled(ops, v["eta"], _ttt_residual(v)))
                    ),
                ),
            ),
        )
    }
)
TTT: dict[str, Derivation] = {
    "ttt-linear-dual": _TTT,
}
