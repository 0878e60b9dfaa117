"""A model of linear attention read as a real one: three settings, captured and measured.

Capture, parts, tally and ranks are those of the study; finetuning is a given step of every layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from empirical.calibration.construct import Prompted
from empirical.calibration.linear import LABELS, WORDS, LinearModel, stepped
from empirical.core.undefined import Number, Undefined
from empirical.inference.attention import Run
from empirical.inference.batches import Part, parts
from empirical.inference.forward import states
from empirical.inference.read_options import ReadOptions
from empirical.inference.recorder import QueryLog
from empirical.metrics.accumulate import MetricAccumulator
from empirical.metrics.dose import Captures
from empirical.metrics.kendall import attended, demonstration_tokens, example_kendall, token_kendall
from empirical.metrics.similarity import Array, Mask, Similarity, rec2ftp


@dataclass(frozen=True, kw_only=True, eq=False)
class Read:
    """Captures of the three settings, batch by batch, and Q' [L,N,H h] of the demonstrations."""

    episode: Prompted
    zsl: tuple[Part, ...]
    icl: tuple[Part, ...]
    ft: tuple[Part, ...]
    queries: Array

    def whole(self, setting: str) -> Part:
        """The batches of one setting as one, in the order of the queries."""
        return joined(getattr(self, setting))

    def scores(self) -> tuple[Array, Array]:
        """c and f [n,L,N] over the demonstrations' tokens."""
        kept = demonstration_tokens(self.episode.lengths)
        c, q = self.whole("icl").c, self.whole("ft").q
        assert c is not None and q is not None, "every query is recorded widely"
        return np.asarray(c[:, :, kept], dtype=np.float64), attended(self.queries, q)

    def captures(self) -> Captures:
        """What a dose curve is made of."""
        found = list(zip(self.zsl, self.icl, self.ft, strict=True))
        return Captures(batches=lambda: found, c=self.scores()[0], lengths=self.episode.lengths)


def joined(found: Sequence[Part]) -> Part:
    """Batches as one, in the order of the queries; all of them recorded widely or none."""
    order = np.argsort([i for p in found for i in p.index])

    def rows(name: str) -> np.ndarray:
        return np.concatenate([getattr(p, name) for p in found])[order]

    every = [x for p in found for x in p.m]
    first = Part(
        index=tuple(range(len(order))),
        labels=rows("labels"),
        scores=rows("scores"),
        h=rows("h"),
        m=[every[i] for i in order],
    )
    c, q = (None if getattr(found[0], k) is None else rows(k) for k in ("c", "q"))
    return replace(first, c=c, q=q)


def reading_of(episode: Prompted) -> ReadOptions:
    """Recorded at the query itself, which is where the model predicts."""
    return ReadOptions(labels=LABELS, words=WORDS, position="prompt", wide=len(episode.queries))


def zero_shot(model: LinearModel, episode: Prompted) -> tuple[Part, ...]:
    """BOS and the query."""
    return tuple(parts(model, episode.queries, reading_of(episode)))


def in_context(model: LinearModel, episode: Prompted) -> tuple[Part, ...]:
    """Behind the demonstrations, which were read once."""
    return tuple(parts(model, episode.queries, reading_of(episode), episode.context))


def finetuned(model: LinearModel, episode: Prompted, steps: Sequence[Tensor]) -> tuple[Part, ...]:
    """As zero-shot, with a step of every layer."""
    with stepped(model, steps):
        return zero_shot(model, episode)


def training_queries(model: LinearModel, episode: Prompted) -> Array:
    """Q' [L,N,H h] of the demonstrations' tokens as they reach each layer."""
    log = QueryLog(layers=model.n_layers)
    context = episode.context
    with torch.no_grad():
        states(model, Run(model.blocks, watch=log), [context], len(context))
    return log.stacked().numpy()[:, demonstration_tokens(episode.lengths) - 1]  # BOS dropped


def read(model: LinearModel, episode: Prompted, steps: Sequence[Tensor]) -> Read:
    """All three settings."""
    return Read(
        episode=episode,
        zsl=zero_shot(model, episode),
        icl=in_context(model, episode),
        ft=finetuned(model, episode, steps),
        queries=training_queries(model, episode),
    )


def similarities(found: Read, ranked: int | None = None) -> dict[str, Similarity]:
    """Every metric of the study's tally, and the ranks of the first `ranked` queries (None: all).

    Base lines that are drawn at random, which the tally has beside them, come from seed 0.
    """
    tally = MetricAccumulator(0)
    for z, i, f in zip(found.zsl, found.icl, found.ft, strict=True):
        tally.update(f.index, z, i, f)
    c, scores = (x[:ranked] for x in found.scores())
    return {
        **{name: tally.similarity(name) for name in tally.rows},
        "kendall": token_kendall(c, scores),
        "kendall_examples": example_kendall(c, scores, found.episode.lengths),
    }


def answers(found: Read) -> dict[str, Mask]:
    """Who is answered rightly [n], by setting."""
    parts_of = {k: found.whole(k) for k in ("zsl", "icl", "ft")}
    return {k: np.asarray(p.predictions == p.labels) for k, p in parts_of.items()}


def recall(found: Read) -> Number:
    """Rec2FTP, percent."""
    right = answers(found)
    made = rec2ftp(right["zsl"], right["icl"], right["ft"]).recall
    return made if isinstance(made, Undefined) else made.value
