"""Models in which in-context learning is gradient descent are read so, and near misses are not.

Slow twins: explicit loops for the layer, gradient descent written out for the weights.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from dualform.ops import TensorOps
from empirical.calibration import construct, known, reading, tracked
from empirical.calibration.bounds import cosine_bound, gamma, mass_gap, tau_bound
from empirical.calibration.known import KNOWN, judged
from empirical.calibration.linear import LinearModel, linear_model, stepped
from empirical.calibration.steps import linear_loss_steps
from empirical.core.undefined import Undefined
from empirical.metrics.kendall import example_masses
from empirical.metrics.similarity import cosines, similarity
from proofs.statements.construction import CONSTRUCTION

STREAM = {name: i for i, name in enumerate(KNOWN)}
# What is not judged, and nothing else.
UNJUDGED = {
    "one_step": {"sim_am_delta"},
    "three_steps": {"sim_am_delta"},
    "linear_attention": set(),
    "linear_attention_own_keys": {"kendall", "kendall_examples"},
}


def made(name):
    return KNOWN[name](np.random.default_rng((31, STREAM[name])))


def wrong(case):
    return {metric for metric, check in case.checks.items() if check.right is False}


@pytest.mark.parametrize("name", KNOWN)
def test_a_constructed_model_is_read_right_in_every_metric_that_can_be_judged(name):
    case, found = judged(made(name))
    assert not wrong(case)
    assert {k for k, c in case.checks.items() if c.right is None} == UNJUDGED[name]
    zsl, icl, ft = (found.whole(k).h for k in ("zsl", "icl", "ft"))
    assert (icl != zsl).any(-1).all() and (icl != ft).any(), "equal by rounding, not by one path"


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_recorded_differs_by_less_than_its_rounding_bound(name):
    case = made(name)
    found = reading.read(case.model, case.episode, case.steps)
    gap = tracked.gaps(case.model, case.episode, case.step)
    icl, ft = found.whole("icl"), found.whole("ft")
    assert (np.linalg.norm(icl.h - ft.h, axis=-1) <= gap.h).all()
    for i, (a, b) in enumerate(zip(icl.m, ft.m, strict=True)):
        assert (np.linalg.norm(a - b, axis=-1) <= gap.m[i]).all()
    if case.ranks:
        c, f = found.scores()
        assert (np.abs(c - f) <= gap.c).all() and c.std() > 0


@pytest.mark.parametrize("name", KNOWN)
def test_an_ascent_and_a_step_that_forgets_a_layer_are_refused(name):
    case = made(name)
    up, _ = judged(replace(case, steps=[-s for s in case.steps]))
    assert {"sim_aou", "sim_aou_unnormalised"} <= wrong(up)
    late, _ = judged(replace(case, steps=[*case.steps[:-1], 0 * case.steps[-1]]))
    # The mean over what is defined may still be 1: what is missing has to be counted.
    assert {"sim_aou", "sim_aou_unnormalised"} <= wrong(late)


def test_a_step_without_one_of_its_demonstrations_is_refused():
    case = made("linear_attention")
    fewer = (*case.episode.context[:-4], case.episode.context[-1])
    assert len(fewer) < len(case.episode.context)
    found, _ = judged(replace(case, steps=linear_loss_steps(case.model, fewer)))
    assert {"sim_aou", "sim_aou_unnormalised", "sim_am_after", "sim_am_delta"} <= wrong(found)


def test_a_causal_context_is_not_three_steps():
    case = made("three_steps")
    body = case.model.model.base_model
    body.shown = None
    found, _ = judged(case)
    assert "sim_aou_unnormalised" in wrong(found)


def test_a_larger_step_is_seen_by_the_normalised_similarity_alone():
    case = made("one_step")
    found, _ = judged(replace(case, steps=[2 * s for s in case.steps]))
    assert "sim_aou" in wrong(found) and found.checks["sim_aou_unnormalised"].right


def test_three_layers_predict_what_three_steps_of_descent_predict():
    generator = np.random.default_rng(5)
    case = known.many_steps(generator)
    task = construct.regression(
        np.random.default_rng(5), known.INPUTS, known.OUTPUTS, known.SHOWN, known.ASKED
    )
    W, X, Y = np.zeros((known.OUTPUTS, known.INPUTS)), task.X.numpy(), task.Y.numpy()
    before = W
    for rate in known.STEPS_OF_MANY:
        before, W = W, W - rate * (W @ X - Y) @ X.T
    found = reading.read(case.model, case.episode, case.steps)
    gap = tracked.gaps(case.model, case.episode, case.step).h.sum(1)
    rows = slice(known.INPUTS, known.INPUTS + known.OUTPUTS)
    for setting in ("icl", "ft"):
        y = found.whole(setting).h.sum(1)[:, rows]  # queries start at y = 0
        assert (np.linalg.norm(y + (W @ task.x.numpy()).T, axis=-1) <= 2 * gap).all()
        assert (np.linalg.norm(y + (before @ task.x.numpy()).T, axis=-1) > 2 * gap).all()


def test_one_layer_does_what_the_statement_of_the_catalogue_says():
    generator = np.random.default_rng(6)
    task = construct.regression(generator, known.INPUTS, known.OUTPUTS, known.SHOWN, known.ASKED)
    W_0 = 0.3 * construct.normal(generator, known.OUTPUTS, known.INPUTS)
    case = known.one_step(np.random.default_rng(6))
    (statement,) = (s for s in CONSTRUCTION if s.id == "one-layer-one-step")
    y = -(W_0 @ task.x)
    given = {
        "X": task.X,
        "Y": task.Y,
        "W": W_0,
        "x": task.x,
        "y": y,
        "gamma": torch.full((1, 1), known.RATE, dtype=torch.float64),
    }
    before = torch.cat([task.x, y])
    found = reading.read(case.model, case.episode, case.steps)
    update = found.whole("icl").h[:, 0] - found.whole("zsl").h[:, 0]
    gap = 2 * tracked.gaps(case.model, case.episode, case.step).h[:, 0]

    def distance(side):
        return np.linalg.norm(update - (side(TensorOps(), given) - before).T.numpy(), axis=-1)

    assert (distance(statement.lhs) <= gap).all() and (distance(statement.rhs) <= gap).all()
    assert (distance(statement.near_miss) > gap).all()


def slowly(model: LinearModel, episode, place, context):
    """h of every layer at a query's last token, by loops over heads, tokens and their sums."""
    rows = [episode.table[t].numpy() for t in episode.queries[place].prompt]
    far = [episode.table[t].numpy() for t in context]
    found = []
    for block, out in zip(model.blocks, model.outputs, strict=True):
        Q, K, V = (p.weight().numpy() for p in (block.query, block.key, block.value))
        P = out.weight.numpy()

        def attended(z, seen, Q=Q, K=K, V=V, P=P):
            heads = []
            for h in range(len(Q)):
                total = np.zeros(V.shape[1])
                for s in seen:
                    total += (V[h] @ s) * float((K[h] @ s) @ (Q[h] @ z))
                heads.append(total)
            return P @ np.concatenate(heads)

        new = [attended(z, far + rows[: i + 1]) for i, z in enumerate(rows)]
        far_new = [attended(z, far[: i + 1]) for i, z in enumerate(far)]
        found.append(new[-1])
        rows = [z + h for z, h in zip(rows, new, strict=True)]
        far = [z + h for z, h in zip(far, far_new, strict=True)]
    return np.stack(found)


