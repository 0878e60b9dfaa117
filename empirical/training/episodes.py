"""The curriculum of the embedded GPT: tokenizer, stages, and batches of generated episodes.

An episode is BOS (prompt label EOS)^n as in the study, its label words mostly re-assigned at
random, so that they must be read from the earlier inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from empirical.data.paper_tasks import LABEL_WORDS, TASKS
from empirical.data.synthetic import Shape, generate_prose, generate_rows, habitual_label
from empirical.models.tokenizer import BOS, EOS, IGNORED, PAD, byte_level_bpe

OWN_WORDS = 0.2  # share of episodes that keep the task's own label words
FULL = 99


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One step of the curriculum.

    Every input of an episode shows at most `trim` template tokens on each side, each drawing its
    own `trim` from `trims` (FULL is the whole template): a mixture, so that reading a longer
    template as a query and reading it as a demonstration can be learned one after the other.
    `inputs` is the range of inputs an episode and `tokens` about the number of tokens a batch.
    The stage ends when the running accuracy exceeds `threshold`, or after `steps` steps where that
    is positive. `language` weighs the loss on all tokens but labels, beside that on labels.
    """

    shape: Shape
    trims: tuple[int, ...]
    classes: int
    inputs: tuple[int, int] = (17, 17)
    tokens: int = 6000
    threshold: float = 2.0
    steps: int = 0
    prose: bool = False
    language: float = 0.0


