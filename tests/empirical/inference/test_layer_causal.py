"""Layer-causal finetuning against whole models cut off behind each layer.

The twin of layer i's exit is the library's own model with its later layers taken away: the
gradient of its loss at the keys and values of layer i alone needs no hook, no detached state and
no table of final norms, as what enters layer i does not depend on them.

Bound. Gradients of both ways are off by roundings of the same operations in another order: at most
2 n (u/u32) e32 (as in `test_settings`), n the longest reduction, e32 the largest difference between
the gradients of the float32 twin and the twin with float64 weights, u that of the narrowest dtype
anywhere in the class (`Variant.whole`). First order only, hence the near misses.
"""

import copy
from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import Any

import pytest
import torch
from torch import Tensor

from empirical.core.errors import UserError
from empirical.inference.attention import Run
from empirical.inference.finetune import DivergedError, finetuned, trained
from empirical.inference.forward import states
from empirical.inference.layer_causal import layer_causally_finetuned
from empirical.inference.recorder import QueryLog
from empirical.models.architectures import KNOWN, backbone, blocks_of
from empirical.models.architectures.adapters import ADAPTERS
from empirical.models.architectures.final_norm import ENDS, final_states, layers_of
from empirical.models.decoder import LoadedModel, wrap
from tests.support.models import architectures
from tests.support.models.architectures import VARIANTS, f32, f64, plainly
from tests.support.models.tiny_models import tiny, tokenizer

EXAMPLES = [(1, 5, 9, 4, 70, 8, 31), (1, 8, 3, 71), (1, 44, 45, 9, 6)]
RATE = 2.0**-3  # a step is the gradient, scaled without rounding
every_variant = pytest.mark.parametrize("name", VARIANTS)


@cache
def loaded(name: str, dtype: torch.dtype) -> LoadedModel:
    return wrap(copy.deepcopy(architectures.tiny(name, dtype)), tokenizer(), name)


def parts(model: Any) -> list[list[Tensor]]:
    """By layer: the parameters of its key and value maps, each once, in the code's order."""
    found = []
    for block in blocks_of(model):
        maps = list({id(p.module): p.module for p in (block.key, block.value)}.values())
        found.append([x for m in maps for x in (m.weight, m.bias) if x is not None])
    return found


def cut(model: Any, layers: int) -> Any:
    """A model of its first `layers` layers, the weights its own and not copies."""
    memo = {id(p): p for p in model.parameters()}
    short = copy.deepcopy(model, memo)
    path = ADAPTERS[model.config.model_type].path[0]
    owner, _, attribute = path.rpartition(".")
    setattr(attrgetter(owner)(short), attribute, attrgetter(path)(short)[:layers])
    short.config.num_hidden_layers = layers
    return short


def library_loss(model: Any, tokens: tuple[int, ...]) -> Tensor:
    """The library's scores, and the mean NLL written out."""
    with plainly(model), torch.enable_grad():
        scores = model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0, :-1]
    wide = scores.to(torch.promote_types(scores.dtype, f32))
    return -torch.log_softmax(wide, -1)[range(len(tokens) - 1), tokens[1:]].mean()


def twin(model: Any, tokens: tuple[int, ...]) -> tuple[list[Tensor], float]:
    """Gradients of every layer at its own exit, and the sum of the exits' losses."""
    gradients: list[Tensor] = []
    total = 0.0
    for i, own in enumerate(parts(model)):
        value = library_loss(cut(model, i + 1), tokens)
        gradients += torch.autograd.grad(value, own)
        total += float(value.detach())
    return gradients, total


def moved(name: str, dtype: torch.dtype, tokens: tuple[int, ...], change: Any) -> list[Tensor]:
    """Minus the gradients that one step of `change` took, as it left the whole parameters."""
    model = loaded(name, dtype)
    before = [p.detach().clone() for own in parts(model.model) for p in own]
    with change(model, [tokens], RATE):
        after = [p.detach().clone() for own in parts(model.model) for p in own]
    return [(b - a) / RATE for a, b in zip(after, before, strict=True)]


