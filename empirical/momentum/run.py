"""`dualform momentum`: train every model that is asked for, measure it, write one file for each.

What a folder holds already is not trained again; a run that was stopped goes on from the last
checkpoint of the model that it was at.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, fields, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

from empirical.core import provenance
from empirical.core.errors import UserError
from empirical.core.progress import SILENT, Reporter
from empirical.data.hub import HubSource
from empirical.data.paper_tasks import MORE_TASKS, TASKS
from empirical.data.sources import FolderSource, GeneratedSource
from empirical.data.synthetic import LEXICON
from empirical.models import digest
from empirical.models.decoder import TokenizerEncoder
from empirical.models.tokenizer import BOS, EOS
from empirical.momentum import in_context
from empirical.momentum.adapt import rates, save
from empirical.momentum.corpus import Windows, read_books, windows
from empirical.momentum.perplexity import losses
from empirical.momentum.scales import Scale, layers, scale
from empirical.momentum.train import (
    MODELS,
    Curves,
    begin,
    equal_of,
    order,
    train,
)
from empirical.results import language_models as files, record as records
from empirical.results.attention_kinds import PLAIN, Layer
from empirical.results.language_models import (
    CHOOSING,
    TRAINING,
    VALIDATION,
    Equal,
    Origin,
    Scores,
    Trained,
)

ASKED = ("sst5", "imdb", "mr", "cb", "arc_easy", "piqa")  # Table 7
MADE = "generated"  # in front of a generated task's name


@dataclass(frozen=True, kw_only=True)
class Job:
    """One model to make, and everything that its file depends on."""

    scale: Scale
    layer: Layer
    seed: int
    text: Windows
    source: str
    data: str | None
    limit: int
    device: str
    threads: int
    keep: bool
    out: Path
    command: tuple[str, ...]

    @property
    def name(self) -> str:
        """As the file's."""
        return files.run_name(self.scale.name, self.layer, self.seed)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked for on the command line."""

    scale: str
    kinds: tuple[str, ...]
    etas: tuple[float, ...]
    learned: bool
    seeds: tuple[int, ...]
    text: str
    data: str | None
    limit: int
    device: str
    threads: int
    keep: bool
    out: Path


def jobs_of(asked: Request) -> list[Job]:
    """Every model of a request: all layers of a seed, then the next seed.

    Raises:
        UserError: for an unknown scale, kind or text, an eta out of bounds.
    """
    at = scale(asked.scale)
    chosen = layers(asked.kinds, asked.etas, asked.learned)
    text = windows(read_books(asked.text), at.vocabulary, at.length)
    return [
        Job(
            scale=at,
            layer=layer,
            seed=seed,
            text=text,
            source=asked.text,
            data=asked.data,
            limit=asked.limit,
            device=asked.device,
            threads=asked.threads,
            keep=asked.keep,
            out=asked.out,
            command=_command(asked, layer, seed),
        )
        for seed in asked.seeds
        for layer in chosen
    ]


def _command(asked: Request, layer: Layer, seed: int) -> tuple[str, ...]:
    """The command that makes one model alone, plain attention beside it."""
    given = ["--scale", asked.scale, "--kind", layer.kind]
    if layer.learned:
        given = ["--scale", asked.scale, "--kind", PLAIN, "--learned"]
    elif layer.eta is not None:
        given += ["--eta", f"{layer.eta:g}"]
    given += ["--seed", str(seed), "--text", asked.text]
    if asked.data is not None:
        given += ["--data", asked.data]
    return ("dualform", "momentum", *given, "--limit", str(asked.limit))


def missing(jobs: Sequence[Job]) -> list[Job]:
    """The jobs whose file is not there yet.

    Raises:
        UserError: for a file that is damaged, or was made from other text or with other settings.
    """
    left: list[Job] = []
    shared: dict[int, Equal] = {}
    for job in jobs:
        path = job.out / f"{job.name}.json"
        if not path.exists():
            left.append(job)
            continue
        held = files.read(path)
        if job.seed not in shared:
            shared[job.seed] = equal_of(job.scale, job.seed, job.text)
        known = shared[job.seed]
        differs = [
            f.name for f in fields(Equal) if getattr(held.equal, f.name) != getattr(known, f.name)
        ]
        if held.origin.text_sha256 != job.text.sha256:
            differs.insert(0, "text")
        if differs:
            raise UserError(
                f"expected {path} to be of the same text, scale and first weights, got another "
                f"{differs[0]}; write into another folder, or remove that file"
            )
    return left


def run(jobs: Sequence[Job], workers: int, reporter: Reporter) -> Iterator[Path]:
    """Make all files that are missing, `workers` models at once; each path when it is written.

    Raises:
        UserError: as `missing`, `train` and `score`.
    """
    left = missing(jobs)
    if workers == 1 or len(left) < 2:
        for job in left:
            yield _written(job, *make(job, reporter))
        return
    with (
        reporter.stage(f"models, {workers} at once", len(left)) as advance,
        ProcessPoolExecutor(workers, get_context("spawn"), initializer=_quiet) as pool,
    ):
        asked = {pool.submit(make, job, SILENT): job for job in left}
        try:
            for done in as_completed(asked):
                yield _written(asked[done], *done.result())
                advance(1)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _quiet() -> None:
    """No bars of the libraries from a process of its own."""
    logging.disable_progress_bar()  # type: ignore[no-untyped-call] # transformers' own gap
    logging.set_verbosity_error()  # type: ignore[no-untyped-call] # as above


def _written(job: Job, trained: Trained, seconds: float) -> Path:
    path = files.write(trained, job.out)
    records.note_seconds(job.out, trained.name, {"total": seconds})
    if not job.keep:
        shutil.rmtree(job.out / MODELS / job.name, ignore_errors=True)
    return path


def make(job: Job, reporter: Reporter) -> tuple[Trained, float]:
    """Train one model and measure it; also the seconds."""
    torch.set_num_threads(job.threads)
    began, folder = time.monotonic(), job.out / MODELS / job.name
    first = begin(job.scale, job.layer, job.seed, job.text, folder)
    model, curves = train(
        job.scale, job.layer, job.seed, job.text, folder, device=job.device, reporter=reporter
    )
    found = measured(job, model, curves, first)
    if job.keep:
        save(model, folder)
        job.text.tokenizer.save_pretrained(folder)
    return found, time.monotonic() - began


def measured(job: Job, model: Any, curves: Curves, equal: Equal) -> Trained:
    """The file's content of a trained model."""
    at = job.scale
    return Trained(
        scale=at.name,
        layer=job.layer,
        seed=job.seed,
        length=at.length,
        equal=equal,
        curve=curves.training,
        held_out_curve=curves.held_out,
        losses=all_losses(job, model),
        scores=all_scores(job, model),
        rates=rates(model),
        origin=Origin(
            text=job.source,
            text_sha256=job.text.sha256,
            device=digest.device_name(next(model.parameters()).device),
            dtype=at.dtype,
            threads=job.threads,
            versions=provenance.versions(),
            code_sha256=provenance.code_sha256(),
            commit=provenance.commit(),
            command=job.command,
        ),
    )