def test_the_captures_are_those_of_a_layer_written_as_loops():
    case = known.any_weights(np.random.default_rng(7), shared=False, layers=2, asked=6)
    found = reading.read(case.model, case.episode, case.steps)
    gap = 2 * tracked.gaps(case.model, case.episode, case.step).h
    for place in range(6):
        slow = slowly(case.model, case.episode, place, case.episode.context)
        alone = slowly(case.model, case.episode, place, ())
        assert (np.linalg.norm(found.whole("icl").h[place] - slow, axis=-1) <= gap[place]).all()
        assert (np.linalg.norm(found.whole("zsl").h[place] - alone, axis=-1) <= gap[place]).all()
        assert (np.linalg.norm(slow - alone, axis=-1) > gap[place]).all()


def state_of(model):
    return {k: v.clone() for k, v in model.model.state_dict().items()}


def test_steps_and_runs_leave_the_model_as_it_was_bit_for_bit():
    case = made("linear_attention")
    before = state_of(case.model)
    reading.read(case.model, case.episode, case.steps)
    with pytest.raises(KeyError), stepped(case.model, case.steps):
        assert any((out.step != 0).any() for out in case.model.outputs)
        raise KeyError
    after = state_of(case.model)
    assert all(torch.equal(before[k], after[k]) for k in before)
    for layer, out in zip(case.model.model.base_model.layers, case.model.outputs, strict=True):
        assert "core" not in vars(layer) and not out._forward_hooks
    assert case.model.model.config._attn_implementation == "none"


def test_a_model_outside_a_run_and_too_few_steps_are_refused():
    case = made("linear_attention")
    with pytest.raises(RuntimeError, match="expected to be called inside a run"):
        case.model.model.base_model(torch.zeros(1, 2, dtype=torch.long))
    with pytest.raises(ValueError, match="expected 3 steps, one for each layer, got 1"):
        reading.finetuned(case.model, case.episode, case.steps[:1])


