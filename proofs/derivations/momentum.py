"""Derivations of A8."""

from typing import Any

from proofs.rules import BLOCKS, CANCEL, DISTRIBUTE, EXPAND, IDENTITY, UNITS
from proofs.steps import Derivation, Direct, Induction, Invariant, Step


def _eta(ops: Any, v: Any, a: Any) -> Any:
    return ops.scale(v["eta"], a)


def _diag(ops: Any, a: Any) -> Any:
    return ops.diag(a.T)


def _weighted(ops: Any, v: Any, name: str) -> Any:
    """V diag(row) K^T over the examples so far."""
    return v["V_n"] @ _diag(ops, v[name]) @ v["K_n"].T


def _over_all(ops: Any, v: Any, row: Any) -> Any:
    """[V v] diag([row 1]) [K k]^T."""
    one = ops.identity(v["eta"])
    V, K = ops.hcat(v["V_n"], v["v"]), ops.hcat(v["K_n"], v["k"])
    return V @ ops.diag(ops.hcat(row, one).T) @ K.T


def _parts(ops: Any, v: Any, row: Any) -> Any:
    """V_n diag(row) K_n^T + v diag(1) k^T."""
    one = ops.identity(v["eta"])
    return v["V_n"] @ ops.diag(row.T) @ v["K_n"].T + v["v"] @ ops.diag(one.T) @ v["k"].T


def _one(ops: Any, v: Any, row: Any) -> Any:
    """V_n diag(row) K_n^T + v 1 k^T."""
    one = ops.identity(v["eta"])
    return v["V_n"] @ ops.diag(row.T) @ v["K_n"].T + v["v"] @ one @ v["k"].T


def _written(ops: Any, v: Any, row: Any) -> Any:
    """V_n diag(row) K_n^T + v k^T."""
    return v["V_n"] @ ops.diag(row.T) @ v["K_n"].T + v["v"] @ v["k"].T


def _none(ops: Any, v: Any) -> Any:
    """V diag([]) K^T, the sum over no examples."""
    return v["V"] @ _diag(ops, ops.empty(v["eta"])) @ v["K"].T


def _momenta(ops: Any, v: Any) -> Any:
    """What the examples so far weigh in the next momentum: eta F_n."""
    return _eta(ops, v, v["F_n"])


def _weights(ops: Any, v: Any) -> Any:
    """What they weigh in the next state: A_n + eta F_n."""
    return v["A_n"] + _eta(ops, v, v["F_n"])


def _moved(ops: Any, v: Any) -> Any:
    """The next momentum: eta M_n + v k^T, M_n in its closed form."""
    return _eta(ops, v, _weighted(ops, v, "F_n")) + v["v"] @ v["k"].T


def _joined(row: Any, start: Any) -> tuple[Step, ...]:
    """Multiply out, and join v k^T to the sum over the examples so far, weighted by `row`."""
    return (
        Step(EXPAND, lambda ops, v: start(v, _written(ops, v, row(ops, v)))),
        Step(IDENTITY, lambda ops, v: start(v, _one(ops, v, row(ops, v)))),
        Step(UNITS, lambda ops, v: start(v, _parts(ops, v, row(ops, v)))),
        Step(BLOCKS, lambda ops, v: start(v, _over_all(ops, v, row(ops, v)))),
    )


_HEAVY_BALL = Induction(
    {
        "S": Invariant(
            closed=lambda ops, v, s: v["W"] + v["V"] @ _diag(ops, s["A"]) @ v["K"].T,
            base=(Step(CANCEL, lambda ops, v: v["W"] + _none(ops, v)),),
            step=(
                Step(
                    "hypothesis",
                    lambda ops, v: v["W"] + _weighted(ops, v, "A_n") + _moved(ops, v),
                ),
                *_joined(_weights, lambda v, tail: v["W"] + tail),
            ),
        ),
        "M": Invariant(
            closed=lambda ops, v, s: v["V"] @ _diag(ops, s["F"]) @ v["K"].T,
            base=(Step(CANCEL, _none),),
            step=(Step("hypothesis", _moved), *_joined(_momenta, lambda v, tail: tail)),
        ),
    }
)


MOMENTUM: dict[str, Derivation] = {
    "momentum-sum": Induction(
        {
            "M": Invariant(
                closed=lambda ops, v, s: ops.scale(s["c"], v["m"]) + v["V"] @ s["C"].T,
                base=(
                    Step(IDENTITY, lambda ops, v: ops.scale(ops.identity(v["eta"]), v["m"])),
                    Step(
                        CANCEL,
                        lambda ops, v: (
                            ops.scale(ops.identity(v["eta"]), v["m"])
                            + v["V"] @ ops.empty(v["eta"]).T
                        ),
                    ),
                ),
                step=(
                    Step(
                        "hypothesis",
                        lambda ops, v: _eta(
                            ops, v, ops.scale(v["c_n"], v["m"]) + v["V_n"] @ v["C_n"].T + v["v"]
                        ),
                    ),
                    Step(
                        EXPAND,
                        lambda ops, v: (
                            ops.scale(_eta(ops, v, v["c_n"]), v["m"])
                            + v["V_n"] @ _eta(ops, v, v["C_n"]).T
                            + _eta(ops, v, v["v"])
                        ),
                    ),
                    Step(
                        UNITS,
                        lambda ops, v: (
                            ops.scale(_eta(ops, v, v["c_n"]), v["m"])
                            + v["V_n"] @ _eta(ops, v, v["C_n"]).T
                            + v["v"] @ v["eta"].T
                        ),
                    ),
                    Step(
                        BLOCKS,
                        lambda ops, v: (
                            ops.scale(_eta(ops, v, v["c_n"]), v["m"])
                            + ops.hcat(v["V_n"], v["v"])
                            @ ops.hcat(_eta(ops, v, v["C_n"]), v["eta"]).T
                        ),
                    ),
                ),
            )
        }
    ),
    "momentum-attention-is-a-recency-score": Direct(
        (
            Step(
                DISTRIBUTE,
                lambda ops, v: v["V"] @ (v["K"].T @ v["q"] + v["c"]),
            ),
        )
    ),
    "heavy-ball-on-the-update": _HEAVY_BALL,
    "averaged-values-inside-attention": Induction(
        {
            "S": Invariant(
                closed=lambda ops, v, s: v["W"] + s["E"] @ v["K"].T,
                base=(Step(CANCEL, lambda ops, v: v["W"] + ops.empty(v["V"]) @ v["K"].T),),
                step=(
                    Step(
                        "hypothesis",
                        lambda ops, v: (
                            v["W"]
                            + v["E_n"] @ v["K_n"].T
                            + (_eta(ops, v, v["m_n"]) + v["v"]) @ v["k"].T
                        ),
                    ),
                    Step(
                        BLOCKS,
                        lambda ops, v: (
                            v["W"]
                            + ops.hcat(v["E_n"], _eta(ops, v, v["m_n"]) + v["v"])
                            @ ops.hcat(v["K_n"], v["k"]).T
                        ),
                    ),
                ),
            )
        }
    ),
    "momentum-attention-difference": Direct(
        (
            Step(
                EXPAND,
                lambda ops, v: v["V"] @ (v["C"] @ v["p"] - v["p"] - v["c"]),
            ),
            Step(
                IDENTITY,
                lambda ops, v: v["V"] @ (v["C"] @ v["p"] - ops.identity(v["C"]) @ v["p"] - v["c"]),
            ),
            Step(
                EXPAND,
                lambda ops, v: v["V"] @ ((v["C"] - ops.identity(v["C"])) @ v["p"] - v["c"]),
            ),
        )
    ),
}
