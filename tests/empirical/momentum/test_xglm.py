"""Whole models with each layer: XGLM by the interface, caches, padding, packing, saved and loaded.

Two ways to the same logits add the same terms in another order. In float64 they have to agree in
every digit that float32 has, 2^-24 of the largest logit; a token more or less is far above that,
which the near misses here show with the same measure.
"""

import copy
import json
from contextlib import contextmanager

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, DynamicCache, StaticCache

from empirical.core.errors import UserError
from empirical.momentum import sequence_positions as places
from empirical.momentum.adapt import adapt, attentions, layer_of, load, parameters, rates, save
from empirical.momentum.attention import LOGIT, RATE
from empirical.results.attention_kinds import HEAVY_BALL, KINDS, MOMENTUM, PLAIN, Layer
from tests.support.models.architectures import EVERYWHERE, VARIANTS, randomised

LAYERS = [Layer(kind=kind, eta=0.7) for kind in KINDS if kind != PLAIN]
BESIDE = Layer(kind=MOMENTUM, eta=0.7)
LEARNED = Layer(kind=MOMENTUM, eta=0.7, learned=True)
MODELS = ("llama", "gpt2", "gpt_neox", "qwen2", "qwen3", "opt", "xglm")
PACKING = ("llama", "gpt2", "gpt_neox", "qwen2", "qwen3")  # the others' masks see no positions
SHORT, LONG = 7, 10
each_layer = pytest.mark.parametrize("layer", LAYERS, ids=lambda x: x.kind)
each_model = pytest.mark.parametrize("name", MODELS)


def model(name, layer=None):
    variant = VARIANTS[name]
    found = randomised(AutoConfig.for_model(variant.kind, **(EVERYWHERE | variant.settings)))
    found = found.double().eval()
    return found if layer is None else adapt(found, layer)


def tokens(rows=2, length=LONG):
    return torch.randint(3, 97, (rows, length), generator=torch.Generator().manual_seed(0))


def logits(net, ids, **more):
    with torch.no_grad():
        return net(input_ids=ids, **more).logits


def apart(found, wanted):
    """Entries that differ in a digit that float32 has, [..., 97]."""
    assert torch.isfinite(found).all() and torch.isfinite(wanted).all()
    return (found - wanted).abs() > 2.0**-24 * wanted.abs().max()


@contextmanager
def default_float64():
    """XGLM's class makes a number of the default type and takes the largest of it and float64's."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def test_xglm_by_the_interface_gives_the_logits_of_its_class():
    net, ids = model("xglm"), tokens()
    mask = torch.ones_like(ids)
    mask[0, :3] = 0
    with default_float64():
        wanted = [logits(net, ids), logits(net, ids, attention_mask=mask)]
    adapt(net, Layer())
    for way, more in zip(wanted, ({}, {"attention_mask": mask}), strict=True):
        real = torch.ones_like(mask).bool() if not more else mask.bool()
        assert not apart(logits(net, ids, **more)[real], way[real]).any()
    adapt(net, BESIDE)
    assert apart(logits(net, ids), wanted[0]).any(-1)[:, 1:].all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_xglm_in_a_narrow_type_is_no_further_from_float64_than_its_class(dtype):
    """Twice the class's own largest distance: both round, in different places."""
    net, ids = model("xglm"), tokens()
    with default_float64():
        exact = logits(net, ids)
    narrow = copy.deepcopy(net).to(dtype)
    own = (logits(narrow, ids).double() - exact).abs().max()
    ours = (logits(adapt(narrow, Layer()), ids).double() - exact).abs().max()
    assert 0 < ours <= 2 * own


def test_gradients_through_xglm_are_those_of_its_class():
    net, ids = model("xglm"), tokens()
    other = adapt(copy.deepcopy(net), Layer())
    with default_float64():
        net(input_ids=ids).logits.square().mean().backward()
    other(input_ids=ids).logits.square().mean().backward()
    for (name, a), (_, b) in zip(net.named_parameters(), other.named_parameters(), strict=True):
        if name.endswith("k_proj.bias"):  # the softmax takes no notice of it: zero but for rounding
            continue
        assert a.grad is not None and a.grad.abs().max() > 0
        assert not apart(b.grad, a.grad).any(), name


def test_xglm_with_cross_attention_is_refused():
    net = adapt(model("xglm"), BESIDE)
    x = torch.zeros(1, 2, 32, dtype=torch.float64)
    with pytest.raises(UserError, match="got cross-attention"):
        attentions(net)[0](x, key_value_states=x)


