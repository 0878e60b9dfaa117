"""Derivations of section C."""

from typing import Any

from proofs.rules import BLOCKS, CANCEL, DIFFERENTIATE, EXPAND, IDENTITY, INVERSE, UNITS
from proofs.statements.variants import epsilon, erase, write
from proofs.steps import Derivation, Direct, Induction, Invariant, Step


def _residual(v: Any, S: Any) -> Any:
    return S @ v["k"] - v["v"]


def _delta(start: Any) -> Direct:
    """From start - b (start k - v) k^T to start (I - b k k^T) + b v k^T."""
    return Direct(
        (
            Step(
                DIFFERENTIATE,
                lambda ops, v: (
                    start(ops, v) - ops.scale(v["b"], _residual(v, start(ops, v)) @ v["k"].T)
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


def _outer(v: Any) -> Any:
    return v["v"] @ v["k"].T


# Longhorn: b c with c = (1 + k^T k b)^(-1) is epsilon, p = k^T k b.


def _p(v: Any) -> Any:
    return (v["k"].T @ v["k"]) @ v["b"]


def _total(ops: Any, v: Any) -> Any:
    return ops.identity(v["b"]) + _p(v)


def _c(ops: Any, v: Any) -> Any:
    return ops.inverse(_total(ops, v))


def _with(v: Any, middle: Any) -> Any:
    """S - S k (middle) k^T + v (middle) k^T."""
    return v["S"] - v["S"] @ v["k"] @ middle @ v["k"].T + v["v"] @ middle @ v["k"].T


def _with_two(v: Any, first: Any, second: Any) -> Any:
    """S - S k (first - second) k^T + v (first - second) k^T, multiplied out."""
    Sk, x, k = v["S"] @ v["k"], v["v"], v["k"].T
    return v["S"] - Sk @ first @ k + Sk @ second @ k + x @ first @ k - x @ second @ k


def _scaled_out(ops: Any, v: Any, Sk: Any) -> Any:
    """The same with b in front: S - b S k k^T + b S k e k^T k k^T + b v k^T - b v e k^T k k^T."""
    k, e, b = v["k"].T, epsilon(ops, v), v["b"]
    inner = e @ (k @ v["k"])
    return (
        v["S"]
        - ops.scale(b, Sk @ k)
        + ops.scale(b, v["S"] @ v["k"] @ inner @ k)
        + ops.scale(b, v["v"] @ k)
        - ops.scale(b, v["v"] @ inner @ k)
    )


def _arrived(ops: Any, v: Any) -> Any:
    """S (I - k e k^T) + v e k^T."""
    e = epsilon(ops, v)
    kk = v["k"] @ e @ v["k"].T
    return v["S"] @ (ops.identity(v["k"]) - kk) + v["v"] @ e @ v["k"].T


_IMPLICIT = Direct(
    (
        Step(
            EXPAND,
            lambda ops, v: (
                v["S"] @ ops.identity(v["k"])
                - v["S"] @ v["k"] @ epsilon(ops, v) @ v["k"].T
                + v["v"] @ epsilon(ops, v) @ v["k"].T
            ),
        ),
        Step(
            IDENTITY,
            lambda ops, v: _with(v, v["b"] @ _c(ops, v) @ ops.identity(v["b"])),
        ),
        Step(
            CANCEL,
            lambda ops, v: _with(v, v["b"] @ _c(ops, v) @ (_total(ops, v) - _p(v))),
        ),
        Step(
            EXPAND,
            lambda ops, v: _with_two(
                v, v["b"] @ (_c(ops, v) @ _total(ops, v)), v["b"] @ _c(ops, v) @ _p(v)
            ),
        ),
        Step(INVERSE, lambda ops, v: _with_two(v, v["b"], v["b"] @ _c(ops, v) @ _p(v))),
        Step(UNITS, lambda ops, v: _scaled_out(ops, v, v["S"] @ v["k"])),
        Step(
            IDENTITY,
            lambda ops, v: _scaled_out(ops, v, v["S"] @ ops.identity(v["k"]) @ v["k"]),
        ),
        Step(
            EXPAND,
            lambda ops, v: v["S"] - ops.scale(v["b"], _residual(v, _arrived(ops, v)) @ v["k"].T),
        ),
        Step(
            DIFFERENTIATE,
            lambda ops, v: (
                v["S"]
                - ops.scale(
                    v["b"],
                    ops.grad(lambda U: ops.half_square(U @ v["k"] - v["v"]), _arrived(ops, v)),
                )
            ),
        ),
    )
)


def _both_kinds(v: Any, *middles: tuple[int, Any]) -> Any:
    """The sum of +-(v m k^T - S k m k^T) over the given middles m."""
    total = None
    for sign, m in middles:
        one, two = v["v"] @ m @ v["k"].T, v["S"] @ v["k"] @ m @ v["k"].T
        first, second = (one, -two) if sign > 0 else (-one, two)
        total = first + second if total is None else total + first + second
    return total


def _three_kinds(ops: Any, v: Any, c: Any, *one: Any) -> Any:
    """+b c, +b c p and -b in the middle; `one` is the identity behind the first, if it is there."""
    first = v["b"] @ c
    for i in one:
        first = first @ i
    return _both_kinds(v, (1, first), (1, v["b"] @ c @ _p(v)), (-1, v["b"]))


def _stationary(ops: Any, v: Any, S: Any, Sk: Any) -> Any:
    """The gradient multiplied out, S and S k as given (with I in them or not)."""
    k, e, b = v["k"].T, epsilon(ops, v), v["b"]
    inner = e @ (k @ v["k"])
    return (
        S
        - v["S"] @ v["k"] @ e @ k
        + v["v"] @ e @ k
        - v["S"]
        + ops.scale(b, Sk @ k)
        - ops.scale(b, v["S"] @ v["k"] @ inner @ k)
        + ops.scale(b, v["v"] @ inner @ k)
        - ops.scale(b, v["v"] @ k)
    )


_FIRST_ORDER = Direct(
    (
        Step(
            DIFFERENTIATE,
            lambda ops, v: (
                (_arrived(ops, v) - v["S"])
                + ops.scale(v["b"], _residual(v, _arrived(ops, v)) @ v["k"].T)
            ),
        ),
        Step(
            EXPAND,
            lambda ops, v: _stationary(
                ops,
                v,
                v["S"] @ ops.identity(v["k"]),
                v["S"] @ ops.identity(v["k"]) @ v["k"],
            ),
        ),
        Step(IDENTITY, lambda ops, v: _stationary(ops, v, v["S"], v["S"] @ v["k"])),
        Step(
            UNITS,
            lambda ops, v: (v["S"] - v["S"]) + _three_kinds(ops, v, _c(ops, v)),
        ),
        Step(
            CANCEL,
            lambda ops, v: _three_kinds(ops, v, _c(ops, v)),
        ),
        Step(
            IDENTITY,
            lambda ops, v: _three_kinds(ops, v, _c(ops, v), ops.identity(v["b"])),
        ),
        Step(
            EXPAND,
            lambda ops, v: _both_kinds(
                v, (1, v["b"] @ (_c(ops, v) @ _total(ops, v))), (-1, v["b"])
            ),
        ),
        Step(INVERSE, lambda ops, v: _both_kinds(v, (1, v["b"]), (-1, v["b"]))),
        Step(CANCEL, lambda ops, v: ops.zeros_like(v["S"])),
    )
)


def _recall_and_penalty(ops: Any, v: Any) -> tuple[Any, Any]:
    """(S k - v) k^T and (1 - a) b^(-1)."""
    weight = (ops.identity(v["a"]) - v["a"]) @ ops.inverse(v["b"])
    return _residual(v, v["S"]) @ v["k"].T, weight


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


# The recurrences of whole layers.


def _shared(ops: Any, v: Any, c: Any, E: Any) -> Any:
    """c W + E K^T."""
    return ops.scale(c, v["W"]) + E @ v["K"].T


def _share_base(ops: Any, v: Any) -> Any:
    return ops.scale(ops.identity(ops.ones(v["W"])), v["W"])


_SHARE_BASE = (
    Step(IDENTITY, _share_base),
    Step(CANCEL, lambda ops, v: _share_base(ops, v) + ops.empty(v["V"]) @ v["K"].T),
)


def _so_far(ops: Any, v: Any) -> Any:
    return ops.scale(v["c_n"], v["W"]) + v["E_n"] @ v["K_n"].T


def _appended(ops: Any, v: Any, E: Any, e: Any) -> Any:
    return ops.hcat(E, e) @ ops.hcat(v["K_n"], v["k"]).T


def _gated_error(ops: Any, v: Any) -> Any:
    S = ops.scale(v["alpha_t"], v["S_n"])
    return -ops.scale(v["beta_t"], S @ v["k"] - v["v"])


_GATED = Induction(
    {
        "S": Invariant(
            closed=lambda ops, v, s: _shared(ops, v, s["c"], s["E"]),
            base=_SHARE_BASE,
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
                        ops.scale(v["alpha_t"], _so_far(ops, v)) + _gated_error(ops, v) @ v["k"].T
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
                        + _appended(ops, v, ops.scale(v["alpha_t"], v["E_n"]), _gated_error(ops, v))
                    ),
                ),
            ),
        )
    }
)


def _doubled(ops: Any, rate: Any, r: Any) -> Any:
    """-rate (r + r)."""
    return -ops.scale(rate, r + r)


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
                    lambda ops, v: v["S_n"] + _doubled(ops, v["eta"], _ttt_residual(v)) @ v["k"].T,
                ),
                Step(
                    "hypothesis",
                    lambda ops, v: (
                        v["W"]
                        + v["E_n"] @ v["K_n"].T
                        + _doubled(ops, v["eta"], _ttt_residual(v)) @ v["k"].T
                    ),
                ),
                Step(
                    BLOCKS,
                    lambda ops, v: (
                        v["W"]
                        + _appended(ops, v, v["E_n"], _doubled(ops, v["eta"], _ttt_residual(v)))
                    ),
                ),
            ),
        )
    }
)


