"""The pieces of Delta W off a running model, and attention maps, against the library's own.

Bounds. gamma(n) = n u / (1 - n u) is Higham's with the unit roundoff u of the arithmetic that the
model uses. End to end, a rounding error is linear in u to first order, as in `test_settings`: the
float32 twin against the float64 twin measures that factor.
"""

import copy
import dataclasses
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from empirical.core.errors import UserError
from empirical.core.undefined import Undefined
from empirical.data.paper_tasks import TASKS, FolderSource
from empirical.identities import block_activations
from empirical.identities.capture_layers import each_layer
from empirical.identities.layer_capture import LayerCapture, repeated
from empirical.identities.trained_weights import in_dtype
from empirical.inference.finetune import DivergedError, finetuned
from empirical.inference.settings import training_examples
from empirical.metrics.delta_w import UNMOVED, UNSEEN, Tokens, attention, mass
from empirical.metrics.delta_w_tables import LIKENESS, NAMES
from empirical.metrics.similarity import Array
from empirical.models.architectures import qk_norm
from empirical.models.decoder import LoadedModel, default_dtype_of
from empirical.results import control_results
from empirical.results.control_results import ConditionResult
from empirical.study.controls import weight_changes as delta_w_run
from empirical.study.controls.weight_changes import (
    Finetuned,
    asking,
    attention_maps,
    choose,
    delta_w,
    finetuned_projections,
    heads_of,
    moved,
    weights,
)
from empirical.study.preparation import Prepared, StudySettings, prepare
from tests.empirical.identities.test_any_model import ids
from tests.empirical.identities.test_any_model import tiny as any_tiny
from tests.support.models import tiny_models as _tiny
from tests.support.results.records import provenance
from tests.support.study import save_data

SINGLE, DOUBLE = (float(torch.finfo(t).eps) / 2 for t in (torch.float32, torch.float64))
RATE = 0.05
EXAMPLES = [[1, 9, 40, 7, 70], [1, 12, 8, 71]]
SOME = ["xglm", "gpt2", "bloom", "falcon:new", "gptj", "llama", "qwen3", "olmo2", "gemma2",
        "gemma3_text", "phi:norms", "stablelm:norms", "mistral"]  # fmt: skip


def gamma(n: int, u: float = DOUBLE) -> float:
    return n * u / (1 - n * u)


@cache
def wide(name: str) -> LoadedModel:
    return in_dtype(any_tiny(name), torch.float64)


@cache
def trained(name: str) -> Finetuned:
    return finetuned_projections(wide(name), EXAMPLES, RATE)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> FolderSource:
    return FolderSource(path=save_data(tmp_path_factory.mktemp("data") / "d"))


def ready_for(model: LoadedModel, source: FolderSource, k: int = 4) -> Prepared:
    return prepare(model, TASKS["mr"], source, StudySettings(seed=1, rates=(RATE,), k=k, limit=4))


# --- keys and values of finetuned weights ------------------------------------------------------


def own(x: Tensor, at: LayerCapture) -> Tensor:
    """Columns of BOS, if the last token sees it, and of the query."""
    chosen = [i for i in range(x.shape[-1]) if i >= at.first and (i == 0 or i >= at.context)]
    return x[..., chosen]


def asked_again(name: str) -> list[tuple[LayerCapture, block_activations.BlockActivations]]:
    """Captures, and what each block hands over for the same states under finetuned weights."""
    model = wide(name)
    context, query = ids(name)
    found = list(each_layer(model, context, query))
    reading = block_activations.run_with_cache(model, model.blocks, [*context, *query])
    with finetuned(model, EXAMPLES, RATE):
        again = [
            block_activations.block_activations(model, model.blocks, reading, i) for i in range(2)
        ]
    return list(zip(found, again, strict=True))


