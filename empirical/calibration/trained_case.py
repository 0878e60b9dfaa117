"""The positive control by training: a trained layer's context against one gradient step.

Fresh episodes; the gradient step from zero has the rate that was best on training episodes. A
reading is right above that of every one of DRAWS turned updates, which an unrelated one is with
probability 1 / (DRAWS + 1) = 0.1 %.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from empirical.calibration import construct
from empirical.calibration.linear import linear_model
from empirical.calibration.reading import Read, read
from empirical.calibration.steps import descended, regression_steps
from empirical.calibration.trained import INPUTS, OUTPUTS, SHOWN, STEPS, Trained, train
from empirical.calibration.unrelated import Values, measured
from empirical.core.progress import Advance, ignore
from empirical.core.undefined import Number, Undefined
from empirical.metrics.dose import FROM_STATES
from empirical.metrics.null_bands import turned_readings
from empirical.results.calibration import Case, Check

EPISODES, ASKED, DRAWS = 4, 64, 999
TITLE = "linear self-attention trained on in-context regression, against one gradient step"
REPORTED = "nothing is known of it in a trained layer: the value is reported"


def fresh(layer: Trained, generator: np.random.Generator) -> tuple[construct.Regression, Read]:
    """An episode that training has not seen, read against the gradient step."""
    task = construct.regression(generator, INPUTS, OUTPUTS, SHOWN, ASKED)
    W_0, width = torch.zeros_like(task.Y @ task.X.T), INPUTS + OUTPUTS
    episode = construct.pairs(task, W_0)
    readout = construct.output_rows(INPUTS, width, 1.0)
    model = linear_model("trained", episode.table, [layer.weights], readout)
    steps = regression_steps(descended(task, W_0, [layer.rate]), width, 1.0)
    return task, read(model, episode, steps)


def _error(predicted: np.ndarray, task: construct.Regression) -> float:
    """Mean over queries of the squared error [n,o]."""
    return float(((predicted - task.y.T.numpy()) ** 2).sum(-1).mean())


def errors(task: construct.Regression, found: Read, rate: float) -> Values:
    """Squared error of the layer, and of gradient steps of the rate, half of it and double."""
    h = found.whole("icl").h[:, 0, INPUTS:]
    zero = torch.zeros_like(task.Y @ task.X.T)

    def stepped(by: float) -> Tensor:
        return descended(task, zero, [by])[1] @ task.x

    made: Values = {"error_trained": _error(h, task), "error_zero": _error(0 * h, task)}
    for name, by in (("error_step", 1.0), ("error_half_step", 0.5), ("error_double_step", 2.0)):
        made[name] = _error(stepped(by * rate).T.numpy(), task)
    return made


def _mean(values: list[Number]) -> Number:
    missing = [x for x in values if isinstance(x, Undefined)]
    known = [x for x in values if not isinstance(x, Undefined)]
    return missing[0] if missing else float(np.mean(known))


def _together(rows: list[Values]) -> Values:
    return {name: _mean([row[name] for row in rows]) for name in rows[0]}


def against_descent(
    generator: np.random.Generator, advance: Advance = ignore, steps: int = STEPS
) -> Case:
    """Train, read EPISODES fresh episodes, and compare with turned updates."""
    layer = train(generator, advance, steps)
    values, wrong, null = [], [], []
    for _ in range(EPISODES):
        task, found = fresh(layer, generator)
        values.append(measured(found))
        wrong.append(errors(task, found, layer.rate))
        icl, zsl, ft = (p.h for p in map(found.whole, ("icl", "zsl", "ft")))
        null.append(turned_readings(icl, zsl, ft, generator, DRAWS))
        advance(1)
    read_as = _together(values)
    checks = {name: Check(value=value, right=None, why=REPORTED) for name, value in read_as.items()}
    for name in FROM_STATES:
        drawn = np.array([x[name] for x in null], dtype=np.float64).mean(0)
        value = read_as[name]
        above = not isinstance(value, Undefined) and value > drawn.max()
        checks[name] = Check(
            value=value,
            right=bool(above),
            low=float(drawn.min()),
            high=float(drawn.max()),
            draws=DRAWS,
        )
    numbers: Values = {"rate": layer.rate, "rate_in_theory": 1 / (SHOWN + INPUTS + 1)}
    return Case(kind="trained", title=TITLE, checks=checks, numbers=numbers | _together(wrong))
