"""What the comparison of trained models holds: the numbers of tables 6 and 7, with intervals.

Losses are natural logarithms per token, lower is better; accuracies are percentages. Values only;
`empirical.analysis.momentum.compare` fills them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from empirical.analysis.comparisons import Comparison
from empirical.analysis.intervals import Estimate
from empirical.core.undefined import Number
from empirical.results.attention_kinds import PLAIN, Layer
from empirical.results.language_models import VALIDATION, Equal

MEAN = "mean"  # the task of `AtScale.means`


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A value and its 95 % interval, where no mean of it is taken any more."""

    value: Number
    low: Number
    high: Number


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One layer of a scale: its seeds, those of the scale that it lacks, and whether it was chosen.

    `choosing`: mean loss on the windows that choose eta. `chosen`: the lowest of its kind there,
    over the seeds that all etas of the kind share; plain attention is chosen always, a learned eta
    never. `rates`: the learned etas by seed, layer and head.
    """

    layer: Layer
    seeds: tuple[int, ...]
    lacks: tuple[int, ...]
    choosing: Number
    chosen: bool
    rates: Mapping[int, tuple[tuple[float, ...], ...]]


@dataclass(frozen=True, kw_only=True)
class Language:
    """Table 6, one cell: a layer on the windows `PLACE-LENGTH`, and against plain attention.

    `difference`: its loss less that of plain attention, window by window and seed by seed (below 0:
    better than plain); `percent`: the same, of plain attention's perplexity. Both undefined, with
    the reason, for plain attention itself.
    """

    place: str
    length: int
    layer: Layer
    windows: int
    loss: Estimate
    perplexity: Interval
    difference: Estimate
    percent: Interval

    @property
    def text(self) -> str:
        """`validation-256`."""
        return f"{self.place}-{self.length}"


@dataclass(frozen=True, kw_only=True)
class Learning:
    """Table 7, one cell: a layer on a task (or the mean over `tasks`), in percent and points.

    `gain`: in context less zero-shot. `difference`: in context less plain attention in context, row
    by row; `zero_shot_difference`: the same without demonstrations. `k`: how many demonstrations
    fitted, by seed; `classes`: the most answers of a row. `absent`: why there is nothing.
    """

    task: str
    tasks: tuple[str, ...]
    layer: Layer
    k: Mapping[int, int]
    classes: int
    rows: int
    accuracy: Estimate
    zero_shot: Estimate
    gain: Estimate
    difference: Estimate
    zero_shot_difference: Estimate
    absent: str | None = None


@dataclass(frozen=True, kw_only=True)
class AtScale:
    """All models of one scale.

    `entries`: plain attention first, then kinds in the order of `KINDS`, etas rising, learned ones
    last. `language`: every entry on every text. `learning`: plain attention, the chosen eta of
    every kind, and learned etas, on every task; `means`: their means over the tasks that all of
    them were scored on. `comparisons`: what the verdicts are made of (metrics "momentum", in
    points, and "momentum_language", in percent of perplexity; above 0: momentum is better).
    `left_out`: tasks that say nothing of momentum, with the reason. `unchosen`: kinds without an
    eta chosen, with the reason.
    """

    scale: str
    length: int
    seeds: tuple[int, ...]
    equal: Mapping[int, Equal]
    entries: tuple[Entry, ...]
    language: tuple[Language, ...]
    learning: tuple[Learning, ...]
    means: tuple[Learning, ...]
    comparisons: tuple[Comparison, ...]
    left_out: Mapping[str, str]
    unchosen: Mapping[str, str]

    @property
    def chosen(self) -> Mapping[str, Layer]:
        """The layer chosen of each kind, plain attention among them."""
        return {e.layer.kind: e.layer for e in self.entries if e.chosen}

    @property
    def tasks(self) -> tuple[str, ...]:
        """Each once."""
        return tuple(dict.fromkeys(x.task for x in self.learning))

    @property
    def texts(self) -> tuple[str, ...]:
        """Each once, as `Language.text`."""
        return tuple(dict.fromkeys(x.text for x in self.language))

    def on_text(self, text: str) -> tuple[Language, ...]:
        """Every layer on one text."""
        return tuple(x for x in self.language if x.text == text)

    def on_task(self, task: str) -> tuple[Learning, ...]:
        """Plain attention and every chosen or learned layer on one task, or on their mean."""
        return tuple(x for x in (*self.learning, *self.means) if x.task == task)

    def against_eta(self, kind: str, text: str | None = None) -> tuple[Language, ...]:
        """A kind at its fixed etas, rising; on the held-out books at full length if not told."""
        where = text or f"{VALIDATION}-{self.length}"
        return tuple(
            x
            for x in self.on_text(where)
            if x.layer.kind == kind and kind != PLAIN and not x.layer.learned
        )


@dataclass(frozen=True, kw_only=True)
class Momentum:
    """Every scale, the smallest model first."""

    scales: tuple[AtScale, ...]

    def of(self, scale: str) -> AtScale:
        """One scale.

        Raises:
            KeyError: when it was not run.
        """
        for one in self.scales:
            if one.scale == scale:
                return one
        raise KeyError(scale)