def room(at: LayerCapture, by: Finetuned, layer: int, name: str) -> Tensor:
    """Bound on the error of keys or values [H,h,M] of finetuned weights, made in either way."""
    block, norm = at.meeting.block, at.meeting.key_norm
    new = (by.key if name == "k" else by.value)[layer].abs()
    old = (block.key if name == "k" else block.value).augmented().abs()
    x = own(at.tokens, at).abs()
    error = 2 * gamma(x.shape[0] + 8) * ((new + 2 * old) @ x)
    if name == "v":
        return repeated(error, block.heads)
    if norm is not None:
        error = _through_norm(at, norm, by.key[layer], old, error)
    error = repeated(error, block.heads)
    if at.turned is None:
        return error
    J, C, S = at.turned.J.abs(), own(at.turned.C, at).abs(), own(at.turned.S, at).abs()
    grown = error * C + (J @ error) * S
    return grown * (1 + gamma(8)) + gamma(8) * _size(at, by, layer)


def _size(at: LayerCapture, by: Finetuned, layer: int) -> Tensor:
    """Upper bound on turned keys, old and new together: norms leave the gain times root h."""
    block, norm = at.meeting.block, at.meeting.key_norm
    x = own(at.tokens, at).abs()
    plain = (by.key[layer].abs() + 2 * block.key.augmented().abs()) @ x
    if norm is not None:
        wide_norm = block.width * (block.groups if norm.joint else 1)
        plain = 3 * norm.gain.abs().to(x) * wide_norm**0.5 * torch.ones_like(plain)
        plain = plain if norm.added is None else plain + 3 * norm.added.abs().to(x)
    return 2 * repeated(plain, block.heads)


def _through_norm(
    at: LayerCapture, norm: qk_norm.Norm, new: Tensor, old: Tensor, error: Tensor
) -> Tensor:
    """g r (dk + |k| |dk|/|k|) of new and old keys, and the norm's own rounding."""
    u = SINGLE if norm.narrow else DOUBLE
    x = own(at.tokens, at)
    found = torch.zeros_like(error)
    for W in (new, at.meeting.block.key.augmented(), at.meeting.block.key.augmented()):
        k = norm.centre(W @ x)
        e = error + u * k.abs()
        e = e + e.mean(-2, keepdim=True) if norm.centred else e
        axes = (0, -2) if norm.joint else (-2,)
        r = ((k * k).mean(axes, keepdim=True) + norm.epsilon).rsqrt()
        moved_norm = (e * e).mean(axes, keepdim=True).sqrt() * r
        made = norm.gain.abs().to(x) * r * (e + k.abs() * moved_norm)
        own_steps = gamma(k.shape[-2] * k.shape[0] + 10, u)
        made = made + own_steps * norm.gain.abs().to(x) * r * k.abs()
        found = found + (made if norm.added is None else made + own_steps * norm.added.abs().to(x))
    return 2 * found


@pytest.mark.parametrize("name", SOME)
def test_finetuned_keys_and_values_are_those_that_the_block_makes_of_the_same_states(
    name: str,
) -> None:
    by = trained(name)
    for layer, (at, again) in enumerate(asked_again(name)):
        heads = at.meeting.block.heads
        dK, dV = moved(at, layer, by)
        for letter, d, made, before in (
            ("k", dK, again.k, at.meeting.k), ("v", dV, again.v, at.meeting.v),
        ):  # fmt: skip
            want = own(repeated(made, heads), at)
            start = own(repeated(before, heads), at)
            limit = room(at, by, layer, letter)
            assert bool(((start + d - want).abs() <= limit).all())
            assert bool(((start - want).abs() > limit).any())  # near miss: nothing moved
        assert dK.shape == dV.shape and bool(dK.any()) and bool(dV.any())


