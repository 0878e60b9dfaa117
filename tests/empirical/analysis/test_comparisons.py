"""Pairs of metrics and controls from evidence, against loops over its arrays."""

import dataclasses
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest

from empirical.analysis import comparisons
from empirical.analysis.claims import CLAIMS, GAINS, QUALIFIES, RECALLS
from empirical.core.errors import UserError
from empirical.core.undefined import Undefined
from empirical.metrics.series import RANKS, SIMILARITIES
from empirical.results import control_results
from empirical.results.control_catalogue import CONTROLS
from empirical.results.control_results import BASE, ConditionResult
from tests.support.results import control_results as _evidence
from tests.support.results.control_results import MODEL, World, cells, write_folder

SMALL = World(n=40)


@pytest.fixture(scope="module")
def made():
    return cells(world=SMALL)


@pytest.fixture(scope="module")
def compared(made):
    return comparisons.compare(made)


def found(compared, metric, control, task="sst2"):
    (one,) = [c for c in compared.of(MODEL, metric) if (c.control, c.task) == (control, task)]
    return one


def changed(cell, name, **how):
    """The cell with fields of one finding replaced."""
    finding = dataclasses.replace(cell.findings[name], **how)
    return dataclasses.replace(cell, findings={**cell.findings, name: finding})


def with_values(cell, name, metric, values):
    series = dataclasses.replace(cell.findings[name].series[metric], values=values)
    return changed(cell, name, series={**cell.findings[name].series, metric: series})


# -- which control qualifies which metric ---------------------------------------------------------


def test_every_control_and_base_line_is_one_that_is_written():
    changes = {f"delta_w_{x}" for x in ("cosine_other", "effect_softmax_other")}
    series = {*SIMILARITIES, *RANKS, *changes, "base_rate", "zsl_accuracy", "order_icl"}
    for metric, by in QUALIFIES.items():
        assert {*by.required, *by.shown} <= set(CONTROLS), metric
        assert {*by.base_lines, *by.shown_base_lines} <= series, metric
    assert {x for pair in GAINS.values() for x in pair} <= series


def test_every_claim_but_momentum_has_required_controls():
    for claim in CLAIMS:
        required = [
            c
            for m in claim.metrics
            for c in (*QUALIFIES[m].base_lines, *QUALIFIES[m].required)
            if m in QUALIFIES
        ] if claim.id != "momentum" else ["to come"]  # fmt: skip
        assert required, claim.id
    assert {"untrained", "ft_random", "position_only"} <= set(QUALIFIES["sim_aou"].required)
    assert "kendall_inputs" not in QUALIFIES["kendall"].required


def test_every_pair_of_the_table_is_made_once_for_every_task(compared):
    expected = sum(
        len(b.base_lines) + len(b.required) + len(b.shown) + len(b.shown_base_lines)
        for b in QUALIFIES.values()
    )
    keys = [(c.task, c.metric, c.control) for c in compared.comparisons]
    assert len(keys) == len(set(keys)) == 2 * expected


# -- values against loops -------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["sim_aou", "sim_am_delta", "kendall"])
def test_a_difference_is_the_mean_of_paired_differences(made, compared, metric):
    by_seed = []
    for cell in made:
        if cell.task == "sst2":
            a = cell.findings[BASE].series[metric].values.tolist()
            b = cell.findings["untrained"].series[metric].values.tolist()
            gaps = [Fraction(x) - Fraction(y) for x, y in zip(a, b, strict=True)]
            by_seed.append(sum(gaps, Fraction(0)) / len(gaps))
    one = found(compared, metric, "untrained")
    exact = float(sum(by_seed, Fraction(0)) / 3)
    assert abs(one.difference.value - exact) <= 100 * np.finfo(float).eps  # of 40 sums below 1
    assert abs(exact) > 0.1


