"""Trained models are read as trained, unrelated ones as unrelated; and related ones are not.

Error probabilities are those of the counts (beta-binomial, binomial) at fixed seeds.
"""

import numpy as np
import pytest
import torch
from scipy import stats

from empirical.calibration import construct, trained, trained_case, unrelated
from empirical.calibration.bounds import gamma
from empirical.calibration.linear import Weights
from empirical.calibration.reading import read
from empirical.calibration.steps import unrelated_steps
from empirical.core.undefined import Undefined
from empirical.metrics import null_bands as null
from empirical.metrics.null_bands import band_of, null_band, turned
from empirical.metrics.similarity import cosines

FEW = 39  # draws of a band here: (39 + 1) 0.025 = 1


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(unrelated, "DRAWS", FEW)
    monkeypatch.setattr(unrelated, "ASKED", 8)


@pytest.fixture(scope="module", autouse=True)
def small_batches():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trained, "BATCH", 16)
        yield


@pytest.fixture(scope="module")
def layer(small_batches):
    return trained.train(np.random.default_rng(12), steps=trained.LAST)


@pytest.fixture(scope="module")
def case(layer):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trained_case, "EPISODES", 1)
        patch.setattr(trained_case, "train", lambda *_: layer)
        return trained_case.against_descent(np.random.default_rng(11))


def test_a_trained_layer_is_read_above_every_unrelated_update(case):
    for name in ("sim_aou", "sim_aou_unnormalised"):
        check = case.checks[name]
        assert check.right and check.value > check.high > check.low and check.draws == 999


def test_a_trained_layer_errs_as_the_step_of_its_own_rate_does(case):
    wrong = case.numbers
    away = abs(wrong["error_trained"] - wrong["error_step"])
    for other in ("error_half_step", "error_double_step", "error_zero"):
        assert away < abs(wrong["error_trained"] - wrong[other])
        assert wrong["error_step"] < wrong[other]


def test_the_rate_is_the_best_one_on_the_episodes_of_training(layer):
    # A quadratic in the rate, on the same episodes, by trying rates around it.
    replay = np.random.default_rng(12)
    d = trained.INPUTS + trained.OUTPUTS
    for _ in range(3):
        construct.normal(replay, 1, d, d)
    construct.normal(replay, trained.OUTPUTS, 1, d)
    seen = [trained.episodes(replay) for _ in range(trained.LAST)]

    def loss(rate):
        return sum(float(((rate * (t.Y @ t.X.mT) @ t.x - t.y) ** 2).sum()) for t in seen)

    best = loss(layer.rate)
    assert best < loss(0.99 * layer.rate) and best < loss(1.01 * layer.rate)
    again = trained.train(np.random.default_rng(12), steps=trained.LAST)
    for name in ("query", "key", "value", "output"):
        assert torch.equal(getattr(layer.weights, name), getattr(again.weights, name))
    with pytest.raises(ValueError, match="expected at least 300 steps, got 10"):
        trained.train(np.random.default_rng(12), steps=10)


def test_a_trained_prediction_is_what_the_study_records():
    generator = np.random.default_rng(13)
    d = trained.INPUTS + trained.OUTPUTS
    made = construct.random_weights(generator, d, 1, d, 0.1)
    layer = trained.Trained(weights=made, rate=0.04, loss=1.0)
    task, found = trained_case.fresh(layer, generator)
    whole = construct.Regression(X=task.X[None], Y=task.Y[None], x=task.x[None], y=task.y[None])
    told = trained.predicted(made, whole)[0].T.numpy()
    h = found.whole("icl").h[:, 0, trained.INPUTS :]
    sizes = Weights(**{k: abs(getattr(made, k)) for k in ("query", "key", "value", "output")})
    above = construct.Regression(X=abs(whole.X), Y=abs(whole.Y), x=abs(whole.x), y=whole.y)
    # Products of inner sizes d (five of them) and N + 1, in whatever order: Higham, section 3.5.
    bound = 2 * gamma(5 * d + trained.SHOWN + 20) * trained.predicted(sizes, above)[0].T.numpy()
    assert (np.abs(told - h) <= bound).all() and (np.abs(told) > bound).all()


def test_an_untrained_layer_is_not_read_as_a_trained_one():
    generator = np.random.default_rng(14)
    d = trained.INPUTS + trained.OUTPUTS
    made = construct.random_weights(generator, d, 1, d, 0.05)
    _, found = trained_case.fresh(trained.Trained(weights=made, rate=0.04, loss=1.0), generator)
    icl, zsl, ft = (p.h for p in map(found.whole, ("icl", "zsl", "ft")))
    drawn = null.turned_readings(icl, zsl, ft, generator, 199)
    read_as = unrelated.measured(found)
    assert read_as["sim_aou"] < max(drawn["sim_aou"])
    assert read_as["sim_aou_unnormalised"] < max(drawn["sim_aou_unnormalised"])


