"""Every rule of docs/verdict.md broken once, on evidence whose answers are known."""

import dataclasses
import functools
import statistics
import sys

import pytest

from empirical.analysis import claims
from empirical.analysis.claims import CLAIMS, MOMENTUM_CLAIMS
from empirical.analysis.comparisons import Comparison, compare
from empirical.analysis.intervals import Estimate, Part, nothing, t_interval
from empirical.analysis.momentum import control_comparisons as against
from empirical.analysis.momentum.compare import compare as compare_models
from empirical.analysis.momentum.verdicts import momentum_verdicts
from empirical.analysis.verdicts import (
    CONTRADICTED,
    NO_LEARNING,
    NO_MOMENTUM,
    OPEN,
    SUPPORTED,
    UNCALIBRATED,
    UNTESTED,
    Calibration,
    calibration_of,
    judge,
    verdict,
    verdicts,
)
from empirical.core.undefined import Undefined
from empirical.results import calibration as files
from empirical.results.attention_kinds import Layer
from empirical.results.control_results import BASE
from tests.support.paths import ROOT
from tests.support.results import momentum as _momentum
from tests.support.results.control_results import MODEL, World, cells

PAGE = ROOT / "docs" / "verdict.md"
BY_ID = {c.id: c for c in CLAIMS}
SIMILAR = ("representation", "representation_unnormalised", "attention", "attention_delta",
           "tokens", "demonstrations")  # fmt: skip


def of(world, claim="representation", seeds=(1, 2, 3)):
    """The verdict on one task."""
    return verdict(compare(cells(("sst2",), seeds, world=world)), MODEL, BY_ID[claim])


@functools.cache
def one_task():
    """The comparisons of the plain world on one task."""
    return compare(cells(("sst2",)))


def all_of(world):
    """All verdicts on two tasks."""
    return {v.claim.id: v for v in verdicts(compare(cells(world=world)))}


@pytest.fixture(scope="module")
def true():
    return all_of(World(n=200))


# -- the four answers -----------------------------------------------------------------------------


def test_a_true_effect_against_every_control_is_supported(true):
    assert {true[c].status for c in (*SIMILAR, "prediction")} == {SUPPORTED}
    one = true["representation"]
    assert one.count(SUPPORTED) == 2 and not one.left_out and one.family == 12
    assert one.deciding.difference.value == min(a.difference.value for a in one.against)
    assert all(a.above and a.enough and not a.below for a in one.against)


def test_no_effect_is_not_distinguishable_and_names_the_controls():
    found = all_of(World(effect=0.0, recall=0.0))
    for claim in (*SIMILAR, "prediction"):
        one = found[claim]
        assert one.status == OPEN, (claim, one.sentence)
        assert one.deciding.control in one.sentence


def test_a_reversed_effect_is_contradicted_by_name():
    found = all_of(World(effect=-0.15))
    for claim in SIMILAR:
        assert found[claim].status == CONTRADICTED
        assert found[claim].deciding.control in found[claim].sentence
        assert found[claim].deciding.p_adjusted <= 0.05


def test_one_control_that_is_not_beaten_is_enough_to_leave_it_open():
    one = of(World(effects={"ft_other_seed": 0.0}))
    assert (one.status, one.deciding.control) == (OPEN, "ft_other_seed")
    assert [a.control for a in one.against if not a.above] == ["ft_other_seed"]
    assert "not above 1 of 12 controls (ft_other_seed)" in one.sentence


def test_one_control_that_scores_higher_contradicts_although_all_others_are_beaten():
    one = of(World(effects={"untrained": -0.1}))
    assert (one.status, one.deciding.control) == (CONTRADICTED, "untrained")
    assert "the control untrained scores higher" in one.sentence


def test_a_difference_too_small_to_matter_is_not_support():
    world = World(effects={"ft_random": 0.03}, sd_noise=0.005, sd_seeds=0.001)
    one = of(world)  # a dose equivalent of 0.05
    assert one.status == OPEN and all(a.above for a in one.against)
    assert [a.control for a in one.against if not a.enough] == ["ft_random"]
    assert "less than a dose equivalent of 0.1" in one.sentence
    without = of(dataclasses.replace(world, left_out=("dose",)))
    assert without.status == SUPPORTED and isinstance(without.deciding.dose, Undefined)
    less = of(dataclasses.replace(world, left_out=("dose",), effects={"ft_random": 0.01}))
    assert less.status == OPEN and "less than 0.02" in less.sentence


