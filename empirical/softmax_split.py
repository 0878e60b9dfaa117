"""Softmax attention over context and query as a mixture, under a derived rounding bound.

F_ICL = (1 - l) F_ZSL + l F_demo with l = Z_demo / (Z_demo + Z_query): the zero-shot term shrinks.
Given scores s and values V, every operation carries a running error bound. Letters: H heads,
h head width, n context tokens, m query tokens.
"""

import torch
from torch import Tensor

from dualform.rounding import Tracked, rounded, unit_roundoff

# torch.exp errs by at most 1 ulp on a CPU (SLEEF u10, or MKL in its high-accuracy mode) and 2 ulp
# in float32 on CUDA (CUDA programming guide, table of maximum ulp errors); an ulp is at most 2u.
EXP_ULPS = 2
_INFLATE = 1 + 1e-9  # the float64 rounding of the bounds themselves


def _exp(a: Tracked) -> Tracked:
    """exp: the input's error e scales the result by at most exp(e)."""
    value = a.value.exp()
    u = unit_roundoff(value)
    tiny = torch.finfo(value.dtype).smallest_normal
    own = 2 * EXP_ULPS * u
    # |exact exp(fl a)| <= (|value| + tiny) / (1 - own)
    size = (value.double() + tiny) / (1 - own)
    return Tracked(value, (size * (own + torch.expm1(a.error)) + tiny) * _INFLATE)


def _over(a: Tracked, b: Tracked) -> Tracked:
    """The entry-wise quotient; an infinite bound where b may be zero."""
    value = a.value / b.value
    e, f = a.read(), b.read()
    room = b.value.double().abs() - f
    exact = a.value.double().abs() / b.value.double().abs()
    error = (e + exact * f) / room
    return rounded(value, torch.where(room > 0, error, torch.inf))


def _masses(s: Tensor, top: Tensor) -> Tracked:
    """exp(s - top), s [H,1,T]; any `top` gives the same mixture, the maximum avoids overflow."""
    return _exp(Tracked(s) - Tracked(top.expand_as(s)))


def _total(w: Tracked) -> Tracked:
    return w @ Tracked(w.value.new_ones(w.value.shape[-1], 1))


def _attention(s: Tensor, v: Tensor) -> Tracked:
    """Softmax attention [H,h,1]."""
    w = _masses(s, s.amax(-1, keepdim=True))
    return _over(Tracked(v) @ w.T, _total(w))


def sides(
    s_demo: Tensor, s_query: Tensor, v_demo: Tensor, v_query: Tensor
) -> tuple[Tracked, Tracked, Tracked]:
    """F_ICL, the mixture, and the near miss F_ZSL + l F_demo, each [H,h,1].

    s_demo [H,1,n], s_query [H,1,m] (scaled scores) and v_demo [H,h,n], v_query [H,h,m] are taken as
    exact. Source: Dai section 3.1 without its relaxation; He et al. 2110.04366, eq. 5.
    """
    s, v = torch.cat([s_demo, s_query], -1), torch.cat([v_demo, v_query], -1)
    top = s.amax(-1, keepdim=True)
    z_demo, z_query = _total(_masses(s_demo, top)), _total(_masses(s_query, top))
    z = z_demo + z_query
    share_demo, share_query = _over(z_demo, z), _over(z_query, z)
    zsl, demo = _attention(s_query, v_query), _attention(s_demo, v_demo)
    added = share_demo.times(demo)
    return _attention(s, v), share_query.times(zsl) + added, zsl + added