def only_trained(model: LoadedModel, gradients: list[Tensor]) -> list[Tensor]:
    """Zero where a channel does not move: queries that one map makes as well."""
    found = []
    for t, g in zip(trained(model), gradients, strict=True):
        kept = torch.zeros_like(g)
        found.append(g if t.channels is None else kept.index_copy(
            t.axis, t.channels, g.index_select(t.axis, t.channels)))  # fmt: skip
    return found


def gap(a: list[Tensor], b: list[Tensor]) -> float:
    assert all(bool(torch.isfinite(x).all()) for x in (*a, *b))
    return max(float((x.double() - y.double()).abs().max()) for x, y in zip(a, b, strict=True))


@cache
def expected(name: str) -> tuple[list[Tensor], float, float, float]:
    """Gradients and total of the twin in float64, a bound, and the bound on a loss."""
    tokens = EXAMPLES[0]
    right, total = twin(loaded(name, f64).model, tokens)
    narrow, narrow_total = twin(loaded(name, f32).model, tokens)
    variant = VARIANTS[name]
    n = 4 * loaded(name, f64).model.config.hidden_size
    factor = 2 * n * torch.finfo(variant.whole).eps / torch.finfo(f32).eps
    # Weights of size up to w are rounded as the step is taken: u64 w / rate on each gradient.
    largest = max(
        float(p.detach().abs().max()) for own in parts(loaded(name, f64).model) for p in own
    )
    rounding = torch.finfo(f64).eps * (largest + 1) / RATE
    right = only_trained(loaded(name, f64), right)
    narrow = only_trained(loaded(name, f64), narrow)
    return (
        right, total, factor * gap(right, narrow) + rounding, factor * abs(total - narrow_total),
    )  # fmt: skip


@every_variant
def test_every_layer_steps_on_the_loss_of_a_model_that_ends_with_it(name: str) -> None:
    right, total, limit, loss_limit = expected(name)
    got = moved(name, f64, EXAMPLES[0], layer_causally_finetuned)
    assert gap(got, right) <= limit
    with layer_causally_finetuned(loaded(name, f64), EXAMPLES[:1], RATE) as losses:
        assert len(losses) == 1 and abs(losses[0] - total) <= loss_limit
    # Near miss: the last layer's loss alone, which is ordinary finetuning.
    assert gap(moved(name, f64, EXAMPLES[0], finetuned), right) > limit


@every_variant
def test_near_misses_with_gradients_between_layers_or_the_last_exit_alone_exceed_the_bound(
    name: str,
) -> None:
    right, _, limit, _ = expected(name)
    model = loaded(name, f64).model
    every = [p for own in parts(model) for p in own]
    exits = [library_loss(cut(model, i + 1), EXAMPLES[0]) for i in range(architectures.LAYERS)]
    whole = torch.autograd.grad(sum(exits), every, retain_graph=True)
    last = torch.autograd.grad(exits[-1], every)
    for wrong in (whole, last):
        assert gap(only_trained(loaded(name, f64), list(wrong)), right) > limit


def test_every_architecture_has_an_end_and_it_gives_the_models_own_final_states() -> None:
    assert sorted(ENDS) == sorted(KNOWN)
    for name in VARIANTS:
        model = loaded(name, f32).model
        kept: list[Any] = []
        handle = layers_of(model)[-1].register_forward_hook(
            lambda _m, _i, out, kept=kept: kept.append(out)
        )
        with plainly(model):
            final = backbone(model)(input_ids=torch.tensor([EXAMPLES[0]]), use_cache=False)[0]
            gave = kept[0] if isinstance(kept[0], Tensor) else kept[0][0]
            assert torch.equal(final_states(model, gave), final), name
            has_end = not torch.equal(gave, final) if gave.shape == final.shape else True
        handle.remove()
        assert has_end == (name not in ("openai-gpt",)), name


def test_several_steps_follow_one_another_in_order() -> None:
    """A second step starts where the first ended; the order of examples matters."""
    model, kept = loaded("gpt2", f64), []
    for order in (EXAMPLES[:2], EXAMPLES[1::-1]):
        with layer_causally_finetuned(model, order, RATE):
            kept.append([t.part().clone() for t in trained(model)])
    with layer_causally_finetuned(model, EXAMPLES[:1], RATE):
        with layer_causally_finetuned(model, EXAMPLES[1:2], RATE):
            chained = [t.part().clone() for t in trained(model)]
    assert gap(kept[0], chained) == 0 < gap(kept[1], chained)


