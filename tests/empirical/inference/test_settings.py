"""The cached, batched runs equal a slow twin that runs each query whole and alone.

Bound. To first order a rounding error is linear in the unit roundoff u. The float32 run of the
same sequence against its float64 run measures that factor, and observed and worst-case error of a
reduction of n terms differ by at most n; so two float64 orders of summation may differ by
2 n (u64 / u32) e32, with n the longest reduction (tokens, FFN or width). First order only, hence
the near misses: a run with shifted positions must exceed it.
"""

import numpy as np
import pytest
import torch

from empirical.core.errors import UserError
from empirical.data.prompts import Query
from empirical.inference.attention import Prefix, Run
from empirical.inference.batches import batches, parts
from empirical.inference.forward import padded_length, read_context, states
from empirical.inference.read_options import ReadOptions
from empirical.inference.settings import fine_tuned, in_context, zero_shot
from empirical.models.loading import LoadedModel, default_dtype_of
from tests.support.closeness import same_records
from tests.support.models.tiny_models import LABELS, WORDS, context, queries, tiny


def twin(model: LoadedModel, lead: tuple[int, ...], q: Query) -> tuple[np.ndarray, np.ndarray]:
    """Scores [2] and h [L,d] from one whole unpadded forward, with plain library calls."""
    tokens = torch.tensor([[*lead, *q.prompt, *LABELS[0]]])
    heights: list[torch.Tensor] = []
    handles = [
        layer.self_attn.register_forward_hook(lambda _m, _i, out: heights.append(out[0][0, -1]))
        for layer in model.model.model.layers
    ]
    with torch.no_grad(), default_dtype_of(model):
        logits = model.model(input_ids=tokens, use_cache=False).logits
    for handle in handles:
        handle.remove()
    scores = torch.log_softmax(logits[0, -2], -1)[[label[0] for label in LABELS]]
    return scores.numpy(), torch.stack(heights).numpy()


def bound(lead: tuple[int, ...], qs: list[Query]) -> float:
    """2 n (u64/u32) e32 (see the module docstring)."""
    wide, narrow = tiny(), tiny(torch.float32)
    e32 = max(
        float(np.abs(a - b).max())
        for q in qs
        for a, b in zip(twin(wide, lead, q), twin(narrow, lead, q), strict=True)
    )
    n = max(len(lead) + 10, wide.model.config.ffn_dim)
    return 2 * n * np.finfo(np.float64).eps / np.finfo(np.float32).eps * e32


@pytest.mark.parametrize("batch_size", [1, 4, 7])
def test_cached_padded_in_context_run_equals_the_whole_single_run(batch_size: int) -> None:
    model, qs = tiny(), queries(7)
    lead = context(model, queries(5, seed=1))
    limit = bound(lead, qs)
    got = in_context(model, qs, LABELS, WORDS, lead, batch_size=batch_size)
    for i, q in enumerate(qs):
        scores, h = twin(model, lead, q)
        assert np.abs(got.scores[i] - scores).max() <= limit
        assert np.abs(got.h[i] - h).max() <= limit
        assert got.m[i].shape == (2, 2, len(q.prompt) + 1)
    assert np.isfinite(got.scores).all() and np.ptp(got.scores) > limit


@pytest.mark.parametrize("batch_size", [1, 4, 7])
def test_padded_zero_shot_batch_equals_single_runs(batch_size: int) -> None:
    model, qs = tiny(), queries(7)
    lead = (model.encoder.bos,)
    limit = bound(lead, qs)
    got = zero_shot(model, qs, LABELS, WORDS, batch_size=batch_size)
    for i, q in enumerate(qs):
        scores, h = twin(model, lead, q)
        assert np.abs(got.scores[i] - scores).max() <= limit
        assert np.abs(got.h[i] - h).max() <= limit


def test_near_miss_wrong_positions_after_the_prefix_exceed_the_bound() -> None:
    model, qs = tiny(), queries(3)
    lead = context(model, queries(5, seed=1))
    limit = bound(lead, qs)
    prefix = read_context(model, lead)
    shorter = Prefix(  # the same keys, but one fewer: positions start one too early
        keys=tuple(k[:, 1:] for k in prefix.keys), values=tuple(v[:, 1:] for v in prefix.values)
    )
    for q in qs:
        row = (*q.prompt, *LABELS[0])
        with torch.no_grad():
            right = states(model, Run(model.blocks, prefix), [row], len(row))[0, -2]
            wrong = states(model, Run(model.blocks, shorter), [row], len(row))[0, -2]
        assert float((right - wrong).abs().max()) > limit


