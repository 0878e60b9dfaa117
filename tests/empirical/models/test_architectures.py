"""Conformance of every supported architecture, at every layer and head, with what the library runs.

The library's own run is hooked at each output projection: what enters is the attention of the
heads, what leaves is h. A second run, in which our attention stands in, is given the same states
bit for bit (each block's h is replaced by the library's), so that what it captures are the queries,
keys and values of the first. From them a slow twin forms attention token by token.

Bound. The twin walks on `Tracked` values, in the dtype in which the class itself forms scores and
softmax (`Variant.core`: float32 for GPT-Neo, GPT-J, BLOOM and Gemma 2, which cast to it or take
their softmax in it; float64 for all others). Another order of the same operations is off by at most
twice its error (`Tracked.elsewhere`). So that every path of the twin has at least as many roundings
as the library's, queries carry four more (the scale as a number, its product with queries, keys or
scores, in two parts at most), position biases two, outputs two (a reciprocal in place of a
quotient, a rescaling where a maximum grows). Masked scores, -1e4 or less, have weight 0.

Whole runs are compared under the bound of `test_settings`, 2 n (u/u32) e32: n the longest reduction
and e32 the largest difference of the float32 run and that with float64 weights. u is that of the
narrowest dtype anywhere in the class (`Variant.whole`: float32 with RMSNorm, which computes in it).
Every check has a near miss, head by head where it is of attention.
"""

import inspect
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig
from transformers.pytorch_utils import Conv1D

from dualform.elementary import EXP_ULPS, exp, over
from dualform.rounding import Tracked, check, compare, rounded, unit_roundoff
from empirical.core.errors import UserError
from empirical.identities.softmax_mixture import sides
from empirical.inference import attention
from empirical.inference.attention import Run, attending
from empirical.models.architectures import (
    KNOWN,
    Block,
    Projection,
    backbone,
    blocks_of,
    check_known,
)
from empirical.models.architectures import logits as output_layer
from tests.support.models.architectures import (
    CONTEXT,
    EVERYWHERE,
    GPT2,
    LAYERS,
    LLAMA,
    OWN,
    VARIANTS,
    WINDOW,
    Layer,
    Variant,
    f32,
    f64,
    final,
    native,
    plainly,
    prefix_of,
    randomised,
    rows,
    takes_positions,
    tiny,
    to_bfloat16,
    watched,
)
from tests.support.paths import ROOT

every_variant = pytest.mark.parametrize("name", VARIANTS)
IDS = rows(2, CONTEXT + OWN, CONTEXT)


# The slow twin: one asking token at a time, over the keys that it sees. [B,H,1,h] or [B,H,n,h].


