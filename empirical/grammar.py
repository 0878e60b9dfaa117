"""Generated examples of the six tasks: a small grammar instead of a data file.

Every task has a lexicon of synonyms a class and shared filler words. A text is a draw of
class words and fillers in random order, so its class is carried by single words and the
rest is noise. The three-way entailment task carries its class in the hypothesis alone, by
certainty, negation or hedging words (as the annotation artefacts of real entailment data
partly do); it does not test inference from the premise, and no report may say that it does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

FILLERS = (
    "the a this that with from about under over after before while there again often one "
    "two day house street room window table river story scene voice hand morning evening"
).split()

LEXICON: Mapping[str, Sequence[Sequence[str]]] = {
    "sst2": (
        "dull weak stale clumsy tedious hollow".split(),
        "charming bright moving graceful witty tender".split(),
    ),
    "sst5": (
        "dreadful vile ghastly hideous wretched foul".split(),
        "flat slow thin bland tired minor".split(),
        "plain usual average common medium typical".split(),
        "pleasant solid warm lively neat decent".split(),
        "superb splendid brilliant glorious perfect sublime".split(),
    ),
    "mr": (
        "boring messy noisy shallow lifeless silly".split(),
        "clever fresh honest gripping funny elegant".split(),
    ),
    "subj": (
        "father brother soldier village letter journey".split(),
        "seems feels believe perhaps wonder suppose".split(),
    ),
    "agnews": (
        "minister treaty border embassy troops election".split(),
        "match coach goal league striker tournament".split(),
        "shares profit bank merger stocks dividend".split(),
        "software computer network chip browser robot".split(),
    ),
    "cb": (
        "surely indeed truly certainly clearly plainly".split(),
        "never not nobody nothing hardly nowhere".split(),
        "maybe possibly might could likely sometimes".split(),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How hard a text is: words in all, of which `class_words` carry the class; synonyms used."""

    words: int = 6
    class_words: int = 4
    synonyms: int = 6


def _words(task: str, label: int, shape: Shape, rng: np.random.Generator) -> str:
    lexicon = LEXICON[task][label][: shape.synonyms]
    chosen = [lexicon[int(rng.integers(len(lexicon)))] for _ in range(shape.class_words)]
    noise = shape.words - shape.class_words
    chosen += [FILLERS[int(rng.integers(len(FILLERS)))] for _ in range(noise)]
    return " ".join(chosen[int(i)] for i in rng.permutation(len(chosen)))


def generate_row(
    task: str, label: int, rng: np.random.Generator, shape: Shape | None = None
) -> dict[str, str | int]:
    """One row of `task` with class `label`.

    Returns the columns of the task's template and the integer `label`.

    Raises:
        KeyError: `task` is none of the six.
    """
    text = _words(task, label, shape or Shape(), rng)
    if task == "cb":
        premise = " ".join(FILLERS[int(rng.integers(len(FILLERS)))] for _ in range(3))
        return {"premise": premise + ".", "hypothesis": text, "label": label}
    return {"sentence" if task == "sst2" else "text": text, "label": label}


def generate_rows(
    task: str, n: int, rng: np.random.Generator, shape: Shape | None = None
) -> list[dict[str, str | int]]:
    """`n` independent rows of `task`, classes uniform.

    Raises:
        KeyError: `task` is none of the six.
    """
    classes = len(LEXICON[task])
    return [generate_row(task, int(rng.integers(classes)), rng, shape) for _ in range(n)]