def test_the_loss_of_one_layer_is_that_of_finetuning() -> None:
    """With one layer alone both ways are one: the same bits move."""
    model = wrap(cut(architectures.tiny("xglm", f64), 1), tokenizer(), "one")
    moves = []
    for change in (layer_causally_finetuned, finetuned):
        with change(model, EXAMPLES[:1], RATE) as losses:
            moves.append((losses, [t.part().clone() for t in trained(model)]))
    assert moves[0][0] == moves[1][0] and gap(moves[0][1], moves[1][1]) == 0


def hooks(model: LoadedModel) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.model.modules())


def failing(model: LoadedModel) -> None:
    with layer_causally_finetuned(model, EXAMPLES, 0.1):
        raise RuntimeError("stop")


def diverging(model: LoadedModel) -> None:
    with layer_causally_finetuned(model, EXAMPLES, 1e38):
        pass


@pytest.mark.parametrize("run", [failing, diverging])
def test_weights_flags_and_hooks_are_as_before_even_after_an_error(
    run: Callable[[LoadedModel], None],
) -> None:
    model = tiny(f32)
    model.model.model.layer_norm.weight.requires_grad_(False)
    before = {k: v.clone() for k, v in model.model.state_dict().items()}
    flags = [p.requires_grad for p in model.model.parameters()]
    with pytest.raises((RuntimeError, DivergedError), match="stop|choose a smaller rate"):
        run(model)
    assert all(torch.equal(v, before[k]) for k, v in model.model.state_dict().items())
    assert [p.requires_grad for p in model.model.parameters()] == flags and False in flags
    assert hooks(model) == 0


def test_only_keys_and_values_move_and_every_layer_does() -> None:
    for name in ("xglm", "gpt2", "falcon-groups"):
        model = loaded(name, f32)
        before = {k: v.clone() for k, v in model.model.state_dict().items()}
        maps = [(b.query.augmented(), b.key.augmented(), b.value.augmented()) for b in model.blocks]
        with layer_causally_finetuned(model, EXAMPLES, 0.1):
            for block, (q, k, v) in zip(model.blocks, maps, strict=True):
                assert torch.equal(block.query.augmented(), q)
                assert not torch.equal(block.key.augmented(), k)
                assert not torch.equal(block.value.augmented(), v)
            now = model.model.state_dict()
            changed = {k for k in now if not torch.equal(now[k], before[k])}
        maps_ = ("k_proj", "v_proj", "c_attn", "query_key_value")
        assert changed and all(any(x in k for x in maps_) for k in changed)


def test_a_watch_sees_every_pass_before_its_step_and_progress_is_told() -> None:
    model = tiny(f32)
    log, plain, steps = QueryLog(layers=2), QueryLog(layers=2), []
    with torch.no_grad():
        states(model, Run(model.blocks, watch=plain), [EXAMPLES[0]], len(EXAMPLES[0]))
    with layer_causally_finetuned(model, EXAMPLES, 0.1, steps.append, watch=log) as losses:
        assert steps == [1, 1, 1] and len(losses) == 3
    assert torch.equal(torch.stack(log.seen[0]), torch.stack(plain.seen[0]))
    assert log.stacked().shape[1] == sum(len(x) - 1 for x in EXAMPLES)


def test_what_cannot_be_finetuned_is_refused_in_the_words_of_finetuning() -> None:
    with pytest.raises(UserError, match="at least one example to finetune on, got none"):
        with layer_causally_finetuned(tiny(f32), [], 0.1):
            pass
    with pytest.raises(UserError, match="positive finite learning rate, got -1"):
        with layer_causally_finetuned(tiny(f32), EXAMPLES, -1):
            pass
    with pytest.raises(UserError, match="expected float32 weights"):
        with layer_causally_finetuned(tiny(torch.bfloat16), EXAMPLES, 0.1):
            pass
    steps: list[int] = []
    with pytest.raises(DivergedError, match=r"layer-causal finetuning \(last loss (nan|inf) at st"):
        with layer_causally_finetuned(tiny(f32), EXAMPLES, 1e38, steps.append):
            pass
    assert steps == [1]
