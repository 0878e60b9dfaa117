"""The controls as a user runs them: `reproduce --control`, on a tiny model and made-up tasks."""

import json
from pathlib import Path

import numpy as np
import pytest

from empirical.core.errors import UserError
from empirical.core.undefined import Undefined
from empirical.metrics.series import RANKS, SIMILARITIES
from empirical.results import control_results, record as records
from empirical.results.control_catalogue import CONTROLS, chosen_controls
from empirical.results.control_results import BASE, ControlResults
from empirical.study.controls.runs import RUNS, run_control
from tests.support.paths import ROOT
from tests.support.study import dualform, error_line, save_data, save_model

THREE = ("finetuning", "context", "positions", "model")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every control of two tasks, k = 4."""
    root = tmp_path_factory.mktemp("controls")
    save_model(root / "model", 256)
    save_data(root / "data")
    found = dualform(*command(root), "--control", "all")
    assert found.exit_code == 0, found.output
    return root


def command(root: Path, out: str = "out") -> tuple[object, ...]:
    return ("reproduce", "--model", root / "model", "--data", root / "data", "--task", "mr",
            "--task", "cb", "--k", 4, "--rates", "0.1", "--no-checks", "--out",
            root / out)  # fmt: skip


def cell(root: Path, task: str = "mr") -> ControlResults:
    (path,) = (root / "out").glob(f"evidence-*-{task}-s1.json")
    return control_results.read(path)


def test_every_control_of_the_catalogue_is_run_by_a_function_of_its_name() -> None:
    assert set(RUNS) == set(CONTROLS)


def test_every_control_leaves_a_finding(made: Path) -> None:
    for task in ("mr", "cb"):
        found = cell(made, task).findings
        assert set(found) == {BASE, *CONTROLS}
        assert {name: f.absent for name, f in found.items() if f.absent} == {}


def test_a_replaced_setting_gives_every_series_for_the_same_examples(made: Path) -> None:
    found = cell(made)
    n = len(found.labels)
    for name, control in CONTROLS.items():
        if control.kind not in THREE:
            continue
        finding = found.findings[name]
        assert set(finding.series) == {*SIMILARITIES, *RANKS}, name
        for metric in SIMILARITIES:
            assert finding.series[metric].values.shape == (n,), (name, metric)
        assert {s: p.shape for s, p in finding.predictions.items()} == dict.fromkeys(
            ("zsl", "icl", "ft"), (n,)
        )


def test_the_base_is_what_the_record_says(made: Path) -> None:
    found = cell(made)
    (path,) = (made / "out").glob("record-*-mr-s1.json")
    record = records.read(path)
    base = found.findings[BASE]
    for metric in (
        "sim_aou",
        "sim_aou_unnormalised",
        "sim_aou_floor",
        "sim_aou_matched",
        "sim_am_before",
        "sim_am_after",
        "sim_am_delta",
        "kendall",
        "kendall_examples",
        "kendall_random",
    ):
        assert base.series[metric].mean == record.metrics[metric].value, metric
        assert base.series[metric].per_layer == record.metrics[metric].per_layer
    for setting in ("zsl", "icl", "ft"):
        assert base.numbers[f"{setting}_accuracy"] == record.metrics[f"{setting}_accuracy"].value
    assert found.provenance.rate == record.provenance.rate
    assert found.provenance.command[-2 * len(CONTROLS) :: 2] == ("--control",) * len(CONTROLS)


def test_a_control_moves_what_it_replaces_and_leaves_the_rest(made: Path) -> None:
    findings = cell(made).findings
    base = findings[BASE]

    def same(name: str, metric: str) -> bool:
        return bool(
            np.array_equal(findings[name].series[metric].values, base.series[metric].values)
        )

    for name, control in CONTROLS.items():
        if control.kind == "finetuning":
            assert same(name, "sim_am_before") and not same(name, "sim_am_after"), name
            assert np.array_equal(findings[name].predictions["icl"], base.predictions["icl"]), name
        if control.kind in THREE:
            assert not same(name, "sim_aou"), name
        if control.kind == "context" or name == "position_only":
            assert not same(name, "sim_am_before"), name
            assert np.array_equal(findings[name].predictions["ft"], base.predictions["ft"]), name
    assert same("kendall_unfinetuned", "kendall_random")
    assert not same("kendall_unfinetuned", "kendall") and not same("kendall_inputs", "kendall")


def test_ranks_are_not_taken_where_the_context_holds_other_tokens(made: Path) -> None:
    findings = cell(made).findings
    for name in ("icl_other_task", "position_only"):
        for metric in RANKS:
            found = findings[name].series[metric].mean
            assert found == Undefined("the context holds other tokens than were trained on")
    for name in ("ft_shuffled_labels", "icl_random_tokens", "layer_causal", "ft_random"):
        assert isinstance(findings[name].series["kendall"].mean, float), name


def test_shifted_zero_shot_is_the_same_whichever_setting_it_replaces(made: Path) -> None:
    findings = cell(made).findings
    shifted = findings["position_shift"].predictions["zsl"]
    assert np.array_equal(findings["position_only"].predictions["icl"], shifted)


def test_the_rate_itself_is_among_the_rates(made: Path) -> None:
    found = cell(made)
    table = found.findings["rate"].tables
    place = table["rate"].index(found.provenance.rate)
    for metric in ("sim_aou", "sim_am_after", "kendall"):
        assert table[metric][place] == found.findings[BASE].series[metric].mean
    assert len(set(map(str, table["sim_aou"]))) == len(table["rate"])


def test_orders_begin_with_the_given_one(made: Path) -> None:
    found = cell(made)
    table = found.findings["order"].tables
    base = found.findings[BASE].numbers
    assert table["icl_accuracy"][0] == base["icl_accuracy"]
    assert table["ft_accuracy"][0] == base["ft_accuracy"]
    values = found.findings["order"].series
    assert all(0 < float(np.mean(values[f"order_{s}"].values)) <= 1 for s in ("icl", "ft"))


def test_the_same_command_gives_the_same_bytes_and_reuses_them(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*_: object) -> None:
        raise AssertionError("everything is there, and was computed again")

    monkeypatch.setattr("empirical.study.controls.recorded_cell.RecordedCell.measured", nothing)
    folder = made / "out"
    before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.glob("evidence-*")}
    found = dualform(*command(made), "--control", "all")
    assert found.exit_code == 0 and f"reused {1 + len(CONTROLS)} findings" in found.output
    after = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.glob("evidence-*")}
    assert before == after and len(before) == 4


def test_a_stopped_run_goes_on_with_the_next_control(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from empirical.study.controls import run_controls as controlled

    names = ("ft_random", "icl_wrong_labels", "order")
    options = [text for name in names for text in ("--control", name)]
    run: list[str] = []

    def stopping(cell, name):
        if len(run) == 2:
            raise KeyboardInterrupt
        run.append(name)
        return run_control(cell, name)

    monkeypatch.setattr(controlled, "run_control", stopping)
    dualform(*command(made, "stopped"), *options)
    (path, *_) = sorted((made / "stopped").glob("evidence-*.json"))
    assert set(control_results.read(path).findings) == {BASE, "ft_random", "icl_wrong_labels"}
    run.clear()
    monkeypatch.setattr(
        controlled,
        "run_control",
        lambda cell, name: (run.append(name), run_control(cell, name))[1],
    )
    found = dualform(*command(made, "stopped"), *options)
    assert found.exit_code == 0 and run == ["order", *names]
    whole = cell(made).findings
    for name in names:
        for metric, series in control_results.read(path).findings[name].series.items():
            assert np.array_equal(series.values, whole[name].series[metric].values, equal_nan=True)


def test_evidence_of_another_rate_is_made_again(made: Path) -> None:
    folder = made / "out2"
    options = (*command(made, "out2")[:-2], "--out", folder, "--control", "ft_random")
    assert dualform(*options).exit_code == 0
    path = next(iter(sorted(folder.glob("evidence-*mr*.json"))))
    old = json.loads(path.read_text())
    old["provenance"]["rate"] = 0.5
    path.write_text(json.dumps(old))
    found = dualform(*options)
    assert found.exit_code == 0 and "rate 0.5, now 0.1" in found.output
    assert control_results.read(path).provenance.rate == 0.1
    path.write_text(path.read_text()[:100])
    found = dualform(*options)
    assert found.exit_code == 0 and "is damaged" in found.output
    assert set(control_results.read(path).findings) == {BASE, "ft_random"}


def test_a_run_of_one_task_says_what_is_missing(made: Path) -> None:
    found = dualform("reproduce", "--model", made / "model", "--data", made / "data", "--task",
                     "mr", "--k", 4, "--rates", "0.1", "--no-checks", "--out", made / "one",
                     "--control", "ft_other_task", "--control", "ft_other_seed")  # fmt: skip
    assert found.exit_code == 0, found.output
    (path,) = (made / "one").glob("evidence-*.json")
    findings = control_results.read(path).findings
    assert findings["ft_other_task"].absent and "name a second --task" in str(
        findings["ft_other_task"].absent
    )
    assert findings["ft_other_seed"].absent is None  # other demonstrations of the same task
    assert isinstance(findings["ft_other_seed"].series["kendall"].mean, Undefined)


def test_a_control_that_is_not_there_is_refused_before_anything_runs(tmp_path: Path) -> None:
    line = error_line(dualform("reproduce", "--control", "nonsense", "--out", tmp_path / "o"))
    assert "expected a control among" in line and "'nonsense'" in line
    assert not (tmp_path / "o").exists()


def test_names_come_in_the_order_of_the_catalogue() -> None:
    assert chosen_controls(["dose", "ft_random"]) == ("ft_random", "dose")
    assert chosen_controls(["all"]) == tuple(CONTROLS) and chosen_controls([]) == ()
    with pytest.raises(UserError):
        chosen_controls(["All"])


def test_the_list_of_controls_names_each_with_its_question() -> None:
    found = dualform("controls")
    assert found.exit_code == 0 and all(name in found.output for name in CONTROLS)


def test_the_page_of_controls_describes_exactly_those_of_the_catalogue() -> None:
    page = (ROOT / "docs/controls.md").read_text(encoding="utf-8")
    listed = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    own_side = page.index("## Named controls")
    assert [n for n in listed if page.index(f"| `{n}`") > own_side] == list(CONTROLS)
