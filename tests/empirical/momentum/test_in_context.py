"""Answers behind a cached context equal one whole pass for every row and answer.

Bound: 2 n (u64/u32) e32, as in `test_settings`: the float32 run of the twin against its float64 run
measures how errors grow, and two orders of summation of n terms differ by at most n times that. It
is first order only, hence the near misses.
"""

import dataclasses
from functools import cache

import numpy as np
import pytest
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from empirical.core.errors import UserError
from empirical.data.demonstrations import rows_sha256
from empirical.data.paper_tasks import GeneratedSource, get_task
from empirical.data.prompts import Query
from empirical.data.task import Row, Task
from empirical.models.decoder import default_dtype_of
from empirical.momentum import in_context
from empirical.momentum.adapt import adapt
from empirical.momentum.in_context import Reader, reading, score
from empirical.results.attention_kinds import KINDS, Layer
from empirical.results.language_models import Scores
from tests.support.models.tiny_models import queries, tiny

SOURCE = GeneratedSource(seed=0, train_rows=40, evaluation_rows=30)
ENCODER = tiny().encoder
LABELS = ((70,), (71, 80, 90), (72, 81), (71, 80, 91))  # two share all but their last token
OWN = tuple(
    dataclasses.replace(q, choices=((60 + i, 61), (62,), (60 + i, 63, 64))[: 2 + i % 2])
    for i, q in enumerate(queries(6, seed=3))
)  # two answers or three, of their own
LAYERS = tuple(Layer(kind=k, eta=None if k == "plain" else 0.7) for k in KINDS)
NAMES = ("xglm", "gpt_neox")


@cache
def model(name: str, layer: Layer, dtype: torch.dtype = torch.float64):
    """A decoder of two layers with large random weights, whose norms keep float64."""
    loaded = tiny(dtype)
    if name == "xglm":
        return adapt(loaded.model, layer)
    config = GPTNeoXConfig(
        vocab_size=loaded.model.config.vocab_size,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=512,
        hidden_dropout=0.1,
        attention_dropout=0.1,
    )
    made = GPTNeoXForCausalLM(config).to(dtype)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for p in made.parameters():
            p.copy_(0.3 * torch.randn(p.shape, generator=generator))
    return adapt(made, layer)


def wide():
    """torch's default dtype is float64 while inside: XGLM's mask asks for it."""
    return default_dtype_of(tiny())


def context():
    """BOS (prompt label EOS)^4."""
    tokens = [ENCODER.bos]
    for q in queries(4, seed=1):
        tokens += [*q.prompt, *LABELS[q.label], ENCODER.eos]
    return tuple(tokens)


def twin(made, qs, labels, lead):
    """Mean log p of every answer: one whole pass, without a cache, for each row and answer."""
    found = np.full((len(qs), max(len(q.choices or labels) for q in qs)), -np.inf)
    for i, q in enumerate(qs):
        for j, answer in enumerate(q.choices or labels):
            tokens = torch.tensor([[*lead, *q.prompt, *answer]])
            with torch.no_grad():
                logits = made(input_ids=tokens, use_cache=False).logits[0]
            p = torch.log_softmax(logits, -1)
            at = len(lead) + len(q.prompt)
            found[i, j] = sum(float(p[at + t - 1, x]) for t, x in enumerate(answer)) / len(answer)
    return found


def both(name, layer, qs, labels, lead):
    """What the reader finds, the twin, and the bound on their difference."""
    with wide():
        made = model(name, layer)
        with reading(made):
            slow = twin(made, qs, labels, lead)
        fast = Reader(model=made, device=torch.device("cpu")).table(qs, labels, lead)
    narrow = model(name, layer, torch.float32)
    with reading(narrow):
        rough = twin(narrow, qs, labels, lead)
    kept = np.isfinite(slow)
    n = max(len(lead) + 16, made.config.vocab_size)
    ratio = np.finfo(np.float64).eps / np.finfo(np.float32).eps
    return fast, slow, 2 * n * ratio * float(np.abs(slow[kept] - rough[kept]).max())


@pytest.mark.parametrize("layer", LAYERS, ids=lambda x: x.name)
@pytest.mark.parametrize("name", NAMES)
def test_answers_behind_the_cache_equal_one_whole_pass_each(name, layer, monkeypatch):
    monkeypatch.setattr(in_context, "ROWS", 4)  # several batches, padded to their longest
    for qs, labels in ((queries(6), LABELS), (OWN, ())):
        for lead in ((ENCODER.bos,), context()):
            fast, slow, limit = both(name, layer, qs, labels, lead)
            kept = np.isfinite(slow)
            assert (np.isfinite(fast) == kept).all() and kept.sum() > len(qs)
            assert np.abs(fast[kept] - slow[kept]).max() <= limit
            assert (fast.argmax(1) == slow.argmax(1)).all()
            assert np.ptp(slow[kept]) > limit


