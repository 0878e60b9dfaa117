"""Token layouts of the study, as pure functions of an encoder (source: the released code).

ZSL, FT evaluation: BOS prompt label. ICL: BOS (prompt label EOS)^k prompt label.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from empirical.errors import UserError
from empirical.tasks import Row, Task

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
    """Tokens of a prompt and the right class."""

    prompt: tuple[int, ...]
    label: int


@dataclass(frozen=True, kw_only=True)
class Packed:
    """BOS and the demonstrations that fit."""

    context: tuple[int, ...]
    used: int
    longest_evaluation: int


def encode_text(encoder: Encoder, text: str) -> tuple[int, ...]:
    """Tokens of `text`, each line break replaced by EOS."""
    tokens: list[int] = []
    for i, line in enumerate(text.split("\n")):
        if i:
            tokens.append(encoder.eos)
        if line:
            tokens.extend(encoder.encode(line))
    return tuple(tokens)


def query(encoder: Encoder, task: Task, row: Row) -> Query:
    """The prompt of a row, tokenised without its label."""
    prompt = encode_text(encoder, task.template.format(**row.fields))
    return Query(prompt=prompt, label=row.label)


def label_tokens(encoder: Encoder, task: Task) -> tuple[tuple[int, ...], ...]:
    """Tokens of each label word after one space, tokenised apart from the prompt."""
    return tuple(encode_text(encoder, " " + label) for label in task.labels)


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
    longest = 1 + max(len(q.prompt) for q in evaluation) + max(map(len, labels))
    context, used = [encoder.bos], 0
    for demonstration in demonstrations:
        tokens = (*demonstration.prompt, *labels[demonstration.label], encoder.eos)
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
