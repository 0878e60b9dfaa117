"""Token layouts of the study, as pure functions of an encoder (source: the released code).

ZSL, FT evaluation: BOS prompt label. ICL: BOS (prompt label EOS)^k prompt label.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from empirical.core.errors import UserError
from empirical.data.paper_tasks import Row, Task

PUBLISHED_MAX_LENGTH = 2048


class Encoder(Protocol):
    """Text to token ids without special tokens, and the two special ids."""

    @property
    def bos(self) -> int:
        """Beginning-of-sequence id."""

    @property
    def eos(self) -> int:
        """End-of-sequence id."""

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`."""


@dataclass(frozen=True, kw_only=True)
class Query:
    """Tokens of a prompt, the right class, and the tokens of the row's own answers, if it has any.

    Answers follow one space and are tokenised apart from the prompt, as label words are.
    """

    prompt: tuple[int, ...]
    label: int
    choices: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Packed:
    """BOS and the demonstrations that fit."""

    context: tuple[int, ...]
    used: int
    longest_evaluation: int


def encode_text(encoder: Encoder, text: str) -> tuple[int, ...]:
    """Tokens of `text`, one EOS between two lines.

    Lines are those of `str.splitlines` (U+0085 ends one, as it does in three rows of MR), empty
    ones left out: so does the released code.
    """
    tokens: list[int] = []
    for i, line in enumerate(filter(None, text.splitlines())):
        if i:
            tokens.append(encoder.eos)
        tokens.extend(encoder.encode(line))
    return tuple(tokens)


def query(encoder: Encoder, task: Task, row: Row) -> Query:
    """The prompt of a row, tokenised without its label, and its answers where it has its own.

    Raises:
        UserError: for a prompt without a token, after which nothing can be scored.
    """
    prompt = encode_text(encoder, task.template.format(**row.fields))
    if not prompt:
        raise UserError(
            f"expected a prompt of task {task.name} with at least one token, got the empty row "
            f"{dict(row.fields)}; fix that row, or put words into the template"
        )
    choices = tuple(encode_text(encoder, " " + text) for text in row.choices)
    return Query(prompt=prompt, label=row.label, choices=choices)


def label_tokens(encoder: Encoder, task: Task) -> tuple[tuple[int, ...], ...]:
    """Tokens of each label word after one space, tokenised apart from the prompt.

    () for a task whose rows have their own answers.

    Raises:
        UserError: when the tokens of a label word are the beginning of another's, or the same.
    """
    found = tuple(encode_text(encoder, " " + label) for label in task.labels)
    for i, short in enumerate(found):
        for j, long in enumerate(found):
            if i != j and long[: len(short)] == short:
                raise UserError(
                    f"expected label words of {task.name} of which none begins with another's "
                    f"tokens, got {task.labels[i]!r} {list(short)} and {task.labels[j]!r} "
                    f"{list(long)}; choose other words"
                )
    return found


def answers(query: Query, labels: Sequence[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
    """The tokens to choose from after a query: its own answers, or the label words."""
    return query.choices or tuple(labels)


def pack(
    demonstrations: Sequence[Query],
    evaluation: Sequence[Query],
    labels: Sequence[tuple[int, ...]],
    encoder: Encoder,
    max_length: int = PUBLISHED_MAX_LENGTH,
    mode: Literal["strict", "published"] = "published",
) -> Packed:
    """Append demonstrations while context + demonstration + longest evaluation < max_length.

    Raises:
        UserError: without evaluation rows; when no demonstration fits; in strict mode, when not
            all of them fit.
    """
    if not evaluation:
        raise UserError("expected at least one evaluation row, got none; check the source")
    longest = 1 + max(len(q.prompt) + max(map(len, answers(q, labels))) for q in evaluation)
    context, used = [encoder.bos], 0
    for demonstration in demonstrations:
        answer = answers(demonstration, labels)[demonstration.label]
        tokens = (*demonstration.prompt, *answer, encoder.eos)
        if not len(context) + len(tokens) + longest < max_length:
            break
        context.extend(tokens)
        used += 1
    if used == 0 or (mode == "strict" and used < len(demonstrations)):
        raise UserError(
            f"expected {len(demonstrations)} demonstrations to fit in {max_length} tokens beside "
            f"an evaluation row of {longest}, got {used} that fit; lower k to {max(used, 1)} "
            "or use a model with a longer context"
        )
    return Packed(context=tuple(context), used=used, longest_evaluation=longest)
