"""Titans: descent with momentum and weight decay."""

from typing import Any

from proofs.derivations.variants.parts import (
    SHARE_BASE,
    appended,
    doubled,
    shared,
    so_far,
)
from proofs.rules import BLOCKS, CANCEL, DIFFERENTIATE, EXPAND
from proofs.steps import Derivation, Induction, Invariant, Step


def _titans_error(ops: Any, v: Any) -> Any:
    return doubled(ops, v["theta_t"], v["M_n"] @ v["k"] - v["v"])


def _titans_gradient(ops: Any, v: Any) -> Any:
    r = v["M_n"] @ v["k"] - v["v"]
    return ops.scale(v["theta_t"], r @ v["k"].T + r @ v["k"].T)


def _eta(ops: Any, v: Any, a: Any) -> Any:
    return ops.scale(v["eta_t"], a)


def _alpha(ops: Any, v: Any, a: Any) -> Any:
    return ops.scale(v["alpha_t"], a)


def _titans_errors(ops: Any, v: Any) -> Any:
    return v["E_n"] - _alpha(ops, v, v["E_n"]) + _eta(ops, v, v["F_n"])


_TITANS = Induction(
    {
        "M": Invariant(
            closed=lambda ops, v, s: shared(ops, v, s["c"], s["E"]),
            base=SHARE_BASE,
            step=(
                Step(
                    DIFFERENTIATE,
                    lambda ops, v: (
                        v["M_n"]
                        - _alpha(ops, v, v["M_n"])
                        + (_eta(ops, v, v["P_n"]) - _titans_gradient(ops, v))
                    ),
                ),
                Step(
                    EXPAND,
                    lambda ops, v: (
                        v["M_n"]
                        - _alpha(ops, v, v["M_n"])
                        + (_eta(ops, v, v["P_n"]) + _titans_error(ops, v) @ v["k"].T)
                    ),
                ),
                Step(
                    "hypothesis",
                    lambda ops, v: (
                        so_far(ops, v)
                        - _alpha(ops, v, so_far(ops, v))
                        + (_eta(ops, v, v["F_n"] @ v["K_n"].T) + _titans_error(ops, v) @ v["k"].T)
                    ),
                ),
                Step(
                    EXPAND,
                    lambda ops, v: (
                        ops.scale(v["c_n"] - _alpha(ops, v, v["c_n"]), v["W"])
                        + _titans_errors(ops, v) @ v["K_n"].T
                        + _titans_error(ops, v) @ v["k"].T
                    ),
                ),
                Step(
                    BLOCKS,
                    lambda ops, v: (
                        ops.scale(v["c_n"] - _alpha(ops, v, v["c_n"]), v["W"])
                        + appended(ops, v, _titans_errors(ops, v), _titans_error(ops, v))
                    ),
                ),
            ),
        ),
        "P": Invariant(
            closed=lambda ops, v, s: s["F"] @ v["K"].T,
            base=(Step(CANCEL, lambda ops, v: ops.empty(v["V"]) @ v["K"].T),),
            step=(
                Step(
                    DIFFERENTIATE,
                    lambda ops, v: _eta(ops, v, v["P_n"]) - _titans_gradient(ops, v),
                ),
                Step(
                    EXPAND,
                    lambda ops, v: _eta(ops, v, v["P_n"]) + _titans_error(ops, v) @ v["k"].T,
                ),
                Step(
                    "hypothesis",
                    lambda ops, v: (
                        _eta(ops, v, v["F_n"] @ v["K_n"].T) + _titans_error(ops, v) @ v["k"].T
                    ),
                ),
                Step(
                    EXPAND,
                    lambda ops, v: (
                        _eta(ops, v, v["F_n"]) @ v["K_n"].T + _titans_error(ops, v) @ v["k"].T
                    ),
                ),
                Step(
                    BLOCKS,
                    lambda ops, v: appended(ops, v, _eta(ops, v, v["F_n"]), _titans_error(ops, v)),
                ),
            ),
        ),
    }
)
TITANS: dict[str, Derivation] = {
    "titans-dual": _TITANS,
}
