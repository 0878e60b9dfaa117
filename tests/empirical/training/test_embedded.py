"""The embedded GPT: its curriculum's tokens, its training's resume, its folder, its evaluation."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from empirical.data.paper_tasks import LABEL_WORDS, TASKS, GeneratedSource
from empirical.data.prompts import label_tokens, query
from empirical.data.synthetic import HOME, LEXICON, OUTDOORS, Shape, generate_rows, habitual_label
from empirical.models import digest
from empirical.models.loading import EMBEDDED, TokenizerEncoder, load, read_tokenizer
from empirical.models.tokenizer import BOS, EOS, IGNORED
from empirical.training import embedded as train_embedded, episodes
from empirical.training.embedded import Recipe, train, training_forward
from empirical.training.episodes import FULL, Episodes, Stage


def encoder() -> TokenizerEncoder:
    return TokenizerEncoder(tokenizer=read_tokenizer(EMBEDDED), bos=BOS, eos=EOS)


@pytest.fixture(scope="module")
def drawn() -> Episodes:
    return Episodes(episodes.build_tokenizer(), np.random.default_rng(0))


def test_the_tokenizer_in_the_folder_is_the_one_that_the_script_builds(drawn: Episodes) -> None:
    text = " ".join(sorted({w for task in LEXICON.values() for words in task for w in words}))
    assert list(drawn.encode(text)) == encoder().encode(text)


def test_all_sixteen_label_words_are_single_tokens() -> None:
    assert len(LABEL_WORDS) == 16
    assert all(len(t) == 1 for task in TASKS.values() for t in label_tokens(encoder(), task))


@pytest.mark.parametrize("name", list(TASKS))
def test_an_episode_reads_rows_as_the_study_does(name: str, drawn: Episodes) -> None:
    for row in GeneratedSource(seed=5, train_rows=20).rows(TASKS[name], "train"):
        fields = dict(row.fields)
        want = query(encoder(), TASKS[name], row).prompt
        assert tuple(drawn.prompt(name, {**fields, "label": row.label}, FULL)) == want


@pytest.mark.parametrize("name", list(TASKS))
def test_targets_are_labels_whose_class_was_shown_before(name: str, drawn: Episodes) -> None:
    drawn.rng = np.random.default_rng(1)
    stage = Stage(shape=Shape(), trims=(FULL,), classes=5)
    for _ in range(20):
        ids, targets, hard = drawn.episode(stage, name, 9)
        assert ids[0] == BOS and ids.count(EOS) == 9 and len(ids) == len(targets) == len(hard)
        words = [ids[i - 1] for i, t in enumerate(ids) if t == EOS]
        assert set(words) <= set(drawn.labels)
        own = {drawn.encode(" " + w)[0] for w in TASKS[name].labels}
        for i, goal in enumerate(targets):
            if goal == IGNORED:
                continue
            shown = ids[i] in [ids[j - 1] for j in range(i) if ids[j] == EOS]
            assert (goal == ids[i] and shown) or (goal in own and EOS not in ids[:i])
        assert all(h in (IGNORED, t) for h, t in zip(hard, targets, strict=True))


def test_most_class_words_are_of_the_own_class_and_settings_say_nothing() -> None:
    rng = np.random.default_rng(0)
    for name, lexicon in LEXICON.items():
        own = other = out = 0
        for row in generate_rows(name, 400, rng, label=0):
            words = str(
                row["hypothesis" if name == "cb" else "sentence" if name == "sst2" else "text"]
            ).split()
            own += sum(w in lexicon[0] for w in words)
            other += sum(w in words_of for words_of in lexicon[1:] for w in words)
            outdoors = bool(set(words) & set(OUTDOORS))
            assert not (outdoors and set(words) & set(HOME))
            out += outdoors
            assert habitual_label(name, row) == (len(lexicon) - 1 if outdoors else 0)
        assert 0.76 < own / (own + other) < 0.84 and 160 < out < 240


def small(monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """Two short stages, a checkpoint every second step."""
    one = Shape(words=1, class_words=1, synonyms=1, purity=1.0)
    stages = (
        Stage(shape=one, trims=(0,), classes=2, tokens=300, steps=3),
        Stage(
            shape=Shape(), trims=(FULL,), classes=5, inputs=(2, 3), tokens=300, steps=4, prose=True
        ),
    )
    monkeypatch.setattr(train_embedded, "STAGES", stages)
    monkeypatch.setattr(train_embedded, "EVERY", 2)
    return Recipe(seed=3, rate=3e-3, prose_weight=0.1)


def test_a_killed_training_goes_on_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small(monkeypatch)
    train(tmp_path / "whole", recipe)
    step = train_embedded._step

    def killed(run: train_embedded.Run, given: Recipe) -> float:
        if run.state["step"] == 5:
            raise KeyboardInterrupt
        return step(run, given)

    monkeypatch.setattr(train_embedded, "_step", killed)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", recipe)
    monkeypatch.setattr(train_embedded, "_step", step)
    train(tmp_path / "killed", recipe)
    for name in ("model.safetensors", "recipe.json", "tokenizer.json"):
        both = [(tmp_path / f / name).read_bytes() for f in ("whole", "killed")]
        assert both[0] == both[1], name
    other = Recipe(seed=4, rate=3e-3, prose_weight=0.1)
    train(tmp_path / "other", other)
    assert (tmp_path / "other/model.safetensors").read_bytes() != both[0]


def final_states(model: Any, ids: torch.Tensor, dtype: torch.dtype, fused: bool) -> torch.Tensor:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # the class builds its mask limit in the default dtype
    try:
        with torch.no_grad():
            model = model.to(dtype)
            return (
                training_forward(model, ids) if fused else model.model(input_ids=ids)[0]
            ).double()
    finally:
        torch.set_default_dtype(before)


def test_the_fused_training_pass_equals_the_class_itself() -> None:
    """Under the bound of test_settings: float64 orders of summation differ by 2 n (u64/u32) e32."""
    model = load("embedded").model
    ids = torch.tensor([[BOS, *range(5, 25)], [BOS, *range(40, 60)]])
    narrow = final_states(model, ids, torch.float32, fused=False)
    wide = final_states(model, ids, torch.float64, fused=False)
    n = max(ids.shape[1], model.config.ffn_dim)
    ratio = np.finfo(np.float64).eps / np.finfo(np.float32).eps
    bound = 2 * n * ratio * float((narrow - wide).abs().max())
    assert float((final_states(model, ids, torch.float64, fused=True) - wide).abs().max()) <= bound
    near = final_states(model, ids.flip(0), torch.float64, fused=True)
    assert float((near - wide).abs().max()) > bound


def test_the_folder_is_small_and_holds_no_pickle() -> None:
    files = [p for p in EMBEDDED.iterdir() if p.is_file()]
    assert sum(p.stat().st_size for p in files) <= 8 * 2**20
    assert not [p.name for p in files if p.suffix in (".pt", ".bin", ".pkl", ".pickle")]
    assert {"model.safetensors", "recipe.json", "training.jsonl", "evaluation.json"} <= {
        p.name for p in files
    }


def test_the_evaluation_is_of_these_weights_and_meets_its_targets() -> None:
    found = json.loads((EMBEDDED / "evaluation.json").read_text(encoding="utf-8"))
    assert found["weights_sha256"] == digest.weights_sha256(load("embedded").model)
    assert [t["task"] for t in found["tasks"]] == list(TASKS)
    assert all(t["in_context"]["denominator"] >= 500 and t["k"] == 16 for t in found["tasks"])
    assert found["in_context_mean"] >= 80
    for t in found["tasks"]:  # zero-shot is at chance, over draws of the label words
        each = np.array(t["assignments"])
        width = stats.t.ppf(0.9995, len(each) - 1) * stats.sem(each)
        assert abs(each.mean() - 100 / t["classes"]) <= width, t["task"]
