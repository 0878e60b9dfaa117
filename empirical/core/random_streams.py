"""The random streams of the study, all in one place: who owns which first key of a generator.

A generator is made from `(stream, *key)`; numpy drops zeros at the end of a key, so keys that may
end in one get a 1 behind them. The numbers stand in every committed result and therefore stay. Two
of them have two owners, told apart by the length of their keys or by never meeting in one
computation: `SHARED` names them, and a test holds that there are no others.
"""

from __future__ import annotations

from typing import Final

import numpy as np

RANDOM_SIMILARITY: Final = 1  # metrics.accumulate (seed, example): U[0,1) states
MATCHED_UPDATE: Final = 2  # metrics.accumulate (seed, example): updates of the same norm
METRIC_INTERVALS: Final = 3  # metrics.accumulate (seed, number of the metric)
TOKEN_RANKS: Final = 5  # study.run_cell (seed, example): tau-b of random scores
RANK_INTERVALS: Final = 6  # study.run_cell, study.controls.recorded_cell (seed)
LAYER_INTERVALS: Final = 11  # metrics.series (seed, number of the metric)
CONTROLS: Final = 12  # study.controls (seed, number of the control, ...)
COMPARISONS: Final = 13  # analysis.comparisons (number of examples)
TASK_MEANS: Final = 17  # analysis.momentum.task_means (number of examples)
GENERATED_BOOKS: Final = 17  # momentum.corpus (number of the book)
DOSE_STATES: Final = 1  # metrics.dose (seed, example): updates that are mixed in
CALIBRATION: Final = 21  # calibration.run (seed, stream)
READER_WORDS: Final = 23  # training.reader_tasks (number of the task)

SHARED: Final = {
    17: ("TASK_MEANS", "GENERATED_BOOKS"),
    1: ("RANDOM_SIMILARITY", "DOSE_STATES"),
}


def generator(stream: int, *key: int) -> np.random.Generator:
    """The generator of a stream and key: the same numbers wherever and whenever it is asked."""
    return np.random.default_rng((stream, *key))
