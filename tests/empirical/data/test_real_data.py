"""Known answers on the real data and the GPT-2 BPE, where those files lie beside the checkout."""

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from empirical.analysis.published import PUBLISHED
from empirical.data.demonstrations import draw
from empirical.data.paper_tasks import MORE_TASKS, TASKS, FolderSource, evaluation
from empirical.data.prompts import label_tokens, pack, query
from empirical.models.decoder import TokenizerEncoder
from empirical.models.loading import read_tokenizer
from empirical.models.xglm import Geometry, random_xglm
from empirical.study.preparation import StudySettings, prepare
from tests.support.paths import ROOT

SHARED = Path(os.environ.get("DUALFORM_SHARED") or ROOT.parent / "shared")
DATA, BPE = SHARED / "data", SHARED / "reference" / "gpt2-bpe"
PRINTED = SHARED / "reference" / "published.json"
ALL = TASKS | MORE_TASKS
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


SPLITS = {"train": "train", "evaluation": "validation"}


@needs_data
@pytest.mark.parametrize("name", ALL)
def test_rows_and_classes_are_as_many_as_the_list_of_the_data_says(name: str) -> None:
    source, task = FolderSource(path=DATA), ALL[name]
    files = json.loads((DATA / name / "meta.json").read_text(encoding="utf-8"))["files"]
    every = [row for split in SPLITS for row in source.rows(task, split)]  # type: ignore[arg-type]
    kept = Counter(row.label for row in every)
    listed = Counter[int]()
    for file in SPLITS.values():
        counts = files.get(f"{file}.jsonl", {"class_counts": {}})["class_counts"]
        listed += Counter({int(label): n for label, n in counts.items()})
    left_out = {"arc_easy": 13}.get(name, 0)  # rows without four answers, 10 and 3
    assert kept <= listed and (listed - kept).total() == left_out
    assert set(kept) == set(range(len(task.labels or every[0].choices)))


@needs_data
def test_sentences_of_sst2_keep_their_space_at_the_end() -> None:
    source, task = FolderSource(path=DATA), TASKS["sst2"]
    for split, n in (("train", 4000), ("evaluation", 872)):
        rows = source.rows(task, split)  # type: ignore[arg-type] # one of two literals
        assert len(rows) == n and all(r.fields["sentence"].endswith(" ") for r in rows)
        assert task.template.format(**rows[0].fields).endswith("  Label:")


@needs_data
@needs_bpe
def test_a_next_line_character_in_mr_becomes_the_separator_as_in_the_released_code() -> None:
    encoder, source, task = gpt2(), FolderSource(path=DATA), TASKS["mr"]
    for split, n in (("train", 5), ("evaluation", 3)):
        rows = source.rows(task, split)  # type: ignore[arg-type] # one of two literals
        found = [r for r in rows if "\x85" in r.fields["text"]]
        assert len(found) == n
        assert all(query(encoder, task, r).prompt.count(encoder.eos) == 1 for r in found)
        assert sum(encoder.eos in query(encoder, task, r).prompt for r in rows) == n


@needs_data
def test_arc_keeps_the_rows_with_four_answers_and_piqa_has_two() -> None:
    source = FolderSource(path=DATA)
    arc = [source.rows(MORE_TASKS["arc_easy"], "train"), source.rows(ALL["arc_easy"], "evaluation")]
    assert [len(rows) for rows in arc] == [2239, 567]
    assert {len(row.choices) for rows in arc for row in rows} == {4}
    rows = source.rows(MORE_TASKS["piqa"], "evaluation")
    assert {len(row.choices) for row in rows} == {2} and len(rows) == 1838 - 200


@needs_data
def test_no_row_of_piqa_is_both_shown_and_evaluated() -> None:
    source, task = FolderSource(path=DATA), MORE_TASKS["piqa"]
    train, asked = source.rows(task, "train"), source.rows(task, "evaluation")
    assert {r.idx for r in train} | {r.idx for r in asked} == set(range(1838))
    texts = {(r.fields["goal"], r.choices) for r in asked}
    for seed in range(8):
        drawn = draw(source, task, train, seed, 32)
        assert len(drawn.offered) == 32 and len(drawn.left) == 168
        assert not {(r.fields["goal"], r.choices) for r in (*drawn.offered, *drawn.left)} & texts