STAGES = (
    Stage(
        shape=Shape(words=1, class_words=1, synonyms=1, purity=1.0),
        trims=(0,),
        classes=2,
        threshold=0.9,
    ),
    Stage(
        shape=Shape(words=1, class_words=1, synonyms=1, purity=1.0),
        trims=(0, 0, 1),
        classes=3,
        threshold=0.85,
    ),
    Stage(
        shape=Shape(words=1, class_words=1, synonyms=1, purity=1.0),
        trims=(0, 1, 1, 2, 4),
        classes=3,
        threshold=0.85,
    ),
    Stage(
        shape=Shape(words=1, class_words=1, synonyms=2, purity=1.0),
        trims=(1, 4, FULL),
        classes=3,
        threshold=0.85,
    ),
    Stage(
        shape=Shape(words=1, class_words=1, purity=1.0),
        trims=(2, FULL, FULL),
        classes=5,
        threshold=0.75,
    ),
    Stage(
        shape=Shape(words=2, class_words=2, purity=1.0),
        trims=(2, FULL, FULL, FULL),
        classes=5,
        threshold=0.75,
    ),
    Stage(
        shape=Shape(words=4, class_words=3, purity=1.0), trims=(FULL,), classes=5, threshold=0.75
    ),
    Stage(
        shape=Shape(), trims=(FULL,), classes=5, inputs=(8, 34), tokens=8000, steps=3000, prose=True
    ),
    Stage(
        shape=Shape(),
        trims=(FULL,),
        classes=5,
        inputs=(8, 34),
        tokens=8000,
        steps=1500,
        prose=True,
        language=0.3,
    ),
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE trained on generated text; label words with a leading space are single."""
    rng = np.random.default_rng(0)
    lines = [" " + " ".join(LABEL_WORDS)] * 200
    for name, task in TASKS.items():
        for row in generate_rows(name, 3000, rng):
            fields = {key: value for key, value in row.items() if key != "label"}
            lines.append(task.template.format(**fields) + " " + task.labels[int(row["label"])])
    lines += [generate_prose(rng) for _ in range(6000)]
    return byte_level_bpe(lines, 2000)


class Episodes:
    """Draws batches of episodes as token ids [B, T] and label targets [B, T].

    A text's tokens are its words' tokens one after another, as the pre-tokeniser splits at
    spaces and punctuation; `tests/empirical/training/test_embedded.py` compares with the study's
    own packing.
    """

    GROUPS = (("sst2", "sst5", "mr", "subj"), ("agnews",), ("cb",))
    GROUP_ODDS = (0.6, 0.2, 0.2)

    def __init__(self, tokenizer: PreTrainedTokenizerFast, rng: np.random.Generator) -> None:
        self.tokenizer, self.rng = tokenizer, rng
        self.pieces: dict[str, tuple[int, ...]] = {}
        self.labels = [self.encode(" " + word)[0] for word in LABEL_WORDS]

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of `text`, cached (only single words and template parts come here)."""
        if text not in self.pieces:
            self.pieces[text] = tuple(self.tokenizer.encode(text, add_special_tokens=False))
        return self.pieces[text]

    def _words(self, words: Sequence[str]) -> list[int]:
        return [token for word in words for token in self.encode(" " + word)]

    def prompt(self, name: str, row: dict[str, str | int], trim: int) -> list[int]:
        """Tokens of one prompt with at most `trim` template tokens on either side."""
        template = TASKS[name].template
        field = "hypothesis" if name == "cb" else "sentence" if name == "sst2" else "text"
        before, after = template.split(" {" + field + "}")
        head: list[int] = []
        if name == "cb":
            first, *rest = str(row["premise"]).rstrip(".").split()
            head += [*self.encode(first), *self._words(rest), *self.encode(".")]
            before = before.removeprefix("{premise}")
            if trim < FULL:
                head += self.encode(before)
            else:
                before = "." + before
                head = [*self.encode(first), *self._words(rest), *self.encode(before)]
        else:
            head += self.encode(before)
        tail = self.encode(after)
        body = self._words(str(row[field]).split())
        if trim == 0:
            return body
        return [*head[-trim:], *body, *tail[-trim:]]

    def episode(self, stage: Stage, name: str, n: int) -> tuple[list[int], list[int], list[int]]:
        """Ids, targets and hard targets of one episode of `n` inputs.

        A target stands where the label's class has been shown before in the episode; where it
        has not, nothing could tell the label word. The first input of an episode with the task's
        own label words is a target too, with its habitual label. Hard are the targets of the
        second half under the longest template of the stage.
        """
        own = [self.encode(" " + word)[0] for word in TASKS[name].labels]
        classes = self.rng.permutation(len(own))[: stage.classes]
        words = own
        if self.rng.random() >= OWN_WORDS:
            words = [self.labels[int(i)] for i in self.rng.permutation(len(self.labels))]
        ids, targets, hard = [BOS], [IGNORED], [IGNORED]
        seen: set[int] = set()
        trims = self.rng.choice(stage.trims, size=n)
        for i, trim in enumerate(trims):
            label = int(classes[int(self.rng.integers(len(classes)))])
            row = generate_rows(name, 1, self.rng, stage.shape, label)[0]
            prompt = self.prompt(name, row, int(trim))
            ids += [*prompt, words[label], EOS]
            goal = words[label] if label in seen else IGNORED
            if i == 0 and words is own:
                goal = own[habitual_label(name, row)]
            late = goal if trim == max(stage.trims) and 2 * i >= n else IGNORED
            targets += [*[IGNORED] * len(prompt), goal, IGNORED]
            hard += [*[IGNORED] * len(prompt), late, IGNORED]
            seen.add(label)
        return ids, targets, hard

    def batch(self, stage: Stage) -> tuple[Tensor, Tensor, Tensor]:
        """Right-padded ids, targets and hard targets [B, T]."""
        group = self.GROUPS[int(self.rng.choice(len(self.GROUPS), p=self.GROUP_ODDS))]
        low, high = stage.inputs
        n = int(self.rng.integers(low, high + 1))
        drawn = [self.episode(stage, group[0], n)]
        count = max(8, stage.tokens // len(drawn[0][0]))
        drawn += [self.episode(stage, group[i % len(group)], n) for i in range(1, count)]
        longest = max(len(ids) for ids, _, _ in drawn)

        def padded(rows: Sequence[list[int]], filler: int) -> Tensor:
            return torch.tensor([r + [filler] * (longest - len(r)) for r in rows])

        ids, targets, hard = zip(*drawn, strict=True)
        return padded(ids, PAD), padded(targets, IGNORED), padded(hard, IGNORED)

    def prose(self, rows: int, length: int) -> Tensor:
        """Plain generated sentences, ids [rows, length]."""
        drawn = []
        for _ in range(rows):
            ids = [BOS]
            while len(ids) < length:
                ids += self.encode_prose(generate_prose(self.rng))
                ids.append(EOS)
            drawn.append(ids[:length])
        return torch.tensor(drawn)

    def encode_prose(self, text: str) -> list[int]:
        """Token ids of one sentence, not cached."""
        return list(self.tokenizer.encode(text, add_special_tokens=False))