@pytest.mark.parametrize("name", NAMES)
def test_a_state_that_does_not_follow_the_cache_exceeds_the_bound(name):
    """Near misses: no context; the context a token short; another eta; a sum for the mean."""
    layer = Layer(kind="momentum", eta=0.7)
    _, slow, limit = both(name, layer, queries(4), LABELS, context())
    with wide():
        reader = Reader(model=model(name, layer), device=torch.device("cpu"))
        alone = reader.table(queries(4), LABELS, (ENCODER.bos,))
        short = reader.table(queries(4), LABELS, context()[1:])
        other = Reader(
            model=model(name, Layer(kind="momentum", eta=0.75)), device=torch.device("cpu")
        ).table(queries(4), LABELS, context())
    for wrong in (alone, short, other, slow * [len(x) for x in LABELS]):
        assert np.abs(wrong - slow).max() > limit


def test_the_context_is_read_once_and_its_cache_is_left_as_it_was(monkeypatch):
    made = model("gpt_neox", Layer(), torch.float32)
    lengths = []
    handle = made.register_forward_pre_hook(
        lambda _m, _a, k: lengths.append(tuple(k["input_ids"].shape)), with_kwargs=True
    )
    monkeypatch.setattr(in_context, "ROWS", 3)
    reader = Reader(model=made, device=torch.device("cpu"))
    first = reader.table(queries(6), LABELS[:1], context())
    handle.remove()
    assert lengths[0] == (1, len(context()))
    assert [rows for rows, _ in lengths[1:]] == [3, 3]
    again = reader.table(queries(6)[::-1], LABELS[:1], context())
    # Other rows stand beside each other now, which may move the last bits of float32.
    assert np.abs(first - again[::-1]).max() <= 64 * 2.0**-23 * np.abs(first).max()
    assert np.abs(first - again).max() > 1e-3  # near miss: the rows in the other order


def test_no_pass_holds_more_tokens_than_it_may_unless_one_row_does(monkeypatch):
    made = model("gpt_neox", Layer(), torch.float32)
    sizes = []
    handle = made.register_forward_pre_hook(
        lambda _m, _a, k: sizes.append(tuple(k["input_ids"].shape)), with_kwargs=True
    )
    reader, lead = Reader(model=made, device=torch.device("cpu")), context()
    longest = max(len(q.prompt) for q in queries(6))
    monkeypatch.setattr(in_context, "PASS", 2 * (len(lead) + longest))
    reader.table(queries(6), LABELS[:1], lead)
    assert [rows for rows, _ in sizes[1:]] == [2, 2, 2]
    assert max(rows * (len(lead) + tokens) for rows, tokens in sizes[1:]) <= in_context.PASS
    sizes.clear()
    monkeypatch.setattr(in_context, "PASS", 1)
    reader.table(queries(6), LABELS[:1], lead)
    handle.remove()
    assert [rows for rows, _ in sizes[1:]] == [1] * 6


def test_modes_of_all_modules_are_restored_and_dropout_is_off():
    made = model("gpt_neox", Layer(), torch.float32)
    made.train()
    made.gpt_neox.layers[0].eval()
    before = [m.training for m in made.modules()]
    weights = [p.clone() for p in made.parameters()]
    reader = Reader(model=made, device=torch.device("cpu"))
    found = [reader.table(queries(3), LABELS, context()) for _ in range(2)]
    assert [m.training for m in made.modules()] == before and len(set(before)) == 2
    assert all(torch.equal(a, b) for a, b in zip(weights, made.parameters(), strict=True))
    assert (found[0] == found[1]).all()
    with reading(made):
        assert not any(m.training for m in made.modules())
    made.eval()


# -- a task --------------------------------------------------------------------------------------


def scored(task="sst2", made=None, source=SOURCE, **changed):
    """One task, XGLM with momentum."""
    how = {"seed": 1, "limit": 12, "length": 300, **changed}
    made = made or model("xglm", Layer(kind="momentum", eta=0.7), torch.float32)
    known = get_task(task) if isinstance(task, str) else task
    return score(made, ENCODER, source, known, **how)


