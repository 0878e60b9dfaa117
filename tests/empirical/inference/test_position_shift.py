"""Zero-shot read at the positions that a query has behind a context.

Where positions are a table, a model read from position s on is the model whose table begins at row
s, bit for bit: the twin. Where they turn queries and keys, only distances count, up to rounding.

Bound of the rotary ones. transformers forms angles in float32: an angle at position p of at most P
is off by u32 P, its sine and cosine by one rounding more, which turned queries and keys carry on,
in the run that is shifted and in the other. A float32 run rounds each of them by u32 once, and its
largest difference e32 from the run with float64 weights shows what such roundings do; so the two
may differ by 2 n (P + T + 2) e32 (n the longest reduction, T tokens, as in `test_settings`). First
order only, hence the near miss: BOS left at position 0.
"""

from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from empirical.core.errors import UserError
from empirical.data.prompts import Query
from empirical.inference.attention import Run
from empirical.inference.forward import read_context, states, takes_positions
from empirical.inference.settings import Part, ReadOptions, gather, parts
from empirical.models.architectures import backbone
from empirical.models.decoder import LoadedModel, wrap
from tests.support.models import architectures
from tests.support.models.architectures import VARIANTS, f32, f64
from tests.support.models.tiny_models import tokenizer

LABELS, WORDS = ((70,), (71, 72)), ("zero", "one")
READING = ReadOptions(labels=LABELS, words=WORDS, batch_size=2, wide=2)
CONTEXT = (1, 5, 9, 4, 70, 2, 8, 31, 7, 71, 72, 2)
SHIFT = len(CONTEXT) - 1
QUERIES = [Query(prompt=p, label=0) for p in ((5, 9, 4), (8, 31, 44, 7, 6), (9, 5, 12, 3), (50,))]
# The table that holds the positions, and the row of position 0.
TABLES = {
    "xglm": ("model.embed_positions", "weights", 2), "gpt2": ("transformer.wpe", "weight", 0),
    "openai-gpt": ("transformer.positions_embed", "weight", 0),
    "gpt_neo": ("transformer.wpe", "weight", 0),
    "opt": ("model.decoder.embed_positions", "weight", 2),
}  # fmt: skip
ROTARY = tuple(n for n, v in VARIANTS.items() if v.rotary)
BLIND = tuple(n for n, v in VARIANTS.items() if v.slopes is not None)


@cache
def loaded(name: str, dtype: torch.dtype = f32) -> LoadedModel:
    return wrap(architectures.tiny(name, dtype), tokenizer(), name)


def read(model: LoadedModel, shift: int) -> list[Part]:
    return list(parts(model, QUERIES, READING, shift=shift))


def same(a: list[Part], b: list[Part]) -> bool:
    one, two = (gather(loaded("gpt2"), x) for x in (a, b))
    return (one.scores.tobytes(), one.h.tobytes(), [m.tobytes() for m in one.m]) == (
        two.scores.tobytes(), two.h.tobytes(), [m.tobytes() for m in two.m])  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_a_shift_is_a_table_of_positions_that_begins_later(name: str) -> None:
    model = loaded(name)
    got, unmoved = read(model, SHIFT), read(model, 0)
    path, attribute, first = TABLES[name]
    table: Tensor = getattr(model.model.get_submodule(path), attribute)
    before = table.detach().clone()
    try:
        with torch.no_grad():
            table[first : len(table) - SHIFT] = before[first + SHIFT :]
        assert same(got, read(model, 0))
        with torch.no_grad():  # near miss: one position short
            table[first : len(table) - SHIFT + 1] = before[first + SHIFT - 1 :]
        assert not same(got, read(model, 0))
    finally:
        with torch.no_grad():
            table.copy_(before)
    assert not same(got, unmoved) and same(unmoved, read(model, 0))