@each_layer
@each_model
def test_token_by_token_is_the_whole_pass(name, layer):
    net, ids = model(name, layer), tokens()
    whole, cache = logits(net, ids), DynamicCache(config=net.config)
    found = [logits(net, x, past_key_values=cache, use_cache=True) for x in ids.split(1, 1)]
    assert not apart(torch.cat(found, 1), whole).any()
    plain = logits(adapt(net, Layer()), ids)
    assert apart(whole, plain).any(-1)[:, 2:].all()


@each_layer
@pytest.mark.parametrize("name", ["llama", "xglm"])
def test_the_state_follows_a_cache_that_is_cropped_and_reordered(name, layer):
    net, ids = model(name, layer), tokens()
    cache = DynamicCache(config=net.config)
    logits(net, ids, past_key_values=cache, use_cache=True)
    cache.crop(4 - LONG)
    cache.reorder_cache(torch.tensor([1, 0]))
    turned = ids.flip(0)
    found = logits(net, turned[:, 4:], past_key_values=cache, use_cache=True)
    assert not apart(found, logits(net, turned)[:, 4:]).any()


@each_layer
@pytest.mark.parametrize("name", ["llama", "xglm"])
def test_a_static_cache_gives_the_whole_pass(name, layer):
    net, ids = model(name, layer), tokens()
    cache = StaticCache(config=net.config, max_cache_len=16)
    parts = ids.split([4, 3, 1, 1, 1], 1)
    found = [logits(net, x, past_key_values=cache, use_cache=True) for x in parts]
    assert not apart(torch.cat(found, 1), logits(net, ids)).any()


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("name", ["gpt2", "llama", "xglm"])
def test_generated_tokens_are_those_without_a_cache(name, beams):
    net, ids = model(name, BESIDE), tokens()
    mask = torch.ones_like(ids)
    mask[0, :3] = 0
    how = dict(attention_mask=mask, max_new_tokens=6, num_beams=beams, do_sample=False,
               eos_token_id=None, pad_token_id=0)  # fmt: skip
    assert torch.equal(net.generate(ids, **how), net.generate(ids, **how, use_cache=False))


@each_layer
@pytest.mark.parametrize("side", ["left", "right"])
@each_model
def test_padding_changes_nothing(name, side, layer):
    net, ids = model(name, layer), tokens()
    mask = torch.ones_like(ids)
    mask[0, slice(0, LONG - SHORT) if side == "left" else slice(SHORT, LONG)] = 0
    more = {} if name == "opt" else {"position_ids": (mask.cumsum(-1) - 1).clamp(min=0)}
    found = logits(net, ids, attention_mask=mask, **more)
    assert not apart(found[0][mask[0].bool()], logits(net, ids[:1][mask[:1].bool()][None])[0]).any()
    assert not apart(found[1], logits(net, ids)[1]).any()


@each_layer
@pytest.mark.parametrize("name", PACKING)
def test_packed_sequences_are_separate_rows(name, layer):
    net, ids = model(name, layer), tokens(1)
    positions = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3, 4, 5]])
    found = logits(net, ids, position_ids=positions, use_cache=False)
    wanted = torch.cat([logits(net, x) for x in ids.split([4, 6], 1)], 1)
    assert not apart(found, wanted).any()
    assert apart(logits(net, ids), wanted).any(-1)[0, 4:].all()


def test_inference_mode_takes_padding():
    net, ids = model("llama", BESIDE), tokens()
    mask = torch.ones_like(ids)
    mask[0, :3] = 0
    wanted = logits(net, ids, attention_mask=mask)
    with torch.inference_mode():
        found = net(input_ids=ids, attention_mask=mask).logits
    assert torch.equal(found, wanted)


def test_layers_share_what_was_read_off_a_mask(monkeypatch):
    net, ids, read = model("llama", BESIDE), tokens(), []
    whole = places._read
    monkeypatch.setattr(places, "_read", lambda seen: read.append(1) or whole(seen))
    mask = torch.ones_like(ids)
    mask[0, :3] = 0
    logits(net, ids, attention_mask=mask)
    assert len(attentions(net)) == 2 and read == [1]