def test_keys_that_are_not_turned_or_not_normalised_or_lack_the_bias_exceed_the_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def exceeds(name: str, d: Tensor, letter: str = "k") -> bool:
        at, again = asked_again(name)[1]
        start, want = (own(repeated(getattr(x, letter), len(d)), at) for x in (at.meeting, again))
        return bool(((start + d - want).abs() > room(at, trained(name), 1, letter)).any())

    at = {name: asked_again(name)[1][0] for name in ("llama", "qwen3", "gpt2")}
    for name, x in at.items():
        assert not exceeds(name, moved(x, 1, trained(name))[0])
    still = dataclasses.replace(at["llama"], turned=None)
    assert exceeds("llama", moved(still, 1, trained("llama"))[0])
    monkeypatch.setattr(delta_w_run, "_normalised", lambda _norm, K: K)
    assert exceeds("qwen3", moved(at["qwen3"], 1, trained("qwen3"))[0])
    tokens = at["gpt2"].tokens.clone()
    tokens[-1] = 0  # the row of ones is the bias
    without = dataclasses.replace(at["gpt2"], tokens=tokens)
    # Of values: softmax does not see a bias of keys, whose gradient is zero.
    assert exceeds("gpt2", moved(without, 1, trained("gpt2"))[1], "v")
    assert not exceeds("gpt2", moved(at["gpt2"], 1, trained("gpt2"))[1], "v")


def state(model: LoadedModel) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in model.model.state_dict().items()}


def untouched(model: LoadedModel, before: dict[str, Tensor]) -> bool:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    same = all(torch.equal(x, before[k]) for k, x in model.model.state_dict().items())
    return same and not any(getattr(m, kind) for m in model.model.modules() for kind in kinds)


# --- heads -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*SOME, "falcon:alibi", "gpt_neo"])
def test_heads_attend_as_the_model_does(name: str) -> None:
    """Softmax over own tokens and demonstrations is the model's own output, in single precision.

    Its softmax may be in float32. A score errs by d = gamma(h + 6)(c |q||k| + |b|) there, a weight
    by 2 d plus sums and exponential, and so does the output with max |V|.
    """
    context, query = ids(name)
    seen_near = False
    for layer, at in enumerate(each_layer(wide(name), context, query)):
        for i, head in enumerate(heads_of(at, layer, trained(name))):
            every = Tokens(**{
                part: np.concatenate([getattr(t, part) for t in (head.own, head.shown)], -1)
                for part in ("K", "V", "bias")
            })  # fmt: skip
            s = head.scaling * np.abs(head.q) @ np.abs(every.K) + np.abs(every.bias)
            u = gamma(len(head.q) + 6, SINGLE) * s.max()
            limit = (2 * u + gamma(every.bias.size + 12, SINGLE)) * np.abs(every.V).max()
            want = at.meeting.output[i, :, 0].numpy()
            assert np.abs(attention(head, every) - want).max() <= limit
            unscaled = dataclasses.replace(head, scaling=head.scaling * len(head.q) ** 0.5)
            alone = attention(head, head.own)
            seen_near |= bool(np.abs(attention(unscaled, every) - want).max() > limit)
            assert np.abs(alone - want).max() > limit or not head.shown.K.shape[1]
            assert (head.lead, head.own.K.shape[1]) == _own_counts(at)
    assert seen_near


def _own_counts(at: LayerCapture) -> tuple[int, int]:
    kept = [i for i in range(at.tokens.shape[1]) if i >= at.first and (i == 0 or i >= at.context)]
    return sum(i == 0 for i in kept), len(kept)


def test_a_window_that_hides_the_demonstrations_leaves_the_in_context_update_undefined(
    source: FolderSource,
) -> None:
    model = copy.deepcopy(any_tiny("mistral"))
    for config in {id(c): c for c in (model.model.config,)}.values():
        config.sliding_window = 5
    found = delta_w(model, ready_for(model, source), RATE, None, 1, generator(), draws=2)
    assert {x for row in found.tables["cosine"] for x in row} == {Undefined(UNSEEN)}
    assert found.numbers["lambda"] == found.numbers["bos"] == 0
    assert found.numbers["cosine"] == Undefined(UNSEEN) == found.numbers["cosine_inside_null"]
    maps = attention_maps(model, ready_for(model, source), RATE)
    assert len(maps.tables["heads"]) == 2  # those that move; none attends to a demonstration
    assert maps.tables["demonstrations"] == [[0.0] * 4] * 2


# --- end to end --------------------------------------------------------------------------------


def generator() -> np.random.Generator:
    return np.random.default_rng(3)


