"""Softmax attention over context and query as a mixture, under a derived rounding bound.

F_ICL = (1 - l) F_ZSL + l F_demo with l = Z_demo / (Z_demo + Z_query): the zero-shot term shrinks.
Given scores s and values V, every operation carries a running error bound. Scores are what softmax
sees: scaling q^T k, through a soft cap, plus scores of positions, of the tokens inside the window.
Letters: H heads, h head width, n context tokens, m query tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dualform.elementary import exp, over
from dualform.rounding import Tracked, compare, rounded, unit_roundoff
from empirical.identities.comparison import DirectComparison, LayerComparison, Need, Sides
from empirical.identities.layer_capture import LayerCapture, keys_and_values


def _masses(s: Tensor, top: Tensor) -> Tracked:
    """exp(s - top), s [H,1,T]; any `top` gives the same mixture, the maximum avoids overflow."""
    return exp(Tracked(s) - Tracked(top.expand_as(s)))


def _total(w: Tracked) -> Tracked:
    return w @ Tracked(w.value.new_ones(w.value.shape[-1], 1))


def _attention(s: Tensor, v: Tensor) -> Tracked:
    """Softmax attention [H,h,1]."""
    w = _masses(s, s.amax(-1, keepdim=True))
    return over(Tracked(v) @ w.T, _total(w))


def sides(
    s_demo: Tensor, s_query: Tensor, v_demo: Tensor, v_query: Tensor
) -> tuple[Tracked, Tracked, Tracked]:
    """F_ICL, the mixture, and the near miss F_ZSL + l F_demo, each [H,h,1].

    s_demo [H,1,n], s_query [H,1,m] (scores as softmax sees them) and v_demo [H,h,n], v_query
    [H,h,m] are taken as exact. Source: Dai section 3.1 without its relaxation; He et al.
    2110.04366, eq. 5.
    """
    s, v = torch.cat([s_demo, s_query], -1), torch.cat([v_demo, v_query], -1)
    top = s.amax(-1, keepdim=True)
    z_demo, z_query = _total(_masses(s_demo, top)), _total(_masses(s_query, top))
    z = z_demo + z_query
    share_demo, share_query = over(z_demo, z), over(z_query, z)
    zsl, demo = _attention(s_query, v_query), _attention(s_demo, v_demo)
    added = share_demo.times(demo)
    return _attention(s, v), share_query.times(zsl) + added, zsl + added


def scores(
    q: Tensor, k: Tensor, scaling: float, softcap: float | None, bias: Tensor | None
) -> Tensor:
    """[H,1,T] of q [H,h,1] and k [H,h,T]; bias [H,T]."""
    s = q.mT @ k * scaling
    if softcap is not None:
        s = softcap * torch.tanh(s / softcap)
    return s if bias is None else s + bias[:, None]


def layer_scores(at: LayerCapture) -> tuple[Tensor, Tensor, Tensor]:
    """Scores [H,1,T] as softmax sees them, those without cap and bias, and V [H,h,T].

    Over the tokens that the last one sees, in the capture's dtype.
    """
    seen = slice(at.first, at.tokens.shape[1])
    k, v = keys_and_values(at, seen)
    bias = None if at.bias is None else at.bias[:, seen]
    plain = scores(at.q, k, at.scaling, None, None)
    if at.softcap is None and bias is None:
        return plain, plain, v
    return scores(at.q, k, at.scaling, at.softcap, bias), plain, v


def _split(at: LayerCapture) -> tuple[Sides]:
    """`sides` over the tokens that the last one sees."""
    s, _, v = layer_scores(at)
    n = at.shown.stop - at.shown.start
    left, right, near = sides(s[..., :n], s[..., n:], v[..., :n], v[..., n:])
    return (Sides(left=left, right=right, near=near, coincides=_unseen(s, n, left, near)),)


def _unseen(s: Tensor, n: int, left: Tracked, near: Tracked) -> list[str | None]:
    """Heads whose near miss is true by a mass on the demonstrations under their rounding."""
    mass = torch.softmax(s.double(), -1)[:, 0, :n].sum(-1)
    least = s.shape[-1] * unit_roundoff(s)
    reason = "softmax gives the demonstrations less than it rounds away"
    found: list[str | None] = []
    for head, m in enumerate(mass):
        pair = (Tracked(x.value[head], x.error[head]) for x in (left, near))
        found.append(reason if float(m) < least and compare(*pair).worst_ratio <= 1 else None)
    return found


# torch.tanh errs by at most 1 ulp (SLEEF) or 2 ulp (CUDA); an ulp is at most 2u.
TANH_ULPS = 2


def tanh(a: Tracked) -> Tracked:
    """tanh, whose slope is one at most."""
    value = a.value.tanh()
    own = 2 * TANH_ULPS * unit_roundoff(value) * value.double().abs()
    return rounded(value, a.read() + own)


def constant(c: float, like: Tensor) -> Tracked:
    """A number that a dtype may have to round."""
    value = like.new_full((1, 1), c)
    return Tracked(value, unit_roundoff(value) * value.double().abs())


def from_scratch(
    q: Tracked, k: Tracked, v: Tracked, scaling: float, softcap: float | None, bias: Tensor | None
) -> Tracked:
    """Softmax attention [H,h,1] in the order of the models: scores, weights that sum to 1, product.

    q [H,h,1], k and v [H,h,T], bias [H,T].
    """
    like = v.value
    s = (q.T @ k).times(constant(scaling, like))
    if softcap is not None:
        s = tanh(s.times(constant(1 / softcap, like))).times(constant(softcap, like))
    if bias is not None:
        b = bias[:, None].to(like.dtype)
        s = s + Tracked(b, unit_roundoff(b) * b.double().abs())
    top = s.value.amax(-1, keepdim=True).expand_as(s.value)
    w = exp(s - Tracked(top))
    return v @ over(w, _total(w)).T


COMPARISONS: tuple[LayerComparison, ...] = (
    DirectComparison(id="softmax-split", needs=frozenset({Need.DEMONSTRATIONS}), sides=_split),
)
