"""`dualform momentum`: every model asked for has one file, made once, the same after a kill."""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from empirical.cli import momentum as cli
from empirical.core.errors import UserError
from empirical.data.synthetic import LEXICON
from empirical.momentum import adapt, run, scales
from empirical.momentum.perplexity import losses
from empirical.momentum.run import Job, Request, jobs_of, missing
from empirical.momentum.train import equal_of, order
from empirical.results import language_models as files
from empirical.results.attention_kinds import Layer
from empirical.results.language_models import Trained
from tests.support.models.momentum_books import TINY, Watcher, save_books, stop_at
from tests.support.paths import ROOT
from tests.support.study import dualform, error_line, save_data

LIMIT = 4
MADE = ("sst2", "cb")  # generated tasks, two of them for speed


@pytest.fixture(autouse=True)
def tiny_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line's `nano` is a scale of a few hundred weights; no report is built."""
    monkeypatch.setitem(scales.SCALES, "nano", TINY)
    monkeypatch.setattr(run, "LEXICON", MADE)
    monkeypatch.setattr(cli, "report", lambda folder: None)


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three files of made-up text."""
    return save_books(tmp_path_factory.mktemp("text") / "books")


def request(books: Path, out: Path, **other: Any) -> Request:
    """Momentum attention and plain attention with one seed, unless other things are named."""
    asked: dict[str, Any] = {
        "scale": "nano", "kinds": ("momentum",), "etas": (0.5,), "learned": False, "seeds": (1,),
        "text": str(books), "data": None, "limit": LIMIT, "device": "cpu", "threads": 1,
        "keep": False, "out": out,
    }  # fmt: skip
    return Request(**{**asked, **other})


def all_of(jobs: list[Job], workers: int = 1, reporter: Any = None) -> list[Path]:
    """Run to the end."""
    return list(run.run(jobs, workers, reporter or Watcher()))


@pytest.fixture(scope="module")
def finished(books: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with plain, momentum and learned models of one seed, kept, with one task's data."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(scales.SCALES, "nano", TINY)
        patch.setattr(run, "LEXICON", MADE)
        patch.setattr(run, "ASKED", ("mr", "cb"))
        out = tmp_path_factory.mktemp("out")
        data = save_data(tmp_path_factory.mktemp("data") / "d")
        wanted = request(books, out, learned=True, keep=True, data=str(data))
        all_of(jobs_of(wanted))
    yield out


@pytest.fixture(scope="module")
def trained(finished: Path) -> dict[str, Trained]:
    """Its files by name."""
    return {t.layer.name: t for t in files.read_all(finished)}


def test_every_layer_of_a_seed_has_a_file_and_its_seconds_beside_it(
    finished: Path, trained: dict[str, Trained]
) -> None:
    assert set(trained) == {"plain", "momentum-eta0.5", "momentum-learned0.5"}
    timing = json.loads((finished / "timing.json").read_text())
    assert set(timing) == {t.name for t in trained.values()}
    assert all(x["total"] > 0 for x in timing.values())


def test_what_has_to_be_equal_is_equal_and_the_losses_are_not(trained: dict[str, Trained]) -> None:
    runs = list(trained.values())
    assert len({json.dumps(asdict(t.equal), sort_keys=True) for t in runs}) == 1
    assert runs[0].equal.parameters == TINY.parameters
    assert (runs[0].equal.steps, runs[0].equal.tokens) == (6, 6 * 4 * 16)
    for place in ("training-16", "choosing-16", "validation-16"):
        assert len({t.losses[place] for t in runs}) == len(runs), place


def test_seeds_have_first_weights_and_an_order_of_their_own(books: Path, tmp_path: Path) -> None:
    one, two = (j for j in jobs_of(request(books, tmp_path, kinds=("plain",), seeds=(1, 2))))
    a, b = (equal_of(j.scale, j.seed, j.text) for j in (one, two))
    assert a.initial_sha256 != b.initial_sha256 and a.order_sha256 != b.order_sha256
    assert replace(a, initial_sha256="", order_sha256="") == replace(
        b, initial_sha256="", order_sha256=""
    )


def test_losses_are_of_the_windows_that_their_places_name(
    books: Path, finished: Path, trained: dict[str, Trained], tmp_path: Path
) -> None:
    """Measured again by the kept model, window by window in the same batches: the same bits."""
    (_, job) = jobs_of(request(books, tmp_path))
    held = trained["momentum-eta0.5"]
    model = adapt.load(finished / "models" / held.name)
    text = job.text
    last = order(len(text.training), TINY, 1)[-TINY.windows :]
    windows = {
        "training-16": text.training[last],
        "choosing-16": text.choosing[:4],
        "validation-16": text.validation(16, 64),
        "validation-8": text.validation(8, 64),
        "validation-4": text.validation(4, 64),
    }
    assert set(held.losses) == set(windows)
    assert {k: losses(model, w) for k, w in windows.items()} == dict(held.losses)
    assert [len(held.losses[f"validation-{n}"]) for n in (4, 8, 16)] == [16, 8, 4]


def test_learned_etas_are_noted_and_others_have_none(trained: dict[str, Trained]) -> None:
    assert trained["plain"].rates == trained["momentum-eta0.5"].rates == ()
    (heads,) = trained["momentum-learned0.5"].rates
    assert len(heads) == TINY.heads and all(eta != 0.5 for eta in heads)


def test_scores_are_of_the_data_folder_and_of_generated_tasks(
    trained: dict[str, Trained],
) -> None:
    assert {*MADE} < {*LEXICON}
    generated = {f"generated {name}" for name in MADE}
    for one in trained.values():
        assert set(one.scores) == {"mr", "cb", *generated}
        assert all(name == score.task for name, score in one.scores.items())
        present = [s for s in one.scores.values() if s.absent is None]
        assert present and all(len(s.gold) == LIMIT and s.k > 0 for s in present)
    hashes = [{k: s.rows_sha256 for k, s in t.scores.items()} for t in trained.values()]
    assert hashes[0] == hashes[1] == hashes[2], "all layers are asked the same"


def test_the_noted_command_makes_the_same_file(
    books: Path, trained: dict[str, Trained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "ASKED", ("mr", "cb"))
    command = trained["momentum-learned0.5"].origin.command
    done = dualform(*command[1:], "--out", tmp_path)
    assert done.exit_code == 0, done.output
    made = {t.layer.name: t for t in files.read_all(tmp_path)}
    assert made == {k: trained[k] for k in ("plain", "momentum-learned0.5")}
    (wanted,) = (j for j in jobs_of(request(books, tmp_path)) if j.layer.eta is not None)
    assert wanted.command[2:8] == ("--scale", "nano", "--kind", "momentum", "--eta", "0.5")


def test_models_are_kept_only_when_asked(finished: Path, books: Path, tmp_path: Path) -> None:
    kept = finished / "models" / "momentum-nano-plain-s1"
    assert (kept / "model.safetensors").is_file() and (kept / "tokenizer.json").is_file()
    all_of(jobs_of(request(books, tmp_path, kinds=("plain",))))
    assert not [p for p in tmp_path.rglob("*") if p.suffix == ".safetensors"]


def test_what_is_there_is_not_made_again(
    books: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: Any, **more: Any) -> Any:
        raise AssertionError("expected no training")

    monkeypatch.setattr(run, "train", never)
    before = {p: p.read_bytes() for p in finished.glob("*.json")}
    assert all_of(jobs_of(request(books, finished, learned=True))) == []
    left = missing(jobs_of(request(books, finished, kinds=("heavy_ball",))))
    assert [job.layer for job in left] == [Layer(kind="heavy_ball", eta=0.5)]
    assert {p: p.read_bytes() for p in finished.glob("*.json")} == before


def test_files_of_other_settings_or_other_text_are_refused(
    books: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = save_books(tmp_path / "other", 4)
    with pytest.raises(UserError, match="to be of the same text, .* got another text; write into"):
        missing(jobs_of(request(other, finished)))
    for change in ({"steps": 7}, {"rate": 1e-3}, {"clip": 1.0}, {"epsilon": 1e-7}):
        changed = replace(TINY, **change)
        monkeypatch.setitem(scales.SCALES, "nano", changed)
        with pytest.raises(UserError, match="expected .* got another (steps|settings); write"):
            missing(jobs_of(request(books, finished)))


def test_a_damaged_file_is_one_line(books: Path, finished: Path, tmp_path: Path) -> None:
    name = "momentum-nano-plain-s1.json"
    (tmp_path / name).write_bytes((finished / name).read_bytes()[:300])
    done = dualform("momentum", "--text", books, "--seed", 1, "--out", tmp_path)
    assert f"expected a complete JSON file at {tmp_path / name}" in error_line(done)


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from empirical.momentum import run, scales
from tests.support.models.momentum_books import TINY, Watcher
from tests.empirical.momentum.test_run import request
def then(done):
    if done == 5:
        os.kill(os.getpid(), signal.SIGKILL)
scales.SCALES["nano"] = TINY
run.LEXICON = ()
jobs = run.jobs_of(request(Path(sys.argv[1]), Path(sys.argv[2]), kinds=("plain",)))
list(run.run(jobs, 1, Watcher(then)))
"""