# With the GPT-2 BPE at seed 1, where at most 32 are asked for: longest evaluation sequence,
# demonstrations that fit in 2048 tokens, context. A review of IMDB can take half of them.
PACKED = {"imdb": (1322, 1, 455), "arc_easy": (105, 32, 935), "piqa": (251, 32, 950)}


@needs_data
@needs_bpe
@pytest.mark.parametrize("name", MORE_TASKS)
def test_the_tasks_of_section_five_pack_as_counted(name: str) -> None:
    encoder, task, source = gpt2(), MORE_TASKS[name], FolderSource(path=DATA)
    drawn = draw(source, task, source.rows(task, "train"), 1, task.k)
    offered = [query(encoder, task, r) for r in drawn.offered]
    asked = [query(encoder, task, r) for r in evaluation(source.rows(task, "evaluation"))]
    labels = label_tokens(encoder, task)
    packed = pack(offered, asked, labels, encoder)
    assert (packed.longest_evaluation, packed.used, len(packed.context)) == PACKED[name]
    assert all(len(label) == 1 for label in labels) and bool(labels) == (name == "imdb")


def counts(percent: float, n: int) -> list[int]:
    """The numbers of n that are printed as `percent` with one decimal."""
    return [c for c in range(n + 1) if abs(100 * c / n - percent) <= 0.05 + 1e-9]


def recalls(model: str, task: str) -> dict[int, int]:
    """Denominators of Rec2FTP that fit everything printed -> their numerators.

    The denominator, ZSL wrong and FT right, is at least FT right less ZSL right and at most either.
    What ICL gets right and wrong in it has to be among what it gets right and wrong at all.
    """
    printed, n = PUBLISHED[model], EVALUATED[task]
    recall = printed["Rec2FTP"][task]
    found = {}
    for zsl in counts(printed["ZSL_acc"][task], n):
        for ft in counts(printed["FT_acc"][task], n):
            for icl in counts(printed["ICL_acc"][task], n):
                for whole in range(max(ft - zsl, 1), min(ft, n - zsl) + 1):
                    part = round(recall * whole / 100)
                    printable = abs(100 * part / whole - recall) <= 0.005 + 1e-9
                    if printable and part <= icl and whole - part <= n - icl:
                        found[whole] = part
    return found


@pytest.mark.parametrize("model", PUBLISHED)
@pytest.mark.parametrize("task", TASKS)
def test_every_printed_accuracy_is_a_count_over_our_evaluation_rows(model: str, task: str) -> None:
    for metric in ("ZSL_acc", "FT_acc", "ICL_acc"):
        assert counts(PUBLISHED[model][metric][task], EVALUATED[task])
    assert recalls(model, task)


def test_the_denominators_that_printed_recalls_can_have() -> None:
    assert recalls("1.3B", "sst2") == {49: 45, 98: 90, 147: 135, 196: 180, 245: 225}
    assert recalls("1.3B", "cb") == {16: 14, 24: 21}
    assert list(recalls("2.7B", "cb")) == list(range(8, 32))  # a recall of 100 %
    assert set(recalls("1.3B", "sst5")) == set(range(3, 436, 3))  # 2/3; the protocol says about 12
    assert list(recalls("2.7B", "sst2")) == [63, 126, 189, 221]


def test_the_base_rate_of_sst2_lies_where_the_printed_accuracies_leave_room() -> None:
    """P(ICL right | ZSL wrong), 88 % in the protocol; 257 of 872 are wrong."""
    (zsl,), (icl,) = (counts(PUBLISHED["1.3B"][m]["sst2"], 872) for m in ("ZSL_acc", "ICL_acc"))
    wrong = 872 - zsl
    low, high = max(0, icl - zsl), min(wrong, icl)
    assert (zsl, icl, wrong) == (615, 808, 257)
    assert [round(100 * c / wrong, 1) for c in (low, high)] == [75.1, 100.0]
    assert 100 * low / wrong <= 88 <= 100 * high / wrong


@needs(PRINTED)
def test_accuracies_of_cb_in_the_momentum_table_are_means_over_five_runs_or_more() -> None:
    table = json.loads(PRINTED.read_text(encoding="utf-8"))["paper_dai2023"]["moattn"]["icl"]
    both = [row["cb"] for row in table.values()]
    assert both == [43.9, 46.8]
    assert [r for r in range(1, 11) if all(counts(x, 56 * r) for x in both)] == [5, 10]
