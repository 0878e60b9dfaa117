"""Which known convention an answer agrees with, when it is not the declared one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from dualform.testing.conventions import CHOICES, Convention
from dualform.variants import VARIANTS, Variant

Agrees = Callable[[Variant, Convention], bool]

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


def neighbours(convention: Convention, variant: Variant) -> Iterator[tuple[str, Convention]]:
    """Conventions that differ in one respect from the declared one, and how to say so."""
    for name, choices in CHOICES.items():
        for choice in choices:
            words = WORDS.get((name, choice))
            if words is None or choice == getattr(convention, name):
                continue
            if name == "decay" and "decay" not in variant.gates:
                continue
            argument = f"Convention({name}={choice!r})"
            changed: dict[str, Any] = {name: choice}
            yield f"{words}: {argument}", replace(convention, **changed)
    for gate in variant.gates:
        meanings = ["plain", "log", "one minus"]
        meanings += ["half", "double"] if gate in ("theta", "rate", "beta") else []
        for meaning in meanings:
            if meaning == convention.gates.get(gate, "plain"):
                continue
            gates: Any = {**convention.gates, gate: meaning}
            words = GATE_WORDS[meaning].format(gate, gate)
            yield (
                f"{words}: Convention(gates={{{gate!r}: {meaning!r}}})",
                replace(convention, gates=gates),
            )
    if convention.normaliser is None:
        yield (
            "outputs divided by q . sum of keys: Convention(normaliser=0.0)",
            replace(convention, normaliser=0.0),
        )


def relatives(variant: Variant) -> Iterator[Variant]:
    """Other rules with the same gates."""
    for other in VARIANTS.values():
        if other.name != variant.name and dict(other.gates) == dict(variant.gates):
            yield other


def diagnose(variant: Variant, convention: Convention, agrees: Agrees) -> tuple[str, ...]:
    """What the answers agree with on generic examples; empty when with nothing known."""
    found = [
        f"agrees with {words}"
        for words, other in neighbours(convention, variant)
        if agrees(variant, other)
    ]
    found += [
        f"agrees with the rule {other.name!r} ({other.update})"
        for other in relatives(variant)
        if agrees(other, convention)
    ]
    return tuple(found)
