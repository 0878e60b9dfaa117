"""The catalogue on every layer and head of a decoder; near misses refused; no hook left."""

import dataclasses

import pytest
import torch

from dualform.elementary import exp, over
from dualform.ops import TensorOps
from dualform.rounding import UNIT_ROUNDOFF, BoundViolation, Tracked, check, compare
from empirical.core.errors import UserError
from empirical.identities import capture_layers as layers
from empirical.identities import check_layers as identities
from empirical.identities import softmax_metrics as softmax_shares
from empirical.identities import softmax_mixture
from empirical.identities.applicability import NOT_APPLICABLE, reason_against
from empirical.identities.bindings import BINDINGS, NEEDS_UPDATE, TRAINED
from empirical.identities.check_layers import check_layers
from empirical.identities.trained_weights import train
from empirical.models.loading import default_dtype_of
from empirical.results.layer_check import CheckRefused, require
from proofs.statements import STATEMENTS, by_id
from tests.support.models.tiny_models import context, queries, tiny

pytestmark = pytest.mark.dual_form

EVERY = [*BINDINGS, *identities.BESIDE]
# What decoders built like XGLM do not have; test_any_model.py has those that do.
NOT_HERE = (
    "grouped-queries",
    "context-split-rotary",
    "context-split-normalised-keys",
    "context-split-alibi",
    "context-split-window",
)
HERE = [name for name in EVERY if name not in NOT_HERE]


@pytest.fixture(scope="module")
def loaded():
    return tiny()


@pytest.fixture(scope="module")
def ids(loaded):
    *shown, asked = queries(5)
    return list(context(loaded, shown)), list(asked.prompt)


def hooks(model):
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    return sum(len(getattr(m, k)) for m in model.modules() for k in kinds)


def test_every_statement_has_a_site_or_a_reason_and_none_is_left_over():
    known = {s.id for s in STATEMENTS}
    assert sorted([*BINDINGS, *NOT_APPLICABLE, *TRAINED]) == sorted(known)
    assert all(NOT_APPLICABLE.values()) and set(BINDINGS) >= NEEDS_UPDATE


def test_every_site_supplies_the_variables_of_its_statement(loaded, ids):
    updates = layers.gradient_step(loaded, ids[0])
    for at in layers.capture_layers(loaded, *ids, updates=updates):
        here = {name: site for name, site in BINDINGS.items() if reason_against(name, at) is None}
        assert set(BINDINGS) - set(here) == set(BINDINGS) & set(NOT_HERE)
        for name, site in here.items():
            sizes = {"1": 1}
            variables = by_id(name).variables
            found = site(at)
            assert set(found) == set(variables)
            for key, (rows, columns) in variables.items():
                shape = found[key].shape[-2:]
                assert shape == (
                    sizes.setdefault(rows, shape[0]),
                    sizes.setdefault(columns, shape[1]),
                )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("name", HERE)
def test_it_holds_on_every_head_of_every_layer_and_its_near_miss_does_not(name, dtype, ids):
    model = tiny(dtype)
    checks = check_layers(model, *ids, statements=[name])
    require(checks)
    where = {(c.layer, c.head) for c in checks}
    heads = [None] if name in ("block-as-weight-change", "mlp-as-run") else range(model.n_heads)
    assert where == {(i, j) for i in range(model.n_layers) for j in heads}
    assert len(checks) == len(where)


def test_float64_copies_of_a_float32_model_pass_too(ids):
    require(check_layers(tiny(torch.float32), *ids, dtype=torch.float64))


def test_a_real_finetuning_update_has_the_finetuning_dual(loaded, ids):
    shown = [(loaded.encoder.bos, *q.prompt, 70) for q in queries(4)]
    updates = train(loaded, shown, 0.05).updates()
    assert all(bool((u.value != 0).any() and (u.key != 0).any()) for u in updates)
    require(check_layers(loaded, *ids, statements=sorted(NEEDS_UPDATE), updates=updates))


