"""`dualform reproduce`: what it leaves, that it goes on where it was, and that bytes repeat."""

import json
from pathlib import Path

import pytest

from empirical.cli import study as cli
from empirical.core.errors import Refused
from empirical.results import record as records
from empirical.study import reproduce
from empirical.study import run_study as cells
from tests.support.models.tiny_models import tiny
from tests.support.study import dualform, error_line, save_data, save_model


@pytest.fixture(autouse=True)
def proofs_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proving has its own tests and takes its time."""
    monkeypatch.setattr(cli, "run_proofs", lambda *_: None)


def run(model: object, data: Path, out: Path, *more: object):
    tasks = ("--task", "mr", "--task", "cb")
    base = ("--model", model, "--data", data, "--k", 4, "--rates", "0.01,0.1", *tasks)
    return dualform("reproduce", *base, "--out", out, *more)


def results(folder: Path) -> dict[str, bytes]:
    """Every file but the timings."""
    files = [p for p in folder.iterdir() if p.is_file() and p.name != "timing.json"]
    return {p.name: p.read_bytes() for p in files}


@pytest.fixture(scope="module")
def whole(model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a run that nothing stopped."""
    out = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "run_proofs", lambda *_: None)
        result = run(model, data, out)
    assert result.exit_code == 0 and result.stderr == "", result.stderr
    for stage in (": identities on 2 layers x 2 heads: 10 in", ": zero-shot: 14 in",
                  " (seed 1): in-context, 4 demonstrations: 14 in",
                  " (seed 1): select rate 0.01: 14 in",
                  " (seed 1): finetuned at rate", " (seed 1): metrics: 1 in"):  # fmt: skip
        assert all(f"{task}{stage}" in result.stdout for task in ("mr", "cb")), stage
    return out


def test_it_leaves_records_checks_tables_and_timings(whole: Path) -> None:
    kinds = sorted(p.name.split("-")[0] for p in whole.iterdir())
    assert kinds == sorted(["checks"] * 2 + ["record"] * 2 + ["tables.csv", "tables.md",
                           "tables.tex", "timing.json"])  # fmt: skip
    found = {r.task: r for r in records.read_all(whole)}
    assert set(found) == {"mr", "cb"}
    made = found["mr"].provenance
    assert (made.k, made.k_asked, made.limit, made.rates) == (4, 4, 2000, (0.01, 0.1))
    assert made.rule == "numpy default_rng(1).permutation(14)" and len(made.selection) == 2
    assert found["mr"].provenance.source_sha256 != found["cb"].provenance.source_sha256


def test_the_same_command_gives_the_same_bytes(
    whole: Path, model: Path, data: Path, tmp_path: Path
) -> None:
    assert run(model, data, tmp_path).exit_code == 0
    assert results(tmp_path) == results(whole)


def test_the_recorded_command_makes_the_record_again(whole: Path, tmp_path: Path) -> None:
    path = next(whole.glob("record-*-cb-s1.json"))
    command = json.loads(path.read_text())["provenance"]["command"]
    assert dualform(*command[1:], "--out", tmp_path).exit_code == 0
    assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_a_stopped_run_goes_on_and_ends_in_the_same_bytes(
    whole: Path, model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, begun = cells.run_prepared, []

    def stopped(model, ready, *args):
        begun.append(ready.task.name)
        if ready.task.name == "cb":
            raise KeyboardInterrupt
        return honest(model, ready, *args)

    monkeypatch.setattr(cells, "run_prepared", stopped)
    line = error_line(run(model, data, tmp_path), 130)
    assert line == "stopped; the same command goes on where it was"
    assert sorted(p.name.split("-")[0] for p in tmp_path.iterdir()) == [
        "checks", "checks", "record", "timing.json",
    ]  # fmt: skip
    monkeypatch.setattr(cells, "run_prepared", honest)
    result = run(model, data, tmp_path)
    assert result.exit_code == 0 and begun == ["mr", "cb"]
    out = " ".join(result.stdout.split())
    for kind, task in (("checks", "mr"), ("checks", "cb"), ("record", "mr")):
        (name,) = (p.name for p in tmp_path.glob(f"{kind}-*-{task}*.json"))
        assert f"{task}: reused {name}, made with the same settings" in out
    assert "mr: zero-shot" not in out and "cb: zero-shot: 14 in" in out
    assert results(tmp_path) == results(whole)


def again(model: Path, data: Path, out: Path, *more: object) -> str:
    result = run(model, data, out, *more)
    assert result.exit_code == 0, result.stderr
    return " ".join(result.stdout.split())


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    for name, content in results(whole).items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.mark.parametrize(("more", "said"), [
    (("--limit", 9), "limit 2000, now 9"),
    (("--rates", "0.1,0.01"), "rates [0.01, 0.1], now [0.1, 0.01]"),
    (("--k", 3), "k_asked 4, now 3; k 4, now 3"),
])  # fmt: skip
def test_other_settings_are_computed_again_with_a_line_that_says_what_differs(
    whole: Path, folder: Path, model: Path, data: Path, more: tuple[object, ...], said: str
) -> None:
    out = again(model, data, folder, *more)
    assert out.count("computed again") == 2 and said in out and "reused record" not in out
    assert results(folder) != results(whole)
    assert again(model, data, folder).count("computed again") == 2
    assert results(folder) == results(whole)


def test_other_rows_and_other_weights_are_computed_again(
    folder: Path, model: Path, data: Path, tmp_path: Path
) -> None:
    file = data / "mr" / "validation.jsonl"
    kept = file.read_text()
    try:
        file.write_text(kept.replace("v a0", "v z0"))
        out = again(model, data, folder)
    finally:
        file.write_text(kept)
    assert out.count("mr: computed again") == 1 and "source_sha256" in out
    assert "cb: reused record" in out
    weights = (model / "model.safetensors").read_bytes()
    other = tiny().model.float()
    other.model.layers[0].fc1.bias.data[0] += 1
    try:
        other.save_pretrained(model)
        out = again(model, data, folder)
    finally:
        (model / "model.safetensors").write_bytes(weights)
    assert out.count("computed again") == 2 and "weights_sha256" in out


@pytest.mark.parametrize("damage", ["cut", "foreign", "metric", "version"])
def test_a_damaged_or_incomplete_record_is_computed_again(
    whole: Path, folder: Path, model: Path, data: Path, damage: str
) -> None:
    path = next(folder.glob("record-*-mr-s1.json"))
    value = json.loads(path.read_text())
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:500])
    elif damage == "foreign":
        path.write_text('{"a": 1}')
    elif damage == "metric":
        del value["metrics"]["sim_aou"]
        path.write_text(json.dumps(value))
    else:
        value["provenance"]["versions"]["torch"] = "1.0"
        path.write_text(json.dumps(value))
    out = again(model, data, folder)
    reason = {"cut": "is damaged (expected a complete JSON", "foreign": "is damaged (expected vers",
              "metric": "its task or metrics are others", "version": "torch 1.0, now "}  # fmt: skip
    assert "mr: computed again, record-" in out and reason[damage] in out
    assert "cb: reused record-" in out and results(folder) == results(whole)


