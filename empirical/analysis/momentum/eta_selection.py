"""Which eta of each kind is compared: that of the lowest loss on windows kept for the choice.

These windows are of training books and are neither trained on nor reported, so that the choice
leaves the held-out books alone. Every kind is chosen by the same rule; ties go to the smaller eta.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from empirical.analysis.momentum.matching import Matched
from empirical.analysis.momentum.outcome import Entry
from empirical.analysis.momentum.tables import losses
from empirical.core.undefined import Number, Undefined
from empirical.results.attention_kinds import PLAIN, Layer
from empirical.results.language_models import CHOOSING


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Mean loss of every layer on the choosing windows, and the layer chosen of each kind.

    `unchosen`: why a kind has none.
    """

    losses: Mapping[Layer, Number]
    chosen: Mapping[str, Layer]
    unchosen: Mapping[str, str]


def choose(runs: Matched) -> Choice:
    """Plain attention has nothing to choose; learned etas take no part."""
    found: dict[Layer, Number] = {}
    chosen: dict[str, Layer] = {}
    unchosen: dict[str, str] = {}
    for kind in dict.fromkeys(x.kind for x in runs.layers):
        layers = [x for x in runs.layers if x.kind == kind]
        swept = [x for x in layers if not x.learned]
        seeds = runs.shared(*swept)
        found |= {x: _mean(runs, x, tuple(runs.runs[x])) for x in layers if x.learned}
        found |= {x: _mean(runs, x, seeds) for x in swept}
        known = {x: y for x in swept if not isinstance(y := found[x], Undefined)}
        if kind == PLAIN:
            chosen[kind] = swept[0]
        elif not swept:
            unchosen[kind] = "all etas were learned: there is nothing to choose from"
        elif len(known) < len(swept):
            missing = next(y for x in swept if isinstance(y := found[x], Undefined))
            unchosen[kind] = missing.reason
        else:
            chosen[kind] = min(known, key=known.__getitem__)
    return Choice(losses=found, chosen=chosen, unchosen=unchosen)


def _mean(runs: Matched, layer: Layer, seeds: tuple[int, ...]) -> Number:
    text = f"{CHOOSING}-{runs.length}"
    if text not in runs.every[0].losses:
        return Undefined(f"no loss on {text}, the windows that choose eta")
    if not seeds:
        return Undefined("the etas of this kind have no seed in common")
    return float(losses(runs, layer, seeds, text).mean())


def entries(runs: Matched, choice: Choice) -> tuple[Entry, ...]:
    """Every layer, plain attention first."""
    taken = set(choice.chosen.values())
    return tuple(
        Entry(
            layer=x,
            seeds=tuple(sorted(runs.runs[x])),
            lacks=tuple(s for s in runs.seeds if s not in runs.runs[x]),
            choosing=choice.losses[x],
            chosen=x in taken,
            rates={s: r.rates for s, r in sorted(runs.runs[x].items()) if r.rates},
        )
        for x in runs.layers
    )
