"""Delta W_ICL against Delta W_FT, and attention maps, of a model while it reads a task.

Queries, keys and values are those that meet in the running model
(`empirical.identities.capture_layers`), copied to float64; what finetuning adds to keys and values
is computed there from the weights that a real finetuning leaves, on the states that entered the
layer in the same pass. The pass is in context; its demonstrations are all context tokens after BOS.
Letters: H query heads, G key-value heads, h head width, d model width, M own tokens (BOS and the
query), T tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from empirical.core.errors import UserError
from empirical.core.progress import Advance, ignore
from empirical.core.undefined import Undefined
from empirical.data.prompts import Query, answers
from empirical.identities.capture_layers import each_layer
from empirical.identities.layer_capture import LayerCapture, keys_and_values, repeated
from empirical.identities.softmax_metrics import scores
from empirical.inference.finetune import DivergedError, finetuned
from empirical.inference.read_options import Position
from empirical.inference.settings import training_examples
from empirical.metrics.delta_w import DRAWS, Head, Moved, Tokens, measured, rotations
from empirical.metrics.delta_w_tables import Heads, finding
from empirical.metrics.similarity import Array
from empirical.models.architectures.qk_norm import Norm
from empirical.models.decoder import LoadedModel
from empirical.results.control_results import ConditionResult
from empirical.study.preparation import Prepared, demonstration_lengths

QUERIES = 8
CHOSEN = 2  # heads of an attention map by either rule
NO_OTHER = Undefined("no finetuning on other examples was given")
NOTE = (
    "BOS counts as the query's own token, in the updates as in lambda; tables are [layer][head], "
    "means over the queries; the null turns the finetuned update by random rotations on either "
    "side, and NAME_other is of a finetuning on other examples."
)


@dataclass(frozen=True, kw_only=True)
class Finetuned:
    """[W b] of keys and values, [G,h,d+1] each, of every layer, as finetuning leaves them."""

    key: tuple[Tensor, ...]
    value: tuple[Tensor, ...]


def finetuned_projections(
    model: LoadedModel, examples: Sequence[Sequence[int]], rate: float, advance: Advance = ignore
) -> Finetuned:
    """A copy of the projections after a real finetuning; the model is restored bit for bit.

    Raises:
        UserError: without examples or for a bad rate; `DivergedError` when training diverges.
    """
    with finetuned(model, examples, rate, advance):
        return Finetuned(
            key=tuple(b.key.augmented() for b in model.blocks),
            value=tuple(b.value.augmented() for b in model.blocks),
        )


def _normalised(norm: Norm, K: Tensor) -> Tensor:
    """K [G,h,M] through the norm of keys without the bias it adds, which a difference loses."""
    K = norm.centre(K)
    square = (K * K).mean(-2, keepdim=True)
    if norm.joint:
        square = square.mean(0, keepdim=True)
    return norm.gain.to(K) * K * (square + norm.epsilon).rsqrt()


def _parts(at: LayerCapture) -> tuple[list[slice], list[slice]]:
    """Tokens that the last one sees: own ones (BOS if it is seen, the query), demonstrations."""
    bos = slice(min(at.first, 1), 1)
    return [bos, at.asking], [slice(max(at.first, 1), max(at.first, at.context))]


def moved(at: LayerCapture, layer: int, by: Finetuned) -> tuple[Tensor, Tensor]:
    """dK, dV [H,h,M] of the own tokens: keys and values of the finetuned weights minus the old.

    Each is as it meets queries, of the same states; only what is not linear (a norm of keys) is
    computed twice and subtracted.
    """
    met, heads = at.meeting, len(at.q)
    block, norm = met.block, met.key_norm
    own, _ = _parts(at)
    x = torch.cat([at.tokens[:, part] for part in own], -1)
    old, new = block.key.augmented().to(x), by.key[layer].to(x)
    dV = (by.value[layer].to(x) - block.value.augmented().to(x)) @ x
    if norm is None:
        dK = (new - old) @ x
    else:
        dK = _normalised(norm, new @ x) - _normalised(norm, old @ x)
    dK = repeated(dK, heads)
    if at.turned is not None:
        C, S = (torch.cat([t[:, part] for part in own], -1) for t in (at.turned.C, at.turned.S))
        dK = dK * C + (at.turned.J @ dK) * S
    return dK, repeated(dV, heads)


def _numpy(x: Tensor) -> Array:
    return np.asarray(x.double().cpu().numpy())


def _tokens(at: LayerCapture, parts: Sequence[slice]) -> list[Tokens]:
    """Keys and values of some tokens, of every head."""
    found = [keys_and_values(at, part) for part in parts]
    k, v = (_numpy(torch.cat(x, -1)) for x in zip(*found, strict=True))
    bias = np.zeros((k.shape[0], k.shape[2]))
    if at.bias is not None:
        bias = _numpy(torch.cat([at.bias[:, part] for part in parts], -1))
    return [Tokens(K=k[i], V=v[i], bias=bias[i]) for i in range(len(k))]


def _moves(at: LayerCapture, layer: int, by: Finetuned) -> list[Moved]:
    dK, dV = (_numpy(x) for x in moved(at, layer, by))
    return [Moved(dK=dK[i], dV=dV[i]) for i in range(len(dK))]


def heads_of(
    at: LayerCapture, layer: int, ft: Finetuned, other: Finetuned | Undefined = NO_OTHER
) -> Iterator[Head]:
    """Every head of one captured layer, in float64."""
    own, shown = _parts(at)
    yours, theirs, moves = _tokens(at, own), _tokens(at, shown), _moves(at, layer, ft)
    q = _numpy(at.q[..., 0])
    others: Sequence[Moved | Undefined] = (
        [other] * len(q) if isinstance(other, Undefined) else _moves(at, layer, other)
    )
    for i in range(len(q)):
        yield Head(
            shown=theirs[i],
            own=yours[i],
            ft=moves[i],
            other=others[i],
            q=q[i],
            scaling=at.scaling,
            softcap=at.softcap,
            lead=own[0].stop - own[0].start,
        )


def asking(query: Query, ready: Prepared, position: Position) -> tuple[int, ...]:
    """The query's own tokens up to the one that is recorded."""
    label = answers(query, ready.labels)[0] if position == "label" else ()
    return (*query.prompt, *label)


