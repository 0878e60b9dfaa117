"""The positive controls: in-context learning that is gradient descent, by construction.

Every metric has to read the explicit step as equal to the context, to within the rounding of this
very computation. Letters: n queries, L layers, H heads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from empirical.calibration import bounds, construct, tracked
from empirical.calibration.linear import LinearModel, linear_model
from empirical.calibration.reading import Read, answers, read, recall, similarities
from empirical.calibration.steps import descended, linear_loss_steps, regression_steps
from empirical.core.undefined import Number, Undefined
from empirical.metrics.similarity import Array, Similarity, cosines
from empirical.results.calibration import Case, Check

INPUTS, OUTPUTS, SHOWN, ASKED = 6, 4, 24, 64
RATE = 1 / (SHOWN + INPUTS + 1)  # the best one on average for normal inputs
STEPS_OF_MANY = (RATE, 1.5 * RATE, 0.5 * RATE)
WIDTH, HEADS, SIZE, DEMONSTRATIONS, LONGEST, SCALE = 16, 2, 8, 12, 5, 0.01
NO_CHANGE = "no score of the query's own tokens changes in a first layer"
NO_SCORE = (
    "keys and queries have weights of their own: Q'q is not what the context's tokens are weighted "
    "with, so that an exact gradient step does not fix its ranks"
)


Seen = Mapping[str, Similarity]


@dataclass(frozen=True, kw_only=True, eq=False)
class Known:
    """A model, its episode and its explicit step; `step` is the twin with rounding bounds.

    `ranks`: whether Q'q is the score that the context is weighted with.
    """

    title: str
    model: LinearModel
    episode: construct.Prompted
    steps: list[Tensor]
    step: tracked.Step
    ranks: bool = True


def one_step(generator: np.random.Generator) -> Known:
    """von Oswald et al., proposition 1."""
    task = construct.regression(generator, INPUTS, OUTPUTS, SHOWN, ASKED)
    W_0 = 0.3 * construct.normal(generator, OUTPUTS, INPUTS)
    episode, width = construct.pairs(task, W_0), INPUTS + OUTPUTS
    layers = [construct.one_step(W_0, RATE)]
    readout = construct.output_rows(INPUTS, width, -1.0)
    weights = descended(task, W_0, [RATE])
    return Known(
        title="von Oswald's weights, one layer: one gradient step on least squares",
        model=linear_model("one-step", episode.table, layers, readout),
        episode=episode,
        steps=regression_steps(weights, width, -1.0),
        step=tracked.regression_step(task, W_0, [RATE], width, -1.0),
    )


def many_steps(generator: np.random.Generator) -> Known:
    """von Oswald et al., section 3: three layers, a rate of its own for each."""
    task = construct.regression(generator, INPUTS, OUTPUTS, SHOWN, ASKED)
    episode, W_0 = construct.marked_pairs(task), torch.zeros_like(task.Y @ task.X.T)
    width, rates = episode.table.shape[1], STEPS_OF_MANY
    layers = construct.many_steps(INPUTS, OUTPUTS, rates)
    readout = construct.output_rows(INPUTS, width, -1.0)
    return Known(
        title="von Oswald's weights, three layers: three gradient steps on least squares",
        model=linear_model("three-steps", episode.table, layers, readout, episode.shown),
        episode=episode,
        steps=regression_steps(descended(task, W_0, rates), width, -1.0),
        step=tracked.regression_step(task, W_0, rates, width, -1.0),
    )


def any_weights(
    generator: np.random.Generator, *, shared: bool, layers: int = 3, asked: int = ASKED
) -> Known:
    """Layers of random weights, and the finetuning step of A4 in each (linear-loss-step)."""
    episode = construct.random_prompts(generator, WIDTH, DEMONSTRATIONS, asked, LONGEST)
    made = [
        construct.random_weights(generator, WIDTH, HEADS, SIZE, SCALE, shared)
        for _ in range(layers)
    ]
    model = linear_model("any-weights", episode.table, made, construct.normal(generator, WIDTH))
    how = "one weight for queries and keys" if shared else "queries and keys of their own"
    return Known(
        title=f"{layers} layers of linear attention, {how}: one step on a linear loss in each",
        model=model,
        episode=episode,
        steps=linear_loss_steps(model, episode.context),
        step=tracked.linear_loss_step(model),
        ranks=shared,
    )


KNOWN: dict[str, Callable[[np.random.Generator], Known]] = {
    "one_step": one_step,
    "three_steps": many_steps,
    "linear_attention": lambda g: any_weights(g, shared=True),
    "linear_attention_own_keys": lambda g: any_weights(g, shared=False),
}


def judged(known: Known) -> tuple[Case, Read]:
    """The case, and its captures."""
    found = read(known.model, known.episode, known.steps)
    seen = similarities(found)
    gap = tracked.gaps(known.model, known.episode, known.step)
    return Case(
        kind="constructed",
        title=known.title,
        checks=_states(found, seen, gap)
        | _scores(found, seen, gap)
        | _ranks(found, seen, gap, known.ranks)
        | {"rec2ftp": _answers(found)},
        numbers={f"{k}_accuracy": 100 * float(x.mean()) for k, x in answers(found).items()},
    ), found


def _equal(value: Number, bound: float, one: float = 1.0, missing: int = 0) -> Check:
    """Right where the value is 1 to within its bound, and no cosine or tau of it is missing."""
    if missing:
        why = f"{missing} of its cosines or taus are undefined: a mean without them says less"
        return Check(value=value, right=False, why=why)
    if not np.isfinite(bound):
        return Check(value=value, right=False, bound=Undefined("rounding hides the direction"))
    right = not isinstance(value, Undefined) and abs(value - one) <= bound
    return Check(value=value, right=bool(right), bound=bound)


def _averaged(bound: Array) -> float:
    """The bound of a mean of cosines, with the rounding of the sum itself."""
    return float(bound.mean()) + bounds.gamma(bound.size + 2)


def _states(found: Read, seen: Seen, gap: tracked.Gaps) -> dict[str, Check]:
    zsl, icl = found.whole("zsl").h, found.whole("icl").h
    return {
        name: _equal(
            seen[name].mean,
            _averaged(bounds.update_bound(icl, zsl, gap.h, normalise=name == "sim_aou")),
            missing=seen[name].excluded,
        )
        for name in ("sim_aou", "sim_aou_unnormalised")
    }


def _scores(found: Read, seen: Seen, gap: tracked.Gaps) -> dict[str, Check]:
    zsl, icl, ft = (found.whole(k).m for k in ("zsl", "icl", "ft"))
    made = {}
    for name, base in (("sim_am_after", None), ("sim_am_delta", zsl)):
        bound = bounds.score_bounds(icl, base, gap.m)
        less = [np.zeros_like(x) for x in icl] if base is None else base
        defined = np.stack(
            [
                cosines((a - z).astype(np.float64), (f - z).astype(np.float64))[1]
                for a, f, z in zip(icl, ft, less, strict=True)
            ]
        )
        made[name] = _layered(seen[name], bound, defined)
    return made


def _layered(seen: Similarity, bound: Array, defined: np.ndarray) -> Check:
    """Judged in the layers in which rounding decides on no cosine; arrays [n,L,H].

    Where no score changes, rounding alone decides whether a cosine is defined, and on its value.
    """
    known = np.isfinite(bound)
    kept = [
        k
        for k in range(known.shape[1])
        if known[:, k].any(-1).all() and (known[:, k] >= defined[:, k]).all()
    ]
    if not kept:
        return Check(value=seen.mean, right=None, why=NO_CHANGE)
    values = [x for k in kept if not isinstance(x := seen.per_layer[k], Undefined)]
    value = float(np.mean(values)) if values else seen.mean
    chosen = known[:, kept]
    mean = np.where(chosen, bound[:, kept], 0.0).sum(-1) / chosen.sum(-1)
    return _equal(value, _averaged(mean), missing=int((chosen & ~defined[:, kept]).sum()))


def _ranks(found: Read, seen: Seen, gap: tracked.Gaps, judge: bool) -> dict[str, Check]:
    if not judge:
        return {
            name: Check(value=seen[name].mean, right=None, why=NO_SCORE)
            for name in ("kendall", "kendall_examples")
        }
    c, _ = found.scores()
    masses = bounds.mass_gap(c, gap.c, found.episode.lengths)
    bound = {
        "kendall": bounds.tau_bound(c, gap.c),
        "kendall_examples": bounds.tau_bound(*masses),
    }
    return {
        name: _equal(seen[name].mean, _averaged(x), missing=seen[name].excluded)
        for name, x in bound.items()
    }


def _answers(found: Read) -> Check:
    """Every answer that finetuning corrects is corrected in context; compared exactly."""
    value = recall(found)
    if isinstance(value, Undefined):
        return Check(value=value, right=None, why=value.reason)
    return _equal(value, 0.0, 100.0)
