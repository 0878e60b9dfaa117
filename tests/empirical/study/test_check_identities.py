"""Checks of a task: real updates, the worst over queries, and honest refusals."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch

from empirical.core.errors import UserError
from empirical.core.json_files import plain
from empirical.core.undefined import Undefined
from empirical.data.paper_tasks import TASKS, FolderSource
from empirical.identities.trained_weights import ONE_EXAMPLE
from empirical.results import identity_checks
from empirical.results.identity_checks import Checks
from empirical.results.layer_check import LayerCheck, NotApplicable
from empirical.study.check_identities import (
    all_statements,
    check_request,
    left_out,
    real_training,
    run_checks,
    worst,
)
from empirical.study.preparation import Prepared, StudySettings, prepare
from tests.support.models.tiny_models import LoadedModel, tiny
from tests.support.study import save_data


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return tiny(torch.float32)


@pytest.fixture(scope="module")
def ready(model: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    source = FolderSource(path=save_data(tmp_path_factory.mktemp("data") / "d"))
    return prepare(model, TASKS["mr"], source, StudySettings(seed=1, rates=(0.05,), k=5))


def test_every_statement_layer_and_head_is_checked_once_and_holds(
    model: LoadedModel, ready: Prepared
) -> None:
    found = run_checks(model, ready, queries=3, rate=0.05)
    where = [(c.statement, c.layer, c.head) for c in found.checks]
    reasons = {(x.statement, x.layer): x.reason for x in found.not_applicable}
    assert len(reasons) == len(found.not_applicable) and all(reasons.values())
    every = set()
    for name in all_statements(ready):
        for layer in range(2):
            heads = [None] if name in ("block-as-weight-change", "mlp-as-run") else [0, 1]
            every |= {(name, layer, h) for h in heads if (name, layer) not in reasons}
    assert set(where) == every and len(where) == len(every)
    assert len({name for name, _ in reasons}) == 5  # see NOT_HERE in test_dual_form_layers
    assert found.refusal is None and len(found.shares) == 3 * 2 * 2 and found.queries == 3


def test_several_queries_give_the_worst_of_each_alone(model: LoadedModel, ready: Prepared) -> None:
    alone = [
        run_checks(
            model, dataclasses.replace(ready, queries=(ready.queries[i],)), queries=1, rate=0.05
        )
        for i in range(3)
    ]
    together = run_checks(model, ready, queries=3, rate=0.05).checks
    for i, c in enumerate(together):
        assert c.worst_ratio == max(a.checks[i].worst_ratio for a in alone)
        assert c.near_miss_ratio == min(a.checks[i].near_miss_ratio for a in alone)


def test_the_update_is_that_of_sgd_on_the_demonstrations_and_is_undone(
    model: LoadedModel, ready: Prepared
) -> None:
    before = {k: v.clone() for k, v in model.model.state_dict().items()}
    updates = real_training(model, ready, 0.05, "float32").updates()
    assert all(torch.equal(v, before[k]) for k, v in model.model.state_dict().items())
    assert all(bool((u.value != 0).any() and (u.key != 0).any()) for u in updates)
    fewer = dataclasses.replace(ready, shown=ready.shown[:4])
    others = real_training(model, fewer, 0.05, "float32").updates()
    for u, v in zip(updates, others, strict=True):
        assert not torch.equal(u.value, v.value)  # the last demonstration was a step too


def test_a_small_update_is_refused_in_float32_and_decided_in_float64(
    model: LoadedModel, ready: Prepared
) -> None:
    narrow = run_checks(model, ready, queries=1, rate=1e-5, arithmetic="float32")
    assert narrow.refusal is not None and "near miss to be refused" in narrow.refusal
    assert run_checks(model, ready, queries=1, rate=1e-5).refusal is None


def test_one_demonstration_leaves_out_what_it_cannot_test(
    model: LoadedModel, ready: Prepared
) -> None:
    one = dataclasses.replace(ready, shown=ready.shown[:1])
    found = run_checks(model, one, queries=1, rate=0.05)
    assert found.refusal is None
    assert "many-steps-dual" in all_statements(ready)
    assert "many-steps-dual" not in {c.statement for c in found.checks}
    why = [x.reason for x in found.not_applicable if x.statement == "many-steps-dual"]
    assert len(why) == 2 and set(why) == {ONE_EXAMPLE}


def check_of(**change: object) -> LayerCheck:
    made = LayerCheck(
        statement="s", layer=0, head=0, worst_ratio=0.5, near_miss_ratio=9.0, nontrivial=True,
        finite=True,
    )  # fmt: skip
    return dataclasses.replace(made, **change)  # type: ignore[arg-type] # fields by name


def test_the_worst_never_forgets_a_nan_or_a_failure() -> None:
    nan = check_of(worst_ratio=math.nan, near_miss_ratio=math.nan)
    for order in ([nan, check_of()], [check_of(), nan]):
        (found,) = worst(order)
        assert math.isnan(found.worst_ratio) and math.isnan(found.near_miss_ratio)
    true_here = check_of(near_miss_ratio=0.5, coincides="no bias")
    for order in ([true_here, check_of()], [check_of(), true_here]):
        (found,) = worst(order)
        assert (found.near_miss_ratio, found.coincides) == (9.0, None)
    (found,) = worst([true_here, dataclasses.replace(true_here, near_miss_ratio=0.7)])
    assert (found.near_miss_ratio, found.coincides) == (0.7, "no bias")
    (found,) = worst([check_of(finite=False), check_of(nontrivial=False), check_of(worst_ratio=2)])
    assert (found.finite, found.nontrivial, found.worst_ratio) == (False, False, 2)


def test_extremes_and_documents_show_what_is_not_finite_as_undefined() -> None:
    bad = check_of(worst_ratio=math.nan, head=1)
    seen = identity_checks.extremes([check_of(), bad])
    assert seen.worst_ratio == Undefined("not finite (nan)") == seen.near_miss_ratio
    infinite = identity_checks.extremes([check_of(), check_of(worst_ratio=math.inf)])
    assert infinite.worst_ratio == Undefined("not finite (inf)")
    assert infinite.near_miss_ratio == 9.0
    found = Checks(checks=(check_of(), bad), shares=(), queries=1, refusal="no")
    layer = plain(identity_checks._layer(found, 0))
    assert identity_checks.layer_rows(layer) == [("s", "undefined (not finite (nan))", "9")]
    assert layer["not_applicable"] == {} and layer["heads"] == []


def test_a_near_miss_that_is_true_is_shown_with_its_reason_and_no_extreme() -> None:
    true_here = check_of(near_miss_ratio=0.5, coincides="no bias")
    seen = identity_checks.extremes([true_here, check_of(head=1)])
    assert seen.near_miss_ratio == 9.0
    assert identity_checks.extremes([true_here]).near_miss_ratio == Undefined("true here: no bias")
    found = Checks(checks=(true_here,), shares=(), queries=1, refusal=None)
    layer = plain(identity_checks._layer(found, 0))
    assert identity_checks.layer_rows(layer) == [("s", "0.5", "true here")]
    assert identity_checks.coincidences({"layers": [layer, layer]}) == [("s", "no bias", 2)]


def test_reasons_are_listed_once_with_their_layers_and_only_where_no_query_was_checked() -> None:
    reasons = [
        NotApplicable(statement=s, layer=i, reason=why)
        for s, i, why in (("a", 0, "x"), ("b", 0, "x"), ("a", 1, "x"), ("b", 1, "x"),
                          ("a", 0, "y"), ("s", 0, "z"))
    ]  # fmt: skip
    kept = left_out(reasons, [check_of()])
    assert [(x.statement, x.layer, x.reason) for x in kept] == [
        ("a", 0, "x"), ("b", 0, "x"), ("a", 1, "x"), ("b", 1, "x")]  # fmt: skip
    stored = {"not_applicable": identity_checks._without(kept)}
    assert identity_checks.left_out(stored) == [("x", ["a", "b"], [0, 1])]


def test_a_file_of_an_older_layout_is_one_clear_error(tmp_path: Path) -> None:
    old = tmp_path / "checks-m-t.json"
    old.write_text('{"schema": 1}')
    with pytest.raises(UserError, match="expected checks of schema 2 in .*, got schema 1 "):
        identity_checks.read(old)


def test_a_spread_leaves_out_and_counts_what_is_undefined() -> None:
    seen = identity_checks.spread([1.0, Undefined("x"), 3.0])
    assert (seen.mean, seen.low, seen.high, seen.defined, seen.total) == (2.0, 1.0, 3.0, 2, 3)
    assert identity_checks.show_spread(plain(seen)) == "2 [1, 3], 1 undefined"
    assert isinstance(identity_checks.spread([Undefined("x")]).mean, Undefined)


def test_unknown_arithmetic_and_too_many_queries_are_refused(ready: Prepared) -> None:
    check_request(ready, 14, "float32")
    with pytest.raises(UserError, match=r"queries in 1\.\.14 .*got 15"):
        check_request(ready, 15, "float64")
    with pytest.raises(UserError, match="among float32, float64, got 'half'"):
        check_request(ready, 1, "half")


def test_check_files_load_no_torch(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = "import sys, empirical.results.identity_checks, empirical.cli.terminal_tables"
    code += "; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
