"""Generated examples of the six tasks: a small grammar instead of a data file.

Every task has a lexicon of synonyms a class and shared filler words. A text is a draw of
class words and fillers in random order: most class words are of the text's own class, each of
the others is of another one, so that some texts are ambiguous and no reader is always right.
The fillers of a text are all of one of two settings, at home or out of doors. A setting says
nothing about the class, but `habitual_label` does as if it did: it is how the world of the
generated texts labels without looking, so that zero-shot answers can be better than chance and
biased, as those of large models are.

The three-way entailment task carries its class in the hypothesis alone, by certainty, negation
or hedging words (as the annotation artefacts of real entailment data partly do); it does not
test inference from the premise, and no report may say that it does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

HOME = "the a this with about one room table window door house story voice evening".split()
OUTDOORS = "that from under over after before street river road day morning hand two scene".split()

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

STARTS = "The A This That His Her Their Our My Every No Some".split()
ARTICLES = "the a this that his her their our my your its some every no any".split()
QUALITIES = (
    "old new good great small large long short little young early late white black red green "
    "blue dark light strong weak rich poor hard easy true whole first last next other same full "
    "empty high low deep near far hot cold warm cool quiet loud happy sad kind cruel wise foolish"
).split()
NOUNS = (
    "man woman child boy girl mother father friend people person world country city town house "
    "room door window street road garden tree river sea mountain sky sun moon star night day "
    "morning evening year week hour time place thing word name story book letter page line "
    "picture film movie play song music voice sound face hand eye head heart mind body life "
    "death war peace love hope fear work money price market company business government law "
    "school church king queen soldier doctor teacher student horse dog cat bird fish "
    "ship train car machine water fire air earth stone bread table chair bed lamp clock question "
    "answer idea reason problem part end side way kind number character actor director scene plot"
).split()
VERBS = (
    "is was has had does did said says came come went goes made makes took takes gave gives saw "
    "sees knew knows thought thinks found finds left leaves kept keeps held holds told tells "
    "asked asks felt feels became seemed stood sat ran walked looked turned moved lived worked "
    "played wrote read heard spoke opened closed began ended will would can could may might must "
    "should loved wanted needed used tried showed brought"
).split()
LINKS = "of in to for with on at by from into about after before under over through near".split()
JOINTS = "and but or because when while if as that which who so than then where".split()
PRONOUNS = "he she it they we you I one there what all".split()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How hard a text is.

    `words` in all, of which `class_words` are from the task's lexicon; each of those is of the
    text's own class with probability `purity`, else of another; `synonyms` of a class in use.
    """

    words: int = 8
    class_words: int = 5
    synonyms: int = 6
    purity: float = 0.8


def _words(
    task: str, label: int, shape: Shape, rng: np.random.Generator, fillers: Sequence[str]
) -> str:
    chosen = []
    for stray in rng.random(shape.class_words) >= shape.purity:
        others = len(LEXICON[task]) - 1
        shift = 1 + int(rng.integers(others)) if stray else 0
        lexicon = LEXICON[task][(label + shift) % (others + 1)][: shape.synonyms]
        chosen.append(lexicon[int(rng.integers(len(lexicon)))])
    noise = shape.words - shape.class_words
    chosen += [fillers[int(rng.integers(len(fillers)))] for _ in range(noise)]
    return " ".join(chosen[int(i)] for i in rng.permutation(len(chosen)))


def generate_row(
    task: str, label: int, rng: np.random.Generator, shape: Shape | None = None
) -> dict[str, str | int]:
    """One row of `task` with class `label`.

    Returns the columns of the task's template and the integer `label`.

    Raises:
        KeyError: `task` is none of the six.
    """
    fillers = OUTDOORS if rng.random() < 0.5 else HOME
    text = _words(task, label, shape or Shape(), rng, fillers)
    if task == "cb":
        premise = " ".join(fillers[int(rng.integers(len(fillers)))] for _ in range(3))
        return {"premise": premise + ".", "hypothesis": text, "label": label}
    return {"sentence" if task == "sst2" else "text": text, "label": label}


def habitual_label(task: str, row: Mapping[str, str | int]) -> int:
    """The class that the generated world gives a row unasked: the last one out of doors.

    Raises:
        KeyError: `task` is none of the six.
    """
    words = {w for key, text in row.items() if key != "label" for w in str(text).split()}
    return len(LEXICON[task]) - 1 if words & set(OUTDOORS) else int(row["label"])


def generate_rows(
    task: str,
    n: int,
    rng: np.random.Generator,
    shape: Shape | None = None,
    label: int | None = None,
) -> list[dict[str, str | int]]:
    """`n` independent rows of `task`, all of class `label` or, without it, of uniform classes.

    Raises:
        KeyError: `task` is none of the six.
    """
    classes = len(LEXICON[task])
    return [
        generate_row(task, int(rng.integers(classes)) if label is None else label, rng, shape)
        for _ in range(n)
    ]


def generate_prose(rng: np.random.Generator) -> str:
    """One plain English sentence of common words."""
    phrases = int(rng.integers(2, 5))

    def pick(words: Sequence[str]) -> str:
        return words[int(rng.integers(len(words)))]

    parts = [f"{pick(STARTS)} {pick(QUALITIES)} {pick(NOUNS)} {pick(VERBS)}"]
    for _ in range(phrases):
        parts.append(f"{pick(LINKS)} {pick(ARTICLES)} {pick(NOUNS)}")
        if rng.random() < 0.4:
            parts.append(f"{pick(JOINTS)} {pick(PRONOUNS)} {pick(VERBS)}")
    return " " + " ".join(parts) + pick((".", ".", ".", "!", "?"))