def per_head(x: Tensor, heads: int) -> Tensor:
    """[B,G,T,h] -> [B,H,T,h]: head i reads group i G // H."""
    return x[:, [i * x.shape[1] // heads for i in range(heads)]]


def position_bias(variant: Variant, keys: range, like: Tensor) -> Tensor:
    """ALiBi of keys at those positions [H,n]: slope times position, zero without slopes."""
    slopes = variant.slopes or (0.0,) * variant.heads
    table = [[slope * j for j in keys] for slope in slopes]
    if variant.slopes_scaled:  # Falcon: products in bfloat16, then over sqrt(h)
        table = [[to_bfloat16(x) / variant.width**0.5 for x in row] for row in table]
    return like.new_tensor(table)


def scores(variant: Variant, q: Tensor, k: Tensor, start: int) -> Tracked:
    """[B,H,1,n] of a scaled query and keys at positions start, start + 1, ..."""
    u = unit_roundoff(q)
    asked = Tracked(q, 4 * u * q.double().abs())
    s = asked @ Tracked(k).T
    if variant.slopes:
        bias = position_bias(variant, range(start, start + k.shape[2]), q)[:, None]
        bias = bias.expand_as(s.value)
        s = s + Tracked(bias, 2 * u * bias.double().abs())
    if variant.cap is None:
        return s
    cap = Tracked(torch.full_like(s.value, variant.cap))
    x = over(s, cap)
    value = x.value.tanh()  # of slope at most 1; its own error as that of exp
    return rounded(value, x.error + 2 * EXP_ULPS * u * value.double().abs()).times(cap)


def masses(s: Tracked, top: Tensor) -> Tracked:
    return exp(s - Tracked(top.expand_as(s.value)))


def total(w: Tracked) -> Tracked:
    return w @ Tracked(w.value.new_ones(w.value.shape[-1], 1))


def softmax_average(s: Tracked, v: Tensor) -> Tracked:
    """[B,H,1,h], with two more roundings than it takes."""
    w = masses(s, s.value.amax(-1, keepdim=True))
    out = over(w, total(w)) @ Tracked(v)
    for _ in range(2):
        out = rounded(out.value, out.error)
    return out


def first_seen(window: int | None, t: int) -> int:
    """The first token that token t sees."""
    return 0 if window is None else max(0, t - window + 1)


def stack(parts: list[Tracked]) -> Tracked:
    """Asking tokens side by side: [B,T,H,h]."""
    return Tracked(*(torch.cat([getattr(p, x) for p in parts], 2).transpose(1, 2)
                     for x in ("value", "error")))  # fmt: skip


def twin(variant: Variant, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tracked:
    """Attention of all tokens [B,T,H,h] from what a run captured."""
    k, v = (per_head(x, variant.heads) for x in (k, v))
    out = []
    for t in range(q.shape[2]):
        see = slice(first_seen(variant.windows[layer], t), t + 1)
        s = scores(variant, q[:, :, t : t + 1], k[:, :, see], see.start)
        out.append(softmax_average(s, v[:, :, see]))
    return stack(out)


def projected(heads: Tracked, output: Any, biased: bool = True) -> Tracked:
    """h [B,T,d] of attention [B,T,H,h]."""
    weight = output.weight.detach()
    flat = Tracked(heads.value.flatten(2), heads.error.flatten(2))
    h = flat @ Tracked(weight if isinstance(output, Conv1D) else weight.mT)
    bias = output.bias if biased else None
    return h if bias is None else h + Tracked(bias.detach().expand_as(h.value))


def excess(wrong: Tensor, right: Tracked) -> Tensor:
    """By head, the largest gap/bound of another value [B,T,H,h] of the twin."""
    gap = (wrong.double() - right.value.double()).abs() / (3 * right.error)
    assert bool(torch.isfinite(gap).all())
    return gap.amax((0, 1, 3))


# The runs that several tests look at.


@cache
def library(name: str) -> list[Layer]:
    return native(tiny(name, VARIANTS[name].core), IDS)


@cache
def captured(name: str, start: int = 0, turned: bool = True) -> list[Layer]:
    """Given the same states; positions from `start`, or all zero where keys are not to turn."""
    more = {} if turned else {"position_ids": torch.zeros_like(IDS)}
    model = tiny(name, VARIANTS[name].core)
    return watched(model, IDS, start, forced=library(name), **more)


@cache
def twins(name: str) -> list[Tracked]:
    return [twin(VARIANTS[name], i, x.q, x.k, x.v) for i, x in enumerate(captured(name))]


def blocks(name: str) -> tuple[Block, ...]:
    return blocks_of(tiny(name, VARIANTS[name].core))


@cache
def without_biases(name: str) -> list[Layer]:
    """Captured with the biases of queries, keys and values at zero; they are restored."""
    biases = {id(b): b for x in blocks(name) for p in (x.query, x.key, x.value)
              if (b := p.module.bias) is not None}  # fmt: skip
    before = {i: b.detach().clone() for i, b in biases.items()}
    try:
        with torch.no_grad():
            for bias in biases.values():
                bias.zero_()
        return watched(tiny(name, VARIANTS[name].core), IDS, forced=library(name))
    finally:
        with torch.no_grad():
            for i, bias in biases.items():
                bias.copy_(before[i])


# What the adapters say.


def test_every_supported_architecture_has_a_variant() -> None:
    assert {v.kind for v in VARIANTS.values()} == set(KNOWN) and len(KNOWN) == 19


@every_variant
def test_an_adapter_says_what_was_written_down_by_hand(name: str) -> None:
    variant = VARIANTS[name]
    for i, block in enumerate(blocks(name)):
        assert (block.heads, block.groups, block.width) == (
            variant.heads, variant.groups, variant.width)  # fmt: skip
        assert (block.window, block.softcap) == (variant.windows[i], variant.cap)
        assert (block.rotary, block.normed) == (variant.rotary, variant.norm is not None)
        assert block.linear_keys == (not variant.rotary and variant.norm is None)
        assert variant.biased == (block.value.module.bias is not None)
        assert (block.position_bias is None) == (variant.slopes is None)
        if block.position_bias is not None:
            want = position_bias(variant, range(3, 18), torch.empty(0, dtype=f64))
            assert torch.equal(block.position_bias(3, 15).to(f64), want)


def test_the_table_of_the_user_guide_agrees() -> None:
    guide = (ROOT / "docs" / "architectures.md").read_text(encoding="utf-8")
    table = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in guide.splitlines()
        if line.startswith("| `") and "checkpoints" not in line
    ]
    assert [row[0].strip("`") for row in table] == list(KNOWN)
    for kind, _, _, positions, groups, window, cap, norm in table:
        of = [v for v in VARIANTS.values() if v.kind == kind.strip("`")]
        assert ("rotary" in positions) == any(v.rotary for v in of)
        assert ("ALiBi" in positions) == any(v.slopes is not None for v in of)
        assert ("grouped" in groups) == any(v.groups not in (1, v.heads) for v in of)
        assert bool(cap) == any(v.cap is not None for v in of)
        assert bool(norm) == any(v.norm is not None for v in of)
        assert bool(window) == any(v.windows != (None, None) for v in of)


@every_variant
def test_attention_is_far_from_uniform(name: str) -> None:
    """At some token of every head: at least a quarter of the mass away from uniform."""
    variant = VARIANTS[name]
    for i, x in enumerate(captured(name)):
        k, away = per_head(x.k, variant.heads), []
        for t in range(4, x.q.shape[2]):
            first = first_seen(variant.windows[i], t)
            s = scores(variant, x.q[:, :, t : t + 1], k[:, :, first : t + 1], first).value
            p = torch.softmax(s, -1)
            away.append((p - 1 / p.shape[-1]).abs().sum(-1) / 2)
        assert bool((torch.cat(away, -1).amax((0, 2)) > 0.25).all())


# Attention and h.


@every_variant
def test_captured_queries_keys_and_values_give_what_the_library_computes(name: str) -> None:
    for block, ran, ours, want in zip(
        blocks(name), library(name), captured(name), twins(name), strict=True
    ):
        assert torch.equal(ran.entered, ours.entered)
        h = projected(want, block.output)
        for seen in (ran, ours):
            assert check(want.elsewhere(seen.heads), want).nontrivial
            assert check(h.elsewhere(seen.h), h).nontrivial
        if block.output.bias is not None:
            bare = projected(want, block.output, biased=False).value
            assert compare(h.elsewhere(bare), h).worst_ratio > 1


def near_misses(name: str, layer: int) -> Iterator[tuple[str, Tensor, list[int]]]:
    """What could be otherwise, attention [B,T,H,h] as it would be then, and the heads it is of."""
    variant, x = VARIANTS[name], captured(name)[layer]
    heads, groups = list(range(variant.heads)), variant.groups

    def of(q: Tensor = x.q, k: Tensor = x.k, v: Tensor = x.v, **fields: Any) -> Tensor:
        return twin(replace(variant, **fields), layer, q, k, v).value

    narrower = (variant.width / x.h.shape[-1]) ** 0.5
    yield "scaled by the model's width", of(q=x.q * narrower), heads
    window = variant.windows[layer]
    for other in [window - 1, window + 1, None] if window else [WINDOW]:
        yield f"window {other}", of(windows=(other,) * LAYERS), heads
    yield "another cap", of(cap=2.0 if variant.cap is None else None), heads
    if variant.slopes:
        yield "no position bias", of(slopes=None), heads
        yield "slopes of other heads", of(slopes=variant.slopes[1:] + variant.slopes[:1]), heads
    if groups > 1:
        copies = x.k.shape[1] // groups
        yield "other groups", of(k=x.k.roll(copies, 1), v=x.v.roll(copies, 1)), heads
    if 1 < groups < variant.heads:
        k, v = (per_head(y, variant.heads)[:, :: variant.heads // groups] for y in (x.k, x.v))
        dealt = [i % groups for i in heads]
        moved = [i for i in heads if dealt[i] != i * groups // variant.heads]
        yield "groups dealt to heads in turn", of(k=k[:, dealt], v=v[:, dealt]), moved
    if variant.rotary:
        yield "keys not turned", of(k=captured(name, turned=False)[layer].k), heads
        yield "keys turned one position on", of(k=captured(name, start=1)[layer].k), heads
    if variant.biased:
        bare = without_biases(name)[layer]
        yield "no biases", of(q=bare.q, k=bare.k, v=bare.v), heads


@every_variant
def test_near_misses_of_attention_exceed_the_bound_in_every_head(name: str) -> None:
    for layer, right in enumerate(twins(name)):
        for what, wrong, heads in near_misses(name, layer):
            assert bool((excess(wrong, right)[heads] > 1).all()), what


# B1, softmax split over context and query.


def splits(variant: Variant, layer: int, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tracked, Tensor]:
    """(1-l) F_ZSL + l F_demo of the last tokens, q [B,H,OWN,h], over all keys [B,G,T,h]; a miss.

    Both [B,OWN,H,h]; the near miss is F_ZSL + l F_demo. Scores are also given to `sides`.
    """
    k, v = (per_head(x, variant.heads) for x in (k, v))
    mixed, added = [], []
    for t in range(OWN):
        first = first_seen(variant.windows[layer], CONTEXT + t)
        parts = (slice(first, CONTEXT), slice(CONTEXT, CONTEXT + t + 1))  # context, own
        assert first < CONTEXT
        s = [scores(variant, q[:, :, t : t + 1], k[:, :, p], p.start) for p in parts]
        top = torch.cat([x.value for x in s], -1).amax(-1, keepdim=True)
        z_demo, z_own = (total(masses(x, top)) for x in s)
        share, rest = over(z_demo, z_demo + z_own), over(z_own, z_demo + z_own)
        demo, zero_shot = (softmax_average(x, v[:, :, p]) for x, p in zip(s, parts, strict=True))
        mixed.append(rest.times(zero_shot) + share.times(demo))
        added.append(zero_shot + share.times(demo))
        whole, mixture, miss = sides(*(x.value for x in s), *(v[:, :, p].mT for p in parts))
        assert check(whole, mixture).nontrivial
        ratio = (whole.value - miss.value).abs() / (whole.error + miss.error)
        assert bool((ratio.amax((0, 2, 3)) > 1).all())
    return stack(mixed), stack(added).value


@every_variant
def test_zero_shot_and_context_mix_to_the_attention_of_the_library(name: str) -> None:
    variant = VARIANTS[name]
    for i, (ran, x) in enumerate(zip(library(name), captured(name), strict=True)):
        mixed, added = splits(variant, i, x.q[:, :, CONTEXT:], x.k, x.v)
        whole = Tracked(*(y[:, CONTEXT:] for y in (twins(name)[i].value, twins(name)[i].error)))
        assert check(whole.elsewhere(ran.heads[:, CONTEXT:]), mixed).nontrivial
        assert bool((excess(added, mixed) > 1).all())


@every_variant
def test_zero_shot_and_context_mix_to_the_attention_behind_a_shared_context(name: str) -> None:
    variant, model = VARIANTS[name], tiny(name, VARIANTS[name].core)
    prefix = prefix_of(model, IDS[0, :CONTEXT])
    for i, x in enumerate(watched(model, IDS[:, CONTEXT:], CONTEXT, prefix)):
        k, v = (
            torch.cat([per_head(shared[None].expand(len(IDS), -1, -1, -1), variant.heads),
                       per_head(own, variant.heads)], 2)
            for shared, own in ((prefix.keys[i], x.k), (prefix.values[i], x.v))
        )  # fmt: skip
        mixed, added = splits(variant, i, x.q, k, v)
        assert check(mixed.elsewhere(x.heads), mixed).nontrivial
        assert bool((excess(added, mixed) > 1).all())


# Whole runs.


@cache
def alone(name: str, length: int, row: int, dtype: torch.dtype) -> Tensor:
    """Final states [T,d] of the first tokens of one row as the library computes them."""
    model = tiny(name, dtype)
    with plainly(model):
        return final(model, IDS[row : row + 1, :length])[0]


def factor(name: str) -> float:
    """2 n (u/u32), see the docstring of this module."""
    maps = [m for m in backbone(tiny(name, f32)).modules() if not isinstance(m, nn.Embedding)]
    n = max(CONTEXT + OWN, *(max(p.shape) for m in maps for p in m.parameters(recurse=False)))
    return 2 * n * torch.finfo(VARIANTS[name].whole).eps / torch.finfo(f32).eps


def bound(name: str) -> float:
    """2 n (u/u32) e32 of final states."""
    narrow, wide = (
        torch.stack([alone(name, CONTEXT + OWN, row, dtype) for row in (0, 1)]).double()
        for dtype in (f32, f64)
    )
    return factor(name) * float((narrow - wide).abs().max())


def behind(
    name: str, tokens: Tensor, start: int = CONTEXT, own: Tensor = IDS[:, CONTEXT:], **fields: Any
) -> Tensor:
    """Final states [B,OWN,d] behind a context shared by all rows; fields of blocks as given."""
    model = tiny(name, VARIANTS[name].whole)
    changed = [replace(b, **fields) for b in blocks_of(model)]
    with plainly(model), attending(model, Run(changed, prefix_of(model, tokens))):
        return final(model, own, start)


def apart(name: str, states: Tensor) -> float:
    """How far from the library's run of each whole row."""
    want = [alone(name, CONTEXT + OWN, row, VARIANTS[name].whole)[CONTEXT:] for row in (0, 1)]
    return float((states - torch.stack(want)).abs().max())


@every_variant
def test_a_shared_context_gives_what_the_library_computes_for_each_whole_row(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variant, limit, context = VARIANTS[name], bound(name), IDS[0, :CONTEXT]
    states = behind(name, context)
    assert apart(name, states) <= limit
    with monkeypatch.context() as little:  # one row at a time
        little.setattr(attention, "SCORES_BYTES", 0)
        assert apart(name, behind(name, context)) <= limit
    padded = IDS[:, CONTEXT:].clone()
    padded[0, 2:] = 3
    assert float((behind(name, context, own=padded) - states)[0, :2].abs().max()) <= limit
    misses = [behind(name, context.flip(0))]  # another order of the context
    if variant.slopes is None:
        misses.append(behind(name, context, CONTEXT - 1))  # positions one early
    else:
        misses.append(behind(name, context, position_bias=None))
    for window in {w for w in variant.windows if w is not None}:
        misses += [behind(name, context, window=w) for w in (window - 1, window + 1)]
    if variant.cap is not None:
        misses.append(behind(name, context, softcap=None))
    assert all(apart(name, miss) > limit for miss in misses)


@every_variant
@pytest.mark.parametrize("side", ["left", "right", "right, without a mask"])
def test_padded_rows_give_what_the_library_computes_for_each_row_alone(
    name: str, side: str
) -> None:
    model, lengths, limit = tiny(name, VARIANTS[name].whole), (CONTEXT + OWN, 11), bound(name)
    ids, mask = torch.full_like(IDS, 3), torch.zeros_like(IDS)
    places = []
    for row, n in enumerate(lengths):
        place = slice(ids.shape[1] - n, None) if side == "left" else slice(n)
        ids[row, place], mask[row, place] = IDS[row, :n], 1
        places.append(place)
    more = {} if "without" in side else {"attention_mask": mask}
    if side == "left" and takes_positions(model):  # as transformers' generate counts them
        more["position_ids"] = (mask.cumsum(-1) - 1).masked_fill(mask == 0, 0)
    with plainly(model), attending(model, Run(blocks_of(model))):
        states = final(model, ids, **more)
        blind = backbone(model)(input_ids=ids, use_cache=False).last_hidden_state
    for row, (n, place) in enumerate(zip(lengths, places, strict=True)):
        want = alone(name, n, row, VARIANTS[name].whole)
        assert float((states[row, place] - want).abs().max()) <= limit
        if side == "left" and n < ids.shape[1]:
            assert float((blind[row, place] - want).abs().max()) > limit


@every_variant
def test_the_output_layer_on_final_states_gives_the_library_s_logits(name: str) -> None:
    model = tiny(name, f32)
    with plainly(model):
        want = model(input_ids=IDS, use_cache=False).logits
        assert torch.equal(output_layer(model, final(model, IDS)), want)


# Nothing stays.


class Stops:
    """A watch that raises at a layer."""

    def __init__(self, at: int) -> None:
        self.at = at

    def saw(self, layer: int, q: Tensor, k: Tensor, v: Tensor, context: Tensor | None) -> None:
        if layer == self.at:
            raise RuntimeError("stop")


def state(model: Any) -> list[object]:
    """All that a run may touch: hooks, functions of modules, the implementation, who is active."""
    of_modules = [
        (
            len(m._forward_hooks),
            len(m._forward_pre_hooks),
            {k for k, v in vars(m).items() if callable(v)},
        )
        for m in model.modules()
    ]
    return [of_modules, model.config._attn_implementation, dict(attention._ACTIVE)]


@every_variant
@pytest.mark.parametrize("implementation", ["as loaded", "eager"])
def test_a_model_is_as_before_after_a_run_and_after_an_error(
    name: str, implementation: str
) -> None:
    model = tiny(name, f32)
    loaded = model.config._attn_implementation
    if implementation == "eager":
        model.set_attn_implementation("eager")
    try:
        before, found = state(model), blocks_of(model)
        with plainly(model):
            want = final(model, IDS)
            with attending(model, Run(found)):
                assert state(model) != before
                final(model, IDS)
            assert state(model) == before and before[-1] == {}
            for layer in range(LAYERS):
                with pytest.raises(RuntimeError, match="stop"):
                    with attending(model, Run(found, watch=Stops(layer))):
                        final(model, IDS)
                assert state(model) == before
            assert torch.equal(final(model, IDS), want)
    finally:
        model.config._attn_implementation = loaded


@every_variant
def test_a_second_run_of_one_model_is_refused_and_the_first_goes_on(name: str) -> None:
    model, other = tiny(name, f32), tiny(name, f64)
    before, found = state(model), blocks_of(model)
    with plainly(model), attending(model, Run(found)) as run:
        want, inside = final(model, IDS), state(model)
        with pytest.raises(RuntimeError, match="expected no other run of this model"):
            with attending(model, run):
                pass
        assert state(model) == inside
        with attending(other, Run(blocks_of(other))):  # of another model there may be one
            assert torch.equal(final(model, IDS), want)
    assert state(model) == before


@every_variant
def test_a_filled_cache_is_refused(name: str) -> None:
    model = tiny(name, f32)
    if "past_key_values" not in inspect.signature(backbone(model).forward).parameters:
        assert name == "openai-gpt"
        return
    with plainly(model):
        filled = backbone(model)(input_ids=IDS, use_cache=True).past_key_values
        refusal = (
            "expected (as many keys as queries, got [0-9]+ and 1|no cache, got .* DynamicCache);"
        )
        with attending(model, Run(blocks_of(model))), pytest.raises(ValueError, match=refusal):
            backbone(model)(input_ids=IDS[:, -1:], past_key_values=filled)


# Projections.


def parts(block: Block) -> dict[str, Projection]:
    return {"q": block.query, "k": block.key, "v": block.value}


def with_one(x: Tensor) -> Tensor:
    """[x; 1] for every token: [..., d] -> [N, d+1]."""
    flat = x.flatten(0, -2)
    return torch.cat([flat, flat.new_ones(len(flat), 1)], -1)


def as_it_meets(variant: Variant, block: Block, part: str, raw: Tensor, scale: float) -> Tensor:
    """Outputs of a projection [B,T,G,h] as they meet where nothing turns: [B,H or G,T,h]."""
    x = raw
    if variant.norm is not None and part != "v":
        norm = getattr(block.attention, variant.norm.replace("k", part, 1))
        if variant.by == "all":
            return norm(x.flatten(2)).view(x.shape).transpose(1, 2) * (scale if part == "q" else 1)
        x = norm(x.transpose(1, 2)).transpose(1, 2) if variant.by == "first" else norm(x)
    x = x.transpose(1, 2)
    return x * scale if part == "q" else x


@every_variant
def test_projections_give_the_captured_queries_keys_and_values(name: str) -> None:
    """[W b][x;1] to rounding; then normed by the module, scaled, and unturned: bit for bit."""
    variant = VARIANTS[name]
    seen = captured(name, turned=False)
    for i, (block, x) in enumerate(zip(blocks(name), seen, strict=True)):
        entered = Tracked(with_one(x.entered))
        rebuilt = {}
        for part, projection in parts(block).items():
            out = projection.of(projection.module(x.entered)).detach()
            flat = Tracked(out.flatten(0, 1).flatten(1))
            rebuilt[part] = entered @ Tracked(projection.augmented().flatten(0, 1).mT)
            assert check(rebuilt[part].elsewhere(flat.value), rebuilt[part]).nontrivial
            got = getattr(x, part)
            met = as_it_meets(variant, block, part, out, variant.scales[i])
            assert torch.equal(per_head(met, got.shape[1]), got)
        swapped = rebuilt["k"].elsewhere(rebuilt["v"].value)  # near miss
        by_head = compare_by_head(swapped, rebuilt["k"], block.groups)
        assert bool((by_head > 1).all())


def compare_by_head(left: Tracked, right: Tracked, heads: int) -> Tensor:
    """Largest gap/bound of [N, heads h], by head."""
    gap = (left.value - right.value).double().abs() / (left.error + right.error)
    return gap.unflatten(-1, (heads, -1)).amax((0, 2))


def gradients(
    model: Any, run: Run | None, late: int = 0
) -> tuple[dict[tuple[int, str], Tensor], dict[int, Tensor]]:
    """Of a random functional of the final states, natively or in a run; what entered each map.

    By linear map of queries, keys and values (its id): of its "weight", "bias" and output "out".
    The functional takes each token `late` tokens later.
    """
    maps = {id(p.module): p.module for b in blocks_of(model) for p in parts(b).values()}
    entered, wanted = {}, {}

    def keep(module: Any, given: Any, out: Tensor) -> None:
        entered[id(module)] = given[0].detach()
        values = {"out": out, "weight": module.weight, "bias": module.bias}
        wanted.update({(id(module), k): x for k, x in values.items() if x is not None})

    handles = [m.register_forward_hook(keep) for m in maps.values()]
    try:
        inside = nullcontext() if run is None else attending(model, run)
        with plainly(model), torch.enable_grad(), inside:
            states = final(model, IDS)
            generator = torch.Generator().manual_seed(2)
            at = torch.randn(states.shape, generator=generator, dtype=f32).to(states.dtype)
            found = torch.autograd.grad((states * at.roll(late, 1)).sum(), list(wanted.values()))
    finally:
        for handle in handles:
            handle.remove()
    return dict(zip(wanted, found, strict=True)), entered


@every_variant
def test_gradients_read_off_the_parameters_are_those_of_separate_linear_maps(name: str) -> None:
    model = tiny(name, VARIANTS[name].core)
    found = blocks_of(model)
    gradient, entered = gradients(model, Run(found))
    for block in found:
        read, exact = {}, {}
        for part, p in parts(block).items():
            i = id(p.module)
            x, g = with_one(entered[i]), p.of(gradient[i, "out"]).flatten(0, 1).flatten(1)
            if p.module.bias is None:
                x[:, -1] = 0
            read[part] = p.of_parameters(gradient[i, "weight"], gradient.get((i, "bias")))
            read[part] = read[part].flatten(0, 1)
            separate = p.augmented().flatten(0, 1).requires_grad_()
            (unfused,) = torch.autograd.grad(x @ separate.mT, separate, g)
            exact[part] = Tracked(g).T @ Tracked(x)
            for value in (read[part], unfused):
                assert check(exact[part].elsewhere(value), exact[part]).nontrivial
        swapped = exact["k"].elsewhere(read["v"])  # near miss
        assert bool((compare_by_head(swapped.T, exact["k"].T, block.groups) > 1).all())


@every_variant
def test_gradients_through_our_attention_are_the_library_s(name: str) -> None:
    """Under 2 n (u/u32) e32 of the library's own gradients."""

    def flat(dtype: torch.dtype, ours: bool = False, late: int = 0) -> Tensor:
        model = tiny(name, dtype)
        run = Run(blocks_of(model)) if ours else None
        found, _ = gradients(model, run, late)
        return torch.cat([x.flatten() for (_, what), x in found.items() if what != "out"]).double()

    wide = VARIANTS[name].whole
    want = flat(wide)
    limit = factor(name) * float((flat(f32) - flat(f64)).abs().max())
    assert float((flat(wide, ours=True) - want).abs().max()) <= limit
    assert float((flat(wide, ours=True, late=1) - want).abs().max()) > limit


# What is refused.


def test_an_unknown_architecture_is_refused_with_what_an_adapter_must_give() -> None:
    class Unknown(nn.Module):
        pass

    listed = ", ".join(sorted({v.kind for v in VARIANTS.values()}))
    rest = (
        "; name a supported model, or add an adapter to "
        "empirical/models/architectures/adapters.py: the path "
        "to each layer's attention, its query, key and value channels, its output projection, and "
        "what its scores have beside q k (rotation, norms, window, soft cap, position bias)"
    )
    with pytest.raises(UserError) as refused:
        check_known("mamba", "state-spaces/mamba")
    assert str(refused.value) == (
        f"expected an architecture among {listed} in state-spaces/mamba, got 'mamba'{rest}"
    )
    with pytest.raises(UserError, match=r" in Unknown, got 'Unknown'; name a supported model"):
        blocks_of(Unknown())


def test_a_multimodal_model_is_refused_though_its_text_part_is_supported() -> None:
    check_known("gemma3_text", "the text part")
    with pytest.raises(UserError, match="got 'gemma3'; name a supported model"):
        check_known(AutoConfig.for_model("gemma3").model_type, "the whole")


@pytest.mark.parametrize(
    ("kind", "settings", "setting"),
    [
        ("gemma3_text", LLAMA | dict(head_dim=16), "use_bidirectional_attention"),
        ("gemma2", LLAMA | dict(head_dim=16), "use_bidirectional_attention"),
        ("gpt2", GPT2, "add_cross_attention"),
        ("xglm", VARIANTS["xglm"].settings, "add_cross_attention"),
    ],
)
def test_a_model_that_attends_to_more_than_its_past_is_refused(
    kind: str, settings: dict[str, Any], setting: str
) -> None:
    config = AutoConfig.for_model(kind, **EVERYWHERE, **settings, **{setting: True})
    model = randomised(config)
    with pytest.raises(UserError) as refused:
        blocks_of(model)
    assert str(refused.value) == (
        "expected a decoder whose tokens attend to their own past alone in "
        f"{type(model).__name__}, got {setting}=True in its configuration; name a causal model "
        "without it"
    )


def test_a_configuration_that_is_not_causal_is_refused() -> None:
    model = randomised(AutoConfig.for_model("llama", **EVERYWHERE, **LLAMA))
    model.config.is_causal = False
    with pytest.raises(UserError, match="got is_causal=False in its configuration"):
        blocks_of(model)


def test_a_model_without_its_output_layer_is_refused() -> None:
    with pytest.raises(UserError, match="expected a model with its output layer, got a GPT2Model"):
        blocks_of(backbone(tiny("gpt2", f32)))


def test_projections_that_are_not_plain_linear_maps_are_refused() -> None:
    class Adapted(nn.Module):
        def __init__(self, base: nn.Linear) -> None:
            super().__init__()
            self.base, self.weight, self.bias = base, base.weight, base.bias

    model = randomised(AutoConfig.for_model("llama", **EVERYWHERE, **LLAMA))
    of = model.model.layers[1].self_attn
    of.v_proj = Adapted(of.v_proj)
    wanted = r"plain linear maps in LlamaForCausalLM, got v_proj of class Adapted; merge adapters"
    with pytest.raises(UserError, match=wanted):
        blocks_of(model)
    of.v_proj = nn.Linear(32, 16, bias=False)
    of.v_proj.weight = nn.Parameter(torch.zeros(16, 32, dtype=torch.int8), requires_grad=False)
    with pytest.raises(UserError, match="got v_proj of class Linear; .* load without quantisation"):
        blocks_of(model)
