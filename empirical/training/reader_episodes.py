"""Tokenizer, texts and batches of the reader: real rows as episodes with re-assigned label words.

An episode is BOS (prompt label EOS)^n as in the study. Its classes are those of a task, or books
of the corpus, or single words, and its label words are mostly drawn at random, so that they must be
read from the earlier inputs. No row of a held-out task is ever read, nor a row that the study shows
or chooses a rate on (`kept_apart`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from empirical.core.errors import UserError
from empirical.data.demonstrations import draw
from empirical.data.paper_tasks import LABEL_WORDS, TASKS, FolderSource, Row, Task
from empirical.data.prompts import encode_text, query
from empirical.models.decoder import TokenizerEncoder
from empirical.models.tokenizer import BOS, EOS, IGNORED, PAD, byte_level_bpe
from empirical.training.episodes import FULL

HELD_OUT = ("subj",)
FAMILIES = {"sentiment": ("sst2", "sst5", "mr"), "topic": ("agnews",), "inference": ("cb",)}
SEEDS, HELD_ROWS = (1, 2, 3), 100  # of the study's cells, whose rows are kept apart
MORE_LABELS = (
    "red blue green black white north south east west one two three four five six left right up "
    "down yes no true false light dark cold warm old new young day night sun moon king queen dog "
    "cat horse bird tree stone water fire gold silver"
).split()
OWN_WORDS = 0.25  # share of a task's episodes that keep its own label words
DROPPED = 0.1  # share of the tokens of a text that an episode leaves out
VOCABULARY = 4096


@dataclass(frozen=True, kw_only=True)
class ReaderStage:
    """One step of the curriculum; as `episodes.Stage`, over families of real texts.

    `odds` of the families; `crop`: the most tokens of a text (0: all); `fillers`: the most words
    around a single word. `tokens` of a batch; `rate` times the recipe's. `direct`: single rows a
    step; `guided`: the weight of the loss that shows two layers where to look, `kept`: of the loss
    that keeps the first layers to their own row (`empirical.training.reader`). It ends at
    `threshold` or after `steps` steps.
    """

    odds: dict[str, float]
    trims: tuple[int, ...]
    classes: int
    inputs: tuple[int, int]
    tokens: int
    crop: int = 0
    fillers: int = 0
    threshold: float = 2.0
    steps: int = 0
    rate: float = 1.0
    direct: int = 32
    guided: float = 0.0
    kept: float = 0.0


_FIRST = {"word": 0.3, "sentiment": 0.4, "topic": 0.25, "inference": 0.05}
_MORE = {"word": 0.1, "sentiment": 0.45, "topic": 0.42, "inference": 0.03}
_REAL = {"word": 0.1, "book": 0.1, "sentiment": 0.4, "topic": 0.34, "inference": 0.06}
READER_STAGES = (
    ReaderStage(
        odds={"word": 1.0},
        trims=(0,),
        classes=2,
        inputs=(17, 17),
        tokens=4000,
        threshold=0.9,
        guided=1.0,
    ),
    ReaderStage(
        odds={"word": 1.0},
        trims=(0, 2, FULL),
        classes=3,
        inputs=(17, 17),
        tokens=4000,
        threshold=0.9,
        guided=1.0,
    ),
    ReaderStage(
        odds=_FIRST,
        trims=(FULL,),
        classes=2,
        inputs=(12, 20),
        tokens=2000,
        crop=32,
        direct=224,
        steps=700,
        guided=1.0,
    ),
    ReaderStage(
        odds=_FIRST,
        trims=(FULL,),
        classes=2,
        inputs=(12, 20),
        tokens=5000,
        crop=32,
        direct=64,
        steps=318,
        guided=1.0,
    ),
    ReaderStage(
        odds=_FIRST,
        trims=(FULL,),
        classes=2,
        inputs=(12, 20),
        tokens=5000,
        crop=32,
        direct=64,
        steps=250,
        guided=1.0,
        kept=1.0,
    ),
    ReaderStage(
        odds=_MORE,
        trims=(FULL,),
        classes=2,
        inputs=(12, 20),
        tokens=6000,
        crop=32,
        guided=3.0,
        kept=1.0,
        steps=600,
    ),
    ReaderStage(
        odds=_REAL,
        trims=(FULL,),
        classes=4,
        inputs=(12, 24),
        tokens=6500,
        guided=0.5,
        kept=0.5,
        fillers=1,
        steps=350,
    ),
    ReaderStage(
        odds=_REAL, trims=(FULL,), classes=5, inputs=(16, 34), tokens=6500, fillers=1, steps=350
    ),
)


def kept_apart(source: FolderSource, task: Task, train: Sequence[Row]) -> set[int]:
    """Places of the training rows that the study shows, or chooses a rate on, with its seeds.

    Of a small task (under a thousand rows) only those that are shown.
    """
    places = {id(row): i for i, row in enumerate(train)}
    found: set[int] = set()
    for seed in SEEDS:
        drawn = draw(source, task, train, seed, task.k)
        extra = drawn.left[:HELD_ROWS] if len(train) >= 1000 else ()
        found |= {places[id(row)] for row in (*drawn.offered, *extra)}
    return found


@dataclass(frozen=True, kw_only=True)
class Texts:
    """What a reader may read: rows of every training task, and books by title."""

    rows: dict[str, list[Row]]
    books: dict[str, str]

    def all_text(self) -> list[str]:
        """Everything, for the tokenizer."""
        lines = [
            TASKS[name].template.format(**row.fields)
            for name, rows in self.rows.items()
            for row in rows
        ]
        for book in self.books.values():
            lines += book.split("\n")
        return lines


def read_texts(data: Path) -> Texts:
    """Rows of the training tasks and books of the training split of the corpus in `data`.

    Raises:
        UserError: for a folder without them.
    """
    source = FolderSource(path=data)
    rows = {}
    for name in (n for names in FAMILIES.values() for n in names):
        train = source.rows(TASKS[name], "train")
        apart = kept_apart(source, TASKS[name], train)
        rows[name] = [row for i, row in enumerate(train) if i not in apart]
    listing = data / "corpus" / "meta.json"
    try:
        listed = json.loads(listing.read_text(encoding="utf-8"))["files"]
        chosen = sorted(name for name, f in listed.items() if f["split"] == "train")
        books = {f: (data / "corpus" / f).read_text(encoding="utf-8") for f in chosen}
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"expected a list of books with file and split in {listing}, and the books beside it, "
            f"got {type(error).__name__}: {error}; pass the folder of the corpus and the tasks"
        ) from error
    return Texts(rows=rows, books=books)


def build_tokenizer(texts: Texts) -> PreTrainedTokenizerFast:
    """A byte-level BPE of the texts; label words with a leading space are single tokens."""
    lines = [" " + " ".join((*LABEL_WORDS, *MORE_LABELS))] * 2000 + texts.all_text()
    return byte_level_bpe(lines, VOCABULARY)


@dataclass(frozen=True, kw_only=True)
class Episode:
    """Token ids and, at the places of labels (IGNORED elsewhere), three kinds of targets.

    `targets`: the label, where its class was shown before; `late`: those of the second half under
    the longest template; `own`: the task's own word for the class, or a single word itself.
    """

    ids: list[int]
    targets: list[int]
    late: list[int]
    own: list[int]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Episodes of one family, right-padded: every tensor [B,T]."""

    family: str
    ids: Tensor
    targets: Tensor
    late: Tensor
    own: Tensor


