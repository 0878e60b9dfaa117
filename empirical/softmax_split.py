"""Softmax attention over context and query as a mixture, under a derived rounding bound.

F_ICL = (1 - l) F_ZSL + l F_demo with l = Z_demo / (Z_demo + Z_query): the zero-shot term shrinks.
Given scores s and values V, every operation carries a running error bound. Letters: H heads,
h head width, n context tokens, m query tokens.
"""

import torch
from torch import Tensor

from dualform.elementary import exp, over
from dualform.rounding import Tracked


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

    s_demo [H,1,n], s_query [H,1,m] (scaled scores) and v_demo [H,h,n], v_query [H,h,m] are taken as
    exact. Source: Dai section 3.1 without its relaxation; He et al. 2110.04366, eq. 5.
    """
    s, v = torch.cat([s_demo, s_query], -1), torch.cat([v_demo, v_query], -1)
    top = s.amax(-1, keepdim=True)
    z_demo, z_query = _total(_masses(s_demo, top)), _total(_masses(s_query, top))
    z = z_demo + z_query
    share_demo, share_query = over(z_demo, z), over(z_query, z)
    zsl, demo = _attention(s_query, v_query), _attention(s_demo, v_demo)
    added = share_demo.times(demo)
    return _attention(s, v), share_query.times(zsl) + added, zsl + added
