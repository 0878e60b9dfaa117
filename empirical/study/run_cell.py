"""One task and seed: its inputs made ready, its rate selected, its three settings run and measured.

Zero-shot and in-context captures lie on disk batch by batch, so that all rates, and what comes
after a stop, read them again; finetuning is measured against them as it goes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from empirical.data.paper_tasks import Source, Task
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
from empirical.study.preparation import (
    Prepared,
    StudySettings,
    demonstration_lengths,
    prepare,
    reading_of,
    title,
)
from empirical.study.rate_selection import Remember, select_rate


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """A cell's rate, how it was chosen: (rate, share right; nan: diverged), and its metrics."""

    rate: float
    selection: tuple[tuple[float, float], ...]
    metrics: dict[str, Measurement]


@dataclass(frozen=True, kw_only=True)
class Stores:
    """Where captures of the three settings lie; `ft` is None where it is not kept."""

    zsl: Store
    icl: Store
    ft: Store | None = None


def zero_shot_parts(
    model: LoadedModel, ready: Prepared, settings: StudySettings, store: Store, reporter: Reporter
) -> Iterator[Part]:
    """Zero-shot captures, computed where the store lacks them."""
    how = reading_of(ready, settings)
    with reporter.stage(f"{ready.task.name}: zero-shot", len(ready.queries)) as advance:
        yield from stored_parts(model, ready.queries, how, (), store, advance)


def in_context_parts(
    model: LoadedModel, ready: Prepared, settings: StudySettings, store: Store, reporter: Reporter
) -> Iterator[Part]:
    """In-context captures, computed where the store lacks them."""
    how, shown = reading_of(ready, settings), len(ready.shown)
    stage = f"{title(ready)}: in-context, {shown} demonstrations"
    with reporter.stage(stage, len(ready.queries)) as advance:
        yield from stored_parts(model, ready.queries, how, ready.context, store, advance)


def in_context_accuracy(
    model: LoadedModel, ready: Prepared, settings: StudySettings, store: Store, reporter: Reporter
) -> float:
    """Share of queries answered rightly in context."""
    found = in_context_parts(model, ready, settings, store, reporter)
    right = [bool(x) for part in found for x in part.predictions == part.labels]
    return sum(right) / len(right)


def run_prepared(
    model: LoadedModel,
    ready: Prepared,
    settings: StudySettings,
    reporter: Reporter = SILENT,
    stores: Stores | None = None,
    known: Sequence[tuple[float, float]] = (),
    remember: Remember = lambda _rate, _share: None,
) -> CellResult:
    """The rate selected, then ZSL, ICL and FT on the evaluation rows, and every metric.

    Raises:
        UserError: when every rate diverges; `DivergedError` when the only or selected one does.
    """
    with _somewhere(stores) as where:
        for _ in zero_shot_parts(model, ready, settings, where.zsl, reporter):
            pass
        for _ in in_context_parts(model, ready, settings, where.icl, reporter):
            pass
        rate, selection = select_rate(model, ready, settings, reporter, known, remember)
        tally, queries, asked = _finetuned(model, ready, settings, rate, where, reporter)
        with reporter.stage(f"{title(ready)}: metrics", 1) as advance:
            ranks = _kendall(ready, where.icl, queries, asked)
            found = tally.compute() | kendall_measurements(
                ranks,
                lambda i: random_streams.generator(random_streams.TOKEN_RANKS, ready.seed, i, 1),
            )
            advance(1)
    return CellResult(rate=rate, selection=selection, metrics=found)


@contextmanager
def _somewhere(stores: Stores | None) -> Iterator[Stores]:
    """The stores given, or some that are gone afterwards."""
    if stores is not None:
        yield stores
        return
    with TemporaryDirectory() as folder:
        yield Stores(zsl=Store(folder=Path(folder) / "zsl"), icl=Store(folder=Path(folder) / "icl"))


def _finetuned(
    model: LoadedModel,
    ready: Prepared,
    settings: StudySettings,
    rate: float,
    where: Stores,
    reporter: Reporter,
) -> tuple[MetricAccumulator, QueryLog, dict[int, np.ndarray]]:
    """FT measured against what the stores hold; queries of training, and q_p of the first rows."""
    tally, log = MetricAccumulator(ready.seed), QueryLog(layers=model.n_layers)
    asked: dict[int, np.ndarray] = {}
    how = reading_of(ready, settings)
    examples = training_examples(model, ready.shown, ready.labels)
    stage = f"{title(ready)}: finetuned at rate {rate:g}"
    with (
        reporter.stage(stage, len(ready.queries) + len(examples)) as advance,
        finetuned(model, examples, rate, advance, log),
    ):
        for number, ft in enumerate(parts(model, ready.queries, how, (), advance)):
            zsl, icl = where.zsl.read(number), where.icl.read(number)
            if zsl is None or icl is None:
                raise UserError(
                    f"expected the captures of batch {number} in {where.zsl.folder.parent}, got "
                    "none that can be read; run the same command again"
                )
            tally.update(ft.index, zsl, icl, ft)
            asked |= ft.asked
            if where.ft is not None:
                where.ft.write(number, ft)
    if where.ft is not None:
        where.ft.write_training([torch.stack(example).numpy() for example in log.seen])
    return tally, log, asked


def _kendall(
    ready: Prepared, icl: Store, log: QueryLog, asked: dict[int, np.ndarray]
) -> Kendall | Undefined:
    """Over the first examples: scores c in context against Q'q_p of finetuning."""
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
    lengths = demonstration_lengths(ready)
    kept = demonstration_tokens(lengths)
    c = np.stack([scores[i][:, kept] for i in first])
    f = attended(log.stacked().numpy(), np.stack([asked[i] for i in first]))
    return measure_kendall(
        c, f, lengths, random_streams.generator(random_streams.RANK_INTERVALS, ready.seed, 1)
    )


def run_task(
    model: LoadedModel,
    task: Task,
    source: Source,
    settings: StudySettings,
    reporter: Reporter = SILENT,
) -> CellResult:
    """`prepare`, then `run_prepared`.

    Raises:
        UserError: as those.
    """
    return run_prepared(model, prepare(model, task, source, settings), settings, reporter)