@dataclass(frozen=True, kw_only=True)
class Form:
    """Tokens before and behind the text of a prompt."""

    head: tuple[int, ...]
    tail: tuple[int, ...]


class ReaderEpisodes:
    """Draws batches of episodes, single rows, prose and words read twice."""

    def __init__(self, texts: Texts, tokenizer: PreTrainedTokenizerFast) -> None:
        self.encoder = TokenizerEncoder(tokenizer=tokenizer.backend_tokenizer, bos=BOS, eos=EOS)
        self.rng = np.random.default_rng(0)
        self.labels = [self._one(word) for word in (*LABEL_WORDS, *MORE_LABELS)]
        self.forms: dict[str, Form] = {}
        self.bodies: dict[str, list[list[list[int]]]] = {}
        for name, rows in texts.rows.items():
            self._add_task(name, rows)
        self.books = [self._sentences(book) for book in texts.books.values()]
        self.stream = np.array([t for book in self.books for s in book for t in s])
        words = {w for book in texts.books.values() for w in re.findall(r" [a-z]{3,8}(?= )", book)}
        single = [t for w in sorted(words) if len(t := self.encoder.encode(w)) == 1]
        self.words = [t[0] for t in single if t[0] not in self.labels]

    def _one(self, word: str) -> int:
        tokens = self.encoder.encode(" " + word)
        if len(tokens) != 1:
            raise UserError(f"expected one token for the label word {word!r}, got {tokens}")
        return tokens[0]

    def _add_task(self, name: str, rows: Sequence[Row]) -> None:
        task = TASKS[name]
        last = task.columns[-1]
        before, after = task.template.split("{" + last + "}")
        before = before.split("}")[-1].rstrip(" ")
        form = Form(head=encode_text(self.encoder, before), tail=encode_text(self.encoder, after))
        bodies: list[list[list[int]]] = [[] for _ in task.labels]
        for row in rows:
            prompt = query(self.encoder, task, row).prompt
            start = 0 if len(task.columns) > 1 else len(form.head)
            bodies[row.label].append(list(prompt[start : len(prompt) - len(form.tail)]))
        if len(task.columns) > 1:
            form = Form(head=(), tail=form.tail)
        self.forms[name], self.bodies[name] = form, bodies

    def _sentences(self, book: str) -> list[list[int]]:
        pieces = [p for p in re.split(r"(?<=[.!?;])\s+", book) if len(p.split()) >= 4]
        return [list(encode_text(self.encoder, " " + p)) for p in pieces]

    def _cut(self, tokens: Sequence[int], most: int) -> list[int]:
        """At most `most` tokens in a row (0: all), some of them left out."""
        if most and len(tokens) > most:
            start = int(self.rng.integers(len(tokens) - most + 1))
            tokens = tokens[start : start + most]
        kept = self.rng.random(len(tokens)) >= DROPPED
        return [t for t, k in zip(tokens, kept, strict=True) if k] or list(tokens[:1])

    def _text(self, family: str, name: str, one: int, stage: ReaderStage) -> list[int]:
        """A text of class `one`: a word's id, a book's number or a task's class."""
        if family == "word":
            count = int(self.rng.integers(stage.fillers + 1))
            around = [self.words[int(i)] for i in self.rng.integers(len(self.words), size=count)]
            around.insert(int(self.rng.integers(count + 1)), one)
            return around
        if family == "book":
            sentences = self.books[one]
            return self._cut(sentences[int(self.rng.integers(len(sentences)))], stage.crop or 60)
        rows = self.bodies[name][one]
        return self._cut(rows[int(self.rng.integers(len(rows)))], stage.crop)

    def episode(self, stage: ReaderStage, family: str, n: int) -> Episode:
        """`n` inputs of one task, book pair or set of words."""
        rng = self.rng
        names = FAMILIES.get(family) or tuple(self.forms)
        name = names[int(rng.integers(len(names)))]
        words = [self.labels[int(i)] for i in rng.permutation(len(self.labels))]
        labels = [self._one(word) for word in TASKS[name].labels] if family in FAMILIES else []
        own = family in FAMILIES and rng.random() < OWN_WORDS
        if own:
            words = labels
        every = {
            "word": self.words,
            "book": range(len(self.books)),
        }.get(family)
        every = range(len(TASKS[name].labels)) if every is None else every
        count = int(rng.integers(2, max(2, min(stage.classes, len(every))) + 1))
        classes = [int(every[int(i)]) for i in rng.choice(len(every), size=count, replace=False)]
        form = self.forms[name]
        ids, targets, late, named = [BOS], [IGNORED], [IGNORED], [IGNORED]
        seen: set[int] = set()
        for i, trim in enumerate(rng.choice(stage.trims, size=n)):
            place = int(rng.integers(count))
            one = classes[place]
            body = self._text(family, name, one, stage)
            head = form.head[max(0, len(form.head) - int(trim)) :] if trim else ()
            tail = form.tail[max(0, len(form.tail) - int(trim)) :] if trim else ()
            prompt = [*head, *body, *tail]
            word = words[one] if own else words[place]
            goal = word if one in seen or own else IGNORED
            ids += [*prompt, word, EOS]
            targets += [*[IGNORED] * len(prompt), goal, IGNORED]
            hard = goal if trim == max(stage.trims) and 2 * i >= n and not own else IGNORED
            late += [*[IGNORED] * len(prompt), hard, IGNORED]
            alone = one if family == "word" else labels[one] if labels else IGNORED
            named += [*[IGNORED] * len(prompt), alone, IGNORED]
            seen.add(one)
        return Episode(ids=ids, targets=targets, late=late, own=named)

    def batch(self, stage: ReaderStage) -> Batch:
        """About `stage.tokens` tokens of one family, drawn by the stage's odds."""
        names = list(stage.odds)
        family = names[int(self.rng.choice(len(names), p=list(stage.odds.values())))]
        n = int(self.rng.integers(stage.inputs[0], stage.inputs[1] + 1))
        drawn = [self.episode(stage, family, n)]
        count = max(3, stage.tokens // len(drawn[0].ids))
        drawn += [self.episode(stage, family, n) for _ in range(1, count)]
        return Batch(
            family=family,
            ids=padded([e.ids for e in drawn], PAD),
            targets=padded([e.targets for e in drawn], IGNORED),
            late=padded([e.late for e in drawn], IGNORED),
            own=padded([e.own for e in drawn], IGNORED),
        )

    def direct(self, rows: int, crop: int) -> tuple[Tensor, Tensor]:
        """Single rows under their own label words: ids and targets [rows,T]."""
        ids, targets = [], []
        names = ("sst2", "sst5", "mr", "agnews", "cb")
        for name in self.rng.choice(names, p=(0.3, 0.2, 0.3, 0.17, 0.03), size=rows):
            bodies, form = self.bodies[name], self.forms[name]
            label = int(self.rng.integers(len(bodies)))
            body = self._cut(bodies[label][int(self.rng.integers(len(bodies[label])))], crop)
            word = self._one(TASKS[name].labels[label])
            prompt = [BOS, *form.head, *body, *form.tail]
            ids.append([*prompt, word])
            targets.append([*[IGNORED] * len(prompt), word])
        return padded(ids, PAD), padded(targets, IGNORED)

    def repeated(self, rows: int, length: int) -> Tensor:
        """Random words, and the same once more: ids [rows,1+2 length], BOS first."""
        pool = np.array([*self.words, *self.labels])
        drawn = self.rng.choice(pool, size=(rows, length))
        first = np.full((rows, 1), BOS)
        return torch.tensor(np.concatenate([first, drawn, drawn], axis=1))

    def prose(self, rows: int, length: int) -> Tensor:
        """Windows of the books: ids [rows,length], BOS first."""
        starts = self.rng.integers(len(self.stream) - length, size=rows)
        return torch.tensor([[BOS, *self.stream[s : s + length - 1]] for s in starts])


def padded(rows: Sequence[Sequence[int]], filler: int) -> Tensor:
    """Rows padded on the right to the longest."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows])
