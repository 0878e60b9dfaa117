"""What several variants share: shapes of variables, writes, residuals and closed forms."""

from typing import Any

PAIR = {"S": ("o", "h"), "k": ("h", "1"), "v": ("o", "1")}
A, B = {"a": ("1", "1")}, {"b": ("1", "1")}
CHANNELS = {"a": ("h", "1")}
TOKENS = {"W": ("o", "h"), "V": ("o", "n"), "K": ("h", "n")}
GATES = TOKENS | {"alpha": ("1", "n"), "beta": ("1", "n")}


def erase(ops: Any, v: Any) -> Any:
    """I - b k k^T."""
    return ops.identity(v["k"]) - ops.scale(v["b"], v["k"] @ v["k"].T)


def write(ops: Any, v: Any) -> Any:
    """b v k^T."""
    return ops.scale(v["b"], v["v"] @ v["k"].T)


def recall(ops: Any, v: Any) -> Any:
    """The objective |U k - v|^2 / 2 as a function of U."""
    return lambda U: ops.half_square(U @ v["k"] - v["v"])


def delta_step(ops: Any, v: Any, start: Any) -> Any:
    """One step of rate b on |U k - v|^2 / 2 from `start`."""
    return start - ops.scale(v["b"], ops.grad(recall(ops, v), start))


def square(ops: Any, at: Any, k: Any, x: Any) -> Any:
    """The gradient of |U k - x|^2, without one half."""
    return ops.grad(lambda U: ops.inner(U @ k - x, U @ k - x), at)


def one(ops: Any, v: Any) -> Any:
    """The number one, as a 1 x 1 matrix."""
    return ops.identity(ops.ones(v["W"]))


def outer(v: Any) -> Any:
    """v k^T."""
    return v["v"] @ v["k"].T


def share_and_errors(ops: Any, v: Any, s: Any) -> Any:
    """c W + E K^T."""
    return ops.scale(s["c"], v["W"]) + s["E"] @ v["K"].T
