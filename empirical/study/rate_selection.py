"""The finetuning rate, chosen by accuracy on rows set aside for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from empirical.core.errors import UserError
from empirical.core.progress import SILENT, Reporter
from empirical.inference.finetune import DivergedError
from empirical.inference.settings import fine_tuned
from empirical.models.decoder import LoadedModel
from empirical.study.preparation import Prepared, StudySettings, title

Remember = Callable[[float, float], None]  # a rate and its accuracy (nan: diverged)


def select_rate(
    model: LoadedModel,
    ready: Prepared,
    settings: StudySettings,
    reporter: Reporter = SILENT,
    known: Sequence[tuple[float, float]] = (),
    remember: Remember = lambda _rate, _share: None,
) -> tuple[float, tuple[tuple[float, float], ...]]:
    """The rate with the best accuracy on the rows held, and (rate, share right) of each.

    With a single rate nothing is selected. Ties go to the rate named first; nan: diverged. What is
    `known` is not tried again; `remember` is told of every new trial.

    Raises:
        UserError: when every rate diverges.
    """
    if len(settings.rates) == 1:
        return settings.rates[0], ()
    shares = dict(known)
    for rate in settings.rates:
        if rate not in shares:
            shares[rate] = _trial(model, ready, settings, rate, reporter)
            remember(rate, shares[rate])
    tried = tuple((rate, shares[rate]) for rate in settings.rates)
    usable = [s for s in tried if not np.isnan(s[1])]
    if not usable:
        shown = ",".join(f"{r:g}" for r in settings.rates)
        raise UserError(
            f"expected one rate of {shown} to stay finite on {ready.task.name}, got divergence at "
            "all of them; add smaller rates"
        )
    return max(usable, key=lambda s: s[1])[0], tried


def _trial(
    model: LoadedModel, ready: Prepared, settings: StudySettings, rate: float, reporter: Reporter
) -> float:
    """Share right of the rows held after finetuning; nan where it diverges."""
    name = title(ready)
    with reporter.stage(f"{name}: select rate {rate:g}", len(ready.shown) + len(ready.held)) as add:
        try:
            out = fine_tuned(
                model,
                ready.held,
                ready.labels,
                ready.task.labels,
                ready.shown,
                rate,
                position=settings.position,
                batch_size=settings.batch_size,
                record=False,
                advance=add,
            )
        except DivergedError:
            reporter.say(f"{name}: finetuning diverges at rate {rate:g}")
            return float("nan")
    return float((out.predictions == out.labels).mean())
