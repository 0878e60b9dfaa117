"""Text to train on and to measure on: books -> byte-level BPE -> windows of tokens.

Sources: a folder of books with `meta.json` (each file's split), a folder of .txt files (the last
tenth by name is held out), `hub:OWNER/NAME` with a column `text`, or `generated`: sentences and
episodes of the package's own grammar, which need no file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from empirical.core import random_streams
from empirical.core.errors import UserError
from empirical.data.paper_tasks import LABEL_WORDS, TASKS
from empirical.data.synthetic import LEXICON, generate_prose, generate_rows
from empirical.models.tokenizer import BOS, EOS, byte_level_bpe

GENERATED, HUB = "generated", "hub:"
CHOOSING = 20  # every so many training windows one is kept apart, to choose eta on
Ids = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Books:
    """Texts to train on and texts held out."""

    name: str
    training: tuple[str, ...]
    validation: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Windows:
    """BOS and `length` tokens each: to train on, to choose on [n, length + 1], and held-out tokens.

    `sha256`: of the tokenizer and of all tokens.
    """

    name: str
    tokenizer: PreTrainedTokenizerFast
    training: Ids
    choosing: Ids
    held_out: Ids
    sha256: str

    def validation(self, length: int, most: int) -> Ids:
        """The first `most` tokens that were held out as windows of BOS and `length` tokens."""
        return cut(self.held_out[:most], length)


def read_books(source: str) -> Books:
    """The books of a source.

    Raises:
        UserError: for a source without text for both uses.
    """
    if source == GENERATED:
        books = generated_books()
    elif source.startswith(HUB):
        books = _from_hub(source.removeprefix(HUB))
    else:
        books = _from_folder(Path(source))
    for use, texts in (("train on", books.training), ("hold out", books.validation)):
        if not any(text.strip() for text in texts):
            raise UserError(
                f"expected text to {use} in {source}, got none; pass a folder of .txt files, two "
                "or more of them, with --text DIR"
            )
    return books


def _from_folder(folder: Path) -> Books:
    listing = folder / "meta.json"
    if listing.is_file():
        return _listed(folder, listing)
    files = sorted(folder.glob("*.txt"))
    if len(files) < 2:
        raise UserError(
            f"expected two or more .txt files in {folder}, or meta.json with the split of each, "
            f"got {len(files)}; pass another folder with --text DIR, or --text {GENERATED}"
        )
    kept = max(1, len(files) // 10)
    return Books(name=folder.name, training=_read(files[:-kept]), validation=_read(files[-kept:]))


def _listed(folder: Path, listing: Path) -> Books:
    try:
        listed = json.loads(listing.read_text(encoding="utf-8"))["files"]
        of = {
            use: [folder / n for n in sorted(listed) if listed[n]["split"] == use]
            for use in ("train", "validation")
        }
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"expected an object files with the split of each in {listing}, got "
            f"{type(error).__name__}: {error}; correct it, or remove it to hold out the last tenth"
        ) from error
    return Books(name=folder.name, training=_read(of["train"]), validation=_read(of["validation"]))


def _read(files: Sequence[Path]) -> tuple[str, ...]:
    try:
        return tuple(file.read_text(encoding="utf-8") for file in files)
    except ValueError as error:
        raise UserError(
            f"expected text in UTF-8 in {files[0].parent}, got {error}; convert it"
        ) from error


def _from_hub(name: str) -> Books:
    import datasets

    try:
        found = datasets.load_dataset(name)
        splits = {use: tuple(found[use]["text"]) for use in ("train", "validation")}
    except Exception as error:
        raise UserError(
            f"expected a data set {name} with splits train and validation and a column text, got "
            f"{type(error).__name__}: {error}; pass another, or a folder with --text DIR"
        ) from error
    return Books(name=name, training=splits["train"], validation=splits["validation"])


def generated_books(books: int = 14, parts: int = 250) -> Books:
    """Books of sentences and of episodes with re-assigned label words; the last two held out."""
    texts = []
    for book in range(books):
        rng = random_streams.generator(random_streams.GENERATED_BOOKS, book)
        texts.append("\n".join(_part(rng) for _ in range(parts)))
    return Books(name=GENERATED, training=tuple(texts[:-2]), validation=tuple(texts[-2:]))


def _part(rng: np.random.Generator) -> str:
    if rng.random() < 0.3:
        return "\n".join(generate_prose(rng) for _ in range(8))
    task = TASKS[list(LEXICON)[int(rng.integers(len(LEXICON)))]]
    words = [LABEL_WORDS[int(i)] for i in rng.permutation(len(LABEL_WORDS))]
    rows = generate_rows(task.name, 8, rng)
    return "\n".join(f"{task.template.format(**r)} {words[int(r['label'])]}" for r in rows)


def cut(tokens: Ids, length: int) -> Ids:
    """Disjoint windows of BOS and `length` tokens [n, length + 1]; what is left over is dropped."""
    count = len(tokens) // length
    rows = tokens[: count * length].reshape(count, length)
    return np.concatenate([np.full((count, 1), BOS), rows], axis=1)


def _encoded(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> Ids:
    """All lines one after another, EOS behind each."""
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    found = tokenizer.backend_tokenizer.encode_batch(lines, add_special_tokens=False)
    return np.array([t for one in found for t in (*one.ids, EOS)], dtype=np.int64)


def windows(books: Books, vocabulary: int, length: int) -> Windows:
    """Tokens and windows of books; the tokenizer is trained on the training books alone.

    Raises:
        UserError: for text that is too short for a window of each use.
    """
    lines = [line for text in books.training for line in text.splitlines()]
    tokenizer = byte_level_bpe(lines, vocabulary)
    every = cut(_encoded(tokenizer, books.training), length)
    apart = np.arange(len(every)) % CHOOSING == CHOOSING - 1
    held_out = _encoded(tokenizer, books.validation)
    if len(every) < CHOOSING or len(held_out) < length:
        raise UserError(
            f"expected at least {CHOOSING * length} tokens to train on and {length} to hold out in "
            f"{books.name}, got {len(every) * length} and {len(held_out)}; pass more text"
        )
    digest = hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode())
    for part in (every, held_out):
        digest.update(part.tobytes())
    return Windows(
        name=books.name,
        tokenizer=tokenizer,
        training=every[~apart],
        choosing=every[apart],
        held_out=held_out,
        sha256=digest.hexdigest(),
    )
