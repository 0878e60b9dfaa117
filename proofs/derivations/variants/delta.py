"""DeltaNet, Gated DeltaNet and Kimi delta attention: steps on the recall error."""

from typing import Any

from proofs.derivations.variants.parts import (
    SHARE_BASE,
    appended,
    residual,
    shared,
    so_far,
)
from proofs.rules import BLOCKS, DIFFERENTIATE, EXPAND, IDENTITY, INVERSE, UNITS
from proofs.statements.variants import erase, write
from proofs.steps import Derivation, Direct, Induction, Invariant, Step


def _delta(start: Any) -> Direct:
    """From start - b (start k - v) k^T to start (I - b k k^T) + b v k^T."""
    return Direct(
        (
            Step(
                DIFFERENTIATE,
                lambda ops, v: (
                    start(ops, v) - ops.scale(v["b"], residual(v, start(ops, v)) @ v["k"].T)
                ),
            ),
            Step(
                EXPAND,
                lambda ops, v: (
                    start(ops, v)
                    - start(ops, v) @ ops.scale(v["b"], v["k"] @ v["k"].T)
                    + write(ops, v)
                ),
            ),
            Step(
                IDENTITY,
                lambda ops, v: (
                    start(ops, v) @ ops.identity(v["k"])
                    - start(ops, v) @ ops.scale(v["b"], v["k"] @ v["k"].T)
                    + write(ops, v)
                ),
            ),
            Step(EXPAND, lambda ops, v: start(ops, v) @ erase(ops, v) + write(ops, v)),
        )
    )


def _recall_and_penalty(ops: Any, v: Any) -> tuple[Any, Any]:
    """(S k - v) k^T and (1 - a) b^(-1)."""
    weight = (ops.identity(v["a"]) - v["a"]) @ ops.inverse(v["b"])
    return residual(v, v["S"]) @ v["k"].T, weight


def _penalised_rest(ops: Any, v: Any, penalty: Any) -> Any:
    """S - b (S k - v) k^T - penalty."""
    return v["S"] - ops.scale(v["b"], _recall_and_penalty(ops, v)[0]) - penalty


_PENALISED = Direct(
    (
        Step(
            DIFFERENTIATE,
            lambda ops, v: (
                v["S"]
                - ops.scale(
                    v["b"],
                    _recall_and_penalty(ops, v)[0]
                    + ops.scale(_recall_and_penalty(ops, v)[1], v["S"]),
                )
            ),
        ),
        Step(
            EXPAND,
            lambda ops, v: _penalised_rest(
                ops, v, ops.scale(v["b"], ops.scale(_recall_and_penalty(ops, v)[1], v["S"]))
            ),
        ),
        Step(
            UNITS,
            lambda ops, v: _penalised_rest(
                ops, v, ops.scale(_recall_and_penalty(ops, v)[1] @ v["b"], v["S"])
            ),
        ),
        Step(
            INVERSE,
            lambda ops, v: _penalised_rest(
                ops, v, ops.scale(ops.identity(v["a"]) - v["a"], v["S"])
            ),
        ),
        Step(
            EXPAND,
            lambda ops, v: _penalised_rest(
                ops, v, ops.scale(ops.identity(v["a"]), v["S"]) - ops.scale(v["a"], v["S"])
            ),
        ),
        Step(
            IDENTITY,
            lambda ops, v: _penalised_rest(ops, v, v["S"] - ops.scale(v["a"], v["S"])),
        ),
        Step(
            EXPAND,
            lambda ops, v: (
                ops.scale(v["a"], v["S"]) + ops.scale(v["b"], (v["v"] - v["S"] @ v["k"]) @ v["k"].T)
            ),
        ),
    )
)


def _gated_error(ops: Any, v: Any) -> Any:
    S = ops.scale(v["alpha_t"], v["S_n"])
    return -ops.scale(v["beta_t"], S @ v["k"] - v["v"])


_GATED = Induction(
    {
        "S": Invariant(
            closed=lambda ops, v, s: shared(ops, v, s["c"], s["E"]),
            base=SHARE_BASE,
            step=(
                Step(
                    DIFFERENTIATE,
                    lambda ops, v: (
                        ops.scale(v["alpha_t"], v["S_n"])
                        - ops.scale(
                            v["beta_t"],
                            (ops.scale(v["alpha_t"], v["S_n"]) @ v["k"] - v["v"]) @ v["k"].T,
                        )
                    ),
                ),
                Step(
                    EXPAND,
                    lambda ops, v: (
                        ops.scale(v["alpha_t"], v["S_n"]) + _gated_error(ops, v) @ v["k"].T
                    ),
                ),
                Step(
                    "hypothesis",
                    lambda ops, v: (
                        ops.scale(v["alpha_t"], so_far(ops, v)) + _gated_error(ops, v) @ v["k"].T
                    ),
                ),
                Step(
                    EXPAND,
                    lambda ops, v: (
                        ops.scale(ops.scale(v["alpha_t"], v["c_n"]), v["W"])
                        + ops.scale(v["alpha_t"], v["E_n"]) @ v["K_n"].T
                        + _gated_error(ops, v) @ v["k"].T
                    ),
                ),
                Step(
                    BLOCKS,
                    lambda ops, v: (
                        ops.scale(ops.scale(v["alpha_t"], v["c_n"]), v["W"])
                        + appended(ops, v, ops.scale(v["alpha_t"], v["E_n"]), _gated_error(ops, v))
                    ),
                ),
            ),
        )
    }
)
DELTA: dict[str, Derivation] = {
    "delta-rule-step": _delta(lambda ops, v: v["S"]),
    "gated-delta-step": _delta(lambda ops, v: ops.scale(v["a"], v["S"])),
    "penalised-delta-step": _PENALISED,
    "channel-delta-step": _delta(lambda ops, v: v["S"] @ ops.diag(v["a"])),
    "gated-delta-dual": _GATED,
}