def test_left_sides_are_computed_by_autograd_so_a_wrong_gradient_of_it_is_seen(
    loaded, ids, monkeypatch
):
    names = ["squared-loss-gradient", "linear-loss-step", "squared-loss-step-anywhere"]
    right = TensorOps.grad
    monkeypatch.setattr(TensorOps, "grad", lambda ops, f, at: right(ops, f, at) * (1 + 1e-9))
    for name in names:
        with pytest.raises(CheckRefused, match=name):
            require(check_layers(loaded, *ids, statements=[name]))


def test_a_gradient_step_is_what_a_difference_quotient_says(loaded, ids):
    (step, *_) = layers.gradient_step(loaded, ids[0], rate=1.0)
    layer = loaded.model.model.layers[0].self_attn.v_proj
    tokens = torch.tensor([ids[0]])

    def loss():
        with torch.no_grad(), default_dtype_of(loaded):
            logits = loaded.model(input_ids=tokens).logits[0, :-1]
            return float(torch.nn.functional.cross_entropy(logits, tokens[0, 1:]))

    for read in (lambda d: (layer.weight[3], d.flatten(0, 1)[3, :-1]),
                 lambda d: (layer.bias[3:4], d.flatten(0, 1)[3:4, -1])):  # fmt: skip
        at, expected = read(step.value)
        old, size = at.detach().clone(), 1e-5
        with torch.no_grad():
            at[0] = old[0] + size
            up = loss()
            at[0] = old[0] - size
            down = loss()
            at[0] = old[0]
        assert -(up - down) / (2 * size) == pytest.approx(float(expected[0]), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_augmented_projections_are_the_keys_the_model_computes(dtype, ids):
    model = tiny(dtype)
    seen = []
    block = model.model.model.layers[1].self_attn
    handle = block.k_proj.register_forward_hook(lambda _m, _i, out: seen.append(out[0].detach()))
    try:
        at = layers.capture_layers(model, *ids)[1]
    finally:
        handle.remove()
    product = Tracked(at.projections.key) @ Tracked(torch.cat([at.X_demo, at.X], 1))
    theirs = seen[0].mT.unflatten(0, (model.n_heads, -1))
    # The model sums the same d + 1 products in another order: the same bound holds for it.
    assert check(product, Tracked(theirs, product.error)).nontrivial
    without = Tracked(at.projections.key[..., :-1]) @ Tracked(torch.cat([at.X_demo, at.X], 1)[:-1])
    with pytest.raises(BoundViolation):
        check(without, Tracked(theirs, product.error))


def test_softmax_split_agrees_with_the_output_of_the_model(loaded, ids):
    seen = []
    block = loaded.model.model.layers[0].self_attn
    handle = block.out_proj.register_forward_pre_hook(lambda _m, i: seen.append(i[0][0, -1]))
    try:
        at = layers.capture_layers(loaded, *ids)[0]
    finally:
        handle.remove()
    p, tokens = at.projections, Tracked(torch.cat([at.X_demo, at.X], 1))
    scale = at.q.new_full((1, 1), block.scaling)
    query = (Tracked(p.query) @ Tracked(at.X[:, -1:])).times(Tracked(scale))
    scores = query.T @ (Tracked(p.key) @ tokens)
    masses = exp(scores - Tracked(scores.value.amax(-1, keepdim=True).expand_as(
        scores.value
    )))  # fmt: skip
    ours = over(Tracked(p.value) @ tokens @ masses.T, softmax_mixture._total(masses))
    theirs = seen[0].detach().reshape(ours.value.shape)
    check(ours.elsewhere(theirs), ours)
    _, mixture, near = identities._softmax_sides(at)
    assert at.scaling == block.scaling
    check(ours.elsewhere(theirs), Tracked(mixture.value, mixture.error + ours.error))
    with pytest.raises(BoundViolation):
        check(ours.elsewhere(theirs), Tracked(near.value, near.error + ours.error))


def test_the_softmax_bound_covers_the_truth_in_a_wider_type_and_catches_a_planted_error():
    g = torch.Generator().manual_seed(0)
    s, t = (4 * torch.randn(3, 1, n, generator=g) for n in (7, 5))
    v, w = (torch.randn(3, 4, n, generator=g) for n in (7, 5))
    narrow = softmax_mixture.sides(s, t, v, w)
    wide = softmax_mixture.sides(*(x.double() for x in (s, t, v, w)))
    for a, b in zip(narrow, wide, strict=True):
        assert compare(a, b).worst_ratio <= 1
    left, right, _ = narrow
    planted = Tracked(right.value * (1 + 100 * UNIT_ROUNDOFF[torch.float32]), right.error)
    assert compare(left, planted).worst_ratio > 1


def test_lambda_is_the_softmax_mass_that_the_model_gives_the_context(ids):
    loaded = tiny()  # its own: transformers leaves hooks behind where maps were asked for
    shares = softmax_shares.softmax_shares(loaded, *ids)
    n = len(ids[0])
    tokens = torch.tensor([ids[0] + ids[1]])
    loaded.model.set_attn_implementation("eager")
    with torch.no_grad(), default_dtype_of(loaded):
        maps = loaded.model(input_ids=tokens, output_attentions=True).attentions
    for s in shares:
        mass = float(maps[s.layer][0, s.head, -1, :n].sum())
        assert s.demonstrations == pytest.approx(mass, rel=1e-9)
        assert 0 < s.demonstrations < 1 and s.relaxation > 0 and -1 <= s.cosine <= 1
    assert len(shares) == loaded.n_layers * loaded.n_heads


def test_hooks_flags_and_modes_are_as_before_also_after_a_failure(loaded, ids):
    model = loaded.model
    before = [p.requires_grad for p in model.parameters()]
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    model.train()
    try:
        check_layers(loaded, *ids, statements=["finetuning-dual", "block-as-weight-change"])
        assert model.training and all(m.training for m in model.modules())
    finally:
        model.eval()
    with pytest.raises(IndexError):
        check_layers(loaded, [10**6], ids[1], statements=["context-split"])
    assert hooks(model) == 0
    assert [p.requires_grad for p in model.parameters()] == before
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())