def twin_score(made, task, source, seed, limit, length):
    """The layout of the study, written out, with one whole pass for each row and answer."""
    rows = source.rows(task, "evaluation")
    rows = [rows[i] for i in np.random.default_rng(1).permutation(len(rows))][:limit]
    train = source.rows(task, "train")
    shown = [train[i] for i in np.random.default_rng(seed).permutation(len(train))][: task.k]

    def tokens(text):
        return tuple(ENCODER.encode(text))

    def offered(row):
        return tuple(tokens(" " + x) for x in row.choices or task.labels)

    def asked(row):
        return Query(
            prompt=tokens(task.template.format(**row.fields)), label=row.label, choices=offered(row)
        )

    longest = 1 + max(len(asked(r).prompt) + max(map(len, offered(r))) for r in rows)
    lead, k = [ENCODER.bos], 0
    for row in shown:
        more = [*asked(row).prompt, *offered(row)[row.label], ENCODER.eos]
        if len(lead) + len(more) + longest >= length:
            break
        lead, k = lead + more, k + 1
    qs = [asked(r) for r in rows]
    with reading(made):
        zero, found = (twin(made, qs, (), x) for x in ((ENCODER.bos,), lead))
    return Scores(
        task=task.name,
        k=k,
        classes=zero.shape[1],
        gold=tuple(r.label for r in rows),
        zero_shot=tuple(map(int, zero.argmax(1))),
        in_context=tuple(map(int, found.argmax(1))),
        rows_sha256=rows_sha256(rows, shown[:k]),
    )


class OwnAnswers:
    """Questions with two or three answers of their own."""

    task = Task(name="own", template="{ask}", labels=(), k=5, columns=("ask",), choices="choices")

    def rows(self, task, split):
        """Ten rows of a split."""
        words = ("Negative", "Sports", "neutral review", "subjective", "Business")
        first = 0 if split == "train" else 3
        return [
            Row(
                fields={"ask": f"Review: the {words[i % 5]} of {words[(i + 2) % 5]}"},
                label=i % 2,
                choices=tuple(words[(i + j) % 5] for j in range(2 + i % 2)),
            )
            for i in range(first, first + 10)
        ]

    def published_draw(self, task, seed):
        """None."""

    def pool(self, task):
        """Nothing held out."""
        return ""

    def revision(self, task):
        """None."""


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_a_task_is_scored_as_its_slow_twin_scores_it(name, seed):
    made = model(name, Layer(kind="momentum", eta=0.7), torch.float32)
    for task, source in ((get_task("sst5"), SOURCE), (OwnAnswers.task, OwnAnswers())):
        got = scored(task, made, source, seed=seed, limit=8)
        assert got == twin_score(made, task, source, seed, 8, 300)
        assert got.absent is None and 0 < got.k <= task.k and len(got.gold) == 8


def test_choices_are_not_all_one_and_depend_on_the_demonstrations():
    made = model("xglm", Layer(), torch.float32)
    found = [scored("sst5", made, seed=s, limit=30, length=400) for s in (1, 2)]
    assert found[0].gold == found[1].gold and found[0].zero_shot == found[1].zero_shot
    assert found[0].rows_sha256 != found[1].rows_sha256
    assert found[0].in_context != found[1].in_context
    assert found[0].in_context != found[0].zero_shot


def test_a_task_without_room_for_a_demonstration_is_absent_with_the_reason():
    got = scored(length=20)
    assert got == Scores(task="sst2", absent=got.absent)
    assert "demonstrations to fit in 20 tokens" in got.absent


def test_scores_that_are_no_numbers_are_absent_with_the_reason():
    made = adapt(tiny(torch.float32).model, Layer())
    with torch.no_grad():
        made.model.layers[0].fc1.weight[0, 0] = torch.nan
    assert scored(made=made).absent == "the model's scores are no finite numbers"


def test_fewer_training_rows_than_demonstrations_are_all_shown():
    few = GeneratedSource(seed=0, train_rows=3, evaluation_rows=30)
    assert scored(source=few).k == 3


def test_what_cannot_be_scored_is_refused():
    reader = Reader(model=model("xglm", Layer(), torch.float32), device=torch.device("cpu"))
    with pytest.raises(UserError, match="expected answers of one token or more"):
        reader.table(queries(2), ((70,), ()), (ENCODER.bos,))
    with pytest.raises(UserError, match="expected token ids below"):
        reader.table(queries(2), ((70,), (10**6,)), (ENCODER.bos,))
    with pytest.raises(UserError, match="expected a limit of at least 1"):
        scored(limit=0)
