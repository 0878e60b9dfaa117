"""Contexts and labels put in the place of the real ones.

Draws are compared with uniform ones by chi-square at level 1e-9 with fixed seeds.
"""

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from scipy import stats
from tokenizers import Tokenizer, models

from empirical.core.errors import UserError
from empirical.data.prompts import Query, pack
from empirical.models.decoder import TokenizerEncoder
from empirical.study.controls.contexts import (
    context_of,
    ordinary_tokens,
    random_tokens_like,
    shuffled_labels,
    wrong_labels,
)
from tests.support.models.tiny_models import LABELS, context, queries, tiny, tokenizer

LEVEL = 1e-9
THREE = (*LABELS, (72, 73))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def words(names: list[str], bos: int, eos: int, special: list[str]) -> TokenizerEncoder:
    """A tokenizer of whole words."""
    made = Tokenizer(models.WordLevel({x: i for i, x in enumerate(names)}, unk_token=names[0]))
    made.add_special_tokens(special)
    return TokenizerEncoder(tokenizer=made, bos=bos, eos=eos)


def own(n: int, ways: tuple[int, ...] = (2, 3)) -> list[Query]:
    """Queries with 2 or 3 answers of their own."""
    return [
        Query(prompt=(5 + i, 6), label=i // 2 % 2, choices=((70,), (71,), (72, 73))[: ways[i % 2]])
        for i in range(n)
    ]


# Random tokens.


def test_bos_and_eos_stay_in_their_places_and_all_else_is_ordinary() -> None:
    model = tiny()
    real = context(model, queries(8))
    made = random_tokens_like(real, model.encoder, rng())
    ends = (model.encoder.bos, model.encoder.eos)
    assert len(made) == len(real)
    assert [(i, t) for i, t in enumerate(made) if t in ends] == [
        (i, t) for i, t in enumerate(real) if t in ends
    ]
    assert made[0] == model.encoder.bos and made.count(model.encoder.eos) == 8
    others = [(a, b) for a, b in zip(made, real, strict=True) if b not in ends]
    assert sum(a != b for a, b in others) > len(others) / 2
    assert max(made[1:-1]) < tokenizer().get_vocab_size() + 2
    assert made == random_tokens_like(real, model.encoder, rng())
    assert made != random_tokens_like(real, model.encoder, rng(1))


def uniform(found: list[int], allowed: tuple[int, ...]) -> float:
    """p of a chi-square test against equal shares of `allowed`, which holds all of `found`."""
    counts = Counter(found)
    assert set(counts) <= set(allowed)
    return float(stats.chisquare([counts[t] for t in allowed]).pvalue)


def test_tokens_are_drawn_uniformly_from_the_ordinary_vocabulary() -> None:
    encoder = tiny().encoder
    allowed = ordinary_tokens(encoder)
    made = random_tokens_like((encoder.bos, *[7] * 40_000), encoder, rng())
    assert uniform(list(made[1:]), allowed) > LEVEL
    # Near miss: indices drawn from half of the vocabulary twice as often.
    biased = [t if i % 3 else allowed[i % (len(allowed) // 2)] for i, t in enumerate(made[1:])]
    assert uniform(biased, allowed) < LEVEL


def test_special_tokens_and_those_beyond_the_model_are_not_drawn() -> None:
    names = ["<unk>", "a", "<s>", "</s>", "b", "<pad>", "c", "<|endoftext|>", "d"]
    encoder = words(names, bos=2, eos=3, special=["[EXTRA]"])
    assert ordinary_tokens(encoder) == (1, 4, 6, 8)
    assert encoder.tokenizer.token_to_id("[EXTRA]") == 9
    assert ordinary_tokens(encoder, size=8) == (1, 4, 6)
    made = random_tokens_like((2, *[1] * 500, 3), encoder, rng(), size=8)
    assert set(made[1:-1]) == {1, 4, 6} and (made[0], made[-1]) == (2, 3)
    # A BOS and an EOS that are written as words are left out as well; of one token for both, too.
    assert ordinary_tokens(words(["x", "y", "z"], bos=0, eos=2, special=[])) == (1,)
    assert ordinary_tokens(words(["x", "y", "z"], bos=2, eos=2, special=[])) == (0, 1)


def test_a_tokenizer_without_ordinary_tokens_is_refused() -> None:
    encoder = words(["<s>", "</s>"], bos=0, eos=1, special=[])
    with pytest.raises(UserError, match="expected ordinary tokens below 2 in the tokenizer, got"):
        random_tokens_like((0, 5, 1), encoder, rng(), size=2)


# Labels.


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_every_label_is_wrong_and_uniform_among_the_wrong_ones(classes: int) -> None:
    shown = [Query(prompt=(5, i), label=i % classes) for i in range(3000)]
    made = wrong_labels(shown, classes, rng())
    assert [q.prompt for q in made] == [q.prompt for q in shown]
    for label in range(classes):
        got = [b.label for a, b in zip(shown, made, strict=True) if a.label == label]
        allowed = tuple(c for c in range(classes) if c != label)
        assert uniform(got, allowed) > LEVEL or classes == 2
        if classes > 2:  # near miss: always the next class
            assert uniform([(label + 1) % classes] * len(got), allowed) < LEVEL


def test_a_row_with_answers_of_its_own_gets_another_of_them() -> None:
    shown = own(200)
    made = wrong_labels(shown, 0, rng())
    assert all(a.label != b.label for a, b in zip(shown, made, strict=True))
    assert all(0 <= b.label < len(b.choices) and a.choices == b.choices
               for a, b in zip(shown, made, strict=True))  # fmt: skip
    assert {b.label for b in made if len(b.choices) == 3} == {0, 1, 2}


def test_one_class_has_no_wrong_label() -> None:
    with pytest.raises(UserError, match="two answers or more .* got 1; take a task with several"):
        wrong_labels([Query(prompt=(5,), label=0)], 1, rng())


def test_shuffled_labels_are_uniform_over_the_exchanges_that_change_one() -> None:
    """Of 4 labels a a b c: 12 arrangements, of which the given one never comes."""
    labels = (0, 0, 1, 2)
    shown = [Query(prompt=(5, i), label=x) for i, x in enumerate(labels)]
    draws, found = rng(), Counter()
    for _ in range(6000):
        made = shuffled_labels(shown, draws)
        assert [q.prompt for q in made] == [q.prompt for q in shown]
        found[tuple(q.label for q in made)] += 1
    arrangements = sorted(set(permutations(labels)))
    assert len(arrangements) == 12 and found[labels] == 0
    rest = [found[a] for a in arrangements if a != labels]
    assert stats.chisquare(rest).pvalue > LEVEL
    # Near miss: a plain permutation, which leaves labels where they are once in twelve times.
    plain = Counter(tuple(int(x) for x in draws.permutation(labels)) for _ in range(6000))
    assert plain[labels] > 0


def test_rows_exchange_labels_with_rows_of_as_many_answers_alone() -> None:
    shown = own(12)
    for seed in range(20):
        made = shuffled_labels(shown, rng(seed))
        for ways in (2, 3):
            pairs = [(a.label, b.label) for a, b in zip(shown, made, strict=True)
                     if len(a.choices) == ways]  # fmt: skip
            assert Counter(a for a, _ in pairs) == Counter(b for _, b in pairs)
        assert all(b.label < len(b.choices) for b in made) and list(made) != shown


def test_labels_that_no_exchange_changes_are_refused() -> None:
    alike = [Query(prompt=(5, i), label=1) for i in range(4)]
    with pytest.raises(UserError, match="two different labels among 4 demonstrations .* got 1; "):
        shuffled_labels(alike, rng())
    apart = [Query(prompt=(5,), label=0, choices=((70,), (71,))),
             Query(prompt=(6,), label=1, choices=((70,), (71,), (72,)))]  # fmt: skip
    with pytest.raises(UserError, match="to exchange, got 2; take more"):
        shuffled_labels(apart, rng())


# Layout.


@pytest.mark.parametrize("shown", [queries(6), own(6)])
def test_a_context_is_laid_out_as_the_packed_one(shown: list[Query]) -> None:
    encoder = tiny().encoder
    packed = pack(shown, shown, THREE, encoder, mode="strict")
    assert context_of(shown, THREE, encoder) == packed.context and packed.used == 6
    changed = wrong_labels(shown, 3, rng())
    assert context_of(changed, THREE, encoder) != packed.context  # near miss: other labels
    assert context_of(changed, THREE, encoder) == pack(changed, shown, THREE, encoder).context
    assert context_of(shown[::-1], THREE, encoder) != packed.context
