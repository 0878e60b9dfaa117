"""How queries are read, and what cannot be: checked before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from empirical.core.errors import UserError
from empirical.data.prompts import Query, answers
from empirical.inference.forward import padded_length, takes_positions
from empirical.models.decoder import LoadedModel

Position = Literal["label", "prompt"]
Labels = Sequence[tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How queries are read: label tokens and words, where states are recorded, and if at all.

    `wide`: for so many of the first queries, queries and scores towards the context are recorded.
    """

    labels: Labels
    words: Sequence[str]
    position: Position = "label"
    batch_size: int = 32
    record: bool = True
    wide: int = 0

    @property
    def append(self) -> bool:
        """Whether the class-0 label word follows every query."""
        return self.record and self.position == "label"

    def length(self, query: Query) -> int:
        """The padded length of a query with its longest answer, and BOS or nothing in front."""
        longest = max(map(len, answers(query, self.labels)))
        return padded_length(1 + len(query.prompt) + longest)


def check_inputs(
    model: LoadedModel, queries: Sequence[Query], reading: ReadOptions, start: int
) -> None:
    """Refuse what cannot be run after a context of `start` tokens.

    Raises:
        UserError: for no queries, a bad batch size or position, a query without answers or longer
            than the model's context, or a token that the model does not know.
    """
    if reading.position not in ("label", "prompt"):
        raise UserError(
            f"expected position 'label' or 'prompt', got {reading.position!r}; choose one"
        )
    if not queries:
        raise UserError("expected at least one query, got none; check the source and the limit")
    if reading.batch_size < 1:
        raise UserError(
            f"expected a batch size of at least 1, got {reading.batch_size}; choose another"
        )
    offered = [answers(q, reading.labels) for q in queries]
    if not all(found and all(found) for found in offered):
        raise UserError(
            "expected answers of one token or more for every query, got an empty one; "
            "check the labels of the task"
        )
    longest = start + max(
        len(q.prompt) + max(map(len, a)) for q, a in zip(queries, offered, strict=True)
    )
    if longest > model.max_length:
        raise UserError(
            f"expected at most {model.max_length} tokens, got {longest} (context {start}); "
            "use fewer demonstrations or shorter rows"
        )
    largest = max(
        t for q, a in zip(queries, offered, strict=True) for part in (q.prompt, *a) for t in part
    )
    if largest >= model.model.config.vocab_size:
        raise UserError(
            f"expected token ids below {model.model.config.vocab_size} of {model.name}, got "
            f"{largest}; pass the tokenizer that belongs to the model (--tokenizer DIR)"
        )


def check_shift(model: LoadedModel, context: Sequence[int], shift: int) -> None:
    """Refuse positions that nothing can be read at.

    Raises:
        UserError: for a negative shift, one behind a context, or a model that takes no positions.
    """
    if shift < 0 or (shift and context):
        raise UserError(
            f"expected a shift of 0 or more, and 0 behind a context, got {shift} and "
            f"{len(context)} tokens; a context already moves its queries"
        )
    if shift and not takes_positions(model):
        raise UserError(
            f"expected a model whose positions can be shifted, got {model.name}; ALiBi and "
            "relative positions see distances only, so leave the shift away"
        )