def test_a_shift_puts_a_query_where_it_is_behind_the_context() -> None:
    """Of a model whose tokens see themselves alone, only the position of each token counts.

    The bound is 2 n (u64/u32) e32 of `test_settings`.
    """
    scores = {}
    for dtype in (f32, f64):
        small = architectures.randomised(architectures.tiny("gpt2", f32).config).to(dtype)
        model = wrap(small, tokenizer(), "alone")
        with torch.no_grad():
            for block in model.blocks:
                block.output.weight.zero_()  # no token tells another one anything
        scores[dtype, "inside"] = gather(
            model, list(parts(model, QUERIES, READING, CONTEXT))
        ).scores
        for shift in (SHIFT, SHIFT - 1):
            scores[dtype, shift] = gather(model, read(model, shift)).scores
    e32 = np.abs(scores[f32, "inside"] - scores[f64, "inside"]).max()
    n = 4 * model.model.config.hidden_size
    limit = 2 * n * np.finfo(np.float64).eps / np.finfo(np.float32).eps * e32
    assert np.abs(scores[f64, SHIFT] - scores[f64, "inside"]).max() <= limit
    assert np.abs(scores[f64, SHIFT - 1] - scores[f64, "inside"]).max() > limit  # near miss


@pytest.mark.parametrize("name", ROTARY)
def test_rotary_positions_see_distances_alone_up_to_rounding(name: str) -> None:
    runs = {}
    row = [(1, *q.prompt) for q in QUERIES[1:2]]
    for dtype in (f32, f64):
        model = loaded(name, dtype)
        for shift in (0, SHIFT):
            with torch.no_grad():
                found = states(model, Run(model.blocks, shift=shift), row, len(row[0]))
            runs[dtype, shift] = found.double()
    model, tokens = loaded(name, f64), len(row[0])
    e32 = float((runs[f32, 0] - runs[f64, 0]).abs().max())
    n = max(architectures.FFN, 4 * model.model.config.hidden_size)
    limit = 2 * n * (SHIFT + tokens + tokens + 2) * e32
    gap = float((runs[f64, SHIFT] - runs[f64, 0]).abs().max())
    assert 0 < gap <= limit  # not zero: the angles are others
    with torch.no_grad():
        prefix = read_context(model, row[0][:1])  # BOS at 0, all else moved
        torn = states(model, Run(model.blocks, prefix, shift=SHIFT), [row[0][1:]], tokens - 1)
    assert float((torn.double() - runs[f64, 0][:, 1:]).abs().max()) > limit


@pytest.mark.parametrize("name", VARIANTS)
def test_positions_are_taken_by_all_but_those_with_alibi(name: str) -> None:
    model = loaded(name)
    assert takes_positions(model) == (name not in BLIND) and BLIND == ("bloom", "falcon-alibi")
    if name in BLIND:
        with pytest.raises(UserError, match=f"positions can be shifted, got {name}; ALiBi and"):
            read(model, SHIFT)
        assert len(read(model, 0)) > 0


def test_falcon_with_alibi_names_positions_and_passes_over_them() -> None:
    """Why a look at the arguments of the class is not enough."""
    body = backbone(architectures.tiny("falcon-alibi", f32))
    ids = torch.tensor([[1, 5, 9]])
    with torch.no_grad():
        a, b = (body(input_ids=ids, position_ids=torch.arange(s, s + 3)[None])[0] for s in (0, 9))
    assert torch.equal(a, b)


def test_a_shift_behind_a_context_below_zero_or_beyond_the_model_is_refused() -> None:
    model = loaded("gpt2")
    with pytest.raises(UserError, match="0 behind a context, got 3 and 12 tokens; a context"):
        list(parts(model, QUERIES, READING, CONTEXT, shift=3))
    with pytest.raises(UserError, match="expected a shift of 0 or more, .* got -1"):
        read(model, -1)
    last = model.max_length - 1 - 5 - 2  # BOS there, five tokens and the longer label behind it
    assert len(read(model, last)) > 0
    with pytest.raises(UserError, match=f"expected at most {model.max_length} tokens, got"):
        read(model, last + 1)