def _titans_error(ops: Any, v: Any) -> Any:
    return _doubled(ops, v["theta_t"], v["M_n"] @ v["k"] - v["v"])


def _titans_gradient(ops: Any, v: Any) -> Any:
    r = v["M_n"] @ v["k"] - v["v"]
    return ops.scale(v["theta_t"], r @ v["k"].T + r @ v["k"].T)


def _eta(ops: Any, v: Any, a: Any) -> Any:
    return ops.scale(v["eta_t"], a)


def _alpha(ops: Any, v: Any, a: Any) -> Any:
    return ops.scale(v["alpha_t"], a)


_TITANS = Induction(
    {
        "M": Invariant(
            closed=lambda ops, v, s: _shared(ops, v, s["c"], s["E"]),
            base=_SHARE_BASE,
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
                        _so_far(ops, v)
                        - _alpha(ops, v, _so_far(ops, v))
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
                        + _appended(ops, v, _titans_errors(ops, v), _titans_error(ops, v))
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
                    lambda ops, v: _appended(ops, v, _eta(ops, v, v["F_n"]), _titans_error(ops, v)),
                ),
            ),
        ),
    }
)


def _titans_errors(ops: Any, v: Any) -> Any:
    return v["E_n"] - _alpha(ops, v, v["E_n"]) + _eta(ops, v, v["F_n"])