def test_an_example_that_a_control_leaves_undefined_is_left_out_of_both(made):
    values = made[0].findings["untrained"].series["sim_aou"].values.copy()
    ours = made[0].findings[BASE].series["sim_aou"].values.copy()
    values[3], ours[3] = np.nan, 1000.0
    cell = with_values(made[0], "untrained", "sim_aou", values)
    cell = with_values(cell, BASE, "sim_aou", ours)
    task = [cell, *(m for m in made[1:] if m.task == made[0].task)]
    paired = found(comparisons.compare(task), "sim_aou", "untrained", made[0].task)
    assert paired.difference.value < 1  # unpaired, the 1000 of ours would be in it
    assert paired.ours.value > 5


def test_gains_are_after_less_before(made, compared):
    one = found(compared, "sim_am_gain", "ft_random")
    by_seed = []
    for cell in made:
        if cell.task == "sst2":
            x = [
                {k: cell.findings[f].series[f"sim_am_{k}"].values.astype(float)
                 for k in ("after", "before")} for f in (BASE, "ft_random")
            ]  # fmt: skip
            gain = [s["after"] - s["before"] for s in x]
            by_seed.append(np.mean(gain[0] - gain[1]))
    assert one.difference.value == pytest.approx(np.mean(by_seed), rel=1e-12)
    before = found(compared, "sim_am_gain", "sim_am_before")
    assert before.difference.value == pytest.approx(before.ours.value - before.theirs.value)


def recall_by_hand(cell, name):
    answers, labels = cell.findings[name].predictions, cell.labels
    errors = right = corrected = both = 0
    for z, i, f, y in zip(answers["zsl"], answers["icl"], answers["ft"], labels, strict=True):
        if z != y:
            errors += 1
            right += int(i == y)
            corrected += int(f == y)
            both += int(f == y and i == y)
    return Fraction(both, corrected), Fraction(right, errors)


def test_recalls_and_their_excess_are_counted_by_hand(made, compared):
    sst2 = [c for c in made if c.task == "sst2"]
    excess = {n: [a - b for a, b in (recall_by_hand(c, n) for c in sst2)]
              for n in (BASE, "icl_random_tokens")}  # fmt: skip
    exact = {n: 100 * float(sum(x, Fraction(0)) / 3) for n, x in excess.items()}
    over = found(compared, "rec2ftp", "base_rate")
    assert over.difference.value == pytest.approx(exact[BASE], rel=1e-12)
    recall = 100 * float(sum((recall_by_hand(c, BASE)[0] for c in sst2), Fraction(0)) / 3)
    assert over.ours.value == pytest.approx(recall, rel=1e-12)
    one = found(compared, "rec2ftp_excess", "icl_random_tokens")
    assert one.difference.value == pytest.approx(exact[BASE] - exact["icl_random_tokens"])
    # The near miss: recall less recall falls with the accuracy of a broken context.
    near = 100 * float(
        sum((recall_by_hand(c, BASE)[0] - recall_by_hand(c, "icl_random_tokens")[0] for c in sst2),
            Fraction(0)) / 3
    )  # fmt: skip
    assert abs(near - one.difference.value) > 5


def test_ranks_pair_the_first_100_examples_alone():
    many = comparisons.compare(cells(("sst2",), world=World(n=130)))
    assert found(many, "kendall", "untrained").difference.examples == 100
    assert found(many, "sim_aou", "untrained").difference.examples == 130


def test_orders_are_compared_inside_their_finding(compared):
    one = found(compared, "order_spread", "order_icl")
    assert one.ours.value != one.theirs.value and one.difference.seeds == 3


def test_weight_changes_are_compared_with_those_of_another_task(compared):
    series = {f"delta_w_cosine{x}": _evidence.series(np.array([0.1, 0.2, 0.4]) + y)
              for x, y in (("", 0.25), ("_other", 0.0))}  # fmt: skip
    world = World(n=40, extra={"delta_w": ConditionResult(series=series)})
    one = found(
        comparisons.compare(cells(("sst2",), world=world)), "delta_w_cosine", "delta_w_cosine_other"
    )
    assert one.difference.value == pytest.approx(0.25, rel=1e-6)  # float32
    gone = found(compared, "delta_w_cosine", "delta_w_cosine_other").difference.value
    assert gone == Undefined("made-up evidence has none")


