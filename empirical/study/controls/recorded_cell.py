"""A cell with its three settings recorded once, any of them replaced and compared again.

A control passes through the same steps as the settings themselves: batches recorded by the same
capture, measured by the same accumulator. Letters: n queries, L layers, N tokens of the
demonstrations.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

from empirical.core import random_streams
from empirical.core.errors import UserError
from empirical.core.progress import Advance, ignore
from empirical.core.undefined import Undefined
from empirical.inference.attention import Run
from empirical.inference.batches import Part, parts
from empirical.inference.capture_store import Store
from empirical.inference.finetune import finetuned
from empirical.inference.forward import states
from empirical.inference.read_options import Position
from empirical.inference.recorder import QueryLog
from empirical.inference.settings import training_examples
from empirical.metrics.kendall import (
    attended,
    demonstration_tokens,
    example_kendall,
    measure_kendall,
)
from empirical.metrics.series import SeriesAccumulator, ranks_of
from empirical.metrics.similarity import Array, Similarity
from empirical.models.decoder import LoadedModel
from empirical.results.control_results import ConditionResult
from empirical.study.cell import Cell
from empirical.study.preparation import Prepared
from empirical.study.stores import Stores, stores_in

Asked = dict[int, NDArray[np.float32]]  # place of a query -> its [L,...]
Ranks = dict[str, Similarity | Undefined]


@dataclass(frozen=True, kw_only=True)
class RecordedCell:
    """A cell with a model and a rate, and the captures of its settings in stores.

    `model` is that of the study, or another in its place. `other` is another task of the same run,
    `sibling` the same task with other demonstrations; None where there is none.
    """

    cell: Cell
    model: LoadedModel
    rate: float
    stores: Stores
    other: Prepared | None = None
    sibling: Prepared | None = None

    @property
    def prepared(self) -> Prepared:
        """The task as tokens, under the seed of the cell."""
        return self.cell.prepared

    @property
    def examples(self) -> list[tuple[int, ...]]:
        """[BOS] prompt label of every demonstration."""
        return training_examples(self.model, self.prepared.shown, self.prepared.labels)

    def generator(self, *stream: int) -> np.random.Generator:
        """A generator of this cell and stream."""
        return random_streams.generator(random_streams.CONTROLS, self.prepared.seed, *stream, 1)

    def parts(self, context: Sequence[int] = (), shift: int = 0) -> Iterator[Part]:
        """The queries read with the model as it is now."""
        how = self.prepared.read_options
        return parts(self.model, self.prepared.queries, how, context, shift=shift)

    def measured(self) -> ConditionResult:
        """The settings themselves, recorded and compared; later calls replace one of them.

        Raises:
            DivergedError: when finetuning diverges.
        """
        log = QueryLog(layers=self.model.n_layers)
        _fill(self.stores.zsl, self.parts())
        _fill(self.stores.icl, self.parts(self.prepared.context))
        with finetuned(self.model, self.examples, self.rate, watch=log):
            _fill(self.after, self.parts())
        self.after.write_training([torch.stack(example).numpy() for example in log.seen])
        return self.compared()

    @property
    def after(self) -> Store:
        """The captures of finetuning, and Q' of its training."""
        assert self.stores.ft is not None, "a recorded cell keeps all three settings"
        return self.stores.ft

    def queries(self) -> Array:
        """Q' [L,N,d] of the demonstrations' tokens, as finetuning read them.

        Raises:
            UserError: when they are gone.
        """
        found = self.after.read_training()
        if found is None:
            raise UserError(
                f"expected the queries of training in {self.after.folder}, got none that can be "
                "read; run the same command again"
            )
        return np.concatenate([x[:, 1:] for x in found], axis=1)

    def finetuned_by(
        self, change: AbstractContextManager[object], log: QueryLog | Undefined, note: str = ""
    ) -> ConditionResult:
        """Finetuning replaced by another `change` of the weights; `log` its training queries."""
        with change:  # enters after training, so that the log is whole
            queries = log if isinstance(log, Undefined) else log.stacked().numpy()
            return self.compared(ft=self.parts(), queries=queries, note=note)

    def scores(self) -> Asked:
        """c [L,T_c] of the first queries, as recorded in context."""
        return {i: x for part in self.stores.icl.read_all() for i, x in part.attended.items()}

    def compared(
        self,
        *,
        zsl: Iterable[Part] | None = None,
        icl: Iterable[Part] | None = None,
        ft: Iterable[Part] | None = None,
        queries: Array | Undefined | None = None,
        same_tokens: bool = True,
        note: str = "",
    ) -> ConditionResult:
        """All series with the settings given in the place of those recorded.

        `same_tokens`: whether the context still holds, place by place, as many tokens as were
        trained on; without that the ranks of Kendall pair nothing. `queries`: Q' in the place of
        those of finetuning.
        """
        series = SeriesAccumulator(self.prepared.seed)
        c: Asked = {}
        asked: Asked = {}
        sources = (
            self.stores.zsl.read_all() if zsl is None else zsl,
            self.stores.icl.read_all() if icl is None else icl,
            self.after.read_all() if ft is None else ft,
        )
        for z, i, f in zip(*sources, strict=True):
            series.update(f.index, z, i, f)
            c |= i.attended
            asked |= f.asked
        trained = self.queries() if queries is None else queries
        if not same_tokens:
            trained = Undefined("the context holds other tokens than were trained on")
        return series.compute(self.ranks(c, trained, asked), note)

    def ranks(self, c: Asked, queries: Array | Undefined, asked: Asked) -> Ranks:
        """The series of Kendall between scores c towards the context and Q'q_p."""
        if isinstance(queries, Undefined):
            return ranks_of(queries, queries)
        first = sorted(set(c) & set(asked))
        if not first:
            none = Undefined("scores towards the context were not recorded")
            return ranks_of(none, none)
        lengths = self.prepared.demonstration_lengths
        kept = demonstration_tokens(lengths)
        scores = np.stack([c[i] for i in first])
        if scores.shape[-1] != len(self.prepared.context):
            none = Undefined("the context is not as long as that which was trained on")
            return ranks_of(none, none)
        scores = scores[:, :, kept]
        f = attended(queries, np.stack([asked[i] for i in first]))
        draws = random_streams.generator(random_streams.RANK_INTERVALS, self.prepared.seed, 1)
        found = measure_kendall(scores, f, lengths, draws)
        return ranks_of(found, example_kendall(scores, np.zeros_like(scores), lengths))

    def on(self, model: LoadedModel, folder: Path) -> RecordedCell:
        """The same cell with another model, its captures in `folder`."""
        return replace(self, model=model, stores=stores_in(folder))

    def recorded_at(self, position: Position, folder: Path) -> RecordedCell:
        """The same cell with another recorded token."""
        settings = replace(self.prepared.settings, position=position)
        cell = replace(self.cell, prepared=replace(self.prepared, settings=settings))
        return replace(self, cell=cell, stores=stores_in(folder))

    def named(self, control: str) -> str:
        """How a control is called while it runs."""
        return f"{self.prepared.title}: {control}"


def _fill(store: Store, found: Iterable[Part]) -> None:
    store.remove()
    for number, part in enumerate(found):
        store.write(number, part)


@contextmanager
def recorded_cell(
    cell: Cell, rate: float, *, other: Prepared | None = None, sibling: Prepared | None = None
) -> Iterator[RecordedCell]:
    """The cell with the model of its study, its captures gone afterwards."""
    with TemporaryDirectory() as folder:
        yield RecordedCell(
            cell=cell,
            model=cell.model,
            rate=rate,
            stores=stores_in(Path(folder)),
            other=other,
            sibling=sibling,
        )


def read_queries(
    model: LoadedModel, examples: Sequence[Sequence[int]], advance: Advance = ignore
) -> QueryLog:
    """Queries of the training examples, read with the model as it is now, without any update."""
    log = QueryLog(layers=model.n_layers)
    with torch.no_grad():
        for tokens in examples:
            states(model, Run(model.blocks, watch=log), [tokens], len(tokens))
            advance(1)
    return log


def need(value: Prepared | None, what: str, how: str) -> Prepared:
    """`value`, unless there is none.

    Raises:
        UserError: saying what the control needs.
    """
    if value is None:
        raise UserError(f"expected {what}, got a run without; {how}")
    return value
