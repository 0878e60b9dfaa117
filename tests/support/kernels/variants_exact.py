"""Each variant on rational numbers, one head, from its definition alone: nothing here is torch.

Sums over tokens with explicit weights where there is a closed form, else the recurrence entry by
entry; exp and square roots with 60 digits. Rows of q [T][d_k], k [T][d_k], v [T][d_v] are lists.
"""

from collections.abc import Callable
from fractions import Fraction
from math import prod
from typing import Any

import mpmath
import numpy as np

Rows = Any  # object arrays: numpy knows no type for them
Gates = dict[str, Any]
mpmath.mp.dps = 60


def _zeros(*shape: int) -> Rows:
    made = np.empty(shape, dtype=object)
    made.fill(Fraction(0))
    return made


def weighted_sum(q: Rows, k: Rows, v: Rows, gates: Gates) -> list[Rows]:
    """o_t = sum_i v_i sum_c k_ic q_tc (a_{i+1,c} ... a_{t,c})."""
    T, d_k = k.shape
    a = gates.get("decay", np.full((T, 1), Fraction(1), dtype=object)).reshape(T, -1)
    a = np.broadcast_to(a, (T, d_k))
    out = []
    for t in range(T):
        o = _zeros(v.shape[1])
        for i in range(t + 1):
            for c in range(d_k):
                o = o + v[i] * (k[i, c] * q[t, c] * prod(a[i + 1 : t + 1, c], start=Fraction(1)))
        out.append(o)
    return out


def _residual(
    decay_first: bool, rate: Callable[[Rows, Fraction], Fraction]
) -> Callable[[Rows, Rows, Rows, Gates], list[Rows]]:
    """S + rate (v - S k) k^T, the gradient after or before the decay, entry by entry."""

    def run(q: Rows, k: Rows, v: Rows, gates: Gates) -> list[Rows]:
        T, d_k = k.shape
        S, out = _zeros(v.shape[1], d_k), []
        for t in range(T):
            a = gates["decay"][t] if "decay" in gates else Fraction(1)
            decayed = S * a
            read = (decayed if decay_first else S).dot(k[t]) if d_k else _zeros(v.shape[1])
            S = decayed + np.multiply.outer((v[t] - read) * rate(k[t], gates["beta"][t]), k[t])
            out.append(S.dot(q[t]))
        return out

    return run


def _plain(k: Rows, b: Fraction) -> Fraction:
    return b


def _implicit(k: Rows, b: Fraction) -> Fraction:
    return b / (1 + b * k.dot(k))


def ttt(q: Rows, k: Rows, v: Rows, gates: Gates, batch: int) -> list[Rows]:
    """W = W_s - sum of rate times the gradient at W_s."""
    start, out = _zeros(v.shape[1], k.shape[1]), []
    for t in range(len(k)):
        first = t - t % batch
        W = start
        for i in range(first, t + 1):
            W = W - gates["rate"][i] * 2 * np.multiply.outer(start.dot(k[i]) - v[i], k[i])
        out.append(W.dot(q[t]))
        start = W if (t + 1) % batch == 0 else start
    return out


def titans(q: Rows, k: Rows, v: Rows, gates: Gates) -> list[Rows]:
    """M and all past gradients, S_t = -sum_i (eta_{i+1} ... eta_t) theta_i gradient_i."""
    M, gradients, out = _zeros(v.shape[1], k.shape[1]), [], []
    for t in range(len(k)):
        gradients.append(2 * np.multiply.outer(M.dot(k[t]) - v[t], k[t]))
        S = _zeros(*M.shape)
        for i, g in enumerate(gradients):
            S = S - prod(gates["eta"][i + 1 : t + 1], start=Fraction(1)) * gates["theta"][i] * g
        M = (1 - gates["alpha"][t]) * M + S
        out.append(M.dot(q[t]))
    return out


def _inverse_times(A: Rows, b: Rows) -> Rows:
    """A^{-1} b for at most two unknowns, by Cramer's rule."""
    if len(b) == 1:
        return np.array([b[0] / A[0, 0]], dtype=object)
    det = A[0, 0] * A[1, 1] - A[0, 1] * A[1, 0]
    x = [A[1, 1] * b[0] - A[0, 1] * b[1], A[0, 0] * b[1] - A[1, 0] * b[0]]
    return np.array([x[0] / det, x[1] / det], dtype=object)


def mesa(q: Rows, k: Rows, v: Rows, gates: Gates, ridge: Rows) -> list[Rows]:
    """Both weighted sums afresh for every token."""
    out = []
    for t in range(len(k)):
        G, H = _zeros(v.shape[1], k.shape[1]), _zeros(k.shape[1], k.shape[1])
        for i in range(t + 1):
            w = gates["beta"][i] * prod(gates["gamma"][i + 1 : t + 1], start=Fraction(1))
            G, H = G + w * np.multiply.outer(v[i], k[i]), H + w * np.multiply.outer(k[i], k[i])
        for c, x in enumerate(ridge):
            H[c, c] += x
        out.append(G.dot(_inverse_times(H, q[t])))
    return out


def _real(x: Fraction) -> Any:
    return mpmath.mpf(x.numerator) / x.denominator


def _softmax(q: Rows, k: Rows, values: Rows) -> Rows:
    root = mpmath.sqrt(max(k.shape[1], 1))
    p = [mpmath.exp(_real(row.dot(q)) / root) for row in k]
    total = mpmath.fsum(p)
    return np.array(
        [mpmath.fsum(w * _real(x) for w, x in zip(p, c, strict=True)) / total for c in values.T]
    )


def beside(q: Rows, k: Rows, v: Rows, gates: Gates, eta: Fraction) -> list[Rows]:
    """softmax attention + sum_{i < t} eta^(t-i) v_i."""
    out = []
    for t in range(len(k)):
        m = sum((eta ** (t - i) * v[i] for i in range(t)), start=_zeros(v.shape[1]))
        soft = _softmax(q[t], k[: t + 1], v[: t + 1])
        out.append(np.array([s + _real(x) for s, x in zip(soft, m, strict=True)]))
    return out


def inside(q: Rows, k: Rows, v: Rows, gates: Gates, eta: Fraction) -> list[Rows]:
    """Softmax attention over sum_{j <= i} eta^(i-j) v_j."""
    w = [
        sum((eta ** (i - j) * v[j] for j in range(i + 1)), start=_zeros(v.shape[1]))
        for i in range(len(k))
    ]
    return [_softmax(q[t], k[: t + 1], np.array(w[: t + 1], dtype=object)) for t in range(len(k))]


EXACT: dict[str, Callable[..., list[Rows]]] = {
    "linear_attention": weighted_sum,
    "scalar_decay": weighted_sum,
    "channel_decay": weighted_sum,
    "delta_rule": _residual(True, _plain),
    "gated_delta_rule": _residual(True, _plain),
    "undecayed_residual": _residual(False, _plain),
    "kda": _residual(True, _plain),
    "longhorn": _residual(True, _implicit),
    "ttt_linear": ttt,
    "titans": titans,
    "mesa": mesa,
    "momentum_attention": beside,
    "ema_value_attention": inside,
}