def hidden(model: LoadedModel, tokens: tuple[int, ...]) -> list[Array]:
    """What enters the attention of each layer of an XGLM: [T,d]."""
    seen: list[Array] = []
    handles = [
        layer.self_attn_layer_norm.register_forward_hook(
            lambda _m, _i, out: seen.append(out[0].double().numpy())
        )
        for layer in model.model.model.layers
    ]
    with torch.no_grad(), default_dtype_of(model):
        model.model(input_ids=torch.tensor([tokens]), use_cache=False)
    for handle in handles:
        handle.remove()
    return seen


def linear(module: Any) -> tuple[Array, Array]:
    return (
        module.weight.detach().double().numpy().copy(),
        module.bias.detach().double().numpy().copy(),
    )


def key_and_value_maps(model: LoadedModel) -> list[dict[str, tuple[Array, Array]]]:
    return [
        {"k": linear(x.self_attn.k_proj), "v": linear(x.self_attn.v_proj)}
        for x in model.model.model.layers
    ]


def softmaxed(s: Array) -> Array:
    e = np.exp(s - s.max())
    return np.asarray(e / e.sum())


def cosine(a: Array, b: Array) -> float:
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def twin(
    dtype: torch.dtype, source: FolderSource, queries: int, bos_is_own: bool = True
) -> dict[str, Array]:
    """[L][H] by name, from forward passes of the library and plain loops, of the tiny XGLM."""
    model = _tiny.tiny(dtype)
    ready = ready_for(model, source)
    old, h, c = key_and_value_maps(model), 8, 8**-0.5
    with finetuned(model, training_examples(model, ready.shown, ready.labels), RATE):
        new = key_and_value_maps(model)
    names = ("cosine", "effect_relaxed", "effect_softmax", "norm_icl", "norm_ft", "lambda", "bos")
    total = {name: np.zeros((2, 2)) for name in names}
    n = len(ready.context)
    for q in ready.queries[:queries]:
        states = hidden(model, (*ready.context, *q.prompt, *ready.labels[0]))
        for layer, x in enumerate(states):
            W, b = linear(model.model.model.layers[layer].self_attn.q_proj)
            asks = W @ x[-1] + b
            mine = [0, *range(n, len(x))] if bos_is_own else list(range(n, len(x)))
            theirs = [i for i in range(len(x)) if i not in mine]
            for head in range(2):
                part = slice(h * head, h * head + h)

                def made(maps: Any, letter: str, at: list[int]) -> Array:
                    w, a = maps[layer][letter]  # noqa: B023 # called at once
                    return np.array([w[part] @ x[i] + a[part] for i in at])  # noqa: B023 # same

                K, V, K2, V2 = (made(m, z, mine) for m in (old, new) for z in "kv")
                K1, V1 = (made(old, z, theirs) for z in "kv")
                ask = asks[part]
                zsl = sum(np.outer(v, k) for v, k in zip(V, K, strict=True))
                ft = sum(np.outer(v, k) for v, k in zip(V2, K2, strict=True)) - zsl
                icl = sum(np.outer(v, k) for v, k in zip(V1, K1, strict=True))
                both = softmaxed(c * np.concatenate([K, K1]) @ ask)
                alone = softmaxed(c * K @ ask) @ V
                effects = (both @ np.concatenate([V, V1]) - alone,
                           softmaxed(c * K2 @ ask) @ V2 - alone)  # fmt: skip
                found = {
                    "cosine": cosine(icl, ft), "effect_relaxed": cosine(icl @ ask, ft @ ask),
                    "effect_softmax": cosine(*effects),
                    "norm_icl": np.sqrt((icl * icl).sum() / (zsl * zsl).sum()),
                    "norm_ft": np.sqrt((ft * ft).sum() / (zsl * zsl).sum()),
                    "lambda": both[len(mine) :].sum(), "bos": both[0] if bos_is_own else 0,
                }  # fmt: skip
                for name, value in found.items():
                    total[name][layer, head] += value / queries
    return total