def test_a_killed_process_goes_on_in_another_to_the_same_bytes(
    books: Path, finished: Path, tmp_path: Path
) -> None:
    """After step 5 of 6: what the checkpoint of step 4 holds is not trained again."""
    root = str(ROOT)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(books), str(tmp_path), root],
        capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=root,
    )  # fmt: skip
    assert done.returncode == -9, done.stderr.decode()
    assert [p.name for p in tmp_path.glob("models/*/checkpoints/*")] == ["checkpoint-4"]
    jobs, watcher = jobs_of(request(books, tmp_path, kinds=("plain",))), Watcher()
    steps: list[int] = []
    watcher.then = steps.append
    (path,) = all_of(jobs, reporter=watcher)
    assert steps == [4, 5, 6]
    made, whole = files.read(path), files.read(finished / path.name)
    assert replace(made, scores={}, origin=whole.origin) == replace(whole, scores={})
    assert made.origin.text_sha256 == whole.origin.text_sha256
    assert list(tmp_path.glob("models/*")) == []


class Inline:
    """In the place of a pool of processes: what is sent there and back is pickled, as it would be.

    What it cannot show is that a new process imports the package; the test above starts one.
    """

    sizes: list[int] = []

    def __init__(self, workers: int, *_how: Any, **_more: Any) -> None:
        self.sizes.append(workers)

    def __enter__(self) -> "Inline":
        return self

    def __exit__(self, *_error: object) -> None:
        return None

    def submit(self, function: Any, *given: Any) -> Future[Any]:
        """Done at once."""
        done: Future[Any] = Future()
        done.set_result(pickle.loads(pickle.dumps(function(*pickle.loads(pickle.dumps(given))))))
        return done