def test_batches_are_joined_in_the_order_of_the_queries():
    case = known.any_weights(np.random.default_rng(8), shared=True, layers=1, asked=40)
    found = reading.zero_shot(case.model, case.episode)
    assert len(found) == 2
    whole = reading.joined(found[::-1])
    assert whole.labels.tolist() == [q.label for q in case.episode.queries]
    lengths = [len(q.prompt) for q in case.episode.queries]
    assert [x.shape[-1] for x in whole.m] == lengths and whole.q.shape[0] == 40


# The bounds themselves.


def test_the_bound_of_a_cosine_holds_at_every_distance_and_is_no_loose_one():
    generator, ratios = np.random.default_rng(9), []
    for exponent in np.linspace(-14, -0.4, 60):
        a = generator.normal(size=(40, 5))
        step = generator.normal(size=a.shape)
        step -= (step * a).sum(-1, keepdims=True) * a / (a * a).sum(-1, keepdims=True)
        step /= np.linalg.norm(step, axis=-1, keepdims=True)
        e = 10**exponent * np.linalg.norm(a, axis=-1)
        cos, _ = cosines(a, a + 0.999 * e[:, None] * step)
        bound = cosine_bound(a, e)
        assert (np.abs(cos - 1) <= bound).all()
        ratios.append((np.abs(cos - 1) / bound).max())
    assert max(ratios) > 0.2
    assert np.isinf(cosine_bound(np.ones((1, 3)), np.array([2.0]))).all()


def test_the_bounds_of_ranks_hold_under_the_worst_that_the_gaps_allow():
    generator = np.random.default_rng(10)
    moved = []
    for gap in (0.0, 1e-9, 0.05, 0.5):
        c = generator.normal(size=(1, 1, 24))
        f = c + 0.999 * gap * generator.choice([-1.0, 1.0], c.shape)
        tau = stats.kendalltau(c.ravel(), f.ravel()).statistic
        bound = float(tau_bound(c, np.full(c.shape, gap))[0, 0])
        assert abs(tau - 1) <= bound
        moved.append(bool(tau < 1 - gamma(20)))
        masses, allowed = mass_gap(c, np.full(c.shape, gap), [4] * 6)
        assert (np.abs(example_masses(f, [4] * 6) - masses) <= allowed).all()
    assert moved == [False, False, True, True], "the larger gaps change the order"


def test_a_direction_that_rounding_decides_is_not_judged():
    # Scores of a first layer do not change: were they to differ by rounding, it would say nothing.
    case = made("linear_attention")
    found = reading.read(case.model, case.episode, case.steps)
    gap = tracked.gaps(case.model, case.episode, case.step)
    noise = np.random.default_rng(0)

    def shaken(parts):
        """Scores moved by a unit in the last place, here and there."""
        return tuple(
            replace(p, m=[x * (1 + 2.0**-52 * noise.integers(0, 2, x.shape)) for x in p.m])
            for p in parts
        )

    moved = replace(found, icl=shaken(found.icl), ft=shaken(found.ft))
    seen = reading.similarities(moved, 2)
    first = seen["sim_am_delta"].per_layer[0]
    assert not isinstance(first, Undefined) and first < 0.9
    check = known._scores(moved, seen, gap)["sim_am_delta"]
    assert check.right and check.value > 0.9


def test_an_inert_finetuning_of_scores_is_refused_and_not_left_out():
    case = made("linear_attention")
    found = reading.read(case.model, case.episode, case.steps)
    gap = tracked.gaps(case.model, case.episode, case.step)
    inert = replace(found, ft=found.zsl)
    check = known._scores(inert, reading.similarities(inert, 2), gap)["sim_am_delta"]
    assert check.right is False and "undefined" in check.why


def test_a_model_of_zero_weights_has_no_similarity():
    case = made("one_step")
    zero = construct.one_step(0 * case.model.blocks[0].value.weight()[0, 6:, :6], 0.0)
    model = linear_model("zero", case.episode.table, [zero], torch.ones(10, dtype=torch.float64))
    found, _ = judged(replace(case, model=model))
    assert isinstance(found.checks["sim_aou"].value, Undefined) and "sim_aou" in wrong(found)


def test_a_layer_in_which_rounding_decides_on_one_head_is_left_out():
    similar = similarity(np.array([[0.5, 1.0], [0.5, 1.0]]), np.ones((2, 2), dtype=bool), 0, 4)
    bound = np.full((2, 2, 2), 1e-15)
    bound[1, 0, 1] = np.inf
    defined = np.ones((2, 2, 2), dtype=bool)
    check = known._layered(similar, bound, defined)
    assert check.right and check.value == 1.0
    defined[1, 0, 1] = False  # a score that is zero on both sides: no cosine is taken of it
    check = known._layered(similar, bound, defined)
    assert check.right is False and check.value == 0.75