def test_a_finding_is_that_of_forward_passes_and_loops(source: FolderSource) -> None:
    model = _tiny.tiny()
    ready, before = ready_for(model, source), state(model)
    steps: list[int] = []
    found = delta_w(model, ready, RATE, EXAMPLES, 2, generator(), steps.append, draws=5)
    assert untouched(model, before) and sum(steps) == 4 + 2 + 2
    want, narrow = twin(torch.float64, source, 2), twin(torch.float32, source, 2)
    near = twin(torch.float64, source, 2, bos_is_own=False)
    n = max(len(ready.context) + 30, model.model.config.ffn_dim)
    for name, table in want.items():
        e32 = float(np.abs(narrow[name] - table).max())
        limit = 2 * n * DOUBLE / SINGLE * e32
        assert np.abs(np.array(found.tables[name]) - table).max() <= limit, name
        if name != "bos":
            assert np.abs(near[name] - table).max() > limit, name
    assert set(NAMES) <= set(found.tables)
    assert found.tables["cosine_other"] != found.tables["cosine"]
    assert found.numbers["queries"] == 2 and found.numbers["draws"] == 5
    for name in LIKENESS:
        low, high = (np.array(found.tables[f"{name}_null_{end}"]) for end in ("low", "high"))
        assert low.shape == (2, 2) and (low < high).all()


def test_the_same_generator_gives_the_same_finding(source: FolderSource, tmp_path: Path) -> None:
    model = any_tiny("llama")
    ready = ready_for(model, source)
    paths = []
    for i in range(2):
        found = delta_w(model, ready, RATE, None, 2, generator(), draws=4, position="prompt")
        kept = control_results.ControlResults(
            task="mr", provenance=provenance(), counts={}, words=("a", "b"),
            labels=np.zeros(2, dtype=np.int64), findings={"delta_w": found},
        )  # fmt: skip
        paths.append(control_results.write(kept, tmp_path / str(i)))
    assert paths[0].read_bytes() == paths[1].read_bytes()
    one, two = (p.with_suffix(".safetensors").read_bytes() for p in paths)
    assert one == two
    assert control_results.read(paths[0]).findings["delta_w"].tables == found.tables


def test_the_other_examples_are_those_of_the_second_finetuning(source: FolderSource) -> None:
    model = _tiny.tiny(torch.float32)
    ready = ready_for(model, source)
    same = training_examples(model, ready.shown, ready.labels)
    found = delta_w(model, ready, RATE, same, 1, generator(), draws=3)
    n = max(len(ready.context) + 30, model.model.config.ffn_dim)
    gaps = np.subtract(found.tables["cosine"], found.tables["cosine_other"])
    assert np.abs(gaps).max() <= gamma(2 * n)  # a product may round otherwise in a larger batch
    assert found.tables["norm_ft"] == found.tables["norm_other"]


# --- what cannot be compared -------------------------------------------------------------------


def test_a_rate_that_moves_no_float32_weight_leaves_everything_undefined(
    source: FolderSource, tmp_path: Path
) -> None:
    model = _tiny.tiny(torch.float32)
    ready = ready_for(model, source)
    found = delta_w(model, ready, 1e-30, None, 2, generator(), draws=3)
    for name in LIKENESS:
        for end in ("", "_null_low", "_null_high"):
            assert found.tables[name + end] == [[Undefined(UNMOVED)] * 2] * 2
        assert found.numbers[f"{name}_inside_null"] == Undefined(UNMOVED)
    assert found.numbers["norm_ft"] == 0 < found.numbers["norm_icl"]
    assert found.numbers["cosine_other"] == delta_w_run.NO_OTHER
    series = found.series["delta_w_cosine"]
    assert isinstance(series.mean, Undefined) and series.mean.reason.startswith(UNMOVED)
    assert series.excluded == series.total == 8
    kept = control_results.ControlResults(
        task="mr", provenance=provenance(), counts={}, words=("a", "b"),
        labels=np.zeros(2, dtype=np.int64), findings={"delta_w": found},
    )  # fmt: skip
    back = control_results.read(control_results.write(kept, tmp_path)).findings["delta_w"]
    assert back.tables == found.tables and back.numbers == found.numbers
    assert attention_maps(model, ready, 1e-30).tables["moved"] == [0.0, 0.0]  # two, by lambda


