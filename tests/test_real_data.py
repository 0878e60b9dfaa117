"""Known answers on the real data and the GPT-2 BPE, where those files lie beside the checkout."""

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from empirical.decoder import TokenizerEncoder
from empirical.draws import draw
from empirical.experiments import StudySettings, prepare
from empirical.models import read_tokenizer
from empirical.prompts import label_tokens, pack, query
from empirical.random_models import Geometry, random_xglm
from empirical.tasks import TASKS, FolderSource, evaluation

SHARED = Path(os.environ.get("DUALFORM_SHARED") or Path(__file__).resolve().parents[2] / "shared")
DATA, BPE = SHARED / "data", SHARED / "reference" / "gpt2-bpe"
FULL = {"cb": 250, "sst2": 67349, "sst5": 8544, "mr": 8530}
EVALUATED = {"sst2": 872, "sst5": 1101, "mr": 1066, "subj": 2000, "agnews": 2000, "cb": 56}


def needs(*paths: Path) -> pytest.MarkDecorator:
    absent = [str(p) for p in paths if not p.exists()]
    return pytest.mark.skipif(bool(absent), reason=f"absent: {', '.join(absent)}")


needs_data = needs(DATA / "cb" / "train.jsonl")
needs_bpe = needs(BPE / "vocab.json", BPE / "merges.txt")


def gpt2() -> TokenizerEncoder:
    return TokenizerEncoder(tokenizer=read_tokenizer(BPE), bos=50257, eos=50258)


@needs_bpe
def test_all_sixteen_label_words_are_single_tokens() -> None:
    tokens = {t for task in TASKS.values() for t in label_tokens(gpt2(), task)}
    assert len(tokens) == 16 and all(len(t) == 1 for t in tokens)


@needs_data
@needs_bpe
def test_cb_at_seed_three_packs_nineteen_demonstrations_in_1734_tokens() -> None:
    encoder, task, source = gpt2(), TASKS["cb"], FolderSource(path=DATA)
    drawn = draw(source, task, source.rows(task, "train"), 3, 32)
    offered = [query(encoder, task, r) for r in drawn.offered]
    asked = [query(encoder, task, r) for r in evaluation(source.rows(task, "evaluation"))]
    packed = pack(offered, asked, label_tokens(encoder, task), encoder)
    assert (packed.longest_evaluation, packed.used, len(packed.context)) == (280, 19, 1734)
    assert Counter(q.label for q in offered[:19]) == {0: 6, 1: 12, 2: 1}


@needs_data
@needs_bpe
def test_cb_as_the_study_prepares_it_has_the_known_context() -> None:
    model = random_xglm(Geometry(layers=1, width=8, heads=2, ffn=8), 0, read_tokenizer(BPE))
    settings = StudySettings(seed=3, rates=(0.01, 0.1))
    ready = prepare(model, TASKS["cb"], FolderSource(path=DATA), settings)
    assert (len(ready.shown), len(ready.context), len(ready.queries)) == (19, 1734, 56)
    assert ready.rule == "published idx of seed 3" and len(ready.held) == 100


@needs_data
@pytest.mark.parametrize("name", FULL)
def test_the_published_demonstrations_are_taken_for_every_published_seed(name: str) -> None:
    source, task = FolderSource(path=DATA), TASKS[name]
    train = source.rows(task, "train")
    meta = json.loads((DATA / name / "meta.json").read_text(encoding="utf-8"))
    for seed, want in meta["paper_first32_by_seed"].items():
        drawn = draw(source, task, train, int(seed), 32)
        assert [r.idx for r in drawn.offered] == want
        assert drawn.rule == f"published idx of seed {seed}"
        assert len(drawn.left) == len(train) - 32
        # the paper's rule on the full set, of which the folder may hold a part
        assert np.random.default_rng(int(seed)).permutation(FULL[name])[:32].tolist() == want
    assert len(meta["paper_first32_by_seed"]) == 10


@needs_data
def test_on_the_whole_set_of_cb_our_rule_draws_the_published_rows() -> None:
    source, task = FolderSource(path=DATA), TASKS["cb"]
    train = source.rows(task, "train")
    for seed in range(10):
        ours = draw(source, task, train, seed, 32, published=False)
        theirs = draw(source, task, train, seed, 32)
        assert ours.offered == theirs.offered and ours.rule != theirs.rule
        assert ours.rule == f"numpy default_rng({seed}).permutation(250)"
    part = FolderSource(path=DATA)
    rows = part.rows(TASKS["sst2"], "train")  # a part of the full set: the rules must differ
    ours = draw(part, TASKS["sst2"], rows, 2, 32, published=False)
    assert ours.offered != draw(part, TASKS["sst2"], rows, 2, 32).offered


@needs_data
def test_a_seed_or_a_k_beyond_the_lists_falls_back_to_the_shuffle_and_says_so() -> None:
    source, task = FolderSource(path=DATA), TASKS["mr"]
    train = source.rows(task, "train")
    for seed, k in ((10, 32), (1, 33)):
        want = np.random.default_rng(seed).permutation(4000)[:k]
        drawn = draw(source, task, train, seed, k)
        assert drawn.rule == f"numpy default_rng({seed}).permutation(4000)"
        assert list(drawn.offered) == [train[i] for i in want]


@needs_data
@pytest.mark.parametrize("name", TASKS)
def test_every_task_reads_and_evaluates_on_the_first_2000_of_the_seed_one_shuffle(
    name: str,
) -> None:
    source = FolderSource(path=DATA)
    rows = source.rows(TASKS[name], "evaluation")
    order = np.random.default_rng(1).permutation(len(rows))[:2000]
    found = evaluation(rows)
    assert len(found) == EVALUATED[name] and found == [rows[i] for i in order]
    assert {r.label for r in rows} == set(range(len(TASKS[name].labels)))