def test_recalls_have_to_beat_the_base_rate_and_the_controls_excess():
    shared = of(World(n=300, recalls={"ft_random": 0.5}), "prediction")
    (high,) = [a for a in shared.against if a.control == "ft_random"]
    assert (high.metric, high.above, shared.status) == ("rec2ftp_excess", False, OPEN)
    (base,) = [a for a in shared.against if a.control == "base_rate"]
    assert (base.metric, base.above) == ("rec2ftp", True)
    none = of(World(n=300, recall=0.0), "prediction")
    assert not next(a for a in none.against if a.control == "base_rate").above


# -- what forbids a verdict -----------------------------------------------------------------------


def test_one_seed_is_not_enough():
    one = of(World(), seeds=(1,))
    assert one.status == UNTESTED and "1 seed, where 2 or more are needed" in one.sentence
    assert not one.against and one.deciding is None and not one.tested


def test_two_seeds_are_enough_where_the_effect_is_plain():
    plain = World(sd_noise=0.001, sd_seeds=0.0, effect=0.3, icl=0.99, zsl=0.2, n=400)
    assert of(plain, seeds=(1, 2)).status == SUPPORTED


def test_no_in_context_learning_leaves_nothing_to_explain():
    found = all_of(World(zsl=0.7, icl=0.7))
    for claim in (*SIMILAR, "prediction"):
        assert found[claim].status == UNTESTED and NO_LEARNING in found[claim].sentence


def test_finetuning_that_changes_no_answer_explains_nothing():
    one = of(World(inert=True))
    assert one.status == UNTESTED and "finetuning changes no answer" in one.sentence


@pytest.mark.parametrize("control", ["untrained", "ft_shuffled_labels", "position_only"])
def test_a_required_control_that_was_not_run_is_named(control):
    one = of(World(left_out=(control,)))
    assert one.status == UNTESTED
    assert f"{control}: the control was not run (--control {control})" in one.sentence


def test_a_control_that_is_only_shown_may_be_missing():
    assert of(World(left_out=("layer_causal", "position_prompt", "order"))).status == SUPPORTED


def test_a_control_that_could_not_be_run_gives_its_reason():
    one = of(World(absent={"ft_other_task": "expected two tasks, got one"}))
    assert one.status == UNTESTED and "ft_other_task: expected two tasks, got one" in one.sentence


def test_a_control_with_a_value_in_one_seed_only_is_not_enough():
    made = list(cells(("sst2",)))
    for i in (0, 1):
        some = {k: f for k, f in made[i].findings.items() if k != "untrained"}
        made[i] = dataclasses.replace(made[i], findings=some)
    one = verdict(compare(made), MODEL, BY_ID["representation"])
    assert one.status == UNTESTED and "untrained: a value in 1 seed only" in one.sentence


def test_a_task_that_cannot_be_tested_is_left_out_and_named():
    made = [*cells(("sst2",)), *cells(("cb",), world=World(left_out=("untrained",)))]
    one = verdict(compare(made), MODEL, BY_ID["representation"])
    assert one.status == SUPPORTED and list(one.tested) == ["sst2"]
    assert list(one.left_out) == ["cb"] and "untrained" in one.left_out["cb"]
    assert all(a.tasks == ("sst2",) for a in one.against)


def test_positions_that_cannot_be_shifted_are_set_aside_and_named():
    one = of(World(absent={"position_only": "expected a model whose positions can be shifted"}))
    assert one.status == SUPPORTED and list(one.set_aside) == ["position_only"]
    assert "position_only" not in {a.control for a in one.against}


def test_a_constant_difference_has_no_interval_and_no_verdict():
    made = list(cells(("sst2",)))
    for i, cell in enumerate(made):
        ours = cell.findings[BASE].series["sim_aou"]
        moved = dataclasses.replace(ours, values=(ours.values - ours.values + 0.5))
        other = dataclasses.replace(ours, values=(ours.values - ours.values + 0.25))
        found = {k: dataclasses.replace(f, series={**f.series, "sim_aou": other})
                 for k, f in cell.findings.items() if "sim_aou" in f.series}  # fmt: skip
        found[BASE] = dataclasses.replace(
            cell.findings[BASE], series={**cell.findings[BASE].series, "sim_aou": moved}
        )
        made[i] = dataclasses.replace(cell, findings={**cell.findings, **found})
    one = verdict(compare(made), MODEL, BY_ID["representation"])
    assert one.status == UNTESTED and "have the same value" in one.sentence


# -- the instrument -------------------------------------------------------------------------------


