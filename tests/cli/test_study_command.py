"""Options of `reproduce`, and `convert`, as a user types them."""

from pathlib import Path

import torch

from empirical.models.loading import load
from tests.support.models import fairseq as fs
from tests.support.study import dualform, error_line


def test_a_gpu_that_is_not_there_is_one_line(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    line = error_line(dualform("reproduce", "--device", "cuda:1"))
    assert line.startswith("error: expected a GPU for --device cuda:1, got 0 that torch can use; ")
    line = error_line(dualform("reproduce", "--device", "tpu"))
    assert line == "error: expected --device cpu, cuda or cuda:N, got 'tpu'; choose one of them"


def test_protocols_and_their_conflicts_are_one_line(model: Path, data: Path) -> None:
    base = ("reproduce", "--model", model, "--data", data)
    assert "among quick, published-1.3B" in error_line(dualform(*base, "--protocol", "fast"))
    line = error_line(dualform(*base, "--protocol", "published-1.3B", "--rates", "0.1"))
    assert line.startswith("error: expected no --rates with --protocol published-1.3B, whose own ")
    line = error_line(dualform(*base, "--protocol", "published-2.7B", "--task", "piqa"))
    assert "for the protocol published-2.7B, got 'piqa'" in line


def test_convert_makes_a_folder_that_loads(tmp_path: Path) -> None:
    torch.save({"model": fs.tensors(), "cfg": fs.settings()}, tmp_path / "model.pt")
    fs.save_dictionary(tmp_path / "dict.txt")
    bpe = fs.save_bpe(tmp_path / "bpe")
    args = ("convert", tmp_path / "model.pt", "--dictionary", tmp_path / "dict.txt", "--bpe", bpe)
    result = dualform(*args, "--out", tmp_path / "new")
    assert result.exit_code == 0, result.stderr
    assert f"now run `dualform check {tmp_path / 'new'}`" in " ".join(result.stdout.split())
    assert load(str(tmp_path / "new")).n_layers > 0
    assert error_line(dualform(*args, "--out", tmp_path / "new")).startswith("error: expected ")


def test_a_users_own_task_runs_from_its_file(model: Path, data: Path, tmp_path: Path) -> None:
    task = tmp_path / "mine.toml"
    task.write_text(
        'name = "mine"\n'
        'template = "Text: {text} Verdict:"\n'
        'labels = ["fair enough", "poor"]\n'  # the first has several tokens
        "k = 4\n"
        "[data]\n"
        f'path = "{data / "mr"}"\n'
        'train = "train.jsonl"\n'
        'evaluation = "validation.jsonl"\n'
    )
    twice = tmp_path / "twice.toml"
    twice.write_text(task.read_text())
    line = error_line(dualform("reproduce", "--model", model, "--task", task, "--task", twice))
    assert line == "error: expected tasks of different names, got mine, mine; rename one"
    out = tmp_path / "out"
    args = ("reproduce", "--model", model, "--task", task, "--rates", "0.05", "--no-checks")
    result = dualform(*args, "--out", out)
    assert result.exit_code == 0, result.stderr
    assert [p.name.endswith("-mine-s1.json") for p in out.glob("record-*")] == [True]
    assert "mine" in (out / "tables.md").read_text()


def test_a_choice_task_runs_like_any_other(model: Path, tmp_path: Path) -> None:
    import json

    rows = [
        {"question": f"q {'abc'[i % 3]}{i}", "choices": ["one way", "no", f"way {i}", "all"],
         "label": i % 3, "id": f"{i}"}
        for i in range(14)
    ]  # fmt: skip
    folder = tmp_path / "data" / "arc_easy"
    folder.mkdir(parents=True)
    for split in ("train", "validation"):
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    args = ("reproduce", "--model", model, "--data", tmp_path / "data", "--task", "arc_easy")
    result = dualform(*args, "--k", 3, "--rates", "0.05", "--no-checks", "--out", tmp_path / "o")
    assert result.exit_code == 0, result.stderr
    assert "arc\\_easy" in (tmp_path / "o" / "tables.md").read_text()
