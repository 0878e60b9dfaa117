"""Comparisons -> one verdict for each claim of the paper, by rules that were written beforehand.

`docs/verdict.md` gives the rules in words, with their reasons. A claim has to be above all of its
controls at once: an intersection-union test, which needs no correction (Berger, Technometrics 24,
1982). That a single control is above a claim is one of many tries: it is corrected for their
number (Benjamini and Yekutieli).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from empirical.analysis.claims import CLAIMS, GAINS, MOMENTUM, Claim
from empirical.analysis.comparisons import Compared, Comparison, Ground
from empirical.analysis.intervals import Estimate, adjusted, mean_over_tasks
from empirical.core.undefined import Number, Undefined
from empirical.results import calibration as files

Status = Literal[
    "supported", "not distinguishable from the control", "contradicted", "not testable here"
]
SUPPORTED: Status = "supported"
OPEN: Status = "not distinguishable from the control"
CONTRADICTED: Status = "contradicted"
UNTESTED: Status = "not testable here"
Mean = Callable[[Sequence[Estimate]], Estimate]
ERROR = 0.05
SEEDS = 2
NO_MOMENTUM = "there is no record of models trained with momentum attention"
NO_LEARNING = (
    "there is no in-context learning to explain: the 95 % interval of its accuracy less that of "
    "zero-shot is not above 0"
)
MOMENTUM_CLAIM = "momentum"
UNCALIBRATED = "No known model was read with this metric beside this study (calibration)."


@dataclass(frozen=True, kw_only=True)
class Against:
    """A claim's metric minus one required control, mean over tasks.

    `p_adjusted`: of its family, the required controls of the claim. `dose`: as a dose equivalent,
    mean over tasks. `above`: the whole interval is above 0; `enough`: the difference has weight;
    `below`: the interval is below 0 and stays so after correction.
    """

    metric: str
    control: str
    tasks: tuple[str, ...]
    difference: Estimate
    dose: Number
    p_adjusted: Number
    above: bool
    enough: bool
    below: bool


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a folder says of one claim and model, and the numbers behind it.

    `deciding`: the control that decided, None where nothing could be tested. `tested`: the verdict
    of every task taken alone; `left_out`: why the others say nothing. `set_aside`: controls without
    a score to beat, by name. `family`: how many controls were compared at once.
    """

    model: str
    claim: Claim
    status: Status
    sentence: str
    against: tuple[Against, ...] = ()
    deciding: Against | None = None
    tested: Mapping[str, Status]
    left_out: Mapping[str, str]
    set_aside: Mapping[str, str]
    family: int = 0
    notes: tuple[str, ...] = ()

    def count(self, status: Status) -> int:
        """Tasks with that verdict of their own."""
        return sum(x == status for x in self.tested.values())


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Metrics whose readings of known models were right, and those misread, with the reason."""

    right: frozenset[str]
    misread: Mapping[str, str]


def verdicts(compared: Compared, calibration: Calibration | None = None) -> tuple[Verdict, ...]:
    """One for each model and claim."""
    return tuple(
        verdict(compared, model, claim, calibration)
        for model in compared.models
        for claim in CLAIMS
    )


def verdict(
    compared: Compared, model: str, claim: Claim, calibration: Calibration | None = None
) -> Verdict:
    """The rules, in their order: what forbids a verdict, contradicted, supported, open."""
    required = [c for m in claim.metrics for c in compared.of(model, m) if c.required]
    grounds = {g.task: g for g in compared.grounds if g.model == model}
    left_out = {t: why for t, g in grounds.items() if (why := _obstacle(g, required, claim))}
    return decide(
        model,
        claim,
        required,
        tuple(grounds),
        left_out,
        misread=_misread(claim, calibration),
        notes=_notes(claim, calibration),
    )


def decide(
    model: str,
    claim: Claim,
    required: Sequence[Comparison],
    tasks: Sequence[str],
    left_out: Mapping[str, str],
    *,
    misread: str = "",
    notes: tuple[str, ...] = (),
    mean: Mean = mean_over_tasks,
) -> Verdict:
    """One verdict from the required comparisons, once the tasks are known that say nothing.

    `mean`: of the estimates of several tasks, which may share what was drawn.
    """
    tasks = tuple(t for t in tasks if t not in left_out)
    held = [c for c in required if c.task in tasks]
    kept = [c for c in held if c.set_aside is None]
    aside = {c.control: c.set_aside for c in held if c.set_aside is not None}
    against = () if misread else _all_against(kept, claim, mean)
    shared = {"model": model, "claim": claim, "left_out": left_out, "set_aside": aside}
    if not against:
        why = misread or _why_untested(left_out)
        return Verdict(status=UNTESTED, sentence=f"Not testable here: {why}.", tested={}, **shared)  # type: ignore[arg-type] # one mapping of several types
    status, deciding = judge(against)
    alone = {
        t: judge(_all_against([c for c in kept if c.task == t], claim, mean))[0] for t in tasks
    }
    return Verdict(
        status=status,
        sentence=_sentence(claim, status, against, deciding, len(tasks)),
        against=against,
        deciding=deciding,
        tested=alone,
        family=len(against),
        notes=notes,
        **shared,  # type: ignore[arg-type] # as above
    )


def _obstacle(ground: Ground, required: Sequence[Comparison], claim: Claim) -> str:
    """Why a task says nothing about a claim, or nothing."""
    mine = [c for c in required if c.task == ground.task]
    if claim.id == MOMENTUM_CLAIM:
        absent = [n for n in MOMENTUM if n not in {c.control for c in mine}]
        found = [f"no comparison with {n}" for n in absent] if mine else [NO_MOMENTUM]
    else:
        found = _ground_obstacles(ground)
    if not found:
        reasons = [(c.control, None if c.set_aside else unusable(c)) for c in mine]
        found = [f"{control}: {reason}" for control, reason in reasons if reason]
    if not found and all(c.set_aside for c in mine):
        found = ["no control has a score to beat"]
    return "; ".join(found)


def _ground_obstacles(ground: Ground) -> list[str]:
    if len(ground.seeds) < SEEDS:
        return [f"{len(ground.seeds)} seed, where {SEEDS} or more are needed"]
    if isinstance(ground.icl_gain.low, Undefined):
        return [f"accuracies cannot be compared: {ground.icl_gain.low.reason}"]
    found = []
    if ground.icl_gain.low <= 0:
        found.append(NO_LEARNING)
    if ground.changed == 0:
        found.append("finetuning changes no answer")
    return found


def unusable(one: Comparison) -> str | None:
    """Why nothing can be judged by a comparison, or None."""
    gap = one.difference
    if isinstance(gap.value, Undefined):
        return gap.value.reason
    if isinstance(gap.low, Undefined):
        return gap.low.reason
    if gap.seeds < SEEDS:
        return f"a value in {gap.seeds} seed only"
    return None


def _misread(claim: Claim, calibration: Calibration | None) -> str:
    if calibration is None:
        return ""
    found = [
        f"the instrument misread {name} of a known model ({calibration.misread[name]})"
        for name in _instruments(claim)
        if name in calibration.misread
    ]
    return "; ".join(found)


def _instruments(claim: Claim) -> tuple[str, ...]:
    """The metrics behind a claim, gains with what they are gains of."""
    return tuple(x for m in claim.metrics for x in (m, *GAINS.get(m, ())[:1]))


def _notes(claim: Claim, calibration: Calibration | None) -> tuple[str, ...]:
    known = calibration is not None and bool(set(_instruments(claim)) & calibration.right)
    return () if known else (UNCALIBRATED,)


def _all_against(kept: Sequence[Comparison], claim: Claim, mean: Mean) -> tuple[Against, ...]:
    """One for each control, mean over the tasks in `kept`, corrected together."""
    keys = dict.fromkeys((c.metric, c.control) for c in kept)
    groups = {k: [c for c in kept if (c.metric, c.control) == k] for k in keys}
    means = {k: mean([c.difference for c in g]) for k, g in groups.items()}
    corrected = adjusted([m.p for m in means.values()])
    return tuple(
        _against(groups[k], means[k], p, claim) for k, p in zip(groups, corrected, strict=True)
    )


def _against(group: Sequence[Comparison], mean: Estimate, p: Number, claim: Claim) -> Against:
    doses = [c.dose for c in group if not isinstance(c.dose, Undefined)]
    missing = next((c.dose for c in group if isinstance(c.dose, Undefined)), None)
    dose: Number = sum(doses) / len(doses) if missing is None else missing
    value, low, high = mean.value, mean.low, mean.high
    known = not (
        isinstance(value, Undefined) or isinstance(low, Undefined) or isinstance(high, Undefined)
    )
    assert known, "tasks whose comparison has no interval are left out"
    enough = value >= claim.smallest  # type: ignore[operator] # known
    if claim.dose is not None and not isinstance(dose, Undefined):
        enough = dose >= claim.dose
    return Against(
        metric=group[0].metric,
        control=group[0].control,
        tasks=tuple(c.task for c in group),
        difference=mean,
        dose=dose,
        p_adjusted=p,
        above=low > 0,  # type: ignore[operator] # known
        enough=enough,
        below=high < 0 and not isinstance(p, Undefined) and p <= ERROR,  # type: ignore[operator] # known
    )


def judge(against: Sequence[Against]) -> tuple[Status, Against]:
    """Contradicted by one control, supported by all, otherwise open; and the control that decided.

    The deciding control is the one with the smallest difference among those that decide.
    """
    below = [a for a in against if a.below]
    if below:
        return CONTRADICTED, _closest(below)
    if all(a.above and a.enough for a in against):
        return SUPPORTED, _closest(against)
    return OPEN, _closest(
        [a for a in against if not a.above] or [a for a in against if not a.enough]
    )


def _closest(some: Sequence[Against]) -> Against:
    def size(one: Against) -> float:
        value = one.difference.value
        return float("inf") if isinstance(value, Undefined) else value

    return min(some, key=size)


def _why_untested(left_out: Mapping[str, str]) -> str:
    """The reasons of all tasks, each once with its tasks."""
    if not left_out:
        return "there is no evidence"
    by_reason: dict[str, list[str]] = {}
    for task, why in left_out.items():
        by_reason.setdefault(why, []).append(task)
    if len(by_reason) == 1:
        return next(iter(by_reason))
    return "; ".join(f"{', '.join(tasks)}: {why}" for why, tasks in by_reason.items())


def _interval(found: Estimate, digits: int) -> str:
    shown = [
        "undefined" if isinstance(x, Undefined) else f"{x:.{digits}f}"
        for x in (found.value, found.low, found.high)
    ]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]"


def _size(claim: Claim, one: Against) -> str:
    digits = 3 if not claim.unit else 1 if claim.smallest >= 1 else 2
    dose = "" if isinstance(one.dose, Undefined) else f", dose equivalent {one.dose:.2f}"
    return f"{_interval(one.difference, digits)}{claim.unit}{dose}"


def _sentence(
    claim: Claim, status: Status, against: Sequence[Against], deciding: Against, tasks: int
) -> str:
    where = claim.on or ("the one task" if tasks == 1 else f"the mean of {tasks} tasks")
    size = _size(claim, deciding)
    if status == SUPPORTED:
        return (
            f"On {where} the score is above each of its {len(against)} controls; the closest is "
            f"{deciding.control}, by {size}."
        )
    if status == CONTRADICTED:
        higher = [a.control for a in against if a.below]
        if len(higher) == 1:
            return f"On {where} the control {deciding.control} scores higher: {size}."
        return (
            f"On {where} {len(higher)} of {len(against)} controls score higher "
            f"({', '.join(higher)}); the furthest above is {deciding.control}: {size}."
        )
    unbeaten = [a.control for a in against if not a.above]
    if unbeaten:
        return (
            f"On {where} the score is not above {len(unbeaten)} of {len(against)} controls "
            f"({', '.join(unbeaten)}); the furthest from it is {deciding.control}: {size}."
        )
    limit = f"{claim.smallest:g}{claim.unit}"
    if claim.dose is not None and not isinstance(deciding.dose, Undefined):
        limit = f"a dose equivalent of {claim.dose:g}"
    return (
        f"On {where} the score is above every control, but above {deciding.control} by {size}, "
        f"which is less than {limit}."
    )


def calibration_of(file: files.Calibration) -> Calibration:
    """What `calibration.json` says of each metric: right where every judged case was read right."""
    judged = [
        (metric, name, check)
        for name, case in file.cases.items()
        for metric, check in case.checks.items()
        if check.right is not None
    ]
    misread = {
        metric: f"{name}{f', {check.why}' if check.why else ''}"
        for metric, name, check in judged
        if not check.right
    }
    right = frozenset(metric for metric, _, check in judged if check.right)
    return Calibration(right=right - set(misread), misread=misread)