def _decay_apart(ops: Any, v: Any, middle: Any) -> Any:
    """(a c) W + V_n diag(a A) K_n^T + v (middle) k^T."""
    row = ops.scale(v["alpha_t"], v["A_n"])
    return (
        ops.scale(ops.scale(v["alpha_t"], v["c_n"]), v["W"])
        + v["V_n"] @ ops.diag(row.T) @ v["K_n"].T
        + v["v"] @ middle @ v["k"].T
    )


_DECAYED = Induction(
    {
        "S": Invariant(
            closed=lambda ops, v, s: (
                ops.scale(s["c"], v["W"]) + v["V"] @ ops.diag(s["A"].T) @ v["K"].T
            ),
            base=(
                Step(IDENTITY, _share_base),
                Step(
                    CANCEL,
                    lambda ops, v: (
                        _share_base(ops, v)
                        + v["V"] @ ops.diag(ops.empty(ops.identity(ops.ones(v["W"]))).T) @ v["K"].T
                    ),
                ),
            ),
            step=(
                Step(
                    "hypothesis",
                    lambda ops, v: (
                        ops.scale(
                            v["alpha_t"],
                            ops.scale(v["c_n"], v["W"])
                            + v["V_n"] @ ops.diag(v["A_n"].T) @ v["K_n"].T,
                        )
                        + ops.scale(v["beta_t"], v["v"] @ v["k"].T)
                    ),
                ),
                Step(
                    EXPAND,
                    lambda ops, v: (
                        ops.scale(ops.scale(v["alpha_t"], v["c_n"]), v["W"])
                        + v["V_n"] @ ops.diag(ops.scale(v["alpha_t"], v["A_n"]).T) @ v["K_n"].T
                        + ops.scale(v["beta_t"], v["v"] @ v["k"].T)
                    ),
                ),
                Step(UNITS, lambda ops, v: _decay_apart(ops, v, ops.diag(v["beta_t"].T))),
                Step(
                    BLOCKS,
                    lambda ops, v: (
                        ops.scale(ops.scale(v["alpha_t"], v["c_n"]), v["W"])
                        + ops.hcat(v["V_n"], v["v"])
                        @ ops.diag(ops.hcat(ops.scale(v["alpha_t"], v["A_n"]), v["beta_t"]).T)
                        @ ops.hcat(v["K_n"], v["k"]).T
                    ),
                ),
            ),
        )
    }
)

