"""`run_checks` on every known architecture, and on adapters that lack or misplace one thing."""

import copy
import dataclasses
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.activations import NewGELUActivation

from dualform.rounding import Tracked, check
from empirical.data.paper_tasks import TASKS, FolderSource
from empirical.identities import block_activations, layer_capture, recomputation, softmax_mixture
from empirical.identities import capture_layers as layers
from empirical.identities import check_layers as identities
from empirical.identities import mlp as whole_block
from empirical.identities import softmax_metrics as softmax_shares
from empirical.identities.applicability import reason_against
from empirical.identities.bindings import BINDINGS, NEEDS_UPDATE, TRAINED
from empirical.identities.check_layers import BESIDE, check_layers
from empirical.identities.mlp import Mlps
from empirical.models.architectures import KNOWN, Block, blocks_of, qk_norm
from empirical.models.decoder import LoadedModel, wrap
from empirical.results.identity_checks import Checks
from empirical.results.layer_check import CheckRefused, require
from empirical.study.check_identities import all_statements, run_checks
from empirical.study.preparation import Prepared, StudySettings, prepare
from tests.support.models.tiny_models import tokenizer
from tests.support.study import save_data

LLAMA = dict(
    hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=256, head_dim=8,
)  # fmt: skip
GPT2 = dict(n_embd=32, n_layer=2, n_head=4, n_positions=256)
PLAIN = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4)
PLACES = dict(max_position_embeddings=256)
WINDOW = dict(sliding_window=40)  # over a query, under the context

# Name: settings, and the statements on parts that it has, beside those of every decoder.
VARIANTS: dict[str, tuple[dict[str, Any], str]] = {
    "xglm": (dict(d_model=32, ffn_dim=48, num_layers=2, attention_heads=4, dropout=0.0,
                  attention_dropout=0.0, activation_dropout=0.0) | PLACES, "linear mlp"),
    "gpt2": (GPT2, "linear mlp"),
    "openai-gpt": (GPT2, "linear mlp"),
    "gpt_neo": (dict(hidden_size=32, num_layers=2, attention_types=[[["global", "local"], 1]],
                     num_heads=4, window_size=40) | PLACES, "linear mlp window"),
    "gptj": (GPT2 | dict(rotary_dim=4), "rotary"),
    "gpt_neox": (PLAIN | PLACES | dict(intermediate_size=48), "rotary"),
    "gpt_neox:sequential": (PLAIN | PLACES | dict(intermediate_size=48,
                            use_parallel_residual=False), "rotary mlp"),
    "opt": (PLAIN | PLACES | dict(ffn_dim=48, word_embed_proj_dim=32), "linear mlp"),
    "opt:post": (PLAIN | PLACES | dict(ffn_dim=48, word_embed_proj_dim=32,
                 do_layer_norm_before=False), "linear mlp"),
    "bloom": (dict(hidden_size=32, n_layer=2, n_head=4), "linear mlp alibi"),
    "falcon": (PLAIN | PLACES, "rotary groups"),
    "falcon:alibi": (PLAIN | PLACES | dict(alibi=True, multi_query=False, parallel_attn=False),
                     "linear mlp alibi"),
    "falcon:new": (PLAIN | PLACES | dict(num_kv_heads=2, new_decoder_architecture=True),
                   "rotary groups"),
    "llama": (LLAMA, "rotary groups"),
    "mistral": (LLAMA | WINDOW, "rotary groups window"),
    "qwen2": (LLAMA, "rotary groups"),
    "qwen3": (LLAMA, "rotary norm groups"),
    "gemma2": (LLAMA | WINDOW | dict(query_pre_attn_scalar=8, attn_logit_softcapping=2.0),
               "rotary groups window"),
    "gemma3_text": (LLAMA | WINDOW | dict(query_pre_attn_scalar=8,
                    layer_types=["sliding_attention", "full_attention"]),
                    "rotary norm groups window"),
    "phi": (LLAMA, "rotary groups"),
    "phi:norms": (LLAMA | dict(qk_layernorm=True), "rotary biased-norm groups"),
    "olmo2": (LLAMA, "rotary norm groups"),
    "stablelm": (LLAMA, "rotary groups"),
    "stablelm:norms": (LLAMA | dict(qk_layernorm=True), "rotary norm groups"),
    "starcoder2": (LLAMA | WINDOW, "rotary groups window mlp"),
}  # fmt: skip
GELU_NEW = NewGELUActivation()
HAS = {
    "rotary": {"context-split-rotary"},
    "norm": {"context-split-normalised-keys"},
    "groups": {"grouped-queries"},
    "window": {"context-split-window"},
    "alibi": {"context-split-alibi"},
    "mlp": {"block-as-weight-change", "mlp-as-run"},
    "linear": {"context-split", "context-split-with-biases", "finetuning-dual-by-examples",
               "finetuned-values-as-attention"},
}  # fmt: skip
SOMEWHERE = set().union(*HAS.values()) | {"finetuning-dual"}


