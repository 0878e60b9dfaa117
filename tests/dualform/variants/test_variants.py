"""The variants' forms: what they optimise, by autograd; shapes, states, tracing, gradients, errors.

Rounding is the business of test_dual_form_variants_bounds.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from dualform.rounding import Tracked, check
from dualform.variants import VARIANTS, Variant, VariantInputError, bounded, softmax_attention
from dualform.variants.layout import leaves, on_leaves
from tests.support.kernels.variants import Inputs, VariantDraw, inputs_of, part

pytestmark = pytest.mark.dual_form

each = pytest.mark.parametrize("variant", VARIANTS.values(), ids=lambda v: v.name)
each_form = pytest.mark.parametrize("form", ["fast", "slow"])
D_K, D_V = 3, 2
DYADIC = (0.25, 0.5, 1.0)


def whole(g: torch.Generator, *shape: int) -> Tensor:
    return torch.randint(-3, 4, shape, generator=g).double()


def dyadic(g: torch.Generator, *shape: int) -> Tensor:
    return torch.tensor(DYADIC)[torch.randint(0, 3, shape, generator=g)].double()


def half_square(W: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return ((W @ k - v) ** 2).sum() / 2


def inner(W: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return -(W @ k) @ v


def grad(f: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    made: Tensor = torch.func.grad(f)(at)
    return made


# S, k, v and the gates a (per channel) and b of one token to the next state, by autograd.
STEPS: dict[str, Callable[..., Tensor]] = {
    "linear_attention": lambda S, k, v, a, b: S - grad(lambda W: inner(W, k, v), S),
    "scalar_decay": lambda S, k, v, a, b: (
        S - grad(lambda W: inner(W, k, v) + (1 - a[0]) / 2 * (W * W).sum(), S)
    ),
    "channel_decay": lambda S, k, v, a, b: (
        S - grad(lambda W: inner(W, k, v) + ((1 - a) / 2 * W * W).sum(), S)
    ),
    "delta_rule": lambda S, k, v, a, b: S - b * grad(lambda W: half_square(W, k, v), S),
    "gated_delta_rule": lambda S, k, v, a, b: (
        a[0] * S - b * grad(lambda W: half_square(W, k, v), a[0] * S)
    ),
    "undecayed_residual": lambda S, k, v, a, b: (
        S - b * grad(lambda W: half_square(W, k, v) + (1 - a[0]) / (2 * b) * (W * W).sum(), S)
    ),
    "kda": lambda S, k, v, a, b: S * a - b * grad(lambda W: half_square(W, k, v), S * a),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_is_the_gradient_step_of_its_objective_bit_for_bit(name: str) -> None:
    variant, moved = VARIANTS[name], 0
    for seed in range(30):
        g = torch.Generator().manual_seed(seed)
        S, k, v, q = (whole(g, *s) for s in ((D_V, D_K), (D_K,), (D_V,), (D_K,)))
        a, b = dyadic(g, D_K), dyadic(g, 1)
        gates = {"decay": a if name in ("channel_decay", "kda") else a[:1], "beta": b}
        shaped = {n: gates[n].reshape(1, 1, -1) for n in variant.gates if gates[n].numel() > 1}
        shaped |= {n: gates[n].reshape(1, 1) for n in variant.gates if n not in shaped}
        tokens = {n: x.reshape(1, 1, -1) for n, x in (("q", q), ("k", k), ("v", v))}
        want = STEPS[name](S, k, v, a, b[0])
        o, state = variant.slow(**tokens, **shaped, state=S[None])
        assert torch.equal(state[0], want) and torch.equal(o[0, 0], want @ q)
        moved += not torch.equal(want, S)
    assert moved >= 20


def test_linear_attention_is_full_batch_descent_from_zero_on_the_squared_loss() -> None:
    g = torch.Generator().manual_seed(0)
    k, v = whole(g, 1, 5, D_K), whole(g, 1, 5, D_V)
    _, state = VARIANTS["linear_attention"].slow(k, k, v)
    zero = torch.zeros(D_V, D_K, dtype=torch.float64)
    step = grad(lambda W: ((k[0] @ W.mT - v[0]) ** 2).sum() / 2, zero)
    assert torch.equal(state[0], -step) and step.any()


def test_longhorn_lands_where_the_proximal_objective_is_stationary() -> None:
    """argmin |X - S|^2 + b |X k - v|^2, at keys for which the rate is dyadic."""
    g, longhorn = torch.Generator().manual_seed(0), VARIANTS["longhorn"]
    for k, b in (((1, 1, 1), 1.0), ((1, 0, -1), 0.5), ((0, 1, 0), 1.0), ((2, 1, 1), 0.5)):
        S, v, key = whole(g, D_V, D_K), whole(g, D_V), torch.tensor(k).double()
        tokens = {"k": key.reshape(1, 1, -1), "v": v.reshape(1, 1, -1)}
        _, state = longhorn.slow(
            tokens["k"], **tokens, beta=torch.full((1, 1), b).double(), state=S[None]
        )

        def objective(X: Tensor, S: Any = S, b: float = b, k: Any = key, v: Any = v) -> Any:
            return ((X - S) ** 2).sum() + b * ((X @ k - v) ** 2).sum()

        assert not grad(objective, state[0]).any() and grad(objective, S).any()


def square(W: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return ((W @ k - v) ** 2).sum()


def test_ttt_is_mini_batch_descent_on_the_square_bit_for_bit() -> None:
    for seed in range(10):
        g = torch.Generator().manual_seed(seed)
        q, k, v = (whole(g, 1, 5, n) for n in (D_K, D_K, D_V))
        rate, W0 = dyadic(g, 1, 5) / 8, whole(g, D_V, D_K)
        start = VARIANTS["ttt_linear"].initial_state(q, k, v)._replace(start=W0[None])
        o, state = VARIANTS["ttt_linear"].slow(q, k, v, rate=rate, state=start, batch=3)
        W = at = W0
        for t in range(5):
            W = W - rate[0, t] * grad(partial(square, k=k[0, t], v=v[0, t]), at)
            assert torch.equal(o[0, t], W @ q[0, t])
            at = W if t == 2 else at
        assert torch.equal(state.start[0], at) and state.keys.shape[-2] == 2


def test_titans_is_descent_with_momentum_and_decay_on_the_square_bit_for_bit() -> None:
    for seed in range(10):
        g = torch.Generator().manual_seed(seed)
        q, k, v = (whole(g, 1, 4, n) for n in (D_K, D_K, D_V))
        gates = {n: dyadic(g, 1, 4) for n in ("alpha", "eta", "theta")}
        o, state = VARIANTS["titans"].slow(q, k, v, **gates)
        M = S = torch.zeros(D_V, D_K, dtype=torch.float64)
        for t in range(4):
            alpha, eta, theta = (gates[n][0, t] for n in ("alpha", "eta", "theta"))
            S = eta * S - theta * grad(partial(square, k=k[0, t], v=v[0, t]), M)
            M = (1 - alpha) * M + S
            assert torch.equal(o[0, t], M @ q[0, t])
        assert torch.equal(state.memory[0], M) and torch.equal(state.momentum[0], S)


def test_mesa_reads_the_minimiser_of_the_decayed_ridge_regression() -> None:
    """The gradient at W = G (H + Lambda)^{-1} is exactly 0; the ridge makes every pivot 64."""
    mesa, one = VARIANTS["mesa"].slow, torch.ones(1, 1).double()
    for seed in range(20):
        g = torch.Generator().manual_seed(seed)
        k, v = whole(g, 1, 3, 2), whole(g, 1, 3, D_V)
        gamma, beta = dyadic(g, 1, 3), dyadic(g, 1, 3)
        _, state = mesa(k, k, v, gamma=gamma, beta=beta)
        H = state.H[0]
        ridge = torch.stack([64 - H[0, 0], 64 - H[1, 1] + H[0, 1] ** 2 / 64])
        assert bool((ridge > 0).all())
        W = torch.stack(
            [
                mesa(
                    e.reshape(1, 1, 2), k[:, :1], v[:, :1], beta=0 * one, gamma=one,
                    ridge=ridge[None], state=state,
                )[0][0, 0]
                for e in torch.eye(2).double()
            ],
            -1,
        )  # fmt: skip
        weights = [beta[0, i] * gamma[0, i + 1 :].prod() for i in range(3)]

        def objective(X: Tensor, k: Any = k, v: Any = v, w: Any = weights, r: Any = ridge) -> Any:
            fit = sum(w[i] * square(X, k[0, i], v[0, i]) for i in range(3))
            return fit + (X * X * r).sum()

        assert not grad(objective, W).any() and grad(objective, W + 1).any()


def test_what_depends_on_the_order_of_the_pairs_and_what_does_not() -> None:
    g = torch.Generator().manual_seed(0)
    for name, free in (("linear_attention", True), ("mesa", True), ("delta_rule", False)):
        inputs = inputs_of(VARIANTS[name], VariantDraw(seed=int(free), tokens=4), torch.float64)
        for gate in VARIANTS[name].gates:
            inputs[gate] = torch.ones_like(inputs[gate])
        order = torch.randperm(4, generator=g).roll(1)
        turned = inputs | {n: inputs[n][..., order, :] for n in "kv"}
        (_, a), (_, b) = bounded(name, "slow", inputs), bounded(name, "slow", turned)
        pairs = list(zip(leaves(a), leaves(b), strict=True))
        if free:
            assert all(check(x, y).nontrivial for x, y in pairs)
        else:
            with pytest.raises(AssertionError, match="gap/bound"):
                check(*pairs[0])


@each
@each_form
def test_sizes_zero_and_one_have_their_shapes(variant: Variant, form: str) -> None:
    run = getattr(variant, form)
    for tokens, d_k, d_v, batch in (
        (0, 2, 2, ()), (1, 1, 1, ()), (3, 0, 2, (2,)), (3, 2, 0, ()), (0, 0, 0, ()),
        (2, 2, 2, (0,)),
    ):  # fmt: skip
        draw = VariantDraw(seed=0, tokens=tokens, d_k=d_k, d_v=d_v, batch=batch, groups=2, repeat=2)
        inputs = inputs_of(variant, draw, torch.float32)
        o, state = run(**inputs)
        assert o.shape == (*batch, 4, tokens, d_v)
        zero = variant.initial_state(inputs["q"], inputs["k"], inputs["v"])
        again, _ = run(**inputs, state=zero)
        assert torch.equal(o, again)
        for a, b in zip(leaves(state), leaves(zero), strict=True):
            assert a.shape[:-2] == b.shape[:-2] == (*batch, 2) and a.shape[-1] == b.shape[-1]
            assert tokens or torch.equal(a, b)


@each
@each_form
def test_grouped_heads_read_the_state_of_their_group(variant: Variant, form: str) -> None:
    draw = VariantDraw(seed=2, groups=2, repeat=3, batch=(2,))
    inputs = inputs_of(variant, draw, torch.float64)
    wide = {
        n: x if n == "q" or not isinstance(x, Tensor) else x.repeat_interleave(3, 1)
        for n, x in inputs.items()
    }
    assert check(bounded(variant, form, inputs)[0], bounded(variant, form, wide)[0]).nontrivial


@each
@each_form
def test_half_types_are_computed_in_float32_and_rounded_once(variant: Variant, form: str) -> None:
    for dtype in (torch.bfloat16, torch.float16):
        inputs = inputs_of(variant, VariantDraw(seed=1), dtype)
        o, state = getattr(variant, form)(**inputs)
        wide = {n: x.float() if isinstance(x, Tensor) else x for n, x in inputs.items()}
        o_wide, state_wide = getattr(variant, form)(**wide)
        assert o.dtype == dtype and torch.equal(o, o_wide.to(dtype))
        for a, b in zip(leaves(state), leaves(state_wide), strict=True):
            assert a.dtype == torch.float32 and torch.equal(a, b)


@each
def test_inputs_are_left_as_they_are_and_the_state_too(variant: Variant) -> None:
    inputs = inputs_of(variant, VariantDraw(seed=1), torch.float64)
    _, state = variant.slow(**inputs)
    before = {n: x.clone() for n, x in inputs.items() if isinstance(x, Tensor)}
    kept = [s.clone() for s in leaves(state)]
    for form in (variant.fast, variant.slow):
        form(**inputs, state=state)
        assert all(torch.equal(x, inputs[n]) for n, x in before.items())
        assert all(torch.equal(x, y) for x, y in zip(kept, leaves(state), strict=True))


def split(inputs: Inputs) -> tuple[list[str], list[Tensor], Inputs]:
    names = [n for n, x in inputs.items() if isinstance(x, Tensor)]
    return names, [inputs[n] for n in names], {n: x for n, x in inputs.items() if n not in names}


@each
@each_form
@pytest.mark.parametrize("order", [1, 2])
def test_gradients_agree_with_finite_differences(variant: Variant, form: str, order: int) -> None:
    tokens, d_k = (3, 2) if order == 1 else (2, 1)
    draw = VariantDraw(seed=3, repeat=2, tokens=tokens, d_k=d_k, d_v=2 if order == 1 else 1)
    inputs = inputs_of(variant, draw, torch.float64)
    names, values, rest = split(inputs)
    _, state = variant.slow(**inputs)
    kept = on_leaves(lambda s: s.detach(), state)
    more = {"chunk": 2} if form == "fast" else {}

    def run(*args: Tensor) -> tuple[Tensor, ...]:
        named = dict(zip(names, args, strict=True))
        o, end = getattr(variant, form)(**named, **rest, **more, state=kept)
        return (o, *(s for s in leaves(end) if s.requires_grad))

    leafs = [x.clone().requires_grad_() for x in values]
    if order == 1:
        assert torch.autograd.gradcheck(run, leafs)
    else:
        assert torch.autograd.gradgradcheck(run, leafs)


@each
def test_a_gradient_is_finite_where_a_gate_is_zero(variant: Variant) -> None:
    inputs = inputs_of(variant, VariantDraw(seed=3, tokens=6, ends=True), torch.float64)
    names, values, rest = split(inputs)
    leafs = [x.clone().requires_grad_() for x in values]
    o, _ = variant.fast(**dict(zip(names, leafs, strict=True)), **rest, chunk=4)
    for x in torch.autograd.grad(o.sum(), leafs):
        assert torch.isfinite(x).all()


@each
def test_vmap_over_a_batch_is_the_batch(variant: Variant) -> None:
    inputs = inputs_of(variant, VariantDraw(seed=4, batch=(3,), repeat=2), torch.float64)
    names, values, rest = split(inputs)

    def one(*args: Tensor) -> Any:
        return variant.fast(**dict(zip(names, args, strict=True)), **rest, chunk=2)

    o, state = torch.func.vmap(one)(*values)
    want, want_state = bounded(variant, "fast", inputs | {"chunk": 2})
    assert check(want.elsewhere(o), want).nontrivial
    for a, b in zip(leaves(state), leaves(want_state), strict=True):
        check(b.elsewhere(a), b)


@each
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiles_without_a_graph_break(variant: Variant, backend: str) -> None:
    inputs = inputs_of(variant, VariantDraw(seed=4, repeat=2, tokens=3), torch.float32)
    _, state = variant.slow(**inputs)
    torch.compiler.reset()
    compiled = torch.compile(variant.fast, backend=backend, fullgraph=True)
    o, _ = compiled(**inputs, chunk=2, state=state)
    want, _ = bounded(variant, "fast", inputs | {"chunk": 2, "state": state})
    assert check(want.elsewhere(o), want).nontrivial


def call(variant: str, **changed: Any) -> Any:
    inputs = inputs_of(VARIANTS[variant], VariantDraw(seed=0, groups=2, repeat=2), torch.float32)
    return VARIANTS[variant].fast(**(inputs | changed))


@pytest.mark.parametrize(
    ("variant", "changed", "message"),
    [
        ("scalar_decay", {"q": torch.ones(5, 2)}, r"expected q, k and v of shape .* got \(5, 2\)"),
        ("scalar_decay", {"q": torch.ones(3, 5, 2)}, "multiple of the 2 heads .* got 3; do repeat"),
        ("scalar_decay", {"v": torch.ones(2, 4, 2)}, r"expected v of shape \(2, 5, 'd_v'\)"),
        ("scalar_decay", {"q": torch.ones(4, 5, 3)}, r"got \(4, 5, 3\); do align q and k"),
        ("scalar_decay", {"q": torch.ones(4, 5, 2).double()}, r"one type .* got torch\.float64"),
        ("scalar_decay", {"decay": torch.ones(2, 5, 1)}, r"expected decay of shape \(2, 5\)"),
        ("scalar_decay", {"decay": torch.ones(2, 5).double()}, "expected decay of type"),
        ("scalar_decay", {"decay": torch.full((2, 5), 1.5)}, r"decay in \[0\.0, 1\.0\], got"),
        ("scalar_decay", {"decay": torch.full((2, 5), torch.nan)}, "got values in .nan"),
        ("scalar_decay", {"beta": torch.ones(2, 5)}, r"the gates \['decay'\], got \['beta'"),
        ("scalar_decay", {"chunk": 0}, "expected chunk of at least 1, got 0"),
        ("scalar_decay", {"state": torch.zeros(2, 3, 2)}, r"a state of shape \(2, 2, 2\)"),
        ("scalar_decay", {"state": torch.zeros(2, 2, 2).double()}, "keep the state's type"),
        ("titans", {"state": (torch.zeros(2, 2, 2),)}, "a state of 2 tensors, got 1; do start"),
        ("ttt_linear", {"batch": 0}, "expected batch of at least 1, got 0"),
        ("mesa", {"ridge": torch.zeros(2, 2)}, "expected ridge in"),
        ("mesa", {"ridge": torch.ones(3, 2)}, r"ridge that broadcasts to \(2, 2\), got \(3, 2\)"),
        ("mesa", {"ridge": torch.ones(2, 2).double()}, "ridge of type"),
        ("momentum_attention", {"eta": 2.0}, r"eta a number in \[0\.0, 1\.0\], got 2\.0"),
    ],
)  # fmt: skip
def test_a_wrong_input_is_refused_with_what_was_expected(
    variant: str, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(VariantInputError, match=message):
        call(variant, **changed)


def test_integers_an_unfinished_mini_batch_and_no_blocks_are_refused() -> None:
    whole_numbers = torch.ones(1, 1, 1, dtype=torch.int64)
    with pytest.raises(VariantInputError, match=r"one type out of .* got torch\.int64"):
        VARIANTS["linear_attention"].fast(whole_numbers, whole_numbers, whole_numbers)
    inputs = inputs_of(VARIANTS["ttt_linear"], VariantDraw(seed=0, mini_batch=4, tokens=3),
                       torch.float64)  # fmt: skip
    _, state = VARIANTS["ttt_linear"].fast(**inputs)
    for form in ("fast", "slow"):
        with pytest.raises(VariantInputError, match="fewer than 2 tokens .* got 3"):
            getattr(VARIANTS["ttt_linear"], form)(**(inputs | {"batch": 2}), state=state)
    with pytest.raises(VariantInputError, match="block of at least 1, got 0"):
        softmax_attention(torch.ones(1, 1, 1), torch.ones(1, 1, 1), torch.ones(1, 1, 1), block=0)


def test_autocast_is_refused() -> None:
    with (
        torch.autocast("cpu", torch.bfloat16),
        pytest.raises(VariantInputError, match="got autocast; do leave autocast"),
    ):
        call("linear_attention")


@each
def test_gates_may_come_in_the_computing_type(variant: Variant) -> None:
    inputs = inputs_of(variant, VariantDraw(seed=0), torch.bfloat16)
    wide = {n: inputs[n].float() for n in variant.gates}
    for form in (variant.fast, variant.slow):
        assert torch.equal(form(**inputs)[0], form(**(inputs | wide))[0])


@each
def test_a_form_continues_the_other_forms_state(variant: Variant) -> None:
    inputs = inputs_of(variant, VariantDraw(seed=5, tokens=7), torch.float64)
    o, _ = bounded(variant, "slow", inputs)
    for first, second in (("fast", "slow"), ("slow", "fast")):
        _, state = bounded(variant, first, part(inputs, slice(0, 4), None))
        last, _ = bounded(variant, second, part(inputs, slice(4, 7), state))
        rest = Tracked(o.value[..., 4:, :], o.error[..., 4:, :])
        assert check(last, rest).nontrivial
