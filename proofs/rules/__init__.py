"""The rules that a step of a derivation may name, each with its own check.

A rule rewrites both sides of a step, by its own equations alone, to a normal form; the step holds
when the forms are the same. Every rule may also regroup: products and sums are flattened, sums
are sorted. Nothing here expands beyond its own equations, so a step that names the wrong rule is
refused although the equation may be true.
"""

from proofs.rules.table import (
    BLOCKS,
    CANCEL,
    DIFFERENTIATE,
    DISTRIBUTE,
    EXPAND,
    EXPONENTIAL,
    IDENTITY,
    INVERSE,
    KHATRI_RAO,
    MULTIPLY_BLOCKS,
    REGROUP,
    RULES,
    SCALARS,
    SIGNS,
    TRACE,
    TRANSPOSE,
    UNITS,
    Rule,
    hypothesis,
)
from proofs.rules.trees import flat

__all__ = [
    "BLOCKS",
    "CANCEL",
    "DIFFERENTIATE",
    "DISTRIBUTE",
    "EXPAND",
    "EXPONENTIAL",
    "IDENTITY",
    "INVERSE",
    "KHATRI_RAO",
    "MULTIPLY_BLOCKS",
    "REGROUP",
    "RULES",
    "SCALARS",
    "SIGNS",
    "TRACE",
    "TRANSPOSE",
    "UNITS",
    "Rule",
    "hypothesis",
    "flat",
]
