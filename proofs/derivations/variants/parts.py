"""What several variants share: a residual, and the closed form of a recurrence so far."""

from typing import Any

from proofs.rules import CANCEL, IDENTITY
from proofs.steps import Step


def residual(v: Any, S: Any) -> Any:
    """The error S k - v of a state."""
    return S @ v["k"] - v["v"]


def outer(v: Any) -> Any:
    """v k^T."""
    return v["v"] @ v["k"].T


def shared(ops: Any, v: Any, c: Any, E: Any) -> Any:
    """c W + E K^T."""
    return ops.scale(c, v["W"]) + E @ v["K"].T


def share_base(ops: Any, v: Any) -> Any:
    """1 W, as the share of the start is one before the first token."""
    return ops.scale(ops.identity(ops.ones(v["W"])), v["W"])


SHARE_BASE = (
    Step(IDENTITY, share_base),
    Step(CANCEL, lambda ops, v: share_base(ops, v) + ops.empty(v["V"]) @ v["K"].T),
)


def so_far(ops: Any, v: Any) -> Any:
    """The closed form after the tokens so far: c_n W + E_n K_n^T."""
    return ops.scale(v["c_n"], v["W"]) + v["E_n"] @ v["K_n"].T


def appended(ops: Any, v: Any, E: Any, e: Any) -> Any:
    """[E e] [K_n k]^T, the errors and keys so far with one block more."""
    return ops.hcat(E, e) @ ops.hcat(v["K_n"], v["k"]).T


def doubled(ops: Any, rate: Any, r: Any) -> Any:
    """-rate (r + r)."""
    return -ops.scale(rate, r + r)
