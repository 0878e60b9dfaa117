"""What must not happen: stale reuse, bytes that depend on the batch, others' captures deleted."""

import json
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers

from empirical.core.errors import UserError
from empirical.data import sources
from empirical.data.paper_tasks import Row, Split, Task
from empirical.inference.attention import Run
from empirical.inference.batches import Part, parts
from empirical.inference.finetune import DivergedError
from empirical.inference.forward import states
from empirical.inference.read_options import ReadOptions
from empirical.inference.settings import zero_shot
from empirical.metrics.accumulate import MetricAccumulator
from empirical.models.decoder import TokenizerEncoder
from empirical.models.loading import Geometry, LoadedModel, load, random_xglm
from empirical.results import record as records
from empirical.study import run_cell, run_study as cells
from tests.support.closeness import same_records
from tests.support.models.tiny_models import LABELS, WORDS, context, queries, tiny, tokenizer
from tests.support.study import dualform, error_line, save_data, save_model

ARGS = ("reproduce", "--no-checks", "--rates", "0.05")


def run(model: Path, data: Path, out: Path, *more: object) -> str:
    result = dualform(*ARGS, "--model", model, "--data", data, "--out", out, *more)
    assert result.exit_code == 0, (result.stderr, result.exception)
    return " ".join(result.stdout.split())


def wide(dtype: torch.dtype = torch.float32) -> LoadedModel:
    """Heads of width 64, where products take other paths than at width 8."""
    sizes = Geometry(layers=2, width=128, heads=2, ffn=64, positions=512)
    return random_xglm(sizes, 0, tokenizer(), dtype=dtype)


@pytest.mark.parametrize("shots", [0, 5])
def test_heads_of_width_64_give_the_same_records_in_every_batch(shots: int) -> None:
    model, qs = wide(torch.float64), queries(37)
    lead = context(model, queries(shots, seed=1)) if shots else ()
    labels = (LABELS[0], (71, 72))

    def all_of(size: int) -> dict[int, list[np.ndarray]]:
        how = ReadOptions(labels=labels, words=WORDS, batch_size=size, wide=37)
        found: dict[int, list[np.ndarray]] = {}
        for part in parts(model, qs, how, lead):
            for j, i in enumerate(part.index):
                found[i] = [x[j] for x in arrays(part)]
        return found

    def arrays(part: Part) -> list[np.ndarray]:
        extra = [x for x in (part.c, part.q) if x is not None]
        return [part.scores, part.h, *extra, part.m]  # type: ignore[list-item] # a list of arrays

    want = all_of(32)
    assert len(want) == 37
    for size in (1, 2, 3, 7, 13):
        found = all_of(size)
        assert set(found) == set(want)
        for i, series in want.items():
            for a, b in zip(found[i], series, strict=True):
                same_records(a, b)


def test_rows_up_to_the_last_position_run_although_their_padding_would_not() -> None:
    model, qs = tiny(torch.float32, positions=61), queries(4)
    for start in range(1, 61 - 12):
        lead = (model.encoder.bos, *[5] * (start - 1))
        how = ReadOptions(labels=LABELS, words=WORDS)
        longest = start + max(len(q.prompt) for q in qs) + 1
        assert longest <= 61
        assert sum(len(p.index) for p in parts(model, qs, how, lead)) == 4
    with torch.no_grad():  # and the clamp meets no real token
        short = states(model, Run(model.blocks), [(5, 6, 7)], 8)[0, :3]
        padded = states(model, Run(model.blocks), [(5, 6, 7)], 64)[0, :3]
    assert float((short - padded).abs().max()) < 1e-4


@pytest.mark.parametrize("change", ["config", "tokenizer"])
def test_another_configuration_or_tokenizer_is_another_model(
    model: Path, data: Path, tmp_path: Path, change: str
) -> None:
    other = shutil.copytree(model, tmp_path / "m")
    out = tmp_path / "o"
    run(other, data, out, "--task", "mr", "--k", 4, "--keep-captures")
    if change == "config":
        path = other / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"bos_token_id": 7}))
    else:
        path = other / "tokenizer.json"
        value = json.loads(path.read_text())
        words = value["model"]["vocab"]
        words["a"], words["b"] = words["b"], words["a"]
        path.write_text(json.dumps(value))
    said = run(other, data, out, "--task", "mr", "--k", 4, "--keep-captures")
    assert "computed again" in said and "weights_sha256" in said
    fresh = tmp_path / "fresh"
    run(other, data, fresh, "--task", "mr", "--k", 4)
    assert records.read_all(out)[0].metrics == records.read_all(fresh)[0].metrics


def test_captures_of_another_command_are_left_alone(
    model: Path, data: Path, tmp_path: Path
) -> None:
    run(model, data, tmp_path, "--task", "mr", "--k", 4, "--keep-captures")
    before = sorted(p.name for p in (tmp_path / "captures").iterdir())
    run(model, data, tmp_path, "--task", "cb", "--k", 4)
    assert sorted(p.name for p in (tmp_path / "captures").iterdir()) == before


