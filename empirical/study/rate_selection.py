"""The finetuning rate, chosen by accuracy on rows set aside for it."""

from __future__ import annotations

import numpy as np

from empirical.core.errors import UserError
from empirical.core.progress import SILENT, Reporter
from empirical.inference.finetune import DivergedError
from empirical.inference.settings import fine_tuned
from empirical.models.decoder import LoadedModel
from empirical.study.preparation import Prepared
from empirical.study.rate_trials import Trials


def select_rate(
    model: LoadedModel,
    prepared: Prepared,
    reporter: Reporter = SILENT,
    trials: Trials | None = None,
) -> tuple[float, tuple[tuple[float, float], ...]]:
    """The rate with the best accuracy on the rows held, and (rate, share right) of each.

    With a single rate nothing is selected. Ties go to the rate named first; nan: diverged. What is
    among the `trials` is not tried again; every new trial is added to them.

    Raises:
        UserError: when every rate diverges.
    """
    rates = prepared.rates
    if len(rates) == 1:
        return rates[0], ()
    shares = {} if trials is None else dict(trials.known())
    for rate in rates:
        if rate not in shares:
            shares[rate] = _trial(model, prepared, rate, reporter)
            if trials is not None:
                trials.remember(rate, shares[rate])
    tried = tuple((rate, shares[rate]) for rate in rates)
    usable = [s for s in tried if not np.isnan(s[1])]
    if not usable:
        shown = ",".join(f"{r:g}" for r in rates)
        raise UserError(
            f"expected one rate of {shown} to stay finite on {prepared.task.name}, got divergence "
            "at all of them; add smaller rates"
        )
    return max(usable, key=lambda s: s[1])[0], tried


def _trial(model: LoadedModel, prepared: Prepared, rate: float, reporter: Reporter) -> float:
    """Share right of the rows held after finetuning; nan where it diverges."""
    how, steps = prepared.settings, len(prepared.shown) + len(prepared.held)
    with reporter.stage(f"{prepared.title}: select rate {rate:g}", steps) as advance:
        try:
            out = fine_tuned(
                model,
                prepared.held,
                prepared.labels,
                prepared.task.labels,
                prepared.shown,
                rate,
                position=how.position,
                batch_size=how.batch_size,
                record=False,
                advance=advance,
            )
        except DivergedError:
            reporter.say(f"{prepared.title}: finetuning diverges at rate {rate:g}")
            return float("nan")
    return float((out.predictions == out.labels).mean())
