"""`dualform export`: what the released scripts would read is what the record was measured from."""

import json
from pathlib import Path

import numpy as np
import pytest

from empirical.results import record as records
from tests.support.study import dualform, error_line, save_data, save_model
from tests.support.twins import released_analysis as released

ARGS = ("reproduce", "--no-checks", "--rates", "0.05", "--task", "mr")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with enough demonstrations for the released Kendall script, and its captures."""
    root = tmp_path_factory.mktemp("export")
    model, data = save_model(root / "model"), save_data(root / "data", ("mr",), 40)
    path = data / "mr" / "validation.jsonl"
    rows = [json.loads(line) for line in path.read_text().split("\n")]
    for i, row in enumerate(rows):
        row["text"] += " long" * (i % 4)  # several batches, which are not in the order of the rows
    path.write_text("\n".join(map(json.dumps, rows)))
    out = root / "out"
    result = dualform(*ARGS, "--model", model, "--data", data, "--out", out, "--k", 12,
                      "--keep-captures")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    return out


@pytest.fixture(scope="module")
def exported(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("files")
    result = dualform("export", folder, "--format", "understand-icl", "--out", out)
    assert result.exit_code == 0, result.stderr
    (task,) = (out / "ana_rlt").glob("en_dense_lm_*/mr")
    return task


def lines(exported: Path, setting: str) -> list[dict[str, object]]:
    text = (exported / setting / "record_info.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_examples_come_in_the_order_of_the_queries_in_every_setting(exported: Path) -> None:
    by_setting = [lines(exported, s) for s in ("zs", "icl", "ftzs")]
    assert [len(x) for x in by_setting] == [40, 40, 40]
    gold = [[r["gold_label"] for r in x] for x in by_setting]
    assert gold[0] == gold[1] == gold[2] and 0 < sum(gold[0]) < 40
    lengths = [[np.shape(r["attn_map"])[2] for r in x] for x in by_setting]
    assert lengths[0] == lengths[1] == lengths[2]
    assert lengths[0] != sorted(lengths[0])  # batches run in order of length


def test_the_released_definitions_on_the_files_give_the_numbers_of_the_record(
    folder: Path, exported: Path
) -> None:
    (record,) = records.read_all(folder)
    ours = {name: m.value for name, m in record.metrics.items()}
    released.check_layout(exported)
    theirs = {
        "sim_aou": released.sim_aou(exported),
        "sim_am_before": released.sim_am(exported, "zs"),
        "sim_am_after": released.sim_am(exported, "ftzs"),
        "sim_am_delta": released.sim_am_delta(exported),
        "kendall": released.kendall(exported, "token"),
        "kendall_examples": released.kendall(exported, "example"),
        "top_examples": released.recall(exported, "example"),
    }
    for name, layers in theirs.items():
        assert record.metrics[name].per_layer == pytest.approx(layers, abs=1e-6), name
    for setting, name in (("zs", "zsl"), ("icl", "icl"), ("ftzs", "ft")):
        assert ours[f"{name}_accuracy"] == released.accuracy(exported, setting)
    assert theirs["kendall"] != pytest.approx(theirs["kendall_examples"], abs=1e-3)


def test_what_cannot_be_exported_is_one_line(folder: Path, tmp_path: Path) -> None:
    line = error_line(dualform("export", tmp_path, "--out", tmp_path / "x"))
    assert line.startswith("error: expected captures in ") and "--keep-captures" in line
    line = error_line(dualform("export", folder, "--format", "csv"))
    assert line == "error: expected --format understand-icl, got 'csv'; choose it"
    line = error_line(dualform("export", folder, "--seed", 7, "--out", tmp_path / "x"))
    assert "expected captures of seed 7" in line


def test_damaged_captures_are_refused(folder: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(folder, tmp_path / "o")
    (part, *_) = sorted((tmp_path / "o" / "captures").glob("icl-*/part-*.safetensors"))
    part.write_bytes(part.read_bytes()[:40])
    line = error_line(dualform("export", tmp_path / "o", "--out", tmp_path / "x"))
    assert line.startswith("error: expected whole captures in ")
    note = next((tmp_path / "o" / "captures").glob("cell-*.json"))
    note.write_text("{}")
    assert "expected model, task" in error_line(dualform("export", tmp_path / "o"))


def test_captures_at_another_position_are_refused(folder: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(folder, tmp_path / "o")
    note = next((tmp_path / "o" / "captures").glob("cell-*.json"))
    note.write_text(json.dumps(json.loads(note.read_text()) | {"position": "prompt"}))
    line = error_line(dualform("export", tmp_path / "o", "--out", tmp_path / "x"))
    assert line.startswith("error: expected captures at the label word for mr, got position prompt")