def test_captures_that_are_not_whole_are_made_again_on_the_same_command(
    model: Path, tmp_path: Path
) -> None:
    args = ("--task", "mr", "--k", 4, "--keep-captures")
    data = save_data(tmp_path / "d", ("mr",), 14)
    path = data / "mr" / "validation.jsonl"
    rows = [json.loads(line) for line in path.read_text().split("\n")]
    for i, row in enumerate(rows):
        row["text"] += " long" * i  # several batches
    path.write_text("\n".join(map(json.dumps, rows)))
    run(model, data, tmp_path, *args)
    record = records.read_all(tmp_path)
    captures = tmp_path / "captures"

    def files() -> dict[str, bytes]:
        return {
            str(p.relative_to(captures)): p.read_bytes()
            for p in captures.rglob("*.*")
            if p.is_file()
        }

    want = files()
    ft = next(captures.glob("ft-*"))
    last = sorted(ft.glob("part-*"))[-1]
    assert last.name != "part-00000.safetensors"
    for gone in (last, next(captures.glob("cell-*.json")), ft / "training.safetensors"):
        gone.unlink()
        run(model, data, tmp_path, *args)
        assert files() == want and records.read_all(tmp_path) == record
    assert ": zero-shot: " not in run(model, data, tmp_path, *args)  # whole: nothing is run


def test_a_finished_search_is_not_searched_again(model: Path, data: Path, tmp_path: Path) -> None:
    args = ("--task", "mr", "--k", 4, "--protocol", "published-search")
    run(model, data, tmp_path, *args)
    assert ": in-context, " not in run(model, data, tmp_path, *args)
    two = (*args, "--seed", 1, "--seed", 2)
    assert ": in-context, " in run(model, data, tmp_path, *two)
    (found,) = [r for r in records.read_all(tmp_path) if len(r.provenance.seed_selection) == 2]
    assert found.provenance.protocol == "published-search of seeds 1, 2"


