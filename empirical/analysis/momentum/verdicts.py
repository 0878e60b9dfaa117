"""Compared models -> what they say of the two claims on momentum attention. No torch.

The rules are those of every claim (`empirical.analysis.verdicts`, docs/verdict.md), written before
the first of these models was trained. Tasks share their models, so that their mean is
`mean_of_tasks`.
"""

from __future__ import annotations

from collections.abc import Sequence

from empirical.analysis.claims import MOMENTUM, MOMENTUM_CLAIMS, Claim
from empirical.analysis.comparisons import Comparison
from empirical.analysis.momentum.control_comparisons import ACCURACY, KIND_OF
from empirical.analysis.momentum.outcome import AtScale, Momentum as Compared
from empirical.analysis.momentum.task_means import mean_of_tasks
from empirical.analysis.verdicts import NO_MOMENTUM, SEEDS, Verdict, decide, unusable
from empirical.results.attention_kinds import KINDS, MOMENTUM as MOMENTUM_KIND, PLAIN
from empirical.results.language_models import VALIDATION


def momentum_verdicts(momentum: Compared) -> tuple[Verdict, ...]:
    """One for each scale and claim; `Verdict.model` is the scale."""
    return tuple(verdict(scale, claim) for scale in momentum.scales for claim in MOMENTUM_CLAIMS)


def verdict(at: AtScale, claim: Claim) -> Verdict:
    """One claim on the models of one scale."""
    required = [c for c in at.comparisons if c.metric in claim.metrics and c.required]
    tasks = _tasks(at, claim)
    left_out = {t: why for t in tasks if (why := _obstacle(at, required, claim, t))}
    return decide(at.scale, claim, required, tasks, left_out, notes=_notes(at), mean=mean_of_tasks)


def _tasks(at: AtScale, claim: Claim) -> tuple[str, ...]:
    """Tasks, or the one text: its shorter windows are the same text again, not another task."""
    return at.tasks if ACCURACY in claim.metrics else (f"{VALIDATION}-{at.length}",)


def _obstacle(at: AtScale, required: Sequence[Comparison], claim: Claim, task: str) -> str:
    """Why a task says nothing about a claim, or nothing."""
    if MOMENTUM_KIND not in at.chosen:
        return at.unchosen.get(MOMENTUM_KIND, NO_MOMENTUM)
    if len(at.seeds) < SEEDS:
        return f"{len(at.seeds)} seed, where {SEEDS} or more are needed"
    if ACCURACY in claim.metrics and task in at.left_out:
        return at.left_out[task]
    mine = {c.control: c for c in required if c.task == task}
    found = [_missing(at, name) for name in MOMENTUM if name not in mine]
    if not found:
        reasons = {name: unusable(c) for name, c in mine.items()}
        found = [f"{name}: {why}" for name, why in reasons.items() if why]
    return "; ".join(found)


def _missing(at: AtScale, control: str) -> str:
    why = at.unchosen.get(KIND_OF[control], "")
    return f"no comparison with {control}" + (f" ({why})" if why else "")


def _notes(at: AtScale) -> tuple[str, ...]:
    """Controls that were given other etas to choose from than momentum attention."""
    etas = {
        kind: tuple(e.layer.eta for e in at.entries if e.layer.kind == kind and not e.layer.learned)
        for kind in KINDS
    }
    ours = etas[MOMENTUM_KIND]
    return tuple(
        f"Momentum attention was chosen among {_listed(ours)}, {KINDS[kind].title} among "
        f"{_listed(etas[kind])}."
        for kind in KIND_OF.values()
        if kind != PLAIN and ours and etas[kind] and etas[kind] != ours
    )


def _listed(etas: Sequence[float | None]) -> str:
    return "eta " + ", ".join(f"{x:g}" for x in etas if x is not None)
