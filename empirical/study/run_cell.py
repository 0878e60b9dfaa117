"""One task and seed: its rate selected, its three settings run and measured.

Zero-shot and in-context captures lie on disk batch by batch, so that all rates, and what comes
after a stop, read them again; finetuning is measured against them as it goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from empirical.core import random_streams
from empirical.core.errors import UserError
from empirical.core.progress import SILENT, Reporter
from empirical.core.undefined import Undefined
from empirical.inference.batches import Part, parts
from empirical.inference.capture_store import Store, stored_parts
from empirical.inference.finetune import finetuned
from empirical.inference.recorder import QueryLog
from empirical.inference.settings import training_examples
from empirical.metrics.accumulate import MetricAccumulator, kendall_measurements
from empirical.metrics.kendall import (
    Kendall,
    attended,
    demonstration_tokens,
    measure_kendall,
)
from empirical.models.decoder import LoadedModel
from empirical.results.record import Measurement
from empirical.study.preparation import Prepared
from empirical.study.rate_selection import select_rate
from empirical.study.rate_trials import Trials
from empirical.study.stores import Stores


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """A cell's rate, how it was chosen: (rate, share right; nan: diverged), and its metrics."""

    rate: float
    selection: tuple[tuple[float, float], ...]
    metrics: dict[str, Measurement]


def zero_shot_parts(
    model: LoadedModel, prepared: Prepared, store: Store, reporter: Reporter
) -> Iterator[Part]:
    """Zero-shot captures, computed where the store lacks them."""
    queries, how = prepared.queries, prepared.read_options
    with reporter.stage(f"{prepared.task.name}: zero-shot", len(queries)) as advance:
        yield from stored_parts(model, queries, how, (), store, advance)


def in_context_parts(
    model: LoadedModel, prepared: Prepared, store: Store, reporter: Reporter
) -> Iterator[Part]:
    """In-context captures, computed where the store lacks them."""
    queries, how = prepared.queries, prepared.read_options
    stage = f"{prepared.title}: in-context, {len(prepared.shown)} demonstrations"
    with reporter.stage(stage, len(queries)) as advance:
        yield from stored_parts(model, queries, how, prepared.context, store, advance)


def in_context_accuracy(
    model: LoadedModel, prepared: Prepared, store: Store, reporter: Reporter
) -> float:
    """Share of queries answered rightly in context."""
    found = in_context_parts(model, prepared, store, reporter)
    right = [bool(x) for part in found for x in part.predictions == part.labels]
    return sum(right) / len(right)


def run_prepared(
    model: LoadedModel,
    prepared: Prepared,
    reporter: Reporter = SILENT,
    stores: Stores | None = None,
    trials: Trials | None = None,
) -> CellResult:
    """The rate selected, then ZSL, ICL and FT on the evaluation rows, and every metric.

    Raises:
        UserError: when every rate diverges; `DivergedError` when the only or selected one does.
    """
    with _somewhere(stores) as where:
        for _ in zero_shot_parts(model, prepared, where.zsl, reporter):
            pass
        for _ in in_context_parts(model, prepared, where.icl, reporter):
            pass
        rate, selection = select_rate(model, prepared, reporter, trials)
        tally, queries, asked = _finetuned(model, prepared, rate, where, reporter)
        with reporter.stage(f"{prepared.title}: metrics", 1) as advance:
            ranks = _kendall(prepared, where.icl, queries, asked)
            metrics = tally.compute() | kendall_measurements(
                ranks,
                lambda i: random_streams.generator(random_streams.TOKEN_RANKS, prepared.seed, i, 1),
            )
            advance(1)
    return CellResult(rate=rate, selection=selection, metrics=metrics)


@contextmanager
def _somewhere(stores: Stores | None) -> Iterator[Stores]:
    """The stores given, or some that are gone afterwards."""
    if stores is not None:
        yield stores
        return
    with TemporaryDirectory() as folder:
        yield Stores(zsl=Store(folder=Path(folder) / "zsl"), icl=Store(folder=Path(folder) / "icl"))


def _finetuned(
    model: LoadedModel, prepared: Prepared, rate: float, where: Stores, reporter: Reporter
) -> tuple[MetricAccumulator, QueryLog, dict[int, np.ndarray]]:
    """FT measured against what the stores hold; queries of training, and q_p of the first rows."""
    tally, log = MetricAccumulator(prepared.seed), QueryLog(layers=model.n_layers)
    asked: dict[int, np.ndarray] = {}
    queries, how = prepared.queries, prepared.read_options
    examples = training_examples(model, prepared.shown, prepared.labels)
    stage = f"{prepared.title}: finetuned at rate {rate:g}"
    with (
        reporter.stage(stage, len(queries) + len(examples)) as advance,
        finetuned(model, examples, rate, advance, log),
    ):
        for number, ft in enumerate(parts(model, queries, how, (), advance)):
            tally.update(ft.index, *_stored(where, number), ft)
            asked |= ft.asked
            if where.ft is not None:
                where.ft.write(number, ft)
    if where.ft is not None:
        where.ft.write_training([torch.stack(example).numpy() for example in log.seen])
    return tally, log, asked


def _stored(where: Stores, number: int) -> tuple[Part, Part]:
    """A batch of ZSL and of ICL.

    Raises:
        UserError: when one is gone or damaged.
    """
    zsl, icl = where.zsl.read(number), where.icl.read(number)
    if zsl is None or icl is None:
        raise UserError(
            f"expected the captures of batch {number} in {where.zsl.folder.parent}, got none that "
            "can be read; run the same command again"
        )
    return zsl, icl


def _kendall(
    prepared: Prepared, icl: Store, log: QueryLog, asked: dict[int, np.ndarray]
) -> Kendall | Undefined:
    """Over the first examples: scores c in context against Q'q_p of finetuning.

    Raises:
        UserError: for captures that do not hold those examples.
    """
    scores: dict[int, np.ndarray] = {}
    for part in icl.read_all():
        scores |= part.attended
    first = sorted(asked)
    if not first:
        return Undefined("scores towards the context were not recorded")
    if sorted(scores) != first:
        raise UserError(
            f"expected whole captures in {icl.folder}, got damaged ones; run the same command again"
        )
    lengths = prepared.demonstration_lengths
    kept = demonstration_tokens(lengths)
    c = np.stack([scores[i][:, kept] for i in first])
    f = attended(log.stacked().numpy(), np.stack([asked[i] for i in first]))
    return measure_kendall(
        c, f, lengths, random_streams.generator(random_streams.RANK_INTERVALS, prepared.seed, 1)
    )