_CHANNEL_DECAYED = Induction(
    {
        "S": Invariant(
            closed=lambda ops, v, s: s["D"] + v["V"] @ s["P"].T,
            base=(Step(CANCEL, lambda ops, v: v["W"] + v["V"] @ ops.empty(v["K"]).T),),
            step=(
                Step(
                    "hypothesis",
                    lambda ops, v: (
                        (v["D_n"] + v["V_n"] @ v["P_n"].T) @ ops.diag(v["a"]) + v["v"] @ v["k"].T
                    ),
                ),
                Step(
                    EXPAND,
                    lambda ops, v: (
                        v["D_n"] @ ops.diag(v["a"])
                        + v["V_n"] @ (ops.diag(v["a"]) @ v["P_n"]).T
                        + v["v"] @ v["k"].T
                    ),
                ),
                Step(
                    BLOCKS,
                    lambda ops, v: (
                        v["D_n"] @ ops.diag(v["a"])
                        + ops.hcat(v["V_n"], v["v"])
                        @ ops.hcat(ops.diag(v["a"]) @ v["P_n"], v["k"]).T
                    ),
                ),
            ),
        )
    }
)

VARIANTS: dict[str, Derivation] = {
    "scalar-decay-step": Direct(
        (
            Step(
                DIFFERENTIATE,
                lambda ops, v: (
                    v["S"] - (ops.scale(ops.identity(v["a"]) - v["a"], v["S"]) - _outer(v))
                ),
            ),
            Step(
                EXPAND,
                lambda ops, v: (
                    v["S"]
                    - ops.scale(ops.identity(v["a"]), v["S"])
                    + ops.scale(v["a"], v["S"])
                    + _outer(v)
                ),
            ),
            Step(
                IDENTITY,
                lambda ops, v: v["S"] - v["S"] + ops.scale(v["a"], v["S"]) + _outer(v),
            ),
            Step(CANCEL, lambda ops, v: ops.scale(v["a"], v["S"]) + _outer(v)),
        )
    ),
    "channel-decay-step": Direct(
        (
            Step(
                DIFFERENTIATE,
                lambda ops, v: (
                    v["S"] - (v["S"] @ ops.diag(ops.ones(v["S"]).T - v["a"]) - _outer(v))
                ),
            ),
            Step(
                EXPAND,
                lambda ops, v: (
                    v["S"]
                    - v["S"] @ ops.diag(ops.ones(v["S"]).T)
                    + v["S"] @ ops.diag(v["a"])
                    + _outer(v)
                ),
            ),
            Step(
                IDENTITY,
                lambda ops, v: v["S"] - v["S"] + v["S"] @ ops.diag(v["a"]) + _outer(v),
            ),
            Step(CANCEL, lambda ops, v: v["S"] @ ops.diag(v["a"]) + _outer(v)),
        )
    ),
    "delta-rule-step": _delta(lambda ops, v: v["S"]),
    "gated-delta-step": _delta(lambda ops, v: ops.scale(v["a"], v["S"])),
    "penalised-delta-step": _PENALISED,
    "channel-delta-step": _delta(lambda ops, v: v["S"] @ ops.diag(v["a"])),
    "longhorn-implicit-step": _IMPLICIT,
    "longhorn-first-order-condition": _FIRST_ORDER,
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
    "decayed-recurrence": _DECAYED,
    "channel-decayed-recurrence": _CHANNEL_DECAYED,
    "gated-delta-dual": _GATED,
    "ttt-linear-dual": _TTT,
    "titans-dual": _TITANS,
}