def _first(ready: Prepared, queries: int) -> tuple[Query, ...]:
    if queries < 1:
        raise UserError(f"expected at least one query to compare, got {queries}; pass more")
    return ready.queries[:queries]


def _other(
    model: LoadedModel, examples: Sequence[Sequence[int]] | None, rate: float, advance: Advance
) -> Finetuned | Undefined:
    if examples is None:
        return NO_OTHER
    try:
        return finetuned_projections(model, examples, rate, advance)
    except DivergedError:
        return Undefined(f"finetuning on the other examples diverges at rate {rate:g}")


def delta_w(
    model: LoadedModel,
    ready: Prepared,
    rate: float,
    other: Sequence[Sequence[int]] | None,
    queries: int,
    generator: np.random.Generator,
    advance: Advance = ignore,
    *,
    draws: int = DRAWS,
    position: Position = "label",
) -> ConditionResult:
    """Every head of every layer, for the first `queries` evaluation queries behind the context.

    `other`: examples of a second finetuning, the second null. `advance(1)` is called after every
    step of either finetuning and every query. One layer's copies are held at a time, and the
    finetuned projections of all.

    Raises:
        UserError: for fewer than one query or a bad rate; `DivergedError` when finetuning on the
            demonstrations diverges.
    """
    chosen, blocks = _first(ready, queries), model.blocks
    examples = training_examples(model, ready.shown, ready.labels)
    ft = finetuned_projections(model, examples, rate, advance)
    second = _other(model, other, rate, advance)
    by = {w: rotations(w, draws, generator) for w in sorted({b.width for b in blocks})}
    table = Heads(len(chosen), len(blocks), blocks[0].heads, draws)
    for number, query in enumerate(chosen):
        ids = asking(query, ready, position)
        found = each_layer(model, ready.context, ids, dtype=torch.float64)
        for layer, at in enumerate(found):
            for i, head in enumerate(heads_of(at, layer, ft, second)):
                table.add(number, layer, i, measured(head, by[blocks[layer].width]))
        advance(1)
    return finding(table, generator, NOTE)


