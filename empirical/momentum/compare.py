"""Trained models -> tables 6 and 7 with paired intervals, and what the verdicts need. No torch."""

from __future__ import annotations

from collections.abc import Sequence

from empirical.momentum.files import Trained
from empirical.momentum.outcome import (
    MEAN,
    AtScale,
    Entry,
    Interval,
    Language,
    Learning,
    Momentum,
)  # fmt: skip

__all__ = ["MEAN", "AtScale", "Entry", "Interval", "Language", "Learning", "Momentum", "compare"]


def compare(runs: Sequence[Trained]) -> Momentum:
    raise NotImplementedError
