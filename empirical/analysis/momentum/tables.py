"""Windows and answers of matched runs as tables [S,n] for the estimates. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from empirical.analysis.momentum.matching import PLAIN_LAYER, Matched
from empirical.analysis.ratio_estimators import RatioTable, mean_of, quotients_of
from empirical.metrics.similarity import Array
from empirical.results.attention_kinds import Layer
from empirical.results.language_models import Scores

PERCENT = 100.0
NO_PLAIN = "there is no model with plain attention and a seed of this one"
ITSELF = "this is plain attention itself"


def losses(runs: Matched, layer: Layer, seeds: Sequence[int], text: str) -> Array:
    """Loss of every window [S,n]."""
    return np.array([runs.runs[layer][s].losses[text] for s in seeds], dtype=np.float64)


def loss(runs: Matched, layer: Layer, text: str) -> RatioTable:
    """Mean loss over windows and all seeds of a layer."""
    return mean_of(losses(runs, layer, sorted(runs.runs[layer]), text))


def loss_gap(
    runs: Matched, layer: Layer, other: Layer, text: str, scale: float = 1.0
) -> RatioTable | str:
    """`scale` times a layer's loss less another's, window by window, over their common seeds."""
    seeds = runs.shared(layer, other)
    if layer == other:
        return ITSELF
    if not seeds:
        return NO_PLAIN if other == PLAIN_LAYER else f"no seed of {layer.name} and {other.name}"
    return mean_of(scale * (losses(runs, layer, seeds, text) - losses(runs, other, seeds, text)))


@dataclass(frozen=True, kw_only=True)
class Answered:
    """Whether a layer answers each row of a task rightly, in context and without: [S,n]."""

    scores: Mapping[int, Scores]

    def right(self, seeds: Sequence[int], zero_shot: bool = False) -> Array:
        """1 where the chosen class is the right one, otherwise 0."""
        rows = [
            np.equal(x.zero_shot if zero_shot else x.in_context, x.gold)
            for x in (self.scores[s] for s in seeds)
        ]
        return np.array(rows, dtype=np.float64)

    def accuracy(self, zero_shot: bool = False) -> RatioTable:
        """In percent, over all seeds."""
        right = self.right(sorted(self.scores), zero_shot)
        return quotients_of([(right, np.ones_like(right), PERCENT)])

    def gain(self) -> RatioTable:
        """Points in context above zero-shot, row by row."""
        seeds = sorted(self.scores)
        return mean_of(PERCENT * (self.right(seeds) - self.right(seeds, zero_shot=True)))


def answered(runs: Matched, layer: Layer, task: str) -> Answered | str:
    """The answers of a layer, or why there are none."""
    if layer not in runs.runs:
        return NO_PLAIN if layer == PLAIN_LAYER else f"no model with {layer.name}"
    found = runs.scores(layer, task)
    if isinstance(found, str):
        return found
    if not next(iter(found.values())).gold:
        return "no row was asked"
    return Answered(scores=found)


def accuracy_gap(
    a: Answered | str, b: Answered | str, *, zero_shot: bool = False
) -> RatioTable | str:
    """Points of `a` above `b`, row by row, over their common seeds."""
    for one in (a, b):
        if isinstance(one, str):
            return one
    assert isinstance(a, Answered) and isinstance(b, Answered)  # seen above
    seeds = sorted(set(a.scores) & set(b.scores))
    if not seeds:
        return "no common seed"
    return mean_of(PERCENT * (a.right(seeds, zero_shot) - b.right(seeds, zero_shot)))