def test_an_instrument_that_misread_a_known_model_says_nothing():
    bad = Calibration(right=frozenset(), misread={"sim_aou": "one_step, above its bound"})
    found = {v.claim.id: v for v in verdicts(one_task(), bad)}
    assert found["representation"].status == UNTESTED
    assert "misread sim_aou of a known model (one_step" in found["representation"].sentence
    assert found["representation_unnormalised"].status == SUPPORTED


def test_a_gain_falls_with_the_metric_that_it_is_a_gain_of():
    bad = Calibration(right=frozenset(), misread={"sim_am_after": "one_step"})
    assert verdict(one_task(), MODEL, BY_ID["attention"], bad).status == UNTESTED


def test_what_was_not_calibrated_says_so():
    good = Calibration(right=frozenset({"sim_aou", "sim_am_after"}), misread={})
    found = {v.claim.id: v for v in verdicts(one_task(), good)}
    assert found["representation"].notes == found["attention"].notes == ()
    assert found["tokens"].notes == (UNCALIBRATED,)
    assert verdict(one_task(), MODEL, BY_ID["tokens"]).notes == (UNCALIBRATED,)


def check(right, why=""):
    return files.Check(value=1.0, right=right, why=why)


def test_a_calibration_file_is_right_of_a_metric_when_every_judged_case_is():
    cases = {
        "one": files.Case(kind="constructed", title="", checks={
            "sim_aou": check(True), "kendall": check(None, "unfixed"), "rec2ftp": check(True)}),
        "two": files.Case(kind="unrelated", title="", checks={
            "sim_aou": check(False, "outside"), "rec2ftp": check(True)}),
    }  # fmt: skip
    source = files.Source(seed=0, dtype="float64", threads=1, versions={}, code_sha256="",
                          commit=None, command=())  # fmt: skip
    found = calibration_of(files.Calibration(provenance=source, cases=cases, curves={}))
    assert found.right == {"rec2ftp"} and found.misread == {"sim_aou": "two, outside"}


def estimate(value, error):
    parts = (Part(source="examples", variance=error**2, df=1e6),)
    low, high, p = t_interval(value, parts)
    return Estimate(value=value, low=low, high=high, p=p, d_z=Undefined(""), per_seed=(), seeds=3,
                    examples=99, parts=parts)  # fmt: skip


def with_untrained(difference):
    """The plain world, with another difference from the untrained model."""
    compared = one_task()
    odd = [
        dataclasses.replace(c, difference=difference) if c.control == "untrained" else c
        for c in compared.comparisons
    ]
    return verdict(dataclasses.replace(compared, comparisons=tuple(odd)), MODEL,
                   BY_ID["representation_unnormalised"])  # fmt: skip


def test_a_large_difference_whose_interval_holds_zero_is_not_support():
    one = with_untrained(estimate(0.2, 0.15))
    assert one.status == OPEN and "(untrained)" in one.sentence
    assert with_untrained(estimate(0.2, 0.05)).status == SUPPORTED


# -- many tries -----------------------------------------------------------------------------------


def test_one_of_many_controls_above_by_chance_does_not_contradict():
    """Its own interval is below 0, and its p value of 0.03 is one of ten."""
    one = with_untrained(estimate(-0.0217, 0.01))
    (low,) = [a for a in one.against if a.control == "untrained"]
    assert low.difference.high < 0 and low.p_adjusted > 0.05 and one.status == OPEN


def test_judging_names_the_smallest_difference_among_those_that_decide(true):
    status, deciding = judge(true["tokens"].against)
    assert status == SUPPORTED
    assert deciding.difference.value == min(a.difference.value for a in true["tokens"].against)


# -- momentum -------------------------------------------------------------------------------------


def test_momentum_waits_for_its_records(true):
    assert true["momentum"].status == UNTESTED and NO_MOMENTUM in true["momentum"].sentence


def momentum(**values):
    def one(control, value):
        return Comparison(model=MODEL, task="sst2", metric="momentum", control=control,
                          required=True, ours=estimate(50.0, 0.1), theirs=estimate(40.0, 0.1),
                          difference=value, dose=Undefined("none"))  # fmt: skip

    compared = one_task()
    made = tuple(one(c, v) for c, v in values.items())
    compared = dataclasses.replace(compared, comparisons=(*compared.comparisons, *made))
    return verdict(compared, MODEL, BY_ID["momentum"])


def test_momentum_has_to_beat_plain_attention_and_both_controls():
    good = dict.fromkeys(claims.MOMENTUM, estimate(5.0, 0.5))
    assert momentum(**good).status == SUPPORTED
    assert momentum(**{**good, "recency_bias": estimate(0.1, 0.5)}).status == OPEN
    assert momentum(**{**good, "recency_bias": estimate(-5.0, 0.5)}).status == CONTRADICTED
    assert momentum(**{**good, "recency_bias": estimate(0.8, 0.1)}).status == OPEN  # too small
    some = {k: v for k, v in good.items() if k != "recency_bias"}
    assert "no comparison with recency_bias" in momentum(**some).sentence
    assert momentum(**{**good, "recency_bias": nothing("diverged")}).status == UNTESTED


