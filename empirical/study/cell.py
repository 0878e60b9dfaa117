"""One cell of a study: a task made ready under one seed, and the folder where its results lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from empirical.core import provenance
from empirical.core.json_files import file_name
from empirical.data.paper_tasks import source_name
from empirical.inference.capture_store import CAPTURES, Store, key_of, tokens_sha256
from empirical.inference.read_options import ReadOptions
from empirical.models.decoder import LoadedModel
from empirical.results import record as records
from empirical.study.kept_captures import KeptCaptures
from empirical.study.preparation import Prepared, StudySettings
from empirical.study.rate_trials import Trials
from empirical.study.request import Study
from empirical.study.stores import Stores


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A study, one of its tasks under one seed, and the results folder.

    All that a record, a check or a control says of where it comes from follows from these three,
    and is worked out once.
    """

    study: Study
    prepared: Prepared
    folder: Path

    @property
    def model(self) -> LoadedModel:
        """The model of the study."""
        return self.study.model

    @property
    def task(self) -> str:
        """The name of the task."""
        return self.prepared.task.name

    @property
    def seed(self) -> int:
        """The seed of the demonstrations."""
        return self.prepared.seed

    @property
    def settings(self) -> StudySettings:
        """All it depends on beside model, task and source."""
        return self.prepared.settings

    @property
    def read_options(self) -> ReadOptions:
        """How its queries are read and recorded."""
        return self.prepared.read_options

    @property
    def keeps_captures(self) -> bool:
        """Whether what its settings recorded is left in the folder."""
        return self.study.request.keep_captures

    @cached_property
    def inputs(self) -> Mapping[str, Any]:
        """The part of a provenance that records and checks have in common."""
        study, prepared = self.study, self.prepared
        return {
            "model": study.request.model,
            "weights_sha256": study.weights_sha256,
            "source": source_name(prepared.task, study.request.data),
            "source_sha256": prepared.rows_sha256,
            "rule": prepared.rule,
            "seed": prepared.seed,
            "k_asked": study.request.k,
            "k": len(prepared.shown),
            "limit": prepared.settings.limit,
            "context_length": len(prepared.context),
            "device": study.device,
            "threads": torch.get_num_threads(),
            "versions": provenance.versions(),
            "commit": study.commit,
        }

    @cached_property
    def choices(self) -> tuple[str, ...]:
        """The options that choose protocol, seeds and rates as they were chosen."""
        protocol = self.study.protocol
        if not isinstance(protocol.seeds, tuple):
            return ("--protocol", protocol.name)
        seeds = protocol.seeds if protocol.one_seed else (self.seed,)
        found = [text for seed in seeds for text in ("--seed", str(seed))]
        if protocol.name != "quick":
            found += ["--protocol", protocol.name]
        if protocol.name == "quick" or self.study.request.rates is not None:
            found += ["--rates", ",".join(map(repr, self.prepared.rates))]
        return tuple(found)

    @cached_property
    def command(self) -> tuple[str, ...]:
        """The command that makes this cell alone."""
        return self.command_with(*self.choices)

    def command_with(self, *choices: str) -> tuple[str, ...]:
        """The command that makes this cell alone, with other `choices`."""
        asked, threads = self.study.request, torch.get_num_threads()
        options: tuple[tuple[str, object], ...] = (
            ("--tokenizer", asked.tokenizer),
            ("--data", asked.data),
            ("--k", asked.k),
            ("--limit", asked.limit),
            ("--draw", None if asked.published_draw else "shuffled"),
            ("--position", None if asked.position == "label" else asked.position),
            ("--threads", None if threads == 1 else threads),
            ("--device", None if asked.device == "cpu" else asked.device),
        )
        given = [text for name, x in options if x is not None for text in (name, str(x))]
        model = (asked.model,) if asked.command == "check" else ("--model", asked.model)
        task = ("--task", self.study.names[self.task])
        bare = () if asked.checks else ("--no-checks",)
        return ("dualform", asked.command, *model, *task, *given, *bare, *choices)

    @cached_property
    def provenance(self) -> records.Provenance:
        """What is known before the run: the first rate, no selection and no other seeds."""
        study, settings = self.study, self.settings
        return records.Provenance(
            **self.inputs,
            revision=study.revisions[self.task],
            protocol=study.protocol_name,
            seed_selection=(),
            position=settings.position,
            rates=settings.rates,
            rates_on=settings.rates_on,
            rate=settings.rates[0],
            selection=(),
            dtype=study.dtype,
            code_sha256=study.code_sha256,
            command=self.command,
        )

    @cached_property
    def stores(self) -> Stores:
        """Where the captures lie, of the same inputs only; `ft` where they are kept."""
        return Stores(
            zsl=self._store("zsl"),
            icl=self._store("icl", context=self.prepared.context),
            ft=self._store("ft", more=self._finetuning) if self.keeps_captures else None,
        )

    def _store(
        self, setting: str, context: tuple[int, ...] = (), more: tuple[object, ...] = ()
    ) -> Store:
        study = self.study
        key = key_of(
            setting=setting,
            weights=study.weights_sha256,
            tokens=tokens_sha256(self.prepared.queries, self.read_options, context),
            code=study.code_sha256,
            versions=provenance.versions(),
            machine=[study.dtype, study.device, torch.get_num_threads()],
            more=more,
        )
        name = file_name(setting, study.request.model, f"{self.task}-{key}")
        return Store(folder=self.folder / CAPTURES / name)

    @property
    def _finetuning(self) -> tuple[object, ...]:
        """What the weights of finetuning follow from, beside the model."""
        p = self.prepared
        return p.seed, p.rates, p.settings.rates_on, p.context, p.rows_sha256

    @property
    def trials(self) -> Trials:
        """The rates tried so far, read from the folder."""
        key = key_of(cell=self.stores.icl.folder.name, finetuning=self._finetuning)
        return Trials.open(self.folder, self.prepared, key)

    @property
    def kept(self) -> KeptCaptures:
        """Which captures are those of this cell."""
        stores = self.stores
        return KeptCaptures(
            model=self.study.request.model,
            task=self.task,
            seed=self.seed,
            position=self.settings.position,
            context=len(self.prepared.context),
            zsl=stores.zsl.folder.name,
            icl=stores.icl.folder.name,
            ft="" if stores.ft is None else stores.ft.folder.name,
        )


def cells_of(study: Study, folder: Path) -> tuple[Cell, ...]:
    """Every seed of every task of a study, in order."""
    return tuple(Cell(study=study, prepared=p, folder=Path(folder)) for p in study.prepared)