@dataclass(frozen=True, kw_only=True)
class _Maps:
    """Softmax weights of the asking token [L,H,T] over all tokens of three sequences."""

    zsl: Array
    ft: Array
    icl: Array

    def moved(self) -> Array:
        """Half the sum of absolute differences between FT and ZSL (total variation): [L,H]."""
        return np.asarray(np.abs(self.ft - self.zsl).sum(-1) / 2)

    def share(self, context: int) -> Array:
        """lambda: the mass in context on the demonstrations, BOS excluded: [L,H]."""
        return np.asarray(self.icl[..., 1:context].sum(-1))


def weights(model: LoadedModel, context: Sequence[int], ids: Sequence[int]) -> Array:
    """Softmax weights of the last token over all tokens, zero outside its window: [L,H,T]."""
    found = []
    for at in each_layer(model, context, ids, dtype=torch.float64):
        seen = torch.softmax(scores(at)[0], -1)[:, 0]
        found.append(_numpy(torch.nn.functional.pad(seen, (at.first, 0))))
    return np.stack(found)


def attention_maps(
    model: LoadedModel,
    ready: Prepared,
    rate: float,
    queries: int = 1,
    advance: Advance = ignore,
    *,
    position: Position = "label",
) -> ConditionResult:
    """Attention of the asking token of the first query on up to four heads, in ZSL, FT and ICL.

    Of two heads each, over the mean of the first `queries` queries: those whose weights change
    most from ZSL to FT (total variation), then those with the largest lambda that are not chosen
    yet; ties go to the lower layer and head, and a change or share of zero is never chosen. Tables
    by head: `zsl`, `ft`, `icl` over the own tokens t1.., `demonstrations` [k] and `bos` (ZSL, FT,
    ICL); of ICL own tokens, demonstrations and BOS sum to one. `advance(1)` is called after every
    step of finetuning and, in three settings, every query.

    Raises:
        UserError: for fewer than one query or a bad rate; `DivergedError` when finetuning diverges.
    """
    rows = [asking(q, ready, position) for q in _first(ready, queries)]
    bos, context = ready.context[:1], ready.context

    def read(lead: Sequence[int]) -> list[Array]:
        found = []
        for ids in rows:
            found.append(weights(model, lead, ids))
            advance(1)
        return found

    zsl, icl = read(bos), read(context)
    with finetuned(model, training_examples(model, ready.shown, ready.labels), rate, advance):
        ft = read(bos)
    maps = [_Maps(zsl=z, ft=f, icl=c) for z, f, c in zip(zsl, ft, icl, strict=True)]
    moves = np.mean([m.moved() for m in maps], axis=0)
    shares = np.mean([m.share(len(context)) for m in maps], axis=0)
    return _drawn(maps[0], choose(moves, shares), moves, shares, ready)


def choose(moves: Array, shares: Array) -> list[tuple[int, int]]:
    """Up to four heads (layer, head) by the rule of `attention_maps`; inputs [L,H]."""
    found: list[tuple[int, int]] = []
    for values in (moves, shares):
        order = np.argsort(-values, axis=None, kind="stable")
        ranked = [divmod(int(place), values.shape[1]) for place in order]
        found += [x for x in ranked if values[x] > 0 and x not in found][:CHOSEN]
    return found


def _drawn(
    maps: _Maps, heads: list[tuple[int, int]], moves: Array, shares: Array, ready: Prepared
) -> ConditionResult:
    """The tables of the chosen heads."""
    start = len(ready.context)
    cuts = 1 + np.cumsum([0, *(n + 1 for n in demonstration_lengths(ready))])  # EOS after each
    own = {"zsl": maps.zsl[..., 1:], "ft": maps.ft[..., 1:], "icl": maps.icl[..., start:]}
    demonstrations = np.add.reduceat(maps.icl[..., :start], cuts[:-1], axis=-1)
    tables = {name: [x[at].tolist() for at in heads] for name, x in own.items()}
    return ConditionResult(
        tables={
            "heads": [list(at) for at in heads],
            "tokens": [f"t{i + 1}" for i in range(own["zsl"].shape[-1])],
            "demonstrations": [demonstrations[at].tolist() for at in heads],
            "bos": [[float(x[at][0]) for x in (maps.zsl, maps.ft, maps.icl)] for at in heads],
            "moved": [float(moves[at]) for at in heads],
            "lambda": [float(shares[at]) for at in heads],
            **tables,
        },
        note="Heads that finetuning moves most, then those with the largest share on the "
        "demonstrations; tokens are named by their place.",
        absent=None if heads else "no head attends to demonstrations or is moved by finetuning",
    )