@each_layer
def test_the_first_weights_and_plain_attention_come_back(layer):
    net, ids = model("gpt2"), tokens()
    before = {n: x.clone() for n, x in net.state_dict().items()}
    plain = logits(adapt(net, Layer()), ids)
    learned = Layer(kind=layer.kind, eta=0.7, learned=True)
    for changed in (layer, learned):
        adapt(net, changed)
        assert layer_of(net) == changed
        own = dict(parameters(net))
        assert all(torch.equal(own[n], before[n]) for n in own) and len(own) == 28
    assert not torch.equal(logits(net, ids), plain)
    adapt(net, Layer())
    assert torch.equal(logits(net, ids), plain) and rates(net) == ()
    assert set(net.state_dict()) == set(before)
    assert not any(hasattr(m, LOGIT) or hasattr(m, RATE) for m in attentions(net))


@pytest.mark.parametrize("name", ["bloom", "falcon", "gptj", "gpt_neo", "openai-gpt"])
def test_an_architecture_off_the_interface_is_refused_by_its_name(name):
    net = model(name)
    with pytest.raises(UserError, match=f"attention interface, got {type(net).__name__}"):
        adapt(net, BESIDE)


@pytest.mark.parametrize("name", ["mistral", "qwen2-window", "gemma3_text"])
def test_a_window_is_refused_while_text_fits_into_none(name):
    net = model(name, BESIDE)
    logits(net, tokens(length=SHORT))  # as long as the window
    with pytest.raises(UserError, match="got a window"):
        logits(net, tokens())
    cache = DynamicCache(config=net.config)
    with pytest.raises(UserError, match="got a window"):
        for x in tokens().split(1, 1):
            logits(net, x, past_key_values=cache, use_cache=True)


@pytest.mark.parametrize("kind", [MOMENTUM, HEAVY_BALL])
@pytest.mark.parametrize("name", ["llama", "xglm"])
def test_a_learned_eta_is_trained(name, kind):
    net, ids = model(name, Layer(kind=kind, eta=0.7, learned=True)), tokens()
    first, optimiser = rates(net), torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(2):
        net(input_ids=ids, labels=ids).loss.backward()
        optimiser.step()
    assert len(first) == 2 and all(len(x) == 4 for x in first)
    assert all(
        a != b for x, y in zip(first, rates(net), strict=True) for a, b in zip(x, y, strict=True)
    )


def saved(folder, layer=LEARNED, name="llama"):
    net = model(name, layer).float()
    with torch.no_grad():
        for i, module in enumerate(attentions(net)):
            if layer.learned:
                getattr(module, LOGIT).copy_(torch.arange(4) / 8 - i)
    save(net, folder)
    return net


@pytest.mark.parametrize("layer", [Layer(), BESIDE, LEARNED], ids=lambda x: x.name)
@pytest.mark.parametrize("name", ["gpt2", "llama", "xglm"])
def test_a_saved_model_is_loaded_bit_for_bit(tmp_path, name, layer):
    net = saved(tmp_path, layer, name)
    again = load(tmp_path)
    assert layer_of(again) == layer and rates(again) == rates(net)
    assert torch.equal(logits(again, tokens()), logits(net, tokens()))
    kept = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))["momentum_layer"]
    assert kept == {"kind": layer.kind, "eta": layer.eta, "learned": layer.learned}


L0 = "model.layers.0.self_attn.momentum_logit"
NORM = "model.norm.weight"
BROKEN = {
    "no learned eta": lambda t: t.pop(L0),
    "no weight": lambda t: t.pop(NORM),
    "a foreign tensor": lambda t: t.update(odd=torch.zeros(2)),
    "etas of another shape": lambda t: t.update({L0: torch.zeros(1)}),
    "a weight of another shape": lambda t: t.update({NORM: torch.ones(3)}),
    "a NaN among the etas": lambda t: t[L0].fill_(torch.nan),
    "a NaN among the weights": lambda t: t[NORM].fill_(torch.nan),
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_weights_that_are_not_the_models_are_refused(tmp_path, change):
    saved(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    load(tmp_path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match="expected"):
        load(tmp_path)


def test_folders_without_model_and_damaged_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="expected config.json and model.safetensors"):
        load(tmp_path)
    saved(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match="got a damaged file"):
        load(tmp_path)


@pytest.mark.parametrize("layer", [{"kind": "other", "eta": 0.5, "learned": False}, {"rate": 1}, 3])
def test_a_layer_that_is_none_is_refused(tmp_path, layer):
    saved(tmp_path)
    path = tmp_path / "config.json"
    kept = json.loads(path.read_text(encoding="utf-8")) | {"momentum_layer": layer}
    path.write_text(json.dumps(kept), encoding="utf-8")
    with pytest.raises(UserError, match="expected"):
        load(tmp_path)
