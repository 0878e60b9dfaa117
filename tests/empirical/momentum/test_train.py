"""The training: the Trainer's steps are those of a loop written by hand, to the last bit.

The slow twins here use torch alone: AdamW, the learning rate by its formula, clipping, windows in
the order of the seed.
"""

import hashlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.multiprocessing.spawn import start_processes
from transformers import TrainingArguments
from transformers.utils import logging

from empirical.cli.train_momentum import main
from empirical.core.errors import UserError
from empirical.models.digest import weights_sha256 as whole_sha256
from empirical.momentum import adapt
from empirical.momentum.corpus import Ids, Windows
from empirical.momentum.perplexity import losses
from empirical.momentum.scales import SCALES, Scale
from empirical.momentum.train import (
    CHECKPOINTS,
    Curves,
    arguments,
    config_of,
    initial,
    order,
    order_sha256,
    train,
    weights_sha256,
)
from empirical.results.attention_kinds import Layer
from tests.support.models.momentum_books import TINY, Watcher, made_windows, save_books, stop_at

MOMENTUM = Layer(kind="momentum", eta=0.5)
LEARNED = Layer(kind="momentum", eta=0.5, learned=True)
CLIPPED = replace(TINY, clip=0.05)  # below every norm here: the clip does something


@pytest.fixture(scope="module")
def text() -> Windows:
    """Windows of the made-up books."""
    return made_windows()


@dataclass(frozen=True, kw_only=True)
class Done:
    """A whole run: its model's hash, learned etas, curves and loss on what it watches."""

    sha256: str
    rates: tuple[tuple[float, ...], ...]
    curves: Curves
    watched: float
    folder: Path


def run_whole(layer: Layer, text: Windows, folder: Path) -> Done:
    """Train the tiny scale with seed 1."""
    model, curves = train(TINY, layer, 1, text, folder)
    watched = float(np.mean(losses(model, text.choosing[:32])))
    return Done(sha256=whole_sha256(model), rates=adapt.rates(model), curves=curves,
                watched=watched, folder=folder)  # fmt: skip