def test_accuracies_are_in_points(made, compared):
    one = found(compared, "icl_accuracy", "zsl_accuracy")
    numbers = [c.findings[BASE].numbers for c in made if c.task == "sst2"]
    gaps = [x["icl_accuracy"] - x["zsl_accuracy"] for x in numbers]
    assert one.difference.value == pytest.approx(np.mean(gaps), rel=1e-12)


def test_the_dose_is_read_off_the_curve_of_the_task(compared):
    one = found(compared, "sim_aou", "ft_random")
    assert one.dose == pytest.approx(one.difference.value / 0.6, rel=1e-9)
    gone = comparisons.compare(cells(("sst2",), world=World(n=40, left_out=("dose",))))
    assert "no dose curve" in found(gone, "sim_aou", "ft_random").dose.reason
    assert "no dose curve" in found(compared, "rec2ftp", "base_rate").dose.reason


def test_the_same_evidence_gives_the_same_numbers_in_any_order(made, compared):
    assert comparisons.compare(reversed(made)) == compared


# -- what is missing says so ----------------------------------------------------------------------


def test_a_control_that_was_not_run_is_named_with_its_option():
    one = found(
        comparisons.compare(cells(("sst2",), world=World(n=40, left_out=("untrained",)))),
        "sim_aou", "untrained",
    )  # fmt: skip
    assert one.difference.value == Undefined("the control was not run (--control untrained)")


def test_a_control_that_could_not_be_run_gives_its_reason():
    world = World(n=40, absent={"ft_other_task": "expected two tasks, got one; name a second"})
    one = found(comparisons.compare(cells(("sst2",), world=world)), "sim_aou", "ft_other_task")
    assert one.difference.value.reason.startswith("expected two tasks") and one.set_aside is None


def test_a_seed_without_the_control_is_left_out_of_the_pair(made):
    sst2 = [c for c in made if c.task == "sst2"]
    some = {k: f for k, f in sst2[0].findings.items() if k != "untrained"}
    both = comparisons.compare([dataclasses.replace(sst2[0], findings=some), *sst2[1:]])
    one = found(both, "sim_aou", "untrained")
    assert one.difference.seeds == 2 and one.ours.seeds == 3
    assert isinstance(one.difference.per_seed[0], Undefined)


def test_a_series_that_a_finding_lacks_is_named():
    world = World(n=40, extra={"untrained": ConditionResult()})
    one = found(comparisons.compare(cells(("sst2",), world=world)), "sim_aou", "untrained")
    assert one.difference.value == Undefined("the finding has no sim_aou")


def test_a_metric_without_any_value_is_undefined():
    nothing = [
        with_values(c, BASE, "sim_aou", np.full(40, np.nan, dtype=np.float32))
        for c in cells(("sst2",), world=SMALL)
    ]
    one = found(comparisons.compare(nothing), "sim_aou", "untrained")
    assert one.difference.value == Undefined("sim_aou has no value in any example")


def test_positions_that_cannot_be_shifted_are_set_aside():
    world = World(n=40, absent={
        "position_only": "expected a model whose positions can be shifted, got bloom, whose "
                         "attention sees distances only; leave this control away"})  # fmt: skip
    one = found(comparisons.compare(cells(("sst2",), world=world)), "sim_aou", "position_only")
    assert "distances alone" in one.set_aside


def test_lengths_that_are_all_equal_are_set_aside_and_other_gaps_are_not():
    gone = np.full(40, np.nan, dtype=np.float32)
    equal = [with_values(c, BASE, "kendall_lengths", gone) for c in cells(("sst2",), world=SMALL)]
    compared = comparisons.compare(equal)
    one = found(compared, "kendall_examples", "kendall_lengths")
    assert one.set_aside is not None and "equally long" in one.set_aside
    assert found(compared, "kendall_examples", "untrained").set_aside is None
    broken = [
        with_values(c, BASE, "kendall_examples_random", gone) for c in cells(("sst2",), world=SMALL)
    ]
    one = found(comparisons.compare(broken), "kendall_examples", "kendall_examples_random")
    assert one.set_aside is None
    nothing = [
        with_values(with_values(c, BASE, "kendall_lengths", gone), BASE, "kendall_examples", gone)
        for c in cells(("sst2",), world=SMALL)
    ]
    one = found(comparisons.compare(nothing), "kendall_examples", "kendall_lengths")
    assert one.set_aside is None  # without a score there is nothing to set aside


