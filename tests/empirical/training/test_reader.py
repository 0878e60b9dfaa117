"""What the reader's training may read, and how its episodes are laid out; on made-up rows."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from empirical.core.errors import UserError
from empirical.data.paper_tasks import TASKS, FolderSource
from empirical.data.prompts import query
from empirical.data.task_file import load_task
from empirical.models.tokenizer import BOS, EOS, IGNORED
from empirical.training.reader import (
    COPIES,
    EXIT,
    FINDS,
    Recipe,
    attend,
    guidance,
    keeping_to_rows,
    train,
)
from empirical.training.reader_episodes import (
    FAMILIES,
    HELD_OUT,
    READER_STAGES,
    SEEDS,
    ReaderEpisodes,
    Texts,
    build_tokenizer,
    kept_apart,
    read_texts,
)
from empirical.training.reader_tasks import words_of, write

WORDS = "apple river stone cloud tiger lemon piano chair".split()


def row(task: str, i: int) -> dict[str, object]:
    text = f"{task} {WORDS[i % 8]} {WORDS[(i // 8) % 8]} number {i}"
    label = i % len(TASKS[task].labels)
    if task == "cb":
        return {"premise": text + ".", "hypothesis": f"it is {WORDS[i % 8]}", "label": label}
    return {"text": text, "label": label}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for task in TASKS:
        (folder / task).mkdir()
        count = 150 if task == "cb" else 1200
        lines = [json.dumps(row(task, i)) for i in range(count)]
        (folder / task / "train.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (folder / "corpus").mkdir()
    listed = {}
    for name, split in (("one.txt", "train"), ("two.txt", "train"), ("kept.txt", "validation")):
        rng = np.random.default_rng(len(listed))
        sentences = [
            f"The {name[0]} {WORDS[int(a)]} and the {WORDS[int(b)]} went down to the river."
            for a, b in rng.integers(8, size=(400, 2))
        ]
        (folder / "corpus" / name).write_text("\n".join(sentences), encoding="utf-8")
        listed[name] = {"split": split}
    (folder / "corpus" / "meta.json").write_text(json.dumps({"files": listed}))
    return folder


@pytest.fixture(scope="module")
def episodes(data: Path) -> ReaderEpisodes:
    texts = read_texts(data)
    return ReaderEpisodes(texts, build_tokenizer(texts))


def test_nothing_of_the_held_out_task_or_of_the_study_is_read(data: Path) -> None:
    texts = read_texts(data)
    read = {name for names in FAMILIES.values() for name in names}
    assert set(texts.rows) == read == set(TASKS) - set(HELD_OUT) and "kept.txt" not in texts.books
    assert not any("subj" in line for line in texts.all_text())
    source = FolderSource(path=data)
    for name in read:
        train_rows = source.rows(TASKS[name], "train")
        apart = kept_apart(source, TASKS[name], train_rows)
        shown = {
            i
            for s in SEEDS
            for i in np.random.default_rng(s).permutation(len(train_rows))[: TASKS[name].k]
        }
        assert shown <= apart
        held = [train_rows[i] for i in apart]
        assert not any(r in texts.rows[name] for r in held)
        assert len(texts.rows[name]) + len(apart) == len(train_rows)


def test_a_prompt_is_laid_out_as_the_study_does(episodes: ReaderEpisodes, data: Path) -> None:
    texts = read_texts(data)
    for name, form in episodes.forms.items():
        bodies = episodes.bodies[name]
        first = texts.rows[name][0]
        prompt = query(episodes.encoder, TASKS[name], first).prompt
        assert (*form.head, *bodies[first.label][0], *form.tail) == prompt


@pytest.mark.parametrize("stage", READER_STAGES)
def test_a_target_is_a_label_whose_class_was_shown_before(
    episodes: ReaderEpisodes, stage: object
) -> None:
    for family in stage.odds:  # type: ignore[attr-defined] # a stage
        episodes.rng = np.random.default_rng(5)
        found = episodes.episode(stage, family, 12)  # type: ignore[arg-type] # as above
        ids, targets, late = found.ids, found.targets, found.late
        assert ids[0] == BOS and ids[-1] == EOS
        assert len(ids) == len(targets) == len(late) == len(found.own)
        ends = [i for i, t in enumerate(ids) if t == EOS]
        assert len(ends) == 12
        for i, goal in enumerate(targets):
            if goal != IGNORED:
                assert i + 1 in ends and ids[i] == goal
        assert all(a in (b, IGNORED) for a, b in zip(late, targets, strict=True))
        named = [i for i, word in enumerate(found.own) if word != IGNORED]
        assert named == ([] if family == "book" else [i - 1 for i in ends])


def test_a_text_is_named_by_the_word_of_its_class(episodes: ReaderEpisodes) -> None:
    stage = replace(READER_STAGES[-1], crop=0)
    for seed in range(20):
        episodes.rng = np.random.default_rng(seed)
        found = episodes.episode(stage, "topic", 6)
        words = [episodes._one(word) for word in TASKS["agnews"].labels]
        places = [i for i, word in enumerate(found.own) if word != IGNORED]
        # one label, one word of the task, and the other way round
        pairs = {(found.ids[i], found.own[i]) for i in places}
        assert len(places) == 6 and {own for _, own in pairs} <= set(words)
        assert len({a for a, _ in pairs}) == len({b for _, b in pairs}) == len(pairs) > 0


def looked_up(ids: list[list[int]], seen: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """Slow twin of `guidance`: full attention maps, place by place."""
    copied, found = [], []
    for b, row in enumerate(ids):
        maps = []
        for layer in (COPIES, FINDS):
            q, k = (x[b] for x in seen[layer])
            scores = (q @ k.mT) / q.shape[-1] ** 0.5
            later = torch.ones_like(scores[0]).triu(1).bool()
            maps.append(scores.masked_fill(later, -torch.inf).softmax(-1))
        for t, label in enumerate(row[:-1]):
            if row[t + 1] != EOS:
                continue
            copied.append(-maps[0][0, t, t - 1].log())
            earlier = [u for u in range(t) if row[u + 1] == EOS and row[u] == label]
            if earlier:
                mass = [maps[1][h, t - 1, earlier].sum().log() for h in (0, 1)]
                found.append(-sum(mass) / 2)
    return float(torch.stack(copied).mean() + torch.stack(found).mean())


def test_guidance_is_the_missing_log_attention_of_two_layers() -> None:
    ids = [
        [BOS, 9, 50, EOS, 8, 51, EOS, 7, 50, EOS, 6, 51, EOS],
        [BOS, 9, 60, EOS, 8, 60, EOS, 7, 61, EOS, 6, 60, EOS],
    ]
    generator = torch.Generator().manual_seed(1)
    seen = [
        (
            torch.randn(2, 3, 13, 4, generator=generator),
            torch.randn(2, 3, 13, 4, generator=generator),
        )
        for _ in range(4)
    ]
    ours = guidance(torch.tensor(ids), seen).item()
    # Some hundred float32 operations on numbers below 10, each off by at most 2^-24 of 10.
    assert abs(ours - looked_up(ids, seen)) < 500 * 10 * 2.0**-24
    for near in (COPIES, FINDS):
        other = list(seen)
        other[near] = (seen[near][0].roll(1, 2), seen[near][1])
        assert abs(guidance(torch.tensor(ids), other).item() - ours) > 1e-2


def test_keeping_to_rows_is_the_missing_log_attention_to_the_own_row() -> None:
    ids = [[BOS, 9, 8, 50, EOS, 7, 51, EOS, 6, 5, 50, EOS]]
    rows = [range(0, 5), range(5, 8), range(8, 12)]
    generator = torch.Generator().manual_seed(2)
    seen = [
        (
            torch.randn(1, 2, 12, 4, generator=generator),
            torch.randn(1, 2, 12, 4, generator=generator),
        )
        for _ in range(4)
    ]
    missing = []
    for asks, key in seen[: EXIT + 1]:
        for h in range(2):
            scores = asks[0, h] @ key[0, h].T / 2
            for t, row in zip((2, 5, 9), rows, strict=True):  # the token before each label
                map_ = scores[t, : t + 1].softmax(-1)
                missing.append(-map_[[i for i in row if i <= t]].sum().log())
    ours = keeping_to_rows(torch.tensor(ids), seen).item()
    # As for `guidance`: some hundred float32 operations on numbers below 10.
    assert abs(ours - float(torch.stack(missing).mean())) < 500 * 10 * 2.0**-24
    further = [*seen[:1], *seen[2:], seen[1]]  # a layer that may look anywhere
    assert abs(keeping_to_rows(torch.tensor(ids), further).item() - ours) > 1e-2


def test_a_perfect_look_up_leaves_nothing_to_guide() -> None:
    ids = torch.tensor([[BOS, 9, 50, EOS, 8, 51, EOS, 7, 50, EOS]])
    places = torch.eye(10)[None, None].expand(1, 2, 10, 10)
    target = torch.tensor([0, 1, 1, 3, 4, 4, 6, 2, 7, 9])  # label to the token before; 7 to label 2
    asks = 1000 * places[:, :, target]
    assert guidance(ids, [(asks, places)] * 4).item() == 0


def test_the_same_draws_give_the_same_batch(episodes: ReaderEpisodes) -> None:
    found = []
    for seed in (1, 1, 2):
        episodes.rng = np.random.default_rng(seed)
        found.append(episodes.batch(READER_STAGES[-1]).ids)
    assert torch.equal(found[0], found[1])
    assert found[0].shape != found[2].shape or not torch.equal(found[0], found[2])


def test_words_read_twice_are_the_same_twice(episodes: ReaderEpisodes) -> None:
    found = episodes.repeated(3, 7)
    assert found.shape == (3, 15) and (found[:, 0] == BOS).all()
    assert torch.equal(found[:, 1:8], found[:, 8:]) and len(set(found[0, 1:8].tolist())) > 2


def test_attention_of_short_rows_equals_that_of_long_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 2, 160, 8, generator=generator) for _ in range(3))
    long = attend(q, k, v)
    short = attend(q[:, :, :40], k[:, :, :40], v[:, :, :40])
    # Causal: the first tokens do not see the rest. Float32, weights of 40 terms that sum to 1.
    assert (long[:, :, :40] - short).abs().max() < 64 * 2.0**-24 * v.abs().max()
    assert (long[:, :, 40:80] - short).abs().max() > 1e-2


def test_a_stopped_training_goes_on_to_the_same_bytes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from empirical.training import reader as train_reader

    stages = (
        replace(READER_STAGES[0], tokens=200, steps=2),
        replace(READER_STAGES[-1], tokens=200, inputs=(4, 5), steps=2, guided=0.5),
    )
    monkeypatch.setattr(train_reader, "READER_STAGES", stages)
    monkeypatch.setattr(train_reader, "EVERY", 1)
    recipe = Recipe(seed=0, rate=1e-3, direct=0.5, prose=0.1, repeated=0.2, named=1.0)
    train(data, tmp_path / "whole", recipe)
    real, calls = train_reader._step, []

    def stopping(run, made):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(1)
        return real(run, made)

    monkeypatch.setattr(train_reader, "_step", stopping)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "stopped", recipe)
    monkeypatch.setattr(train_reader, "_step", real)
    train(data, tmp_path / "stopped", recipe)
    for name in ("model.safetensors", "recipe.json", "tokenizer.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (
            tmp_path / "stopped" / name
        ).read_bytes(), name


def test_a_folder_without_books_is_refused(data: Path, tmp_path: Path) -> None:
    for task in TASKS:
        (tmp_path / task).symlink_to(data / task)
    with pytest.raises(UserError, match="expected a list of books"):
        read_texts(tmp_path)


def test_a_label_word_of_several_tokens_is_refused(data: Path) -> None:
    texts = read_texts(data)
    tokenizer = build_tokenizer(Texts(rows=texts.rows, books=texts.books))
    with pytest.raises(UserError, match="expected one token for the label word"):
        ReaderEpisodes(texts, tokenizer)._one("unheardofword")


def test_what_is_evaluated_on_was_never_read(data: Path) -> None:
    from empirical.training.evaluate import held_out_rows

    texts = read_texts(data)
    (data / "sst2" / "validation.jsonl").write_text(
        "\n".join(json.dumps(row("sst2", 5000 + i)) for i in range(30)), encoding="utf-8"
    )
    shown, asked = held_out_rows(TASKS["sst2"], 20, 0, data)
    assert len(asked) == 20 and len(shown) >= TASKS["sst2"].k
    assert not any(r in texts.rows["sst2"] for r in (*shown, *asked))


def test_the_readers_tasks_hold_rows_that_it_never_read(data: Path, tmp_path: Path) -> None:
    for name in TASKS:
        rows = [json.dumps(row(name, 9000 + i)) for i in range(20)]
        (data / name / "validation.jsonl").write_text("\n".join(rows), encoding="utf-8")
    read = read_texts(data).rows
    paths = write(data, tmp_path)
    assert [p.stem for p in paths] == [f"{name}_words" for name in TASKS]
    for path, (name, task) in zip(paths, TASKS.items(), strict=True):
        made = load_task(str(path))
        assert made.template == task.template and made.labels == words_of(task)
        assert len(set(made.labels)) == len(task.labels) and not set(made.labels) & set(task.labels)
        shown = made.source.rows(made, "train")
        assert len(shown) >= made.k
        assert not any(r.fields == x.fields for r in shown for x in read.get(name, []))
        asked = made.source.rows(made, "evaluation")
        assert [r.label for r in asked] == [(9000 + i) % len(task.labels) for i in range(20)]
