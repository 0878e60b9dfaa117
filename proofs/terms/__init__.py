"""Statements as typed trees, kept exactly as they were written.

`TermOps` interprets the vocabulary of the catalogue by building trees; shapes are checked while
they are built, so that an ill-typed equation (as eq. 8 of the paper is printed) is refused.
A tree is printed by `proofs.tex`, rewritten by `proofs.rules`, judged by `proofs.symbolic`.
"""

from proofs.terms.ops import TermOps, rebuild
from proofs.terms.recurrences import Component, components, grows
from proofs.terms.term import (
    BLOCK,
    ONE,
    SCALAR,
    Dim,
    Kind,
    Shape,
    ShapeError,
    Term,
    contains,
    dim,
    internal,
    substitute,
    substitute_all,
    symbol,
    variables,
)

__all__ = [
    "BLOCK",
    "ONE",
    "SCALAR",
    "Component",
    "Dim",
    "Kind",
    "Shape",
    "ShapeError",
    "Term",
    "TermOps",
    "components",
    "contains",
    "dim",
    "grows",
    "internal",
    "rebuild",
    "substitute",
    "substitute_all",
    "symbol",
    "variables",
]