def test_scores_do_not_depend_on_the_recorded_position_beyond_the_bound() -> None:
    model, qs = tiny(), queries(4)
    lead = (model.encoder.bos,)
    limit = bound(lead, qs)
    a = zero_shot(model, qs, LABELS, WORDS, position="label")
    b = zero_shot(model, qs, LABELS, WORDS, position="prompt")
    assert np.abs(a.scores - b.scores).max() <= limit
    assert [x.shape[2] for x in b.m] == [len(q.prompt) for q in qs]


def test_a_label_of_several_tokens_scores_its_mean_log_probability() -> None:
    model, qs = tiny(), queries(3)
    labels = ((70,), (71, 72, 73))
    limit = bound((model.encoder.bos,), qs)
    got = zero_shot(model, qs, labels, WORDS)
    for i, q in enumerate(qs):
        ids = torch.tensor([[model.encoder.bos, *q.prompt, *labels[1]]])
        with torch.no_grad(), default_dtype_of(model):
            p = torch.log_softmax(model.model(input_ids=ids).logits[0], -1)
        want = sum(p[len(q.prompt) + j, t] for j, t in enumerate(labels[1])) / 3
        assert abs(got.scores[i, 1] - float(want)) <= limit


def test_finetuning_moves_the_outcome_and_leaves_the_model_alone() -> None:
    model, qs, shown = tiny(torch.float32), queries(4), queries(3, seed=2)
    before = zero_shot(model, qs, LABELS, WORDS)
    tuned = fine_tuned(model, qs, LABELS, WORDS, shown, 0.05)
    after = zero_shot(model, qs, LABELS, WORDS)
    assert np.abs(tuned.h - before.h).max() > 0
    assert np.array_equal(before.scores, after.scores) and np.array_equal(before.h, after.h)


def test_a_class_zero_label_of_two_tokens_is_recorded_at_its_last_and_scored_in_the_same_pass() -> (
    None
):
    model, qs = tiny(), queries(4)
    labels = ((70, 71), (72,))
    got = zero_shot(model, qs, labels, WORDS)
    limit = bound((model.encoder.bos,), qs)
    for i, q in enumerate(qs):
        ids = torch.tensor([[model.encoder.bos, *q.prompt, *labels[0]]])
        heights: list[torch.Tensor] = []
        handles = [
            layer.self_attn.register_forward_hook(lambda _m, _i, out, h=heights: h.append(out[0]))
            for layer in model.model.model.layers
        ]
        with torch.no_grad(), default_dtype_of(model):
            p = torch.log_softmax(model.model(input_ids=ids).logits[0], -1)
        for handle in handles:
            handle.remove()
        want = sum(p[len(q.prompt) + j, t] for j, t in enumerate(labels[0])) / 2
        assert abs(got.scores[i, 0] - float(want)) <= limit
        h = torch.stack([x[0, -1] for x in heights]).numpy()
        assert np.abs(got.h[i] - h).max() <= limit
        before = torch.stack([x[0, -2] for x in heights]).numpy()  # near miss: one token earlier
        assert np.abs(got.h[i] - before).max() > limit
        assert got.m[i].shape == (2, 2, len(q.prompt) + 2)


def test_a_query_with_answers_of_its_own_is_scored_on_them() -> None:
    model = tiny()
    shared = queries(4)
    own = [
        Query(prompt=q.prompt, label=0, choices=((70 + i, 71), (72,), (73, 74, 75))[: 2 + i % 2])
        for i, q in enumerate(shared)
    ]
    got = zero_shot(model, own, (), (), record=False)
    limit = bound((model.encoder.bos,), shared)
    assert got.scores.shape == (4, 3) and np.isneginf(got.scores[0, 2])
    for i, q in enumerate(own):
        for j, tokens in enumerate(q.choices):
            ids = torch.tensor([[model.encoder.bos, *q.prompt, *tokens]])
            with torch.no_grad(), default_dtype_of(model):
                p = torch.log_softmax(model.model(input_ids=ids).logits[0], -1)
            want = sum(p[len(q.prompt) + t, token] for t, token in enumerate(tokens)) / len(tokens)
            assert abs(got.scores[i, j] - float(want)) <= limit


def test_no_queries_and_too_long_queries_are_refused() -> None:
    with pytest.raises(UserError, match="at least one query"):
        zero_shot(tiny(), [], LABELS, WORDS)
    with pytest.raises(UserError, match="expected at most 8 tokens"):
        zero_shot(tiny(positions=8), queries(7), LABELS, WORDS)


