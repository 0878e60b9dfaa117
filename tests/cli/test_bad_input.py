"""Bad input: one plain line on standard error, status 2, nothing computed and nothing written."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from empirical.cli import study as cli
from tests.support.models.tiny_models import tiny
from tests.support.study import ROWS, dualform, error_line, save_data, save_model

BOTH = ("check", "reproduce")


@pytest.fixture(autouse=True)
def no_proof_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_ids: object, _latex: object = None) -> None:
        raise AssertionError("input must be refused before anything is proved")

    monkeypatch.setattr(cli, "run_proofs", run)


def refused(command: str, model: object, out: Path, *more: object, task: str = "mr") -> str:
    """The line; it names what was expected and got and what to do, and `out` was not made."""
    named = (model,) if command == "check" else ("--model", model)
    line = error_line(dualform(command, *named, "--task", task, "--out", out, *more))
    assert line.startswith("error: expected ") and ", got" in line and ";" in line, line
    assert not out.exists()
    return line


@pytest.mark.parametrize("command", BOTH)
def test_an_unknown_task_lists_the_known_ones(command: str, model: Path, tmp_path: Path) -> None:
    line = refused(command, model, tmp_path / "o", task="qqp")
    assert line == (
        "error: expected a task among sst2, sst5, mr, subj, agnews, cb, imdb, arc_easy, piqa, got "
        "'qqp'; choose one of them, or name a file of your own that ends in .toml"
    )


@pytest.mark.parametrize("command", BOTH)
def test_a_folder_without_weights_names_the_files(
    command: str, model: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(model, tmp_path / "m")
    (folder / "model.safetensors").unlink()
    line = refused(command, folder, tmp_path / "o")
    assert line == (
        "error: expected weights (model.safetensors, model.safetensors.index.json, "
        f"pytorch_model.bin, pytorch_model.bin.index.json) in {folder}, got none; copy the weights "
        "there or name another model"
    )


def test_weights_that_lack_a_tensor_are_not_filled_up_at_random(
    model: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(model, tmp_path / "m")
    kept = load_file(folder / "model.safetensors")
    del kept["model.layers.1.fc1.weight"]
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    line = refused("check", folder, tmp_path / "o")
    assert "got none for 1 tensors (model.layers.1.fc1.weight first); the file is inc" in line


def test_a_missing_folder_is_not_looked_up_on_the_hub(tmp_path: Path) -> None:
    line = refused("check", tmp_path / "nowhere", tmp_path / "o")
    assert line == (
        f"error: expected a model folder at {tmp_path / 'nowhere'}, got nothing there; "
        "correct the path, or name `embedded`, random:125M or a hub model as OWNER/NAME"
    )


def run_offline(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "empirical.cli", *map(str, args)],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_hub_that_cannot_be_reached_is_one_line(tmp_path: Path) -> None:
    done = run_offline("check", "nobody/no-such-model", "--out", tmp_path / "o")
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and done.stdout == ""
    assert line.startswith(
        "error: expected a local folder or a reachable hub model at 'nobody/no-such-model', got "
    )
    assert line.endswith("; check the name, the files and the network")
    assert not (tmp_path / "o").exists()


def test_an_unknown_architecture_lists_the_known_ones(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "mamba"}))
    line = refused("check", folder, tmp_path / "o")
    assert line.startswith("error: expected an architecture among bloom, falcon, gemma2, ")
    assert f"xglm in {folder}, got 'mamba'; name a supported model, or add an adapter to " in line


@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
def test_weights_that_are_not_finite_are_named(model: Path, tmp_path: Path, bad: float) -> None:
    folder = shutil.copytree(model, tmp_path / "m")
    broken = tiny(torch.float32)
    with torch.no_grad():
        broken.model.model.layers[1].fc1.weight[3, 4] = bad
    broken.model.save_pretrained(folder)
    assert refused("reproduce", folder, tmp_path / "o") == (
        f"error: expected finite weights in {folder}, got 1 non-finite values in "
        "model.layers.1.fc1.weight; the file is damaged, fetch it again"
    )


def changed(data: Path, tmp_path: Path, row: dict[str, object]) -> Path:
    """A copy of the data whose first training row of mr is `row`."""
    folder = shutil.copytree(data, tmp_path / "d")
    file = folder / "mr" / "train.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([json.dumps(row), *lines[1:]]))
    return folder


@pytest.mark.parametrize("command", BOTH)
def test_a_missing_column_is_named_with_its_line(
    command: str, model: Path, data: Path, tmp_path: Path
) -> None:
    folder = changed(data, tmp_path, {"sentence": "x", "label": 0})
    line = refused(command, model, tmp_path / "o", "--data", folder)
    assert line == (
        f"error: expected a text column 'text' for task mr in {folder}/mr/train.jsonl line 1, "
        "got columns ['label', 'sentence']; add or rename the column"
    )


@pytest.mark.parametrize("label", [2, -1, "1", None])
def test_a_label_out_of_range_is_named_with_its_line(
    model: Path, data: Path, tmp_path: Path, label: object
) -> None:
    folder = changed(data, tmp_path, {"text": "x", "label": label})
    line = refused("reproduce", model, tmp_path / "o", "--data", folder)
    assert f"label in 0..1 for task mr in {folder}/mr/train.jsonl line 1, got {label!r};" in line


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_missing_split_file_is_named(model: Path, data: Path, tmp_path: Path, split: str) -> None:
    folder = shutil.copytree(data, tmp_path / "d")
    (folder / "mr" / f"{split}.jsonl").unlink()
    line = refused("check", model, tmp_path / "o", "--data", folder)
    assert f"error: expected a file {folder}/mr/{split}.jsonl, got none; put the " in line


def test_a_missing_data_folder_is_named(model: Path, tmp_path: Path) -> None:
    line = refused("check", model, tmp_path / "o", "--data", tmp_path / "none")
    assert f"expected a folder of tasks at {tmp_path / 'none'}, got none; pass DIR" in line


def test_bad_data_of_the_last_task_stops_before_the_first_is_run(
    model: Path, data: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(data, tmp_path / "d")
    (folder / "cb" / "validation.jsonl").write_text("")
    line = refused("reproduce", model, tmp_path / "o", "--data", folder, "--task", "cb", "--k", 2)
    assert f"expected rows in {folder}/cb/validation.jsonl, got an empty file" in line


def test_a_tokenizer_of_another_model_is_refused(data: Path, tmp_path: Path) -> None:
    from transformers import XGLMForCausalLM

    small = tiny(torch.float32).model.config
    small.vocab_size, small.bos_token_id, small.eos_token_id = 90, 1, 2
    XGLMForCausalLM(small).save_pretrained(tmp_path / "m")
    from tests.support.models.tiny_models import tokenizer

    tokenizer().save(str(tmp_path / "m" / "tokenizer.json"))
    line = refused("check", tmp_path / "m", tmp_path / "o", "--data", data, "--k", 2)
    assert f"expected token ids below 90 of {tmp_path / 'm'}, got " in line
    assert line.endswith("pass the tokenizer that belongs to the model (--tokenizer DIR)")


@pytest.mark.parametrize("command", BOTH)
def test_an_asked_k_that_does_not_fit_names_the_largest_that_does(
    command: str, data: Path, tmp_path: Path
) -> None:
    short = save_model(tmp_path / "m", positions=64)
    line = refused(command, short, tmp_path / "o", "--data", data, "--k", 13)
    largest = int(line.split("lower k to ")[1].split()[0])
    assert f"got {largest} that fit; lower k to {largest} or use a model with a longer" in line
    assert "expected 13 demonstrations to fit in 64 tokens" in line
    named = (short,) if command == "check" else ("--model", short, "--rates", "0.01")
    cli_args = (*named, "--task", "mr", "--data", data, "--out", tmp_path / "fits")
    if command == "check":  # the named k does fit, and one more does not
        assert dualform(command, *cli_args, "--k", largest).exit_code == 0
        more = error_line(dualform(command, *cli_args, "--k", largest + 1))
        assert f"lower k to {largest} " in more


@pytest.mark.parametrize("k", [ROWS + 1, 0, -3])
def test_a_k_beyond_the_training_rows_is_refused(
    model: Path, data: Path, tmp_path: Path, k: int
) -> None:
    line = refused("reproduce", model, tmp_path / "o", "--data", data, "--k", k)
    assert line == (
        f"error: expected k in 1..{ROWS} (training rows of mr), got k = {k}; choose another k"
    )


def test_the_papers_k_beyond_the_training_rows_is_refused_too(
    model: Path, data: Path, tmp_path: Path
) -> None:
    line = refused("check", model, tmp_path / "o", "--data", data)
    assert f"expected k in 1..{ROWS} (training rows of mr), got k = 32" in line


def test_no_row_left_to_choose_a_rate_is_refused(model: Path, data: Path, tmp_path: Path) -> None:
    line = refused("reproduce", model, tmp_path / "o", "--data", data, "--k", ROWS)
    assert f"expected training rows of mr beyond the {ROWS} demonstrations to choose a rate" in line


@pytest.mark.parametrize("command", BOTH)
@pytest.mark.parametrize("below", [False, True])
def test_a_results_folder_that_cannot_be_written_is_named(
    command: str, model: Path, data: Path, tmp_path: Path, below: bool
) -> None:
    file = tmp_path / "file"
    file.write_text("keep")
    out = file / "sub" if below else file
    named = (model,) if command == "check" else ("--model", model)
    result = dualform(command, *named, "--task", "mr", "--data", data, "--k", 2, "--out", out)
    line = error_line(result)
    assert line.startswith(f"error: expected a folder that can be written at {out}, got: ")
    assert line.endswith("; name another one") and file.read_text() == "keep"


@pytest.mark.parametrize("rates", ["x", "", "0.1,,1", "0", "-1", "nan", "inf", "0.1;1"])
def test_rates_that_are_no_positive_numbers_are_refused(
    model: Path, tmp_path: Path, rates: str
) -> None:
    line = refused("reproduce", model, tmp_path / "o", "--rates", rates)
    assert "expected learning rates as positive numbers between commas, got" in line
    assert line.endswith("; for example 0.01,0.1")


def test_a_rate_named_twice_is_refused(model: Path, tmp_path: Path) -> None:
    line = refused("reproduce", model, tmp_path / "o", "--rates", "0.1,0.10")
    assert line == "error: expected different learning rates, got '0.1,0.10'; name each once"


@pytest.mark.parametrize("command", BOTH)
@pytest.mark.parametrize("option", ["--limit", "--k", "--seed", "--threads"])
@pytest.mark.parametrize("value", ["x", "1.5", ""])
def test_a_number_that_is_not_whole_is_refused(
    command: str, option: str, value: str, model: Path, tmp_path: Path
) -> None:
    line = refused(command, model, tmp_path / "o", option, value)
    assert line.startswith(f"error: expected a whole number for {option}, got {value!r}; for ex")


@pytest.mark.parametrize(("more", "message"), [
    (("--limit", 0), "expected a limit of at least 1, got 0; choose another limit"),
    (("--seed", -1), "expected a seed of at least 0, got -1; choose another seed"),
    (("--threads", 0), "expected at least 1 for --threads, got 0; for example 1"),
    (("--draw", "x"), "expected --draw published or shuffled, got 'x'; choose one of them"),
])  # fmt: skip
def test_values_out_of_range_are_refused(
    model: Path, data: Path, tmp_path: Path, more: tuple[object, ...], message: str
) -> None:
    line = refused("reproduce", model, tmp_path / "o", "--data", data, "--k", 2, *more)
    assert line == f"error: {message}"


@pytest.mark.parametrize(("more", "message"), [
    (("--dtype", "int8"), "expected an arithmetic among float32, float64, got 'int8'"),
    (("--queries", 0), f"expected queries in 1..{ROWS} (evaluation rows of mr), got 0"),
    (("--queries", ROWS + 1), f"(evaluation rows of mr), got {ROWS + 1}; choose another number"),
    (("--rate", "-1"), "expected learning rates as positive numbers between commas, got '-1'"),
])  # fmt: skip
def test_values_of_check_out_of_range_are_refused(
    model: Path, data: Path, tmp_path: Path, more: tuple[object, ...], message: str
) -> None:
    assert message in refused("check", model, tmp_path / "o", "--data", data, "--k", 2, *more)


@pytest.mark.parametrize("name", ["random:", "random:9x1x2", "random:7x1x7", "random:8x0x2",
                                  "random:8x1x0", "random:8x2", "random:350M",
                                  f"random:8x1x2@{2**63}"])  # fmt: skip
def test_a_random_model_that_cannot_be_is_refused(name: str, tmp_path: Path) -> None:
    assert "for example random:96x4x4" in refused("check", name, tmp_path / "o")


def test_a_random_model_needs_a_tokenizer(tmp_path: Path) -> None:
    assert refused("check", "random:8x1x2", tmp_path / "o") == (
        "error: expected a tokenizer for random:8x1x2, got none; "
        "pass the folder of a GPT-2 BPE with --tokenizer DIR"
    )


def test_a_tokenizer_that_does_not_parse_is_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    line = refused("check", model, tmp_path / "o", "--tokenizer", tmp_path)
    assert f"error: expected tokenizer files that can be read in {tmp_path}, got " in line


@pytest.mark.parametrize("args", [("check",), ("report",), ("reproduce", "--nope"), ("nope",),
                                  ("check", "a", "b")])  # fmt: skip
def test_what_the_parser_refuses_is_one_line_that_names_the_help(args: tuple[str, ...]) -> None:
    line = error_line(dualform(*args))
    assert line.startswith("error: expected ") and line.endswith("--help`")


def test_a_divergence_at_every_rate_is_one_line_and_keeps_what_was_computed(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "run_proofs", lambda *_: None)
    args = ("reproduce", "--model", model, "--data", data, "--k", 3, "--out", tmp_path / "o")
    line = error_line(dualform(*args, "--task", "mr", "--rates", "1e300"))
    assert "expected finite losses and weights at rate 1e+300, got a divergence" in line
    assert line.endswith("choose a smaller rate") and not list((tmp_path / "o").iterdir())


def test_report_refuses_what_is_no_record(tmp_path: Path) -> None:
    assert error_line(dualform("report", tmp_path)).startswith(
        f"error: expected files record-*.json in {tmp_path}, got none; run "
    )
    bad = tmp_path / "record-a-b.json"
    for text, message in (
        ('{"schema": 3, "ta', f"error: expected a complete JSON file at {bad}, got JSONDecodeErro"),
        ('{"schema": 1}', f"error: expected version 3 at schema of {bad}, got 1; run the command"),
        ("[]", f"error: expected a JSON object in {bad}, got list; run the command"),
        ('{"schema": 3}', "error: expected the keys ["),
    ):
        bad.write_text(text)
        assert error_line(dualform("report", tmp_path)).startswith(message)
        assert [p.name for p in tmp_path.iterdir()] == ["record-a-b.json"]


def test_text_that_is_not_utf8_is_named(model: Path, tmp_path: Path) -> None:
    rows = save_data(tmp_path / "d")
    file = rows / "mr" / "train.jsonl"
    file.write_bytes(file.read_bytes() + b'\n{"text": "caf\xe9", "label": 0}\n')
    line = refused("reproduce", model, tmp_path / "o", "--data", rows)
    assert "expected UTF-8 text in" in line and line.endswith("convert the file to UTF-8")


def test_half_a_surrogate_pair_is_named(model: Path, tmp_path: Path) -> None:
    rows = save_data(tmp_path / "d")
    file = rows / "mr" / "train.jsonl"
    file.write_text(file.read_text() + '\n{"text": "x \\ud800", "label": 0}\n')
    line = refused("reproduce", model, tmp_path / "o", "--data", rows)
    assert "half of a surrogate pair" in line


@pytest.mark.parametrize("content", [b"[]", b"\xff\xfe"])
def test_a_configuration_that_is_no_json_object_is_named(content: bytes, tmp_path: Path) -> None:
    broken = save_model(tmp_path / "m")
    (broken / "config.json").write_bytes(content)
    line = refused("check", broken, tmp_path / "o")
    assert "config.json, got " in line and line.endswith("copy the file again")


@pytest.mark.parametrize("end", [None, []])
def test_a_configuration_without_an_end_token_is_named(tmp_path: Path, end: object) -> None:
    broken = save_model(tmp_path / "m")
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | {"eos_token_id": end}))
    line = refused("check", broken, tmp_path / "o")
    assert "expected one bos_token_id and one eos_token_id" in line and str(end) in line


def test_a_mistyped_folder_is_answered_at_once(tmp_path: Path) -> None:
    line = refused("check", "nosuchfolder", tmp_path / "o")
    assert "expected a model folder at nosuchfolder, got nothing there" in line


def test_an_unknown_position_is_named(model: Path, data: Path, tmp_path: Path) -> None:
    line = refused("reproduce", model, tmp_path / "o", "--data", data, "--position", "end")
    assert line.startswith("error: expected --position label or prompt, got 'end'")
