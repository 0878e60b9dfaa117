"""Contexts and labels to put in the place of the real ones, as pure functions of a generator.

Source: section 4 of the protocol (random tokens, wrong labels), and Deutch et al., arXiv
2311.07772 (shuffled labels).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from empirical.core.errors import UserError
from empirical.data.prompts import Encoder, Query, answers
from empirical.models.decoder import TokenizerEncoder

Labels = Sequence[tuple[int, ...]]
# How special tokens are written where a vocabulary lists them among the others: <s>, <|endoftext|>.
_MARKER = re.compile(r"<\|.*\|>|</?[A-Za-z_]+>")


def special_tokens(encoder: TokenizerEncoder) -> frozenset[int]:
    """BOS, EOS, tokens that were added to the tokenizer, and those written as markers."""
    text = encoder.tokenizer
    added = text.get_added_tokens_decoder()
    marked = {i for token, i in text.get_vocab().items() if _MARKER.fullmatch(token)}
    return frozenset({encoder.bos, encoder.eos, *added, *marked})


def ordinary_tokens(encoder: TokenizerEncoder, size: int | None = None) -> tuple[int, ...]:
    """Token ids of text, in order; those below `size`, where given.

    Raises:
        UserError: when there is none.
    """
    special = special_tokens(encoder)
    ids = sorted(set(encoder.tokenizer.get_vocab().values()) - special)
    kept = tuple(i for i in ids if size is None or i < size)
    if not kept:
        raise UserError(
            f"expected ordinary tokens below {size} in the tokenizer, got none; pass the tokenizer "
            "that belongs to the model (--tokenizer DIR)"
        )
    return kept


def random_tokens_like(
    context: Sequence[int],
    encoder: TokenizerEncoder,
    generator: np.random.Generator,
    size: int | None = None,
) -> tuple[int, ...]:
    """A context of the same length, BOS and EOS in their places, all else drawn uniformly.

    `size`: the vocabulary of the model, where it is smaller than that of its tokenizer.

    Raises:
        UserError: when there is no ordinary token to draw.
    """
    ordinary = np.array(ordinary_tokens(encoder, size))
    drawn = ordinary[generator.integers(len(ordinary), size=len(context))]
    kept = (encoder.bos, encoder.eos)
    return tuple(t if t in kept else int(new) for t, new in zip(context, drawn, strict=True))


def wrong_labels(
    shown: Sequence[Query], classes: int, generator: np.random.Generator
) -> tuple[Query, ...]:
    """Every demonstration with another class, or another of its own answers, drawn uniformly.

    Raises:
        UserError: for a demonstration that can be answered in one way only.
    """
    found = []
    for query in shown:
        ways = len(query.choices) or classes
        if ways < 2:
            raise UserError(
                f"expected two answers or more to choose a wrong one from, got {ways}; take a task "
                "with several classes"
            )
        step = int(generator.integers(1, ways))
        found.append(replace(query, label=(query.label + step) % ways))
    return tuple(found)


def shuffled_labels(shown: Sequence[Query], generator: np.random.Generator) -> tuple[Query, ...]:
    """Labels permuted among the demonstrations, by a permutation that changes one at least.

    Uniform among those permutations. Rows with answers of their own exchange places of the right
    answer with rows of as many answers.

    Raises:
        UserError: where no exchange changes a label.
    """
    labels = np.array([q.label for q in shown], dtype=np.int64)
    ways = np.array([len(q.choices) for q in shown], dtype=np.int64)
    groups = [np.flatnonzero(ways == n) for n in np.unique(ways)]
    if not any(len(np.unique(labels[places])) > 1 for places in groups):
        raise UserError(
            f"expected two different labels among {len(shown)} demonstrations to exchange, got "
            f"{len(np.unique(labels))}; take more demonstrations or another seed"
        )
    new = labels.copy()
    while np.array_equal(new, labels):  # at least half of all permutations change a label
        for places in groups:
            new[places] = generator.permutation(labels[places])
    return tuple(replace(q, label=int(x)) for q, x in zip(shown, new, strict=True))


def context_of(shown: Sequence[Query], labels: Labels, encoder: Encoder) -> tuple[int, ...]:
    """BOS (prompt answer EOS)^k of all demonstrations, as `prompts.pack` lays them out."""
    tokens = [encoder.bos]
    for query in shown:
        tokens += [*query.prompt, *answers(query, labels)[query.label], encoder.eos]
    return tuple(tokens)