# -- momentum: models that were trained -----------------------------------------------------------

SEEDS_OF_MODELS = (1, 2, 3, 4, 5)


def planted(effects):
    """By kind, momentum and learned etas alike."""
    return lambda layer: effects.get(layer.kind, 0.0)


def trained_verdicts(gain=None, right=None, seeds=SEEDS_OF_MODELS, keep=lambda r: True, **world):
    """Both verdicts on one made-up scale: nats saved, and share of right answers gained."""
    made = _momentum.World(
        gain=planted(gain or {}), right=planted(right or {}), **{"questions": 400, **world}
    )
    runs = [r for r in _momentum.sweep(seeds, made) if keep(r)]
    return {v.claim.id: v for v in momentum_verdicts(compare_models(runs))}


def test_models_with_momentum_that_are_better_than_all_others_are_support():
    found = trained_verdicts({"momentum": 0.02}, {"momentum": 0.2})
    assert list(found) == ["momentum", "momentum_language"]
    assert {v.status for v in found.values()} == {SUPPORTED}
    assert found["momentum"].tested == {"sst5": SUPPORTED, "cb": SUPPORTED}
    assert list(found["momentum"].left_out) == ["imdb"]
    assert found["momentum_language"].tested == {"validation-64": SUPPORTED}
    assert found["momentum"].model == "nano" and found["momentum"].family == 3
    assert "On the held-out books at full length the score is above each of its 3 controls" in (
        found["momentum_language"].sentence
    )
    # 100 times the nats that were planted, in percent: within the noise of 16 windows, 5 seeds.
    by_control = {a.control: a.difference for a in found["momentum_language"].against}
    assert all(d.low < 2.0 < d.high for d in by_control.values()) and len(by_control) == 3


def test_models_with_momentum_that_a_recency_bias_equals_are_left_open():
    found = trained_verdicts({"momentum": 0.02, "recency_bias": 0.02},
                             {"momentum": 0.2, "recency_bias": 0.2})  # fmt: skip
    for one in found.values():
        assert (one.status, one.deciding.control) == (OPEN, "recency_bias"), one.sentence
        assert [a.control for a in one.against if not a.above] == ["recency_bias"]


def test_models_with_momentum_that_are_worse_than_plain_are_contradicted():
    found = trained_verdicts({"momentum": -0.02}, {"momentum": -0.1})
    for one in found.values():
        assert one.status == CONTRADICTED and all(a.below for a in one.against)
    plain = trained_verdicts({k: -0.02 for k in _momentum.SWEPT},
                             {k: -0.1 for k in _momentum.SWEPT})  # fmt: skip
    for one in plain.values():
        assert (one.status, one.deciding.control) == (CONTRADICTED, "plain_attention")


def test_models_that_do_not_differ_are_not_told_apart():
    found = trained_verdicts()
    assert {v.status for v in found.values()} == {OPEN}


def test_models_that_do_not_learn_in_context_say_nothing_of_it_but_of_language():
    found = trained_verdicts({"momentum": 0.02}, in_context=0.3)
    assert found["momentum"].status == UNTESTED and not found["momentum"].against
    assert against.NO_LEARNING in found["momentum"].sentence
    assert found["momentum_language"].status == SUPPORTED


def test_one_seed_of_trained_models_is_not_enough():
    found = trained_verdicts({"momentum": 0.02}, {"momentum": 0.2}, seeds=(1,))
    for one in found.values():
        assert one.status == UNTESTED and "1 seed, where 2 or more are needed" in one.sentence
    lone = trained_verdicts(
        {"momentum": 0.02}, {"momentum": 0.2},
        keep=lambda r: r.layer.kind != "recency_bias" or r.seed == 1,
    )  # fmt: skip
    for one in lone.values():
        assert one.status == UNTESTED and "recency_bias: a value in 1 seed only" in one.sentence


@pytest.mark.parametrize("kind", ["plain", "averaged_values", "recency_bias"])
def test_a_control_that_was_not_trained_is_named(kind):
    found = trained_verdicts({"momentum": 0.02}, {"momentum": 0.2},
                             keep=lambda r: r.layer.kind != kind)  # fmt: skip
    name = {"plain": "plain_attention"}.get(kind, kind)
    for one in found.values():
        assert one.status == UNTESTED and f"no comparison with {name}" in one.sentence