def all_losses(job: Job, model: Any) -> dict[str, tuple[float, ...]]:
    """Window by window: on what was trained on last, on what chooses eta, on held-out text."""
    at, text = job.scale, job.text
    last = order(len(text.training), at, job.seed)[-at.windows :]
    out = {
        f"{TRAINING}-{at.length}": losses(model, text.training[last]),
        f"{CHOOSING}-{at.length}": losses(model, text.choosing[: at.windows]),
    }
    for length in at.lengths:
        held_out = text.validation(length, at.windows * at.length)
        out[f"{VALIDATION}-{length}"] = losses(model, held_out)
    return out


def all_scores(job: Job, model: Any) -> dict[str, Scores]:
    """Table 7's tasks from the data folder, where there is one, and the generated tasks."""
    tokenizer = job.text.tokenizer.backend_tokenizer
    encoder = TokenizerEncoder(tokenizer=tokenizer, bos=BOS, eos=EOS)
    asked: list[tuple[str, Any, Any]] = []
    if job.data is not None:
        every = {**TASKS, **MORE_TASKS}
        rows = HubSource() if job.data == "hub" else FolderSource(path=Path(job.data))
        asked += [(name, every[name], rows) for name in ASKED]
    made = GeneratedSource(seed=0)
    asked += [(f"{MADE} {name}", TASKS[name], made) for name in LEXICON]
    out = {}
    for name, task, source in asked:
        found = in_context.score(
            model,
            encoder,
            source,
            replace(task, k=32),
            seed=job.seed,
            limit=job.limit,
            length=job.scale.context,
        )
        out[name] = replace(found, task=name)
    return out
