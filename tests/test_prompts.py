"""Layouts and packing, and the known answers where the reference files lie."""

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from empirical.errors import UserError
from empirical.models import TokenizerEncoder, read_tokenizer
from empirical.prompts import Query, encode_text, label_tokens, pack, query
from empirical.tasks import TASKS, FolderSource, Row, demonstrations, evaluation

SHARED = Path(
    os.environ.get("DUALFORM_SHARED") or Path(__file__).resolve().parents[1].parent / "shared"
)
needs_shared = pytest.mark.skipif(
    not (SHARED / "reference" / "gpt2-bpe" / "vocab.json").is_file(),
    reason="reference files not found; set DUALFORM_SHARED to the folder that holds them",
)


class Letters:
    """One token a character."""

    bos, eos = 1, 2

    def encode(self, text: str) -> list[int]:
        return [ord(c) for c in text]


def test_line_breaks_become_eos() -> None:
    assert encode_text(Letters(), "a\nb") == (97, 2, 98)
    assert encode_text(Letters(), "a\n\nb\n") == (97, 2, 2, 98, 2)


def test_prompt_and_label_are_apart_and_the_label_has_one_space() -> None:
    row = Row(fields={"text": "x"}, label=1)
    q = query(Letters(), TASKS["mr"], row)
    assert q == Query(prompt=tuple(map(ord, "Review: x Sentiment:")), label=1)
    assert label_tokens(Letters(), TASKS["mr"])[1] == tuple(map(ord, " Positive"))


def test_braces_in_a_text_stay() -> None:
    q = query(Letters(), TASKS["mr"], Row(fields={"text": "{a}"}, label=0))
    assert q.prompt == tuple(map(ord, "Review: {a} Sentiment:"))


@pytest.mark.parametrize(("limit", "used"), [(18, 3), (17, 2), (14, 2), (13, 1)])
def test_packing_is_strictly_below_the_limit(limit: int, used: int) -> None:
    """Longest evaluation 1 + 2 + 1 = 4; a demonstration 2 + 1 + 1 = 4; context 1 + 4 i."""
    qs = [Query(prompt=(7, 8), label=0)] * 3
    # i fit while 1 + 4 i + 4 < limit
    want = min(3, (limit - 6) // 4)
    assert used == want
    packed = pack(qs, qs[:1], ((9,),), Letters(), limit)
    assert packed.used == used and packed.longest_evaluation == 4
    assert packed.context == (1, *((7, 8, 9, 2) * used))


def test_packing_stops_at_the_first_that_does_not_fit() -> None:
    short, long = Query(prompt=(7,), label=0), Query(prompt=(7,) * 50, label=0)
    assert pack([short, long, short], [short], ((9,),), Letters(), 30).used == 1


def test_strict_mode_refuses_what_published_mode_cuts() -> None:
    qs = [Query(prompt=(7, 8), label=0)] * 3
    with pytest.raises(
        UserError, match="expected 3 demonstrations .* got 2 that fit; lower k to 2"
    ):
        pack(qs, qs[:1], ((9,),), Letters(), 15, "strict")
    with pytest.raises(UserError, match="got 0 that fit"):
        pack(qs, qs[:1], ((9,),), Letters(), 5)
    with pytest.raises(UserError, match="at least one evaluation row"):
        pack(qs, [], ((9,),), Letters(), 5)


def gpt2() -> TokenizerEncoder:
    bpe = read_tokenizer(SHARED / "reference" / "gpt2-bpe")
    return TokenizerEncoder(tokenizer=bpe, bos=50257, eos=50259)


@needs_shared
def test_known_answer_all_sixteen_labels_are_single_tokens() -> None:
    tokens = {t for task in TASKS.values() for t in label_tokens(gpt2(), task)}
    assert len(tokens) == 16 and all(len(t) == 1 for t in tokens)


@needs_shared
def test_known_answer_cb_seed_three() -> None:
    encoder, task, source = gpt2(), TASKS["cb"], FolderSource(path=SHARED / "data")
    rows = demonstrations(source.rows(task, "train"), 3, 32)
    drawn = [query(encoder, task, r) for r in rows]
    shown = [query(encoder, task, r) for r in evaluation(source.rows(task, "evaluation"))]
    packed = pack(drawn, shown, label_tokens(encoder, task), encoder)
    assert (packed.longest_evaluation, packed.used, len(packed.context)) == (280, 19, 1734)
    assert Counter(q.label for q in drawn[:19]) == {0: 6, 1: 12, 2: 1}


@needs_shared
@pytest.mark.parametrize(
    ("name", "n"), [("cb", 250), ("sst2", 67349), ("sst5", 8544), ("mr", 8530)]
)
def test_known_answer_first_32_by_seed(name: str, n: int) -> None:
    """The staged `idx` are rows of the full train set; the permutation is ours."""
    meta = json.loads((SHARED / "data" / name / "meta.json").read_text(encoding="utf-8"))
    for seed, want in meta["paper_first32_by_seed"].items():
        full = [Row(fields={"idx": str(i)}, label=0) for i in range(n)]
        if int(seed) > 1 and n > 10_000:
            got = np.random.default_rng(int(seed)).permutation(n)[:32].tolist()
        else:
            got = [int(r.fields["idx"]) for r in demonstrations(full, int(seed), 32)]
        assert got == want
