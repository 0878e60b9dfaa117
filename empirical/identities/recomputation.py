"""What the model itself computed, against what statements take a layer to hold.

A statement is about W_K, states, rotations and norms; these checks say that the keys and the
softmax of the running model are made of them, as far as rounding in the model's dtype allows (of
its MLP: `empirical.identities.mlp`).
Letters: H query heads, G key-value heads, h head width, T tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dualform.rounding import Tracked, rounded, unit_roundoff
from empirical.identities import softmax_mixture
from empirical.identities.comparison import DirectComparison, LayerComparison, Need, Sides
from empirical.identities.layer_capture import LayerCapture, repeated
from empirical.models.architectures.qk_norm import Norm


def _keys(at: LayerCapture) -> list[Sides]:
    """Queries, keys and values from the states that entered: projected, normalised, turned.

    The left sides are the model's own, each step against what the step before it left. The near
    miss of a projection reads the states of the token before; a norm's and a rotation's leave it
    out. Of queries, norm and rotation are those of the last token.
    """
    met, heads = at.meeting, at.meeting.block.heads
    linear = met.block.linear_keys
    x = torch.cat([met.entered.mT, met.entered.new_ones(1, len(met.entered))])
    found = []
    for projection, own in (
        (met.block.query, met.q if linear else met.query),
        (met.block.key, met.k if linear else met.key),
        (met.block.value, met.v),
    ):
        made = Tracked(projection.augmented()) @ Tracked(x)
        near = Tracked(made.value.roll(1, -1), made.error.roll(1, -1))
        found.append(_against(own, made, near, heads))
    for norm, raw, normed in (
        (met.key_norm, met.key, met.normed_k),
        (met.query_norm, met.query[..., -1:], met.normed_q[..., -1:]),
    ):
        if norm is not None:
            found.append(_against(normed, *_normalised(norm, raw), heads))
    if met.rotation is not None:
        J, C, S = met.rotation
        for before, after, part in (
            (met.normed_k, met.k, slice(None)),
            (met.normed_q[..., -1:], met.q[..., -1:], slice(-1, None)),
        ):
            turned = Tracked(before).times(Tracked(C[:, part])) + Tracked(J @ before).times(
                Tracked(S[:, part])
            )
            found.append(_against(after, turned, Tracked(before), heads))
    return found


def _against(own: Tensor, right: Tracked, near: Tracked, heads: int) -> Sides:
    """The model's own values on the left, all repeated for the query heads of a group."""
    return Sides(
        left=_repeated(right.elsewhere(own), heads),
        right=_repeated(right, heads),
        near=_repeated(near, heads),
    )


def _repeated(x: Tracked, heads: int) -> Tracked:
    return Tracked(repeated(x.value, heads), repeated(x.error, heads))


def _normalised(norm: Norm, raw: Tensor) -> tuple[Tracked, Tracked]:
    """raw [G,h,T] through its norm, and as it is; in the dtype in which the norm computes."""
    x = _in(raw, torch.float32) if norm.narrow else Tracked(raw)
    groups, width, _ = raw.shape
    gain = _in(norm.gain, x.value.dtype)
    rows = Tracked(
        *(y.reshape(1, groups * width, -1) if norm.joint else y for y in (x.value, x.error))
    )
    if norm.centred:
        rows = rows - _mean(rows)
    square = _mean(rows.times(rows)) + softmax_mixture.constant(norm.epsilon, x.value)
    made = rows.times(_rsqrt(square))
    made = Tracked(*(y.reshape(raw.shape) for y in (made.value, made.error))).times(gain)
    if norm.added is not None:
        made = made + _in(norm.added.expand(raw.shape), x.value.dtype)
    return made, x


def _in(x: Tensor, dtype: torch.dtype) -> Tracked:
    """x rounded to a dtype, where it has another one."""
    if x.dtype == dtype:
        return Tracked(x)
    return rounded(x.to(dtype), torch.zeros_like(x, dtype=torch.float64))


def _mean(x: Tracked) -> Tracked:
    """Over channels: [...,1,T] of [...,h,T]."""
    width = x.value.shape[-2]
    return (Tracked(x.value.new_ones(1, width)) @ x).times(
        softmax_mixture.constant(1 / width, x.value)
    )


def _rsqrt(a: Tracked) -> Tracked:
    """1/sqrt(a) of a positive a: its slope is largest where a is smallest; 2 ulp are its own."""
    value, e = a.value.rsqrt(), a.read()
    room = a.value.double() - e
    moved = torch.where(room > 0, e / (2 * room**1.5), torch.inf)
    return rounded(value, moved + 4 * unit_roundoff(value) * value.double().abs())


def _softmax(at: LayerCapture) -> tuple[Sides]:
    """The attention of the last token, from what met, in the form that the block is said to have.

    The left side is what the model's own code gave. The near miss forgets the demonstrations, or
    the query's own tokens: per head those that have more of the mass. In a window without
    demonstrations its two halves take their places.
    """
    met, heads = at.meeting, at.meeting.block.heads
    dtype = torch.float32  # in which transformers forms softmax for any weights
    k, v = (_repeated(_in(x[..., at.first :], dtype), heads) for x in (met.k, met.v))
    q = _in(met.q[..., -1:], dtype)
    bias = None if at.bias is None else at.bias[:, at.first :].double()

    def attention(part: slice) -> Tracked:
        keys, values = (Tracked(x.value[..., part], x.error[..., part]) for x in (k, v))
        seen = None if bias is None else bias[:, part]
        return softmax_mixture.from_scratch(q, keys, values, at.scaling, at.softcap, seen)

    shown, tokens = at.shown.stop - at.shown.start, k.value.shape[-1]
    cut = shown if 0 < shown < tokens else tokens // 2
    whole, before, after = map(attention, (slice(None), slice(cut), slice(cut, None)))
    s = softmax_mixture.scores(q.value, k.value, at.scaling, at.softcap, bias)
    more_before = torch.softmax(s, -1)[..., :cut].sum(-1, keepdim=True) > 0.5
    near = Tracked(
        *(
            torch.where(more_before, y, x)
            for x, y in ((before.value, after.value), (before.error, after.error))
        )
    )
    return (Sides(left=whole.elsewhere(met.output), right=whole, near=near),)


COMPARISONS: tuple[LayerComparison, ...] = (
    DirectComparison(id="keys-as-they-meet", needs=frozenset(), sides=_keys),
    DirectComparison(id="softmax-as-run", needs=frozenset({Need.OTHER_TOKENS}), sides=_softmax),
)