def test_models_without_a_chosen_eta_say_why():
    found = trained_verdicts(keep=lambda r: r.layer.kind != "momentum" or r.layer.learned)
    for one in found.values():
        assert one.status == UNTESTED and "all etas were learned" in one.sentence
    none = trained_verdicts(keep=lambda r: r.layer.kind != "momentum")
    assert {NO_MOMENTUM in v.sentence for v in none.values()} == {True}


def test_a_difference_of_perplexity_below_three_tenths_of_a_percent_has_no_weight():
    small = trained_verdicts({"momentum": 0.002}, noise=1e-5)["momentum_language"]
    assert small.status == OPEN and all(a.above and not a.enough for a in small.against)
    assert "which is less than 0.3 %" in small.sentence and "by 0.20 [" in small.sentence
    assert (
        trained_verdicts({"momentum": 0.004}, noise=1e-5)["momentum_language"].status == SUPPORTED
    )


def test_seeds_that_move_all_tasks_together_widen_the_verdicts_interval():
    found = trained_verdicts(right={"momentum": 0.2}, seeds=(1, 2, 3))["momentum"]
    for one in found.against:
        (between,) = [p for p in one.difference.parts if p.source == "seeds"]
        assert len(one.difference.per_seed) == 3  # near miss: a sum over tasks knows no seed
        spread = statistics.variance(one.difference.per_seed) / 3
        # Two variances of three numbers of that size: some twenty roundings of their squares.
        most = max(map(abs, one.difference.per_seed)) ** 2
        assert abs(between.variance - spread) <= 20 * sys.float_info.epsilon * most < spread / 100
        assert between.df == 2


def test_kinds_that_are_only_shown_decide_nothing():
    better = Layer(kind="heavy_ball", eta=0.5)
    world = _momentum.World(
        gain=planted({"momentum": 0.02, "heavy_ball": 0.1}), questions=400,
        right=planted({"momentum": 0.2, "heavy_ball": 0.4}),
    )  # fmt: skip
    runs = [*_momentum.sweep(SEEDS_OF_MODELS, world),
            *(_momentum.trained(better, s, world) for s in SEEDS_OF_MODELS)]  # fmt: skip
    compared = compare_models(runs)
    shown = [c for c in compared.scales[0].comparisons if c.control == "heavy_ball"]
    assert [c.required for c in shown] == [False] * 4 and shown[0].difference.high < 0
    assert {v.status for v in momentum_verdicts(compared)} == {SUPPORTED}
    assert {v.family for v in momentum_verdicts(compared)} == {3}


def test_each_kind_is_judged_at_the_eta_that_it_chose():
    world = _momentum.World(gain=lambda x: {0.3: -0.05, 0.9: 0.02}.get(x.eta or 0.0, 0.0) * (
        x.kind == "momentum"))  # fmt: skip
    at = compare_models(_momentum.sweep(SEEDS_OF_MODELS, world))
    assert at.scales[0].chosen["momentum"] == Layer(kind="momentum", eta=0.9)
    (_, language) = momentum_verdicts(at)
    assert language.status == SUPPORTED and language.notes == ()


def test_a_control_with_other_etas_to_choose_from_is_noted():
    found = trained_verdicts(
        {"momentum": 0.02}, keep=lambda r: r.layer != Layer(kind="recency_bias", eta=0.3)
    )
    note = "Momentum attention was chosen among eta 0.3, 0.9, recency bias among eta 0.9."
    assert {v.notes for v in found.values()} == {(note,)}


def test_the_claims_of_a_study_are_as_they_were():
    assert [c.id for c in CLAIMS] == ["prediction", *SIMILAR, "momentum"]
    assert MOMENTUM_CLAIMS[0] is BY_ID["momentum"] and MOMENTUM_CLAIMS[1] not in CLAIMS


# -- the page -------------------------------------------------------------------------------------


def test_the_page_names_every_claim_control_and_smallest_effect():
    text = PAGE.read_text(encoding="utf-8")
    for claim in (*CLAIMS, *MOMENTUM_CLAIMS):
        assert f"`{claim.id}`" in text and f"{claim.smallest:g}" in text, claim.id
        for metric in claim.metrics:
            by = claims.QUALIFIES.get(metric)
            names = claims.MOMENTUM if by is None else (*by.base_lines, *by.required)
            missing = [n for n in (metric, *names) if f"`{n}`" not in text]
            assert not missing, (claim.id, missing)
    for status in (SUPPORTED, OPEN, CONTRADICTED, UNTESTED):
        assert f"**{status}**" in text
