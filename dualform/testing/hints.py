"""Which known convention an answer agrees with, when it is not the declared one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from dualform.testing.conventions import CHOICES, Convention
from dualform.variants import VARIANTS, Variant

Agrees = Callable[[Variant, Convention], bool]
Change = Mapping[str, Any]

WORDS = {
    ("query_scale", "inverse sqrt"): "queries scaled by d_k^(-1/2)",
    ("query_scale", "none"): "queries that are not scaled",
    ("key_scale", "inverse sqrt"): "keys scaled by d_k^(-1/2)",
    ("key_scale", "none"): "keys that are not scaled",
    ("decay", "before write"): "decay before the write",
    ("decay", "after write"): "decay after the write",
    ("decay", "after read"): "decay after the read",
    ("read", "before write"): "the read before the write, o_t = S_(t-1) q_t",
    ("read", "after write"): "the read after the write, o_t = S_t q_t",
}
GATE_WORDS = {
    "plain": "the gate {} as it is",
    "log": "the gate {} in log space",
    "one minus": "the gate {} standing for 1 - {}",
    "half": "the gradient of half the square, without the factor 2, for the rate {}",
    "double": "the rate {} taken twice",
}


def neighbours(convention: Convention, variant: Variant) -> list[tuple[str, Change]]:
    """Changes of one respect of the declared convention, and how to say them."""
    made: list[tuple[str, Change]] = []
    for name, choices in CHOICES.items():
        for choice in choices:
            words = WORDS.get((name, choice))
            if words is None or choice == getattr(convention, name):
                continue
            if name != "decay" or "decay" in variant.gates:
                made.append((words, {name: choice}))
    for gate in variant.gates:
        meanings = ["plain", "log", "one minus"]
        meanings += ["half", "double"] if gate in ("theta", "rate", "beta") else []
        for meaning in meanings:
            if meaning != convention.gates.get(gate, "plain"):
                made.append((GATE_WORDS[meaning].format(gate, gate), {"gates": {gate: meaning}}))
    if convention.normaliser is None:
        made.append(("outputs divided by q . sum of keys", {"normaliser": 0.0}))
    return made


def joined(changes: Sequence[Change]) -> Change | None:
    """Several changes at once; None when two are of one respect."""
    made: dict[str, Any] = {}
    for change in changes:
        for name, value in change.items():
            if name != "gates" and name in made:
                return None
            if name == "gates" and set(value) & set(made.get("gates", {})):
                return None
            made[name] = {**made.get(name, {}), **value} if name == "gates" else value
    return made


def relatives(variant: Variant) -> Iterator[Variant]:
    """Other rules with the same gates."""
    for other in VARIANTS.values():
        if other.name != variant.name and dict(other.gates) == dict(variant.gates):
            yield other


def diagnose(variant: Variant, convention: Convention, agrees: Agrees) -> tuple[str, ...]:
    """What the answers agree with: one change, another rule, or else two changes together."""
    known = neighbours(convention, variant)
    found = list(_agreeing(variant, convention, agrees, combinations(known, 1)))
    found += [
        f"agrees with the rule {other.name!r} ({other.update})"
        for other in relatives(variant)
        if agrees(other, convention)
    ]
    return tuple(found or _agreeing(variant, convention, agrees, combinations(known, 2)))


def _agreeing(
    variant: Variant,
    convention: Convention,
    agrees: Agrees,
    sets: Iterable[tuple[tuple[str, Change], ...]],
) -> Iterator[str]:
    for some in sets:
        change = joined([c for _, c in some])
        if change is None:
            continue
        gates = {**convention.gates, **change.get("gates", {})}
        if agrees(variant, replace(convention, **{**change, "gates": gates})):
            words = " and ".join(w for w, _ in some)
            arguments = ", ".join(f"{name}={value!r}" for name, value in change.items())
            yield f"agrees with {words}: Convention({arguments})"