def test_progress_names_every_layer(loaded, ids):
    said = []
    check_layers(loaded, *ids, statements=["context-split"], progress=said.append)
    assert said == ["layer 1 of 2", "layer 2 of 2"]


def test_require_refuses_what_is_wrong_vacuous_or_blind(loaded, ids):
    good = check_layers(loaded, *ids, statements=["context-split"])
    for change, message in (
        ({"worst_ratio": 1.5}, "at most 1"),
        ({"worst_ratio": float("nan")}, "at most 1"),
        ({"near_miss_ratio": 0.5}, "near miss to be refused"),
        ({"coincides": "no reason"}, "near miss to be true .*no reason"),
        ({"nontrivial": False}, "not zero"),
        ({"finite": False}, "finite"),
    ):
        with pytest.raises(CheckRefused, match=message):
            require([*good, dataclasses.replace(good[0], **change)])
    with pytest.raises(CheckRefused, match="got none"):
        require([])


def test_bad_requests_are_refused_plainly(loaded, ids):
    with pytest.raises(UserError, match="expected statements among .*, got 'nothing'"):
        check_layers(loaded, *ids, statements=["nothing"])
    with pytest.raises(UserError, match="the claim is false"):
        check_layers(loaded, *ids, statements=["squared-loss-step-from-zsl"])
    with pytest.raises(UserError, match="at least one context token"):
        check_layers(loaded, [], ids[1], statements=["context-split"])
    with pytest.raises(ValueError, match="expected torch.float64 or wider .* got torch.float32"):
        check_layers(loaded, *ids, statements=["context-split"], dtype=torch.float32)