@pytest.fixture(scope="module")
def whole(text: Windows, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Momentum attention with one eta, never stopped."""
    return run_whole(MOMENTUM, text, tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def learned(text: Windows, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """With learned etas, never stopped."""
    return run_whole(LEARNED, text, tmp_path_factory.mktemp("learned"))


@pytest.fixture
def stopped(text: Windows, tmp_path: Path) -> Path:
    """The folder of momentum attention that was stopped after step 5, and its checkpoint of 4."""
    with pytest.raises(KeyboardInterrupt):
        train(TINY, MOMENTUM, 1, text, tmp_path / "s", reporter=stop_at(5))
    return tmp_path / "s" / CHECKPOINTS / "checkpoint-4"


def slow_rate(at: Scale, step: int) -> float:
    """Of the update that is number `step`, from 0: up to the peak, then down to 0 in a line."""
    if step < at.warmup:
        return at.rate * (step / at.warmup)
    left = 1 - (step - at.warmup) / (at.steps - at.warmup)
    return (at.rate - 0.0) * left + 0.0


def slow_training(
    at: Scale, layer: Layer, seed: int, text: Windows, *, parts: int = 1, reverse: bool = False
) -> dict[str, Tensor]:
    """The weights after every step of a plain loop, each batch in `parts` equal parts."""
    model = adapt.adapt(initial(at, seed), layer).train()
    wanted = order(len(text.training), at, seed)[: at.rows * at.steps]
    adam = torch.optim.AdamW(
        model.parameters(), lr=at.rate, betas=at.betas, eps=at.epsilon, weight_decay=0.0,
        fused=True,  # the same formula; its order of roundings is the Trainer's default
    )  # fmt: skip
    for step in range(at.steps):
        places = wanted[at.rows * step : at.rows * (step + 1)]
        ids = torch.from_numpy(text.training[places[::-1].copy() if reverse else places])
        adam.param_groups[0]["lr"] = slow_rate(at, step)
        adam.zero_grad()
        for part in ids.chunk(parts):
            logits = model(input_ids=part[:, :-1], use_cache=False).logits
            loss = F.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten())
            (loss / parts).backward()  # type: ignore[no-untyped-call] # torch's own gap
        torch.nn.utils.clip_grad_norm_(model.parameters(), at.clip)
        adam.step()
    return {k: x.detach().clone() for k, x in model.state_dict().items()}


def same(found: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether all tensors are equal to the last bit."""
    return set(found) == set(other) and all(torch.equal(x, other[k]) for k, x in found.items())


@pytest.mark.parametrize(("layer", "parts"), [(MOMENTUM, 1), (LEARNED, 2)])
def test_the_trainer_takes_the_steps_of_a_loop_written_by_hand(
    text: Windows, tmp_path: Path, layer: Layer, parts: int
) -> None:
    model, curves = train(CLIPPED, layer, 3, text, tmp_path, rows=CLIPPED.rows // parts)
    slow = slow_training(CLIPPED, layer, 3, text, parts=parts)
    assert same(model.state_dict(), slow)
    assert [step for step, _ in curves.training] == [step for step, _ in curves.held_out] == [
        2, 4, 6,
    ]  # fmt: skip


def test_a_loop_with_another_order_clip_warm_up_or_layer_ends_elsewhere(
    text: Windows, tmp_path: Path
) -> None:
    """The near misses: each of these matters to the last bit, so none can be wrong unseen."""
    model, _ = train(CLIPPED, MOMENTUM, 3, text, tmp_path)
    found = model.state_dict()
    others = {
        "order": slow_training(CLIPPED, MOMENTUM, 3, text, reverse=True),
        "clip": slow_training(replace(CLIPPED, clip=0.1), MOMENTUM, 3, text),
        "warm-up": slow_training(replace(CLIPPED, warmup=1), MOMENTUM, 3, text),
        "epsilon": slow_training(replace(CLIPPED, epsilon=1e-3), MOMENTUM, 3, text),
        "betas": slow_training(replace(CLIPPED, betas=(0.9, 0.97)), MOMENTUM, 3, text),
        "seed": slow_training(CLIPPED, MOMENTUM, 4, text),
        "layer": slow_training(CLIPPED, Layer(kind="momentum", eta=0.4), 3, text),
    }
    assert not [name for name, slow in others.items() if same(found, slow)]


def test_the_curve_is_the_mean_loss_of_the_steps_since_the_line_before(
    text: Windows, whole: Done, tmp_path: Path
) -> None:
    """One line a step, and then one for two: float32 sums of two losses halved exactly."""
    _, fine = train(replace(TINY, every=1), MOMENTUM, 1, text, tmp_path)
    of = {step: np.float32(loss) for step, loss in fine.training}
    assert len(of) == len(fine.held_out) == TINY.steps
    assert whole.curves.training == tuple(
        (step, float((of[step - 1] + of[step]) / np.float32(2))) for step in (2, 4, 6)
    )
    assert whole.curves.held_out == tuple(p for p in fine.held_out if p[0] % 2 == 0)


def test_the_watched_loss_is_that_of_windows_that_are_not_trained_on(whole: Done) -> None:
    assert whole.curves.held_out[-1] == (TINY.steps, whole.watched)


@pytest.mark.parametrize("at", [3, TINY.steps])
def test_a_stopped_run_goes_on_to_the_same_bytes(
    text: Windows, learned: Done, tmp_path: Path, at: int
) -> None:
    """Stopped between checkpoints, and after the last step before its checkpoint is written."""
    with pytest.raises(KeyboardInterrupt):
        train(TINY, LEARNED, 1, text, tmp_path, reporter=stop_at(at))
    (held,) = (tmp_path / CHECKPOINTS).iterdir()
    assert held.name == f"checkpoint-{2 * ((at - 1) // 2)}"
    watcher = Watcher()
    again, found = train(TINY, LEARNED, 1, text, tmp_path, reporter=watcher)
    assert whole_sha256(again) == learned.sha256 and found == learned.curves
    assert adapt.rates(again) == learned.rates
    assert watcher.totals == [TINY.steps] and watcher.done == TINY.steps


def test_a_finished_run_is_read_from_its_last_checkpoint(text: Windows, whole: Done) -> None:
    watcher = stop_at(TINY.steps + 1)
    again, found = train(TINY, MOMENTUM, 1, text, whole.folder, reporter=watcher)
    assert whole_sha256(again) == whole.sha256 and found == whole.curves
    assert watcher.done == TINY.steps


def test_a_run_that_goes_on_without_the_optimisers_state_ends_elsewhere(
    text: Windows, whole: Done, stopped: Path
) -> None:
    """The near miss of the test above: weights alone do not carry a run."""
    (stopped / "optimizer.pt").unlink()
    again, _ = train(TINY, MOMENTUM, 1, text, stopped.parent.parent)
    assert whole_sha256(again) != whole.sha256


def test_a_checkpoint_that_was_not_finished_is_passed_over(
    text: Windows, whole: Done, stopped: Path
) -> None:
    """The state is the last file of a checkpoint: one without it is a write that was killed."""
    folder = stopped.with_name("checkpoint-5")
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"half")
    again, _ = train(TINY, MOMENTUM, 1, text, stopped.parent.parent)
    assert whole_sha256(again) == whole.sha256


@pytest.mark.parametrize("name", ["trainer_state.json", "optimizer.pt", "model.safetensors"])
def test_a_damaged_checkpoint_is_one_plain_line(text: Windows, stopped: Path, name: str) -> None:
    (stopped / name).write_bytes((stopped / name).read_bytes()[:100])
    with pytest.raises(UserError, match=f"expected a whole checkpoint at {stopped}, got .*; rem"):
        train(TINY, MOMENTUM, 1, text, stopped.parent.parent)


def test_what_goes_wrong_after_a_step_is_not_taken_for_a_damaged_checkpoint(
    text: Windows, stopped: Path
) -> None:
    def full(done: int) -> None:
        if done == 5:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        train(TINY, MOMENTUM, 1, text, stopped.parent.parent, reporter=Watcher(full))


def test_memory_that_runs_out_is_not_taken_for_a_damaged_checkpoint(
    text: Windows, stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which advises to remove it; torch's error is of the kind that a damaged file gives."""

    def full(*_given: Any, **_more: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    assert issubclass(torch.OutOfMemoryError, RuntimeError)
    monkeypatch.setattr("empirical.momentum.train._Trainer.compute_loss", full)
    with pytest.raises(torch.OutOfMemoryError):
        train(TINY, MOMENTUM, 1, text, stopped.parent.parent)


def test_a_model_trained_in_bfloat16_is_measured_in_float32(text: Windows, tmp_path: Path) -> None:
    """Exactly as the same weights in a model that no trainer has touched."""
    model, _ = train(replace(TINY, dtype="bfloat16"), MOMENTUM, 1, text, tmp_path)
    fresh = adapt.adapt(initial(TINY, 1), MOMENTUM)
    fresh.load_state_dict(model.state_dict())
    found = losses(model, text.choosing)
    assert found == losses(fresh, text.choosing)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert losses(fresh, text.choosing) != found


def test_a_loss_that_is_no_number_stops_with_the_last_checkpoint_kept(
    text: Windows, tmp_path: Path
) -> None:
    """The planted rate takes the weights beyond float32 after the first checkpoint."""
    wild = replace(TINY, rate=1e38, warmup=2, every=1, save=1)
    with pytest.raises(UserError, match="expected a finite loss at step 3, got nan; the last"):
        train(wild, MOMENTUM, 1, text, tmp_path)
    (held,) = (tmp_path / CHECKPOINTS).iterdir()
    assert (held / "trainer_state.json").is_file()


def test_first_weights_follow_from_the_seed_alone(text: Windows) -> None:
    plain = weights_sha256(initial(TINY, 1))
    layers = (Layer(), MOMENTUM, LEARNED, Layer(kind="averaged_keys", eta=0.9))
    assert {weights_sha256(adapt.adapt(initial(TINY, 1), x)) for x in layers} == {plain}
    assert weights_sha256(initial(TINY, 2)) != plain
    changed = initial(TINY, 1)
    with torch.no_grad():
        changed.model.layers[0].fc1.bias[0] += 1e-7
    assert weights_sha256(changed) != plain


def test_first_weights_are_the_draws_of_one_generator() -> None:
    """Twin: matrices ~ N(0, 2/(in + out)), embeddings ~ N(0, 1/width), norms 1, biases 0."""
    g = torch.Generator().manual_seed(5)
    for name, weight in initial(TINY, 5).named_parameters():
        if "embed" in name:
            expected = torch.randn(TINY.vocabulary, TINY.width, generator=g) * TINY.width**-0.5
        elif weight.dim() == 2:
            rows, columns = weight.shape
            expected = torch.randn(rows, columns, generator=g) * (2 / (rows + columns)) ** 0.5
        elif "norm" in name and "weight" in name:
            expected = torch.ones(TINY.width)
        else:
            expected = torch.zeros(len(weight))
        assert torch.equal(weight, expected), name


def test_every_pass_shows_every_window_once_in_an_order_of_its_own() -> None:
    count = 7
    found = order(count, TINY, 1)
    assert len(found) == TINY.rows * TINY.steps == 24
    passes = [found[i : i + count] for i in range(0, 21, count)]
    assert all(sorted(one) == list(range(count)) for one in passes)
    assert len({tuple(one) for one in passes}) == 3
    assert (order(count, TINY, 1) == found).all() and (order(count, TINY, 2) != found).any()


def test_the_order_has_a_hash_of_the_tokens(text: Windows) -> None:
    wanted = [text.training[i] for i in order(len(text.training), TINY, 1)]
    slow = hashlib.sha256(b"".join(np.asarray(w, dtype="<i8").tobytes() for w in wanted))
    assert order_sha256(text, TINY, 1) == slow.hexdigest()
    moved = replace(text, training=text.training[::-1].copy())
    assert len({order_sha256(t, TINY, s) for t in (text, moved) for s in (1, 2)}) == 4


class Bigram(nn.Module):
    """Logits that follow from the last token: table [V, V]."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(table)

    def forward(self, input_ids: Tensor, use_cache: bool) -> Any:
        """logits [B, T, V]."""
        assert not self.training and not use_cache
        return type("Output", (), {"logits": self.table[input_ids]})


def slow_losses(table: Ids | Any, windows: Ids, shift: int = 1) -> list[float]:
    """Token by token in float64."""
    out = []
    for window in windows.tolist():
        each = []
        for before, after in zip(window, window[shift:], strict=False):
            row = np.asarray(table[before], dtype=np.float64)
            each.append(float(np.log(np.exp(row - row.max()).sum()) + row.max() - row[after]))
        out.append(sum(each) / len(each))
    return out


def test_losses_are_those_of_a_loop_over_tokens_and_the_mode_is_restored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The bound: a log-sum-exp of V float32 terms errs by at most V + 4 roundings of relative size
    u in its sum, which moves its logarithm by as much, and 3 more of numbers no larger than
    2 max|x| + log V; the mean of T adds T + 1 roundings of a number of that size.
    """
    monkeypatch.setattr("empirical.momentum.perplexity.BATCH", 40)  # three batches
    V, T, n = 11, 12, 7
    table = torch.randn(V, V, generator=torch.Generator().manual_seed(1)) * 3
    windows: Ids = np.random.default_rng(1).integers(0, V, (n, T + 1))
    model = Bigram(table).train()
    found = losses(model, windows)
    assert model.training
    size = 2 * float(table.abs().max()) + np.log(V)
    bound = 2.0**-24 * ((V + 4) + (T + 4) * size) * 1.01
    gaps = [abs(a - b) for a, b in zip(found, slow_losses(table, windows), strict=True)]
    assert len(found) == n and max(gaps) <= bound
    own = slow_losses(table, windows, shift=0)
    assert min(abs(a - b) for a, b in zip(found, own, strict=True)) > bound
    model.eval()
    losses(model, windows)
    assert not model.training


@pytest.fixture
def quiet() -> Iterator[None]:
    """No bars of transformers, as the command line sees to, and afterwards as before."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call] # transformers' own gap
    yield
    if shown:
        logging.enable_progress_bar()  # type: ignore[no-untyped-call] # as above


def test_training_says_nothing_beside_its_reporter_and_writes_only_into_its_folder(
    text: Windows,
    tmp_path: Path,
    quiet: None,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    train(TINY, MOMENTUM, 1, text, tmp_path / "out")
    assert capfd.readouterr() == ("", "")
    assert not list(elsewhere.iterdir())
    assert [p.name for p in (tmp_path / "out").iterdir()] == [CHECKPOINTS]


class Told:
    """In the place of TrainingArguments: what it was told, and how many GPUs it sees."""

    _n_gpu = 0

    def __init__(self, **given: Any) -> None:
        self.given = given

    @property
    def n_gpu(self) -> int:
        """As there."""
        return self._n_gpu

    @property
    def per_device_train_batch_size(self) -> int:
        """As told."""
        return int(self.given["per_device_train_batch_size"])


@pytest.mark.parametrize(("rows", "shared", "parts"), [(4, 1, 1), (2, 1, 2), (1, 2, 2), (1, 4, 1)])
def test_windows_of_a_step_are_divided_over_processes_and_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int, shared: int, parts: int
) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(shared))
    monkeypatch.setattr("empirical.momentum.train.TrainingArguments", Told)
    made: Any = arguments(TINY, 1, tmp_path, rows, "cpu")
    assert made.given["gradient_accumulation_steps"] == parts
    assert made.given["per_device_train_batch_size"] * parts * shared == TINY.rows


@pytest.mark.parametrize("seen", [0, 1, 2, 8])
def test_one_process_trains_on_one_gpu_however_many_it_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: int
) -> None:
    """The Trainer would give each of several a batch of its own: more tokens than are noted."""
    monkeypatch.setattr("empirical.momentum.train.TrainingArguments", Told)
    monkeypatch.setattr(Told, "_n_gpu", seen)
    made: Any = arguments(TINY, 1, tmp_path, TINY.rows, "cuda")
    real: Any = TrainingArguments
    assert real.n_gpu.fget(made) == min(seen, 1)
    assert real.train_batch_size.fget(made) == TINY.rows


def test_another_gpu_than_the_first_is_refused_since_the_trainer_takes_the_first(
    tmp_path: Path,
) -> None:
    with pytest.raises(UserError, match="expected --device cpu or cuda .*, got cuda:3; .*ES=3 bef"):
        arguments(TINY, 1, tmp_path, TINY.rows, "cuda:3")


def one_of_two(rank: int, port: int, text: Windows, out: Path) -> None:
    """A process as the launcher starts it, and the hash of the weights that it ends with."""
    os.environ |= {"RANK": f"{rank}", "LOCAL_RANK": f"{rank}", "WORLD_SIZE": "2",
                   "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{port}",
                   "OMP_NUM_THREADS": "1"}  # fmt: skip
    model, _ = train(TINY, MOMENTUM, 1, text, out, rows=TINY.rows // 2)
    (out / f"hash{rank}").write_text(whole_sha256(model))


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # forks, from 3.12 on
def test_two_processes_end_at_the_bytes_of_one_that_takes_the_batch_in_two_parts(
    text: Windows, tmp_path: Path
) -> None:
    """Two halves of a sum in either order: the same float32. The mean of losses is no such sum."""
    alone, curves = train(TINY, MOMENTUM, 1, text, tmp_path / "one", rows=TINY.rows // 2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    out = tmp_path / "two"
    out.mkdir()
    start_processes(  # type: ignore[no-untyped-call] # torch's own gap
        one_of_two, args=(port, text, out), nprocs=2, start_method="fork"
    )
    assert {(out / f"hash{rank}").read_text() for rank in (0, 1)} == {whole_sha256(alone)}
    again, found = train(TINY, MOMENTUM, 1, text, out, reporter=stop_at(TINY.steps + 1))
    assert whole_sha256(again) == whole_sha256(alone), "measured by one"
    assert found.held_out == curves.held_out
    assert [s for s, _ in found.training] == [s for s, _ in curves.training]
    float32 = 2.0**-23
    for (_, ours), (_, theirs) in zip(found.training, curves.training, strict=True):
        assert ours == pytest.approx(theirs, rel=4 * float32)


def test_the_launchers_command_trains_and_says_how_far_it_is(
    tmp_path: Path, quiet: None, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SCALES, "nano", TINY)
    monkeypatch.setenv("RANK", "0")
    books = save_books(tmp_path / "books")
    given = ["--scale", "nano", "--text", str(books), "--out", str(tmp_path / "o"),
             "--device", "cpu"]  # fmt: skip
    main(given)
    said = capfd.readouterr()
    assert said.out.startswith("  plain, seed 1: 6 in ") and said.err == ""
    monkeypatch.setenv("RANK", "1")
    main(given)
    assert capfd.readouterr() == ("", ""), "one process speaks for all"
    assert (tmp_path / "o/models/momentum-nano-plain-s1/checkpoints/checkpoint-6").is_dir()


@pytest.mark.parametrize(
    ("given", "what"),
    [
        (("--scale", "mega"), "expected a scale among nano, small, paper, got 'mega'"),
        (("--kind", "moment"), "expected a kind of attention among plain"),
        (("--text", "nowhere"), "expected two or more .txt files in nowhere"),
        (("--rows", "3"), "expected rows at once that divide 4 over 1 processes, got 3"),
        (("--device", "tpu"), "expected --device cpu, cuda or cuda:N, got 'tpu'"),
    ],
)
def test_the_launchers_command_refuses_bad_input_in_one_line(
    tmp_path: Path,
    quiet: None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    given: tuple[str, str],
    what: str,
) -> None:
    monkeypatch.setitem(SCALES, "nano", TINY)
    books = save_books(tmp_path / "books")
    with pytest.raises(SystemExit) as stopped:
        main(["--scale", "nano", "--text", str(books), "--out", str(tmp_path / "o"),
              "--device", "cpu", *given])  # fmt: skip
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert error.startswith(f"error: {what}") and error.count("\n") == 1, error


def test_windows_that_do_not_divide_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="expected rows at once that divide 4 over 1 pro.*, got 3"):
        arguments(TINY, 1, tmp_path, 3, "cpu")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="divide 4 over 2 processes, got 4; choose .* --rows"):
        arguments(TINY, 1, tmp_path, 4, "cpu")


def test_the_first_steps_of_the_paper_on_a_tiny_slice(text: Windows, tmp_path: Path) -> None:
    """Its optimiser, schedule and bfloat16 with another geometry. The warm-up starts at a rate of
    0; the second of 500,000 updates has 3e-4/20,000, and moves no weight by more than that times
    the largest m/sqrt(v) of two gradients, by Cauchy and Schwarz sqrt(sum a_i^2/b_i).
    """
    paper = SCALES["paper"]
    slice_ = replace(
        paper, layers=2, width=16, ffn=16, heads=2, vocabulary=300, length=16, rows=4
    )  # fmt: skip
    first, seen = initial(slice_, 1), []

    def keep(done: int) -> None:
        seen.append(done)
        if done == 2:
            raise KeyboardInterrupt

    adapted: list[Any] = []
    original = adapt.adapt

    def caught(model: Any, layer: Layer) -> Any:
        adapted.append(original(model, layer))
        return adapted[-1]

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("empirical.momentum.train.adapt.adapt", caught)
        train(slice_, MOMENTUM, 1, text, tmp_path, reporter=Watcher(keep))
    assert seen == [0, 1, 2]
    (b1, b2), rate = paper.betas, paper.rate / paper.warmup
    a = [(1 - b1) * b1 / (1 - b1**2), (1 - b1) / (1 - b1**2)]
    b = [(1 - b2) * b2 / (1 - b2**2), (1 - b2) / (1 - b2**2)]
    most = rate * sum(x * x / y for x, y in zip(a, b, strict=True)) ** 0.5
    moved = {
        name: float((after - before).detach().abs().max())
        for (name, before), after in zip(
            first.named_parameters(), adapted[0].parameters(), strict=True
        )
        if name.endswith("bias")  # which start at 0, where float32 has room for so small a step
    }
    assert max(moved.values()) <= most * (1 + 8 * 2.0**-24)
    assert max(moved.values()) > most / 2
    assert config_of(slice_).to_diff_dict().keys() == config_of(paper).to_diff_dict().keys()


def test_learned_etas_move_and_are_no_part_of_what_is_equal(learned: Done) -> None:
    (heads,) = learned.rates
    assert len(heads) == TINY.heads and all(eta != 0.5 and 0 < eta < 1 for eta in heads)
    model = adapt.adapt(initial(TINY, 1), LEARNED)
    assert sum(p.numel() for _, p in adapt.parameters(model)) == TINY.parameters
    assert sum(p.numel() for p in model.parameters()) == TINY.parameters + TINY.heads


def test_layers_of_one_seed_end_at_weights_of_their_own(
    text: Windows, whole: Done, tmp_path: Path
) -> None:
    found = [
        whole_sha256(train(TINY, layer, 1, text, tmp_path / layer.name)[0])
        for layer in (Layer(), Layer(kind="recency_bias", eta=0.5))
    ]
    assert len({*found, whole.sha256}) == 3