def test_fewer_evaluation_rows_see_the_same_demonstrations(
    model: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = save_data(tmp_path / "d", ("mr",), 40)
    path = data / "mr" / "validation.jsonl"
    rows = [json.loads(line) for line in path.read_text().split("\n")]
    rows[7]["text"] += " long" * 8
    path.write_text("\n".join(map(json.dumps, rows)))
    short = save_model(tmp_path / "m", positions=160)
    found = []
    for limit in (3, 40):
        run(short, data, tmp_path / str(limit), "--task", "mr", "--limit", limit)
        (record,) = records.read_all(tmp_path / str(limit))
        found.append((record.provenance.k, record.provenance.context_length))
    assert found[0] == found[1] and found[0][0] < 32


def test_states_that_are_not_finite_are_a_divergence_and_no_answer() -> None:
    model = tiny(torch.float32)
    with torch.no_grad():
        model.model.model.layers[1].fc2.weight.mul_(1e38)
    with pytest.raises(DivergedError, match="expected finite states and scores"):
        zero_shot(model, queries(3), LABELS, WORDS)


def test_a_rate_whose_scores_are_nan_counts_as_diverged(
    model: Path, data: Path, tmp_path: Path
) -> None:
    args = ("reproduce", "--no-checks", "--model", model, "--data", data, "--task", "mr")
    result = dualform(*args, "--k", 1, "--rates", "0.01,1e30", "--out", tmp_path)
    assert result.exit_code == 0, (result.stderr, result.exception)
    (record,) = records.read_all(tmp_path)
    shares = dict(record.provenance.selection)
    assert record.provenance.rate == 0.01 and "diverged" in str(shares[1e30])
    line = error_line(dualform(*args, "--k", 1, "--rates", "1e30", "--out", tmp_path / "x"))
    assert line.startswith("error: expected finite ")


def test_truncation_and_padding_of_a_tokenizer_file_are_not_obeyed(
    model: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(model, tmp_path / "m")
    words = Tokenizer.from_file(str(other / "tokenizer.json"))
    words.enable_truncation(3)
    words.enable_padding(length=24)
    words.save(str(other / "tokenizer.json"))
    want = load(str(model)).encoder.encode(" a long text of many words")
    assert load(str(other)).encoder.encode(" a long text of many words") == want and len(want) > 3


def test_a_tokenizer_that_puts_a_space_in_front_gets_no_second_one() -> None:
    words = Tokenizer(models.BPE(vocab=bpe_vocab(), merges=bpe_merges(), unk_token="<unk>"))
    words.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    encoder = TokenizerEncoder(tokenizer=words, bos=0, eos=0)
    assert encoder.prepends
    assert encoder.encode(" x") == encoder.encode("x") and len(encoder.encode(" x")) == 1
    plain = TokenizerEncoder(tokenizer=tokenizer(), bos=0, eos=0)
    assert not plain.prepends and plain.encode(" x") != plain.encode("x")


def bpe_vocab() -> dict[str, int]:
    return {"<unk>": 0, "\u2581": 1, "x": 2, "\u2581x": 3}


def bpe_merges() -> list[tuple[str, str]]:
    return [("\u2581", "x")]


def test_a_task_file_that_goes_away_during_the_run_does_not_matter(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = tmp_path / "mine.toml"
    task.write_text(
        'name = "mine"\ntemplate = "{text} so"\nlabels = ["yes", "no"]\nk = 2\n[data]\n'
        f'path = "{data / "mr"}"\ntrain = "train.jsonl"\nevaluation = "validation.jsonl"\n'
    )
    honest = run_cell.zero_shot_parts

    def gone(*args: object):
        task.unlink(missing_ok=True)
        return honest(*args)  # type: ignore[arg-type] # passed on

    monkeypatch.setattr(run_cell, "zero_shot_parts", gone)
    run(model, data, tmp_path / "o", "--task", task)
    (record,) = records.read_all(tmp_path / "o")
    assert str(task) in record.provenance.command


def test_files_that_cannot_be_written_are_one_line(model: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "captures").write_text("in the way")
    args = (*ARGS, "--model", model, "--data", data, "--task", "mr", "--k", 4)
    line = error_line(dualform(*args, "--out", tmp_path))
    assert line.startswith("error: expected files that can be read and written, got ")
    assert "captures" in line and "run the same command again" in line


def test_a_window_that_hides_everything_is_refused() -> None:
    from transformers import MistralConfig, MistralForCausalLM

    from empirical.models.loading import wrap

    small = MistralConfig(
        vocab_size=300,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        sliding_window=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    with pytest.raises(UserError, match="expected a window of at least 1 token"):
        wrap(MistralForCausalLM(small), tokenizer(), "tiny")


def test_other_demonstrations_or_another_position_take_no_captures_of_these(
    model: Path, data: Path, tmp_path: Path
) -> None:
    run(model, data, tmp_path, "--task", "mr", "--k", 4, "--keep-captures")
    for i, more in enumerate((("--k", 3), ("--k", 3, "--position", "prompt"), ("--k", 5))):
        run(model, data, tmp_path, "--task", "mr", "--keep-captures", *more)
        run(model, data, tmp_path / f"fresh{i}", "--task", "mr", *more)
        (found,), (fresh,) = records.read_all(tmp_path), records.read_all(tmp_path / f"fresh{i}")
        assert found.metrics == fresh.metrics


def test_what_a_kill_left_beside_a_finished_record_is_cleaned_up(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = ("reproduce", "--no-checks", "--model", model, "--data", data, "--task", "mr", "--k", 4)
    more = ("--rates", "0.01,0.1", "--out", tmp_path)
    monkeypatch.setattr(cells, "_clean", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    error_line(dualform(*args, *more), 130)
    assert list(tmp_path.glob("record-*")) and list(tmp_path.glob("trials-*"))
    monkeypatch.undo()
    assert dualform(*args, *more).exit_code == 0
    assert not list(tmp_path.glob("trials-*")) and not (tmp_path / "captures").exists()


def test_rows_are_read_once_for_all_seeds(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, seen = sources.FolderSource.rows, []

    def noting(self: sources.FolderSource, task: Task, split: Split) -> list[Row]:
        seen.append((task.name, split))
        return honest(self, task, split)

    monkeypatch.setattr(sources.FolderSource, "rows", noting)
    run(model, data, tmp_path, "--task", "mr", "--k", 4, "--seed", 1, "--seed", 2)
    assert sorted(seen) == [("mr", "evaluation"), ("mr", "train")]


def test_what_is_kept_of_a_batch_does_not_grow_with_widths_or_tokens() -> None:
    """Of every batch some 10^6 bytes go in; numbers per example and layer stay."""

    def kept(width: int, tokens: int) -> int:
        tally, g = MetricAccumulator(0), np.random.default_rng(0)
        tracemalloc.start()
        try:
            for i in range(8):
                three = [batch(g, width, tokens) for _ in range(3)]
                tally.update(range(4 * i, 4 * i + 4), *three)
                del three
            return tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()

    small, large = kept(16, 4), kept(4096, 512)
    assert large < small + 10**5 < 3 * 8 * 4 * 2 * 4096 * 4


def batch(g: np.random.Generator, width: int, tokens: int) -> Part:
    return Part(
        index=(0, 1, 2, 3),
        labels=np.arange(4) % 2,
        scores=g.normal(size=(4, 2)).astype(np.float32),
        h=g.normal(size=(4, 2, width)).astype(np.float32),
        m=[g.normal(size=(2, 2, tokens)).astype(np.float32) for _ in range(4)],
    )