def test_what_goes_through_a_pool_of_processes_is_the_same(
    books: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "ProcessPoolExecutor", Inline)
    watcher = Watcher()
    found = all_of(jobs_of(request(books, tmp_path)), workers=2, reporter=watcher)
    assert sorted(p.name for p in found) == [
        "momentum-nano-momentum-eta0.5-s1.json", "momentum-nano-plain-s1.json",
    ]  # fmt: skip
    assert (watcher.totals, watcher.done, Inline.sizes) == ([2], 2, [2])
    for path in found:
        one, whole = files.read(path), files.read(finished / path.name)
        assert replace(one, scores={}, origin=whole.origin) == replace(whole, scores={})


def test_checkpoints_of_other_text_or_settings_are_not_gone_on_with(
    books: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        all_of(jobs_of(request(books, tmp_path, kinds=("plain",))), reporter=stop_at(5))
    other = save_books(tmp_path / "other", 4)
    with pytest.raises(UserError, match="checkpoints of the same text and settings in .*, got oth"):
        all_of(jobs_of(request(other, tmp_path, kinds=("plain",))))
    changed = replace(TINY, clip=1.0)
    monkeypatch.setitem(scales.SCALES, "nano", changed)
    with pytest.raises(UserError, match="checkpoints of the same text and settings"):
        all_of(jobs_of(request(books, tmp_path, kinds=("plain",))))


def test_a_stop_keeps_what_was_finished(books: Path, tmp_path: Path) -> None:
    jobs = jobs_of(request(books, tmp_path))
    with pytest.raises(KeyboardInterrupt):
        all_of(jobs, reporter=stop_at(TINY.steps + 3))
    assert [t.layer for t in files.read_all(tmp_path)] == [Layer()]
    assert [job.layer.kind for job in missing(jobs)] == ["momentum"]


@pytest.mark.parametrize(
    ("given", "what"),
    [
        (("--scale", "mega"), "expected a scale among nano, small, paper, got 'mega'"),
        (("--kind", "moment"), "expected a kind of attention among plain, momentum"),
        (("--eta", "0.5,1.5"), "expected different etas from 0 to below 1"),
        (("--eta", "half"), "expected different etas from 0 to below 1"),
        (("--seed", "one"), "expected a whole number for --seed"),
        (("--seed", "-1"), "expected at least 0 for --seed, got -1"),
        (("--limit", "0"), "expected at least 1 for --limit, got 0"),
        (("--workers", "0"), "expected at least 1 for --workers"),
        (("--text", "nowhere"), "expected two or more .txt files in nowhere"),
        (("--device", "tpu"), "expected --device cpu, cuda or cuda:N"),
    ],
)
def test_bad_input_is_one_line(
    books: Path, tmp_path: Path, given: tuple[str, ...], what: str
) -> None:
    """Which names what was expected, what was got and what to do."""
    line = error_line(dualform("momentum", "--text", books, "--out", tmp_path / "o", *given))
    assert line.startswith("error: expected ") and ", got" in line and ";" in line, line
    assert what in line
    assert not list(tmp_path.glob("o/*.json"))


def test_the_command_line_says_what_is_there_and_what_it_makes(
    books: Path, finished: Path, tmp_path: Path
) -> None:
    given = ("momentum", "--text", books, "--kind", "momentum", "--eta", "0.5", "--seed", 1)
    done = dualform(*given, "--limit", LIMIT, "--out", finished)
    assert done.exit_code == 0, done.output
    assert f"2 models of scale nano, 2 of them in {finished}" in done.output
    done = dualform(*given, "--kind", "plain", "--limit", LIMIT, "--out", tmp_path)
    assert done.exit_code == 0 and "momentum-nano-plain-s1.json" in done.output
    assert torch.get_num_threads() == 1