def test_a_control_that_gives_one_answer_in_context_has_no_recall_to_beat(made):
    def constant(c, places):
        answered = c.findings["untrained"].predictions
        same = np.ones_like(answered["icl"])
        same[:places] = 0
        return changed(c, "untrained", predictions={**answered, "icl": same})

    mine = [c for c in made if c.task == "sst2"]
    compared = comparisons.compare([constant(c, 0) for c in mine])
    assert "one answer to everything" in found(compared, "rec2ftp_excess", "untrained").set_aside
    assert found(compared, "sim_aou", "untrained").set_aside is None
    assert found(compared, "rec2ftp_excess", "random_blocks").set_aside is None
    one_differs = [constant(c, int(i == 0)) for i, c in enumerate(mine)]
    compared = comparisons.compare(one_differs)
    assert found(compared, "rec2ftp_excess", "untrained").set_aside is None


def test_a_control_that_corrects_nothing_has_no_recall_to_beat(made):
    inert = [
        changed(c, "ft_random", predictions={**c.findings["ft_random"].predictions,
                                             "ft": c.findings["ft_random"].predictions["zsl"]})
        for c in made if c.task == "sst2"
    ]  # fmt: skip
    compared = comparisons.compare(inert)
    assert "corrects no zero-shot error" in found(compared, "rec2ftp_excess", "ft_random").set_aside
    assert found(compared, "rec2ftp_excess", "untrained").set_aside is None
    assert found(compared, "sim_aou", "ft_random").set_aside is None


def test_a_study_whose_own_finetuning_corrects_nothing_has_no_recall():
    compared = comparisons.compare(cells(("sst2",), world=World(n=40, inert=True)))
    one = found(compared, "rec2ftp", "base_rate")
    assert one.set_aside is None and "corrects no zero-shot error" in one.difference.value.reason
    assert compared.grounds[0].changed == 0


# -- what cannot be paired is refused -------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ({"weights_sha256": "f" * 64}, "weights"),
        ({"position": "prompt"}, "recorded position"),
        ({"seed": 1}, "seed"),
    ],
)
def test_seeds_of_other_runs_are_refused(made, how, named):
    first, second = [c for c in made if c.task == "sst2"][:2]
    odd = dataclasses.replace(second, provenance=dataclasses.replace(second.provenance, **how))
    with pytest.raises(UserError, match=named):
        comparisons.compare([first, odd])


def test_seeds_with_other_examples_are_refused(made):
    first, second = [c for c in made if c.task == "sst2"][:2]
    odd = dataclasses.replace(second, labels=1 - second.labels)
    with pytest.raises(UserError, match="evaluation examples"):
        comparisons.compare([first, odd])


def test_a_control_over_fewer_examples_is_refused(made):
    short = made[0].findings["untrained"].series["sim_aou"].values[:-1]
    with pytest.raises(UserError, match="over the same examples, got 40 and 39"):
        comparisons.compare([with_values(made[0], "untrained", "sim_aou", short)])


# -- files ----------------------------------------------------------------------------------------


def test_a_written_folder_compares_as_what_was_written(tmp_path, compared):
    write_folder(tmp_path, world=SMALL)
    assert comparisons.compare(control_results.read_all(tmp_path)) == compared


def test_no_torch_is_loaded():
    modules = ("comparisons", "verdict", "statistics", "published_readings", "coverage")
    code = "".join(f"import empirical.{m}\n" for m in modules)
    code += "import sys\nprint('torch' in sys.modules, 'scipy' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "True"]


def test_recalls_are_the_metrics_of_the_prediction_claim():
    assert next(c for c in CLAIMS if c.id == "prediction").metrics == RECALLS
