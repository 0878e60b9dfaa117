"""What the printed tables alone allow to be said of the claims, by the rules of `docs/verdict.md`.

Each number is read against the control that it can be read against without a model: SimAOU against
its noise floor, Rec2FTP against bounds of its base rate, accuracies against zero-shot. Most of the
required controls were not printed, so that no claim can be supported by the tables alone. Source:
`empirical.analysis.published` (Dai et al., arXiv 2212.10559 v3, Tables 1 to 5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, floor, hypot

import numpy as np
from scipy import stats

from empirical.analysis.published import PUBLISHED, TASKS
from empirical.analysis.verdicts import CONTRADICTED, OPEN, SUPPORTED, UNTESTED, Status
from empirical.core.undefined import Undefined
from empirical.metrics.similarity import floor_at, proportion

# Examples behind the tables; the released code caps AGNews at 2000 (Table 1 prints 7600).
EVALUATED = {"sst2": 872, "sst5": 1101, "mr": 1066, "subj": 2000, "agnews": 2000, "cb": 56}
ACCURACY_ROUNDING = 0.05  # of a percentage with one digit
RECALL_ROUNDING = 0.005  # of one with two
EVERY = "all tasks"


@dataclass(frozen=True, kw_only=True)
class Printed:
    """One reading of printed numbers. `numbers`: what was computed, by name; percent or cosines."""

    claim: str
    model: str
    task: str
    status: Status
    numbers: Mapping[str, float]
    sentence: str


def readings() -> tuple[Printed, ...]:
    """Every reading, by claim, model and task."""
    cells = [(model, task) for model in PUBLISHED for task in TASKS]
    return (
        *(accuracy_gain(m, t, "ICL") for m, t in cells),
        *(accuracy_gain(m, t, "FT") for m, t in cells),
        *(recall(m, t) for m, t in cells),
        *(representation(m, t) for m, t in cells),
        attention(),
        tokens(),
    )


def newcombe(right: int, base: int, n: int) -> tuple[float, float, float]:
    """right/n - base/n in points with Newcombe's 95 % interval (Statistics in Medicine 17, 1998).

    As if the two were independent (his method 10). Both are of the same examples, which is printed
    of neither together; where the two agree more than by chance, the interval is too wide.
    """
    a, b = (proportion(k, n, "there is no example") for k in (right, base))
    assert not isinstance(a, Undefined) and not isinstance(b, Undefined), "n is positive"
    gap = a.value - b.value
    return (
        gap,
        gap - hypot(a.value - a.low, b.high - b.value),
        gap + hypot(a.high - a.value, b.value - b.low),
    )


def accuracy_gain(model: str, task: str, setting: str) -> Printed:
    """ICL or FT against ZSL: whether there is something to explain."""
    n = EVALUATED[task]
    score, base = (PUBLISHED[model][f"{x}_acc"][task] for x in (setting, "ZSL"))
    right, zero = (round(x * n / 100) for x in (score, base))
    gap, low, high = newcombe(right, zero, n)
    status = SUPPORTED if low > 0 else CONTRADICTED if high < 0 else OPEN
    words = {SUPPORTED: "above", CONTRADICTED: "below", OPEN: "not told from"}[status]
    return Printed(
        claim=f"{setting.lower()}_accuracy",
        model=model,
        task=task,
        status=status,
        numbers={"difference": gap, "low": low, "high": high, "examples": float(n)},
        sentence=f"{setting} answers {right} of {n} right, zero-shot {zero}: {words} zero-shot, by "
        f"{gap:.1f} [{low:.1f}, {high:.1f}] points.",
    )


def base_rate_bounds(
    zsl: float, icl: float, rounding: float = ACCURACY_ROUNDING
) -> tuple[float, float]:
    """All that accuracies (percent) say of P(ICL right | ZSL wrong), percent.

    Of the ICL answers that are right, at most ZSL are where zero-shot is right as well.
    """
    low = 100.0
    high = 0.0
    for z in (zsl - rounding, zsl + rounding):
        for i in (icl - rounding, icl + rounding):
            low = min(low, 100 * max(0.0, i - z) / (100 - z))
            high = max(high, 100 * min(1.0, i / (100 - z)))
    return low, high


def denominators(n: int, zsl: float, ft: float, printed: float) -> tuple[int, ...]:
    """Every #{ZSL wrong, FT right} that agrees with the accuracies and a printed recall."""
    least = max(1, ceil(n * (ft - zsl - 2 * ACCURACY_ROUNDING) / 100))
    most = floor(n * min(ft + ACCURACY_ROUNDING, 100 - zsl + ACCURACY_ROUNDING) / 100)
    slack = RECALL_ROUNDING * (1 + 1e-9)  # of a value printed half way between two
    return tuple(
        d
        for d in range(least, most + 1)
        if abs(100 * round(printed * d / 100) / d - printed) <= slack
    )


