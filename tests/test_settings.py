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
from _tiny import LABELS, WORDS, context, queries, tiny

from empirical.errors import UserError
from empirical.models import LoadedModel, default_dtype_of
from empirical.prompts import Query
from empirical.settings import (
    PREFIX_BYTES,
    _hidden,
    batch_that_fits,
    cached_prefix,
    fine_tuned,
    in_context,
    zero_shot,
)


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
    prefix = cached_prefix(model, lead)
    for q in qs:
        row = (*q.prompt, *LABELS[0])
        with torch.no_grad(), default_dtype_of(model):
            right = _hidden(model, [row], prefix)[0, -2]
            start = len(lead) - 1  # one too early
            ids, at = torch.tensor([row]), torch.arange(start, start + len(row))[None]
            from transformers import DynamicCache

            cache = DynamicCache(config=model.model.config)
            for i, (k, v) in enumerate(prefix):
                cache.update(k, v, i)
            wrong = model.model.model(input_ids=ids, position_ids=at, past_key_values=cache)
        assert float((right - wrong.last_hidden_state[0, -2]).abs().max()) > limit


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


def test_capture_of_a_class_zero_label_of_two_tokens_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"class-0 label 'zero' to be one token.*\[70, 71\]"):
        zero_shot(tiny(), queries(1), ((70, 71), (72,)), WORDS)


def test_no_queries_and_too_long_queries_are_refused() -> None:
    with pytest.raises(UserError, match="at least one query"):
        zero_shot(tiny(), [], LABELS, WORDS)
    with pytest.raises(UserError, match="expected at most 8 tokens"):
        zero_shot(tiny(positions=8), queries(7), LABELS, WORDS)


def test_a_long_prefix_makes_batches_small_enough_for_its_copies() -> None:
    keys = torch.empty(1, 4, 1024, 64)  # 2^20 bytes, twice a layer
    prefix = [(keys, keys)] * 8  # 2^24 bytes a row, and as many while the cache grows
    assert 2 * 2**24 * 64 == PREFIX_BYTES
    assert [batch_that_fits(prefix, n) for n in (1, 32, 64, 65, 10**6)] == [1, 32, 64, 64, 64]
    assert batch_that_fits([(keys.expand(4096, -1, -1, -1),) * 2], 32) == 1  # never none
    assert batch_that_fits(None, 1000) == 1000


def test_a_batch_cut_by_memory_gives_the_same_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    model, qs = tiny(), queries(7)
    lead = context(model, queries(5, seed=1))
    limit = bound(lead, qs)
    whole = in_context(model, qs, LABELS, WORDS, lead)
    monkeypatch.setattr("empirical.settings.PREFIX_BYTES", 0)
    cut: list[int] = []
    single = in_context(model, qs, LABELS, WORDS, lead, advance=cut.append)
    assert cut == [1] * 7
    assert np.abs(whole.scores - single.scores).max() <= limit
    assert np.abs(whole.h - single.h).max() <= limit


def test_progress_counts_every_query_and_every_step() -> None:
    model, qs, shown = tiny(torch.float32), queries(7), queries(3, seed=2)
    seen: list[int] = []
    zero_shot(model, qs, LABELS, WORDS, batch_size=4, advance=seen.append)
    assert seen == [4, 3]
    seen.clear()
    fine_tuned(model, qs, LABELS, WORDS, shown, 0.05, batch_size=4, advance=seen.append)
    assert seen == [1, 1, 1, 4, 3]


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
