"""The slow twins of the one-state rules: the update as written, token by token.

A step maps the state S [..., d_v, d_k] and one token k [..., 1, d_k], v [..., 1, d_v] and its gates
[..., 1, 1] or [..., 1, d_k] to the next state; rows stand for columns, so S k is k S^T.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dualform.variants.arithmetic import Array, full, identity
from dualform.variants.layout import joined

Gates = Mapping[str, Array]
Step = Callable[[Array, Array, Array, Gates], Array]


def token_by_token(
    step: Step, q: Array, k: Array, v: Array, gates: Gates, state: Array
) -> tuple[Array, Array]:
    """o_t = S_t q_t after S_t = step(S_{t-1}); [..., T, d_v] and the last state."""
    outputs = []
    for t in range(k.shape[-2]):
        now = slice(t, t + 1)
        at_t = {name: gate[..., now, :] for name, gate in gates.items()}
        state = step(state, k[..., now, :], v[..., now, :], at_t)
        outputs.append(q[..., now, :] @ state.mT)
    return joined(outputs, q, v.shape[-1]), state


def linear_attention(S: Array, k: Array, v: Array, gates: Gates) -> Array:
    """S + v k^T."""
    return S + v.mT @ k


def decayed(S: Array, k: Array, v: Array, gates: Gates) -> Array:
    """a S + v k^T, or S Diag(a) + v k^T."""
    return S * gates["decay"] + v.mT @ k


def _erased(S: Array, k: Array, rate: Array) -> Array:
    """S (I - b k k^T)."""
    return S @ (identity(k, k.shape[-1]) - rate * (k.mT @ k))


def delta_rule(S: Array, k: Array, v: Array, gates: Gates) -> Array:
    """S (I - b k k^T) + b v k^T."""
    b = gates["beta"]
    return _erased(S, k, b) + b * (v.mT @ k)


def gated_delta_rule(S: Array, k: Array, v: Array, gates: Gates) -> Array:
    """a S (I - b k k^T) + b v k^T, a per token or per channel of the key."""
    b = gates["beta"]
    return _erased(S * gates["decay"], k, b) + b * (v.mT @ k)


def undecayed_residual(S: Array, k: Array, v: Array, gates: Gates) -> Array:
    """a S + b (v - S k) k^T."""
    return gates["decay"] * S + gates["beta"] * ((v - k @ S.mT).mT @ k)


def longhorn(S: Array, k: Array, v: Array, gates: Gates) -> Array:
    """S (I - e k k^T) + e v k^T, e = b / (1 + b k^T k)."""
    b = gates["beta"]
    e = b / (full(b, (1, 1), 1.0) + b * (k @ k.mT))
    return _erased(S, k, e) + e * (v.mT @ k)
