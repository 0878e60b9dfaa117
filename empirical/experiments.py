"""One task through the three settings."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from empirical.errors import UserError
from empirical.finetune import DivergedError
from empirical.models import LoadedModel
from empirical.prompts import PUBLISHED_MAX_LENGTH, label_tokens, pack, query
from empirical.settings import Outcome, Position, fine_tuned, in_context, zero_shot
from empirical.tasks import EVALUATION_LIMIT, Source, Task, demonstrations, evaluation, shuffled


@dataclass(frozen=True, kw_only=True)
class StudySettings:
    """Everything that a cell depends on beside model, task and source."""

    seed: int
    rates: tuple[float, ...]
    k: int | None = None
    position: Position = "label"
    limit: int | None = EVALUATION_LIMIT
    batch_size: int = 32
    selection_rows: int = 100
    packing: Literal["published", "strict"] = "published"


@dataclass(frozen=True, kw_only=True)
class TaskOutcomes:
    """The three outcomes of a task; `selection` holds (rate, held-out accuracy, nan: diverged)."""

    task: str
    k_used: int
    context_length: int
    rate: float
    zsl: Outcome
    icl: Outcome
    ft: Outcome
    selection: tuple[tuple[float, float], ...]


def run_task(
    model: LoadedModel,
    task: Task,
    source: Source,
    settings: StudySettings,
    progress: Callable[[str], None] | None = None,
) -> TaskOutcomes:
    """ZSL, ICL and FT on the evaluation rows; the rate is chosen on held-out training rows only.

    With a single rate nothing is selected. Ties go to the rate named first.

    Raises:
        UserError: without rates or held-out rows, or when every rate diverges.
    """
    say = progress or (lambda _text: None)
    if not settings.rates:
        raise UserError("expected at least one learning rate, got none; pass rates")
    encoder, labels = model.encoder, label_tokens(model.encoder, task)
    train = source.rows(task, "train")
    rows = evaluation(source.rows(task, "evaluation"), settings.limit)
    queries = [query(encoder, task, r) for r in rows]
    wanted = task.k if settings.k is None else settings.k
    drawn = demonstrations(train, settings.seed, wanted)
    offered = [query(encoder, task, r) for r in drawn]
    limit = min(PUBLISHED_MAX_LENGTH, model.max_length)
    packed = pack(offered, queries, labels, encoder, limit, settings.packing)
    shown = offered[: packed.used]

    common = {"position": settings.position, "batch_size": settings.batch_size}
    selection: list[tuple[float, float]] = []
    rate = settings.rates[0]
    if len(settings.rates) > 1:
        held = shuffled(train, settings.seed)[packed.used :][: settings.selection_rows]
        if not held:
            raise UserError(
                f"expected training rows beyond the {packed.used} demonstrations to choose a rate, "
                "got none; add training rows, lower k, or pass one rate"
            )
        check = [query(encoder, task, r) for r in held]
        for candidate in settings.rates:
            say(f"{task.name}: rate {candidate:g}")
            try:
                out = fine_tuned(
                    model, check, labels, task.labels, shown, candidate, record=False,
                    position=settings.position, batch_size=settings.batch_size,
                )  # fmt: skip
                selection.append((candidate, float((out.predictions == out.labels).mean())))
            except DivergedError:
                selection.append((candidate, float("nan")))
        usable = [s for s in selection if not np.isnan(s[1])]
        if not usable:
            raise UserError(
                f"expected one rate of {settings.rates} to stay finite on {task.name}, got "
                "divergence at all of them; add smaller rates"
            )
        rate = max(usable, key=lambda s: s[1])[0]
    say(f"{task.name}: zero-shot")
    zsl = zero_shot(model, queries, labels, task.labels, **common)  # type: ignore[arg-type] # one dict for three calls
    say(f"{task.name}: in-context, {packed.used} demonstrations")
    icl = in_context(model, queries, labels, task.labels, packed.context, **common)  # type: ignore[arg-type] # as above
    say(f"{task.name}: finetuned at {rate:g}")
    ft = fine_tuned(model, queries, labels, task.labels, shown, rate, **common)  # type: ignore[arg-type] # as above
    return TaskOutcomes(
        task=task.name,
        k_used=packed.used,
        context_length=len(packed.context),
        rate=rate,
        zsl=zsl,
        icl=icl,
        ft=ft,
        selection=tuple(selection),
    )