@cache
def tiny(name: str) -> LoadedModel:
    """A model whose scores vary by more than one; no gain is one and no bias zero."""
    config = AutoConfig.for_model(
        name.partition(":")[0], vocab_size=640, bos_token_id=1, eos_token_id=2, pad_token_id=0,
        **VARIANTS[name][0],
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        model = AutoModelForCausalLM.from_config(config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.25 * torch.randn(p.shape, generator=generator))
    return wrap(model, tokenizer(), name)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> FolderSource:
    return FolderSource(path=save_data(tmp_path_factory.mktemp("data") / "d", n=6))


def ready_for(name: str, source: FolderSource) -> Prepared:
    return prepare(tiny(name), TASKS["mr"], source, StudySettings(seed=1, rates=(0.05,), k=3))


def ids(name: str, query: int = 6) -> tuple[list[int], list[int]]:
    g = torch.Generator().manual_seed(2)
    drawn = torch.randint(3, 640, (60 + query,), generator=g).tolist()
    return [1, *drawn[:60]], drawn[60:]


def checked(found: Checks) -> set[str]:
    return {c.statement for c in found.checks}


def test_every_known_architecture_is_here() -> None:
    assert {name.partition(":")[0] for name in VARIANTS} == set(KNOWN)


@pytest.mark.parametrize("name", VARIANTS)
def test_what_applies_holds_and_what_does_not_says_why(name: str, source: FolderSource) -> None:
    model, ready = tiny(name), ready_for(name, source)
    before = {k: v.clone() for k, v in model.model.state_dict().items()}
    found = run_checks(model, ready, queries=1, rate=0.05)
    assert found.refusal is None
    has = VARIANTS[name][1].split()
    expected = set(all_statements(ready)) - SOMEWHERE - {"grouped-queries"}
    expected = expected.union(*(HAS[part] for part in has if part in HAS))
    expected |= set() if {"norm", "biased-norm"} & set(has) else {"finetuning-dual"}
    assert checked(found) == expected
    told = {(x.statement, x.layer) for x in found.not_applicable}
    for layer in range(2):
        here = {c.statement for c in found.checks if c.layer == layer}
        assert here | {s for s, i in told if i == layer} == set(all_statements(ready))
    groups = model.blocks[0].groups
    assert {c.head for c in found.checks if c.statement in TRAINED} == set(range(groups))
    assert {(s.layer, s.head) for s in found.shares} == {(i, j) for i in range(2) for j in range(4)}
    assert all(torch.equal(x, before[k]) for k, x in model.model.state_dict().items())
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    assert not any(getattr(m, kind) for m in model.model.modules() for kind in kinds)


@pytest.mark.parametrize("name", ["gpt_neo", "gpt2", "qwen2", "llama"])
def test_an_update_is_made_of_its_examples_also_where_no_bias_can_move(name: str) -> None:
    context, _ = ids(name)
    for update in layers.gradient_step(tiny(name), context, 0.1):
        made = update.examples
        for moved, errors in ((update.key, made.key_errors), (update.value, made.value_errors)):
            product = Tracked(errors) @ Tracked(made.inputs).T
            check(product.elsewhere(moved), product)
        assert bool(update.key[..., -1].any()) is not bias_free(name)


def bias_free(name: str) -> bool:
    return not bool(layers.projections(tiny(name).blocks)[0].key[..., -1].any())


def test_a_bias_that_is_not_there_is_named_where_its_near_miss_is_true() -> None:
    without = {name for name in VARIANTS if bias_free(name)}
    assert {"gpt_neo", "gptj", "llama", "stablelm"} <= without and "qwen2" not in without
    for name in ("llama", "qwen2"):
        found = check_layers(tiny(name), *ids(name), statements=["bias-as-weight"])
        require(found)
        wanted = "biases are zero or missing" if name == "llama" else None
        assert {c.coincides for c in found} == {wanted}


def refused(name: str, message: str) -> None:
    with pytest.raises(CheckRefused, match=message):
        require(check_layers(tiny(name), *ids(name), statements=list(BESIDE), dtype=torch.float64))


def with_blocks(monkeypatch: pytest.MonkeyPatch, change: Callable[[Block], dict[str, Any]]) -> None:
    """Every adapter with other fields."""

    def blocks(model: LoadedModel) -> tuple[Block, ...]:
        return tuple(dataclasses.replace(b, **change(b)) for b in blocks_of(model.model))

    monkeypatch.setattr(LoadedModel, "blocks", property(blocks))


@pytest.mark.parametrize("name", ["llama", "gptj", "falcon", "phi", "qwen3"])
def test_a_rotation_that_is_forgotten_or_reversed_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = block_activations.rotation
    for change in (
        lambda J, C, S: (J, torch.ones_like(C), torch.zeros_like(S)),
        lambda J, C, S: (J, C, -S),
        lambda J, C, S: (J, C.roll(1, -1), S.roll(1, -1)),
    ):
        monkeypatch.setattr(block_activations, "rotation", lambda *a, c=change: c(*right(*a)))
        refused(name, "at most 1 at keys-as-they-meet, layer 0")


@pytest.mark.parametrize("name", ["llama", "falcon:new", "gemma2"])
def test_groups_in_another_order_are_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def alternating(x: torch.Tensor, heads: int) -> torch.Tensor:
        return x.repeat(heads // len(x), *[1] * (x.dim() - 1))

    monkeypatch.setattr(layer_capture, "repeated", alternating)
    monkeypatch.setattr(recomputation, "repeated", alternating)
    refused(name, "at most 1 at softmax-as-run, layer 0")


@pytest.mark.parametrize("name", ["mistral", "gemma3_text", "starcoder2"])
@pytest.mark.parametrize("off", [-1, 1, None])
def test_a_window_off_by_one_or_forgotten_is_refused(
    name: str, off: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(b: Block) -> dict[str, Any]:
        return {"window": None if off is None or b.window is None else b.window + off}

    with_blocks(monkeypatch, change)
    refused(name, "at most 1 at softmax-as-run, layer 0")


def test_a_local_window_is_that_of_the_layer_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with_blocks(monkeypatch, lambda b: {"window": b.window and b.window + 1})
    refused("gpt_neo", "at most 1 at softmax-as-run, layer 1")


@pytest.mark.parametrize("name", ["bloom", "falcon:alibi"])
def test_position_scores_of_another_head_or_none_are_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rolled(b: Block) -> dict[str, Any]:
        assert b.position_bias is not None
        bias = b.position_bias
        return {"position_bias": lambda start, length: bias(start, length).roll(1, 0)}

    for change in (rolled, lambda _b: {"position_bias": None}):
        with_blocks(monkeypatch, change)
        refused(name, "at most 1 at softmax-as-run, layer 0")


def test_a_soft_cap_that_is_forgotten_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with_blocks(monkeypatch, lambda _b: {"softcap": None})
    refused("gemma2", "at most 1 at softmax-as-run, layer 0")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("gemma3_text", lambda n: {"gain": n.gain - 1}),
        ("olmo2", lambda _n: {"joint": False}),
        ("stablelm:norms", lambda _n: {"centred": False}),
        ("phi:norms", lambda _n: {"added": None}),
        ("qwen3", lambda n: {"epsilon": n.epsilon + 1e-3}),
    ],
)
def test_a_norm_of_another_form_is_refused(
    name: str, change: Callable[[qk_norm.Norm], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = qk_norm.read

    def read(*a: Any) -> qk_norm.Norm:
        found = right(*a)
        return dataclasses.replace(found, **change(found))

    monkeypatch.setattr(qk_norm, "read", read)
    refused(name, "at most 1 at keys-as-they-meet, layer 0")


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "falcon:new", "opt", "llama"])
def test_projections_that_are_exchanged_or_rolled_are_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exchanged(b: Block) -> dict[str, Any]:
        return {"key": b.value, "value": b.key}

    def rolled(b: Block) -> dict[str, Any]:
        moved = dataclasses.replace(b.query, channels=b.query.channels.roll(1, 0))
        return {"query": moved}

    for change in (exchanged, rolled):
        with_blocks(monkeypatch, change)
        refused(name, "at most 1 at keys-as-they-meet|at most 1 at softmax-as-run")


@pytest.mark.parametrize("name", VARIANTS)
def test_blocks_of_the_output_projection_add_up_to_what_it_returns(name: str) -> None:
    model, seen = tiny(name), []
    block = model.blocks[1]
    hook = block.output.register_forward_hook(lambda _m, _i, out: seen.append(out[0, -1].detach()))
    try:
        at = layers.capture_layers(model, *ids(name))[1]
    finally:
        hook.remove()
    heads = Tracked(at.meeting.output.flatten(0, 1))
    made = Tracked(at.out.transpose(0, 1).flatten(1)) @ heads
    if block.output.bias is not None:
        made = made + Tracked(block.output.bias.detach()[:, None])
    check(made.elsewhere(seen[0][:, None]), made)


@pytest.mark.parametrize("name", ["gpt_neo", "gemma2", "bloom", "falcon:new", "olmo2", "opt"])
def test_lambda_is_the_softmax_mass_that_the_model_gives_the_context(name: str) -> None:
    model = dataclasses.replace(tiny(name), model=copy.deepcopy(tiny(name).model))
    context, query = ids(name)
    shares = softmax_shares.softmax_shares(model, context, query)
    model.model.config._attn_implementation = "eager"  # Falcon cannot be told otherwise
    with torch.no_grad():
        tokens = torch.tensor([[*context, *query]])
        maps = model.model(input_ids=tokens, output_attentions=True).attentions
    for s in shares:
        mass = float(maps[s.layer][0, s.head, -1, : len(context)].sum())
        assert s.demonstrations == pytest.approx(mass, rel=1e-4)
    assert len(shares) == 8


@pytest.mark.parametrize("name", ["llama", "opt", "gemma2", "gpt_neo"])
def test_the_relaxation_is_that_of_unscaled_queries_over_what_the_last_token_sees(
    name: str,
) -> None:
    context, query = ids(name)
    shares = {
        (s.layer, s.head): s for s in softmax_shares.softmax_shares(tiny(name), context, query)
    }
    for layer, at in enumerate(layers.capture_layers(tiny(name), context, query)):
        met, start = at.meeting, len(context) + len(query) - (at.window or 1000)
        k, v = (layer_capture.repeated(x[..., max(0, start) :], 4) for x in (met.k, met.v))
        relaxed = (v @ (k.mT @ met.q[..., -1:]))[..., 0]
        for head in range(4):
            exact = met.output[head, :, 0]
            size = float((relaxed[head] - exact).norm() / exact.norm())
            assert shares[layer, head].relaxation == pytest.approx(size, rel=1e-4)


def ratios(
    found: Callable[[Tracked], Tracked],
    exact: Callable[[torch.Tensor], torch.Tensor],
    low: float,
    high: float,
) -> list[float]:
    """The largest gap/bound against float64, for an exact operand and for one with an error."""
    g = torch.Generator().manual_seed(0)
    x = low + (high - low) * torch.rand(200, 500, generator=g)
    wide, seen = x.double(), []
    for size in (0.0, 1e-3):
        error = size * wide.abs()
        sign = (2 * torch.rand(x.shape, generator=g) - 1).sign()
        made = found(Tracked(x, error))
        gap = (made.value.double() - exact(wide + error * sign)).abs()
        seen.append(float((gap / made.error).max()))
    return seen


@pytest.mark.parametrize(
    ("found", "exact", "low", "high"),
    [
        (recomputation._rsqrt, torch.rsqrt, 1e-3, 20.0),
        (softmax_mixture.tanh, torch.tanh, -4.0, 4.0),
        *[
            (lambda a, f=f: whole_block.activated(a, f), f, -4.0, 4.0)
            for f in (torch.nn.functional.gelu, torch.nn.functional.silu, GELU_NEW)
        ],
    ],
)
def test_bounds_of_single_functions_hold_and_are_near(
    found: Any, exact: Any, low: float, high: float
) -> None:
    for ratio in ratios(found, exact, low, high):
        assert 0.02 < ratio <= 1


@pytest.mark.parametrize("name", ["mistral", "gpt_neo"])
def test_a_window_without_demonstrations_says_so_and_the_rest_still_holds(name: str) -> None:
    context, query = ids(name, query=45)
    every = [*BINDINGS, *BESIDE]
    found = layers.capture_layers(tiny(name), context, query, dtype=torch.float64)
    at = found[1]
    assert at.first > at.context and at.X_demo.shape[1] == 0 and at.X.shape[1] == 40
    reasons = {n: reason_against(n, at) for n in every if n not in ("finetuning-dual",)}
    assert reasons["softmax-split"] == "the window of 40 tokens holds no demonstration"
    assert reasons["linear-attention-dual"] == reasons["softmax-split"]
    here = [n for n in every if reason_against(n, at) is None and n != "finetuning-dual"]
    here = [n for n in here if n != "finetuning-dual-by-examples"]
    assert {"context-split-window", "softmax-as-run", "bias-as-weight"} <= set(here)
    require(identities.check_layer(at, 1, here))
    assert {s.demonstrations for s in softmax_shares.shares_of(at, 1)} == {0.0}


def test_a_window_over_everything_is_no_window() -> None:
    context, query = ids("mistral")
    at = layers.capture_layers(tiny("mistral"), context[:20], query)[0]
    reason = reason_against("context-split-window", at)
    assert reason == "the window of 40 holds all 26 tokens"


def test_queries_that_a_block_scales_itself_are_taken_unscaled() -> None:
    for at in layers.capture_layers(tiny("opt"), *ids("opt")):
        assert at.scaling == at.q.shape[1] ** -0.5
        assert torch.equal(at.meeting.q, at.meeting.query)


def near(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal up to a few roundings of float32, of the largest entry."""
    return bool((a - b).abs().max() <= 1e-5 * b.abs().max())


def holds_its_keys(name: str, at: layer_capture.LayerCapture) -> None:
    """The variables of one statement on a part, against what met in the block."""
    v, met, heads = BINDINGS[name](at), at.meeting, len(at.q)
    k, q = layer_capture.repeated(met.k, heads), met.q[..., -1:]
    for end, part in (("", at.asking), ("_demo", at.shown)):
        if name == "context-split-rotary":
            turned = v[f"K{end}"] * v[f"C{end}"] + (v["J"] @ v[f"K{end}"]) * v[f"S{end}"]
            assert near(turned, k[..., part]) and near(v["q"], q)
        if name == "context-split-normalised-keys":
            made = v["g"] * v[f"K{end}"] * v[f"r{end}"].mT
            normed = layer_capture.repeated(met.normed_k, heads)
            assert near(made, normed[..., part]) and near(v["q"], met.normed_q[..., -1:])
        if name == "context-split-alibi":
            s = v[f"K{end}"].mT @ v["q"] + v[f"b{end}"]
            assert near(s.mT, softmax_shares.scores(at)[0][..., part])
            assert bool((v["b"][1:] != v["b"][:1]).any())  # each head its own slope
    if name == "context-split-window":
        assert v["w"].shape[0] == 6 and v["w_demo"].shape[0] == 61 and bool(v["w"].all())
        assert int(v["w"].sum() + v["w_demo"].sum()) == 40
        assert near(v["K"], k[..., 61:]) and near(v["K_demo"], k[..., :61])
    if name == "grouped-queries":
        size = heads // at.groups
        for i in range(heads):
            others = [j for j in range(heads) if j // size == i // size and j != i]
            assert near(v["q_1"][i], q[i]) and any(near(v["q_2"][i], q[j]) for j in others)
            assert near(v["K"][i], met.k[i // size][..., at.asking])


@pytest.mark.parametrize("name", VARIANTS)
def test_variables_of_parts_are_what_the_layer_holds(name: str) -> None:
    for at in layers.capture_layers(tiny(name), *ids(name)):
        for part in (set().union(*HAS.values()) & set(BINDINGS)) - NEEDS_UPDATE:
            if reason_against(part, at) is None:
                holds_its_keys(part, at)
        v = BINDINGS["heads-through-the-output-projection"](at)
        assert torch.equal(v["O_2"], v["O_1"].roll(-1, 0)) and not torch.equal(v["O_2"], v["O_1"])
        assert torch.equal(v["q_2"][0], at.q[1]) and near(at.q, at.meeting.q[..., -1:])
        if not isinstance(at.mlp, str):
            v = BINDINGS["block-as-weight-change"](at)
            for a, had in (("a_C", at.mlp.within), ("a", at.mlp.alone)):
                hidden = at.mlp.activation(v["W_1"] @ v[a] + v["b_1"])
                assert near(v["W_2"] @ hidden + v["b_2"], had.gave)


@pytest.mark.parametrize("name", ["llama", "gptj", "falcon:new"])
def test_the_finetuning_dual_with_turned_keys_is_that_of_moved_weights(name: str) -> None:
    """The left side is relaxed attention of the first block after its weights have moved."""
    wide = dataclasses.replace(tiny(name), model=copy.deepcopy(tiny(name).model).double())
    context, query = ids(name)
    updates = layers.gradient_step(wide, context, 0.1)
    at = layers.capture_layers(wide, context, query, updates=updates)[0]
    left, _, near = identities._sides(at, "finetuning-dual")
    block = wide.blocks[0]
    with torch.no_grad():
        for p, move in ((block.key, updates[0].key), (block.value, updates[0].value)):
            channels = p.channels.flatten()
            step = move.flatten(0, 1)
            weight = p.module.weight.mT if p.transposed else p.module.weight
            weight[channels] += step[:, :-1]
            if p.module.bias is not None:
                p.module.bias[channels] += step[:, -1]
    moved = layers.capture_layers(wide, context, query)[0]
    k, v = layer_capture.keys_and_values(moved, moved.asking)
    theirs = v @ (k.mT @ at.q)
    size = (v.abs() @ (k.mT.abs() @ at.q.abs())).max()
    assert float((theirs - left.value).abs().max()) < 1e-12 * float(size)
    assert float((theirs - near.value).abs().max()) > 1e-9 * float(size)


def test_a_layer_norm_with_a_bias_is_no_division_alone() -> None:
    at = layers.capture_layers(tiny("phi:norms"), *ids("phi:norms"))[0]
    reason = reason_against("context-split-normalised-keys", at)
    assert reason is not None and "adds a bias" in reason
    plain = dataclasses.replace(tiny("phi:norms"), model=copy.deepcopy(tiny("phi:norms").model))
    for block in plain.blocks:
        torch.nn.init.zeros_(block.attention.k_layernorm.bias)
    names = ["context-split-normalised-keys", "keys-as-they-meet"]
    require(check_layers(plain, *ids("phi:norms"), statements=names, dtype=torch.float64))


def test_a_context_of_one_token_has_no_block_without_it() -> None:
    (at, _) = layers.capture_layers(tiny("gpt2"), [1], ids("gpt2")[1])
    reason = reason_against("block-as-weight-change", at)
    assert reason is not None and "the context is one token" in reason


def test_an_activation_without_a_bound_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_block, "_KNOWN", frozenset())
    at = layers.capture_layers(tiny("gpt2"), *ids("gpt2"))[0]
    reason = reason_against("block-as-weight-change", at)
    assert reason == "the rounding of its activation (NewGELUActivation) has no bound here"


def test_a_block_that_reads_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Mlps.at

    def other(self: Mlps, *a: Any) -> Any:
        found = right(self, *a)
        moved = dataclasses.replace(found.within, read=found.within.read * (1 + 1e-4))
        return dataclasses.replace(found, within=moved)

    monkeypatch.setattr(Mlps, "at", other)
    refused("xglm", "at most 1 at mlp-as-run, layer 0, got")