@pytest.mark.parametrize("damage", ["cut", "foreign", "hollow", "refused"])
def test_damaged_or_refused_checks_are_made_again(
    whole: Path, folder: Path, model: Path, data: Path, damage: str
) -> None:
    path = next(folder.glob("checks-*-mr.json"))
    value = json.loads(path.read_text())
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:500])
    elif damage == "foreign":
        path.write_text("[]")
    else:
        value |= {"summary": {}} if damage == "hollow" else {"refusal": "no"}
        path.write_text(json.dumps(value))
    out = again(model, data, folder)
    assert "mr: checked again, checks-" in out and "cb: reused checks-" in out
    assert ("a check that was refused" in out) is (damage == "refused")
    assert results(folder) == results(whole)


def test_a_refused_check_stops_the_study_with_status_one(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = reproduce.run_checks

    def refusing(*args, **kwargs):
        import dataclasses

        return dataclasses.replace(honest(*args, **kwargs), refusal="expected more")

    monkeypatch.setattr(reproduce, "run_checks", refusing)
    assert error_line(run(model, data, tmp_path), 1) == "refused: mr: expected more"
    assert sorted(p.name.split("-")[0] for p in tmp_path.iterdir()) == ["checks"] * 2


def test_a_statement_that_is_not_proved_stops_the_study_with_status_one(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_proved(*_: object) -> None:
        raise Refused("expected every statement to come out as claimed")

    monkeypatch.setattr(cli, "run_proofs", not_proved)
    line = error_line(run(model, data, tmp_path), 1)
    assert line.startswith("refused: expected every statement to come out as claimed")
    assert not list(tmp_path.iterdir())


def test_damaged_timings_do_not_stop_a_run(model: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "timing.json").write_text("{")
    assert run(model, data, tmp_path).exit_code == 0
    assert len(json.loads((tmp_path / "timing.json").read_text())) == 2


def test_the_papers_k_is_cut_to_what_fits_and_the_run_says_so(
    data: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = save_data(tmp_path / "d", ("mr",), 40)
    short = save_model(tmp_path / "m", positions=128)
    args = ("--model", short, "--data", rows, "--task", "mr", "--rates", "0.01")
    result = dualform("reproduce", *args, "--out", tmp_path / "o")
    (record,) = records.read_all(tmp_path / "o")
    k = record.provenance.k
    assert result.exit_code == 0 and 1 < k < 32 and record.provenance.k_asked is None
    assert f"mr (seed 1): {k} of the paper's 32 demonstrations fit in 128 tokens" in result.stdout


def test_report_makes_the_same_tables_from_the_records_alone(folder: Path, whole: Path) -> None:
    for name in ("tables.md", "tables.csv", "tables.tex"):
        (folder / name).unlink()
    assert dualform("report", folder).exit_code == 0
    assert (folder / "report.html").is_file() and (folder / "figures").is_dir()
    assert {k: v for k, v in results(folder).items() if k != "report.html"} == results(whole)


def test_the_position_can_be_chosen_and_a_task_named_twice_counts_once(
    model: Path, data: Path, tmp_path: Path
) -> None:
    args = ("reproduce", "--model", model, "--data", data, "--k", 4, "--rates", "0.01")
    tasks_twice = ("--task", "mr", "--task", "mr")
    result = dualform(*args, *tasks_twice, "--position", "prompt", "--out", tmp_path)
    assert result.exit_code == 0, result.stderr
    (found,) = records.read_all(tmp_path)
    assert found.provenance.position == "prompt" and "prompt" in found.provenance.command
    again = dualform(*args, *tasks_twice, "--out", tmp_path)
    assert "position prompt, now label" in " ".join(again.stdout.split())