def test_random_weights_are_read_as_unrelated(few):
    one = unrelated.random_weights(np.random.default_rng(15), 2)
    found = unrelated.among_others(one, "random")
    judged = {k: c for k, c in found.checks.items() if c.right is not None}
    assert len(judged) >= 6 and all(c.right for c in judged.values())
    check = judged["sim_aou"]
    assert len(check.readings) == unrelated.JUDGED and check.draws == FEW
    assert check.inside == sum(check.low <= x <= check.high for x in check.readings)
    assert check.low > 0, "unrelated, and still above zero: the floor of a normalised difference"


def test_a_model_that_does_descend_is_not_read_as_unrelated(few):
    generator = np.random.default_rng(16)
    case = unrelated.any_weights(generator, shared=True, layers=2, asked=unrelated.ASKED)
    rounds = iter(range(FEW + unrelated.JUDGED))

    def one():
        true = next(rounds) >= FEW
        steps = case.steps if true else unrelated_steps(case.steps, generator)
        return read(case.model, case.episode, steps)

    found = unrelated.among_others(one, "related")
    for name in ("sim_aou", "sim_aou_unnormalised", "sim_am_after", "sim_am_delta"):
        assert found.checks[name].right is False and found.checks[name].inside == 0


def test_random_weights_lie_in_the_band_of_their_own_turned_updates(monkeypatch):
    monkeypatch.setattr(unrelated, "turned_readings", lambda *a: null.turned_readings(*a, FEW))
    found = unrelated.against_turned(np.random.default_rng(17), "turned")
    for check in found.checks.values():
        assert check.right and check.draws == FEW
        assert check.probability == stats.binom.cdf(check.inside, unrelated.JUDGED, 0.95)


def test_a_metric_without_a_value_in_some_draw_is_not_judged():
    check = unrelated._counted([0.1, Undefined("nothing"), 0.2])
    assert check.right is None and check.why == "in 1 of 3 draws nothing"


# Bands.


def test_a_band_is_of_order_statistics_and_holds_a_further_draw_as_often_as_it_says():
    band = band_of([float(x) for x in np.random.default_rng(0).permutation(199)])
    assert (band.low, band.high, band.draws) == (4.0, 194.0, 199)
    assert band.holds(4.0) and not band.holds(3.9) and not band.holds(194.1)
    generator, inside = np.random.default_rng(18), 0
    for _ in range(400):
        drawn = generator.normal(size=FEW + 1)
        inside += band_of(drawn[:FEW].tolist()).holds(drawn[FEW])
    assert stats.binomtest(inside, 400, 0.95).pvalue > 1e-3
    with pytest.raises(ValueError, match="whole, got 38"):
        band_of([0.0] * 38)
    assert band_of([0.0, Undefined("none")]) == Undefined("none")


def test_a_turned_update_keeps_lengths_and_angles_and_forgets_directions():
    generator = np.random.default_rng(19)
    for n, d in ((5, 12), (12, 5)):
        zsl, ft = generator.normal(size=(2, n, 3, d))
        update = ft - zsl
        new = turned(zsl, ft, generator) - zsl
        for layer in range(3):
            gram, old = (x[:, layer] @ x[:, layer].T for x in (new, update))
            # Backward stable: errors of a few n d u times the squared norms (Higham, section 19.3).
            assert np.abs(gram - old).max() <= 50 * n * d * 2.0**-53 * np.abs(old).max()
        assert (np.linalg.norm(new - update, axis=-1) > 1e-3).all()
    # One vector turned: its cosine with where it was has mean 0 and variance 1 / d.
    zsl, ft = np.zeros((1, 1, 8)), np.ones((1, 1, 8))
    drawn = [float(cosines(turned(zsl, ft, generator), ft)[0][0, 0]) for _ in range(2000)]
    law = stats.beta(3.5, 3.5, loc=-1, scale=2)  # of a coordinate of a uniform point, d = 8
    assert stats.kstest(drawn, law.cdf).pvalue > 1e-3


def test_null_band_refuses_what_has_no_curve():
    with pytest.raises(ValueError, match="expected one of sim_aou, "):
        null_band("accuracy", None, np.random.default_rng(0))