def recall(model: str, task: str) -> Printed:
    """Rec2FTP against the bounds of its base rate, its interval from the fewest examples."""
    row = {name: PUBLISHED[model][name][task] for name in ("ZSL_acc", "ICL_acc", "FT_acc")}
    printed = PUBLISHED[model]["Rec2FTP"][task]
    low, high = base_rate_bounds(row["ZSL_acc"], row["ICL_acc"])
    possible = denominators(EVALUATED[task], row["ZSL_acc"], row["FT_acc"], printed)
    if not possible:
        return Printed(
            claim="prediction",
            model=model,
            task=task,
            status=UNTESTED,
            numbers={"recall": printed, "base_low": low, "base_high": high},
            sentence=f"No count of examples agrees with a recall of {printed:g} and the printed "
            "accuracies.",
        )
    fewest = proportion(round(printed * possible[0] / 100), possible[0], "")
    assert not isinstance(fewest, Undefined), "denominators are positive"
    status = SUPPORTED if fewest.low > high else CONTRADICTED if fewest.high < low else OPEN
    where = {SUPPORTED: "above", CONTRADICTED: "below", OPEN: "not told from"}[status]
    return Printed(
        claim="prediction",
        model=model,
        task=task,
        status=status,
        numbers={
            "recall": printed,
            "base_low": low,
            "base_high": high,
            "wilson_low": fewest.low,
            "wilson_high": fewest.high,
            "fewest": float(possible[0]),
            "most": float(possible[-1]),
        },
        sentence=f"Rec2FTP {printed:g} (of {possible[0]} to {possible[-1]} examples; Wilson "
        f"[{fewest.low:.1f}, {fewest.high:.1f}] of {possible[0]}) is {where} its base "
        f"rate, which the accuracies put between {low:.1f} and {high:.1f}.",
    )


def norm_that_gives(similarity: float) -> float:
    """The rho of `metrics.floor_at(rho, rho)` = similarity: (1 - 2 similarity)^-2 - 1.

    Raises:
        ValueError: outside [0, 1/2), where no rho gives it.
    """
    if not 0 <= similarity < 0.5:
        raise ValueError(f"expected a similarity in [0, 0.5), got {similarity}")
    return float((1 - 2 * similarity) ** -2 - 1)


def representation(model: str, task: str) -> Printed:
    """SimAOU against the score of unrelated updates, whose size was not printed."""
    printed = PUBLISHED[model]["SimAOU"][task]
    rho = norm_that_gives(printed)
    one = float(floor_at(np.array(1.0), np.array(1.0)))
    return Printed(
        claim="representation",
        model=model,
        task=task,
        status=OPEN,
        numbers={"similarity": printed, "rho": rho, "floor_at_1": one},
        sentence=f"SimAOU {printed:.3f} is what unrelated updates score whose squared norm is "
        f"{rho:.2f} of the state's, and {one:.3f} is their score at 1; the norms were not "
        "printed, so that the score is not told from that of unrelated updates.",
    )


def attention() -> Printed:
    """SimAM after finetuning less before, over all cells; no other control was printed."""
    gaps = np.array(
        [
            round(PUBLISHED[m]["SimAM_after"][t] - PUBLISHED[m]["SimAM_before"][t], 3)
            for m in PUBLISHED
            for t in TASKS
        ]
    )
    up, down = int((gaps > 0).sum()), int((gaps < 0).sum())
    sign = float(stats.binomtest(up, up + down).pvalue)
    rank = float(stats.wilcoxon(gaps).pvalue)
    return Printed(
        claim="attention",
        model="both",
        task=EVERY,
        status=UNTESTED,
        numbers={
            "median": float(np.median(gaps)),
            "up": float(up),
            "down": float(down),
            "equal": float(len(gaps) - up - down),
            "sign_p": sign,
            "wilcoxon_p": rank,
        },
        sentence=f"SimAM rises in {up} of {len(gaps)} cells and falls in {down} (signed ranks, p = "
        f"{rank:.3f}; two models on the same six tasks count as twelve), with a median of "
        f"{np.median(gaps):.3f}; what a random or unrelated finetuning does was not "
        "printed.",
    )


def tokens() -> Printed:
    """Kendall against U[0,1), which is no model's attention."""
    pairs = [
        (PUBLISHED[m]["Kendall"][t], PUBLISHED[m]["Kendall_random"][t])
        for m in PUBLISHED
        for t in TASKS
    ]
    above = sum(a > b for a, b in pairs)
    mean = float(np.mean([a - b for a, b in pairs]))
    return Printed(
        claim="tokens",
        model="both",
        task=EVERY,
        status=UNTESTED,
        numbers={"above": float(above), "cells": float(len(pairs)), "mean_difference": mean},
        sentence=f"Kendall is above uniform random numbers in {above} of {len(pairs)} cells, by "
        f"{mean:.3f} on average; queries of the unfinetuned model and an untrained model, "
        "which share positions and tokens, were not printed.",
    )