def test_a_second_finetuning_that_diverges_is_a_reason_and_a_first_one_an_error(
    source: FolderSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _tiny.tiny(torch.float32)
    ready, real = ready_for(model, source), delta_w_run.finetuned_projections

    def fails_on(examples: object) -> Any:
        def stand_in(model: LoadedModel, given: Any, *rest: Any) -> Finetuned:
            if (given is EXAMPLES) is examples:
                raise DivergedError("expected finite, got nan; smaller")
            return real(model, given, *rest)

        return stand_in

    monkeypatch.setattr(delta_w_run, "finetuned_projections", fails_on(True))
    found = delta_w(model, ready, RATE, EXAMPLES, 1, generator(), draws=2)
    gone = Undefined("finetuning on the other examples diverges at rate 0.05")
    assert found.tables["cosine_other"] == [[gone] * 2] * 2 and found.numbers["norm_other"] == gone
    assert isinstance(found.numbers["cosine"], float)
    monkeypatch.setattr(delta_w_run, "finetuned_projections", fails_on(False))
    with pytest.raises(DivergedError):
        delta_w(model, ready, RATE, EXAMPLES, 1, generator(), draws=2)


def test_fewer_than_one_query_or_a_bad_rate_is_refused(source: FolderSource) -> None:
    model = _tiny.tiny(torch.float32)
    ready = ready_for(model, source)
    for call in (
        lambda: delta_w(model, ready, RATE, None, 0, generator()),
        lambda: attention_maps(model, ready, RATE, 0),
    ):
        with pytest.raises(UserError, match="at least one query to compare, got 0"):
            call()
    with pytest.raises(UserError, match="positive finite learning rate"):
        delta_w(model, ready, -1.0, None, 1, generator())


# --- attention maps ----------------------------------------------------------------------------


def eager(model: LoadedModel, tokens: tuple[int, ...]) -> Array:
    """The library's own attention weights of the last token: [L,H,T]."""
    other = copy.deepcopy(model.model)
    other.set_attn_implementation("eager")
    with torch.no_grad(), default_dtype_of(model):
        found = other(input_ids=torch.tensor([tokens]), output_attentions=True, use_cache=False)
    return np.stack([x[0, :, -1].double().numpy() for x in found.attentions])


def map_room(model: LoadedModel, tokens: tuple[int, ...]) -> float:
    """A weight errs by 2 d and gamma(T + 12) relative, d = gamma(h + 6) |q||k| c, in float32."""
    d = 0.0
    for at in each_layer(model, tokens[:1], tokens[1:]):
        k = at.met.k if at.met is not None else at.projections.key @ at.tokens
        d = max(d, float((at.scaling * at.q.abs().mT @ k.abs()).max()))
    return 2 * gamma(model.blocks[0].width + 6, SINGLE) * d + gamma(len(tokens) + 12, SINGLE)


@pytest.mark.parametrize("name", ["gpt2", "xglm", "llama", "gemma2", "mistral", "olmo2"])
def test_weights_are_the_attention_of_the_library(name: str) -> None:
    model = wide(name)
    context, query = ids(name)
    for lead, own_ids in ((context[:1], query), (context, query)):
        tokens = (*lead, *own_ids)
        got, want = weights(model, lead, own_ids), eager(model, tokens)
        limit = map_room(model, tokens)
        assert np.abs(got - want).max() <= limit
        assert np.abs(got - np.roll(want, 1, -1)).max() > limit  # near misses: the next token's
        assert np.abs(got - want[::-1]).max() > limit  # and the other layer's


def mapped(source: FolderSource, **more: Any) -> tuple[LoadedModel, Prepared, ConditionResult]:
    model = _tiny.tiny()
    ready = ready_for(model, source)
    return model, ready, attention_maps(model, ready, RATE, **more)


def test_maps_are_the_library_s_attention_in_three_settings_token_by_token(
    source: FolderSource,
) -> None:
    model, ready, found = mapped(source)
    before, t = state(model), found.tables
    ids_own = asking(ready.queries[0], ready, "label")
    assert ids_own == (*ready.queries[0].prompt, *ready.labels[0])
    lone, whole = (model.encoder.bos, *ids_own), (*ready.context, *ids_own)
    zsl, icl = eager(model, lone), eager(model, whole)
    with finetuned(model, training_examples(model, ready.shown, ready.labels), RATE):
        ft = eager(model, lone)
    limit = len(whole) * map_room(model, whole)
    ends = [i for i, x in enumerate(ready.context) if x == model.encoder.eos]
    assert len(ends) == 4 and t["tokens"] == [f"t{i + 1}" for i in range(len(ids_own))]
    for row, (layer, head) in enumerate(t["heads"]):
        z, f, c = (x[layer, head] for x in (zsl, ft, icl))
        masses, at = [], 1
        for end in ends:
            masses.append(sum(c[at : end + 1]))
            at = end + 1
        n = len(ready.context)
        for name, want in (
            ("zsl", z[1:]), ("ft", f[1:]), ("icl", c[n:]), ("demonstrations", masses),
            ("bos", [z[0], f[0], c[0]]), ("lambda", sum(c[1:n])),
            ("moved", np.abs(f - z).sum() / 2),
        ):  # fmt: skip
            assert np.shape(t[name][row]) == np.shape(want)
            assert np.abs(np.subtract(t[name][row], want)).max() <= limit, name
        assert np.abs(np.subtract(t["zsl"][row], z[:-1])).max() > limit  # near miss: BOS is t1
        total = sum(t["icl"][row]) + sum(t["demonstrations"][row]) + t["bos"][row][2]
        assert abs(total - 1) <= gamma(2 * len(whole))
    assert untouched(model, before)


def test_heads_are_those_that_move_most_then_those_with_the_largest_share() -> None:
    moves = np.array([[0.1, 0.4], [0.4, 0.0], [0.2, 0.3]])
    shares = np.array([[0.2, 0.9], [0.5, 0.5], [0.1, 0.0]])
    assert choose(moves, shares) == [(0, 1), (1, 0), (1, 1), (0, 0)]
    assert choose(moves, 0 * shares) == [(0, 1), (1, 0)]
    assert choose(0 * moves, shares) == [(0, 1), (1, 0)]
    assert choose(moves[:1], shares[:1]) == [(0, 1), (0, 0)]
    assert choose(0 * moves, 0 * shares) == []
    many = np.tile([0.1, 0.3], (40, 4))  # enough that a sort which is not stable shows
    assert choose(many, many) == [(0, 1), (0, 3), (0, 5), (0, 7)]


def test_heads_are_chosen_over_several_queries_and_the_map_is_of_the_first(
    source: FolderSource,
) -> None:
    steps: list[int] = []
    model, ready, one = mapped(source)
    two = attention_maps(model, ready, RATE, 3, steps.append)
    assert sum(steps) == 4 + 3 * 3
    assert two.tables["moved"] != one.tables["moved"]
    places = {tuple(at): i for i, at in enumerate(two.tables["heads"])}
    for row, at in enumerate(one.tables["heads"]):
        assert one.tables["icl"][row] == two.tables["icl"][places[tuple(at)]]


def test_the_share_of_a_map_is_lambda_of_the_comparison(source: FolderSource) -> None:
    model, ready, found = mapped(source)
    ids_own = asking(ready.queries[0], ready, "label")
    by = finetuned_projections(model, EXAMPLES, RATE)
    for layer, at in enumerate(each_layer(model, ready.context, ids_own)):
        for i, head in enumerate(heads_of(at, layer, by)):
            row = found.tables["heads"].index([layer, i])
            share, bos = mass(head)
            limit = map_room(model, (*ready.context, *ids_own)) * DOUBLE / SINGLE
            limit += gamma(2 * at.tokens.shape[1])
            assert abs(found.tables["lambda"][row] - share) <= limit
            assert abs(found.tables["bos"][row][2] - bos) <= limit