@pytest.mark.parametrize("shots", [0, 5])
def test_every_batch_size_gives_the_same_records(shots: int) -> None:
    model, qs = tiny(), queries(23)
    lead = context(model, queries(shots, seed=1)) if shots else ()
    labels = (LABELS[0], (71, 72))
    found = []
    for size in (1, 2, 5, 32):
        if shots:
            found.append(in_context(model, qs, labels, WORDS, lead, batch_size=size))
        else:
            found.append(zero_shot(model, qs, labels, WORDS, batch_size=size))
    for other in found[1:]:
        same_records(other.scores, found[0].scores)
        same_records(other.h, found[0].h)
        for a, b in zip(other.m, found[0].m, strict=True):
            same_records(a, b)


def test_a_batch_cut_by_memory_gives_the_same_records(monkeypatch: pytest.MonkeyPatch) -> None:
    model, qs = tiny(), queries(7)
    lead = context(model, queries(5, seed=1))
    whole = in_context(model, qs, LABELS, WORDS, lead)
    monkeypatch.setattr("empirical.inference.batches.TOKENS", 1)
    monkeypatch.setattr("empirical.inference.attention.SCORES_BYTES", 1)
    cut: list[int] = []
    single = in_context(model, qs, LABELS, WORDS, lead, advance=cut.append)
    assert cut == [1] * 7
    same_records(whole.scores, single.scores)
    same_records(whole.h, single.h)
    off_by_one = whole.h[[*range(1, 7), 0]]  # near miss: the states of the next query
    with pytest.raises(AssertionError):
        same_records(off_by_one, single.h)


def test_batches_are_of_one_padded_length_and_cover_every_query_once() -> None:
    reading = ReadOptions(labels=LABELS, words=WORDS, batch_size=4)
    qs = queries(30)
    found = batches(qs, reading)
    assert sorted(i for index in found for i in index) == list(range(30))
    assert max(map(len, found)) == 4
    for index in found:
        assert len({padded_length(1 + len(qs[i].prompt) + 1) for i in index}) == 1


def test_what_is_recorded_widely_is_what_the_definition_says() -> None:
    """c: scores towards the context summed over heads; q: the scaled query vector (section 3)."""
    model, qs = tiny(), queries(6)
    lead = context(model, queries(4, seed=1))
    reading = ReadOptions(labels=LABELS, words=WORDS, wide=4)
    found = {}
    for part in parts(model, qs, reading, lead):
        for j, i in enumerate(part.wide):
            found[i] = (part.c[j], part.q[j])
    assert sorted(found) == [0, 1, 2, 3]
    limit = bound(lead, qs)
    for i, (c, asked) in found.items():
        ids = torch.tensor([[*lead, *qs[i].prompt, *LABELS[0]]])
        seen: list[torch.Tensor] = []
        handles = [
            proj.register_forward_hook(lambda _m, _i, out, s=seen: s.append(out[0]))
            for layer in model.model.model.layers
            for proj in (layer.self_attn.q_proj, layer.self_attn.k_proj)
        ]
        with torch.no_grad(), default_dtype_of(model):
            model.model(input_ids=ids)
        for handle in handles:
            handle.remove()
        for layer in range(2):
            q, k = seen[2 * layer], seen[2 * layer + 1]  # XGLM projects queries first
            scaled = q[-1] * 8**-0.5
            want = k[: len(lead)] @ scaled  # summed over heads: a product over the full width
            size = float((k.abs() @ scaled.abs()[:, None]).max())
            assert np.abs(asked[layer] - scaled.numpy()).max() <= limit
            assert np.abs(c[layer] - want.numpy()).max() <= limit * max(1.0, size)
            assert np.abs(c[layer][1:] - want.numpy()[:-1]).max() > limit * max(1.0, size)


def test_progress_counts_every_query_and_every_step() -> None:
    model, qs, shown = tiny(torch.float32), queries(7), queries(3, seed=2)
    seen: list[int] = []
    zero_shot(model, qs, LABELS, WORDS, batch_size=4, advance=seen.append)
    assert sum(seen) == 7 and max(seen) <= 4
    seen.clear()
    fine_tuned(model, qs, LABELS, WORDS, shown, 0.05, batch_size=4, advance=seen.append)
    assert seen[:3] == [1, 1, 1] and sum(seen[3:]) == 7


def test_nothing_is_recorded_where_nothing_is_asked_for() -> None:
    model, qs = tiny(), queries(5)
    limit = bound((model.encoder.bos,), qs)
    bare = zero_shot(model, qs, LABELS, WORDS, record=False)
    full = zero_shot(model, qs, LABELS, WORDS)
    assert bare.h.shape == (0, 2, 16) and bare.m == []
    assert np.abs(bare.scores - full.scores).max() <= limit


def test_a_token_that_the_model_does_not_know_is_refused() -> None:
    model = tiny()
    size = model.model.config.vocab_size
    with pytest.raises(UserError, match=f"expected token ids below {size} .*, got {size}; pass"):
        zero_shot(model, [Query(prompt=(5, size), label=0)], LABELS, WORDS)
