"""Longhorn's implicit step. b c with c = (1 + k^T k b)^(-1) is epsilon, p = k^T k b."""

from typing import Any

from proofs.derivations.variants.parts import (
    residual,
)
from proofs.rules import CANCEL, DIFFERENTIATE, EXPAND, IDENTITY, INVERSE, UNITS
from proofs.statements.variants import epsilon
from proofs.steps import Derivation, Direct, Step


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
            lambda ops, v: v["S"] - ops.scale(v["b"], residual(v, _arrived(ops, v)) @ v["k"].T),
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
                + ops.scale(v["b"], residual(v, _arrived(ops, v)) @ v["k"].T)
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
LONGHORN: dict[str, Derivation] = {
    "longhorn-implicit-step": _IMPLICIT,
    "longhorn-first-order-condition": _FIRST_ORDER,
}
