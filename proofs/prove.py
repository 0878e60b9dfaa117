"""Verdicts by SymPy matrices of symbolic size: a zero difference holds for all sizes."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sympy as sp

from proofs.statements import Side, Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`status` is proved(all sizes), refuted(witness) or undecided."""

    id: str
    status: str
    detail: str
    seconds: float


class SymbolicOps:
    """SymPy block matrices."""

    @staticmethod
    def hcat(*blocks: Any) -> Any:
        """Blocks side by side."""
        return sp.BlockMatrix([list(blocks)])


class ExplicitOps:
    """SymPy matrices of numbers."""

    @staticmethod
    def hcat(*blocks: Any) -> Any:
        """Blocks side by side."""
        return sp.Matrix.hstack(*blocks)


def symbols(statement: Statement) -> Mapping[str, Any]:
    """Matrix symbols of symbolic size."""

    def size(name: str) -> Any:
        return int(name) if name.isdigit() else sp.Symbol(name, integer=True, positive=True)

    return {
        name: sp.MatrixSymbol(name, size(rows), size(columns))
        for name, (rows, columns) in statement.variables.items()
    }


def difference(statement: Statement, side: Side) -> Any:
    """lhs - side, multiplied out."""
    v = symbols(statement)
    left, right = statement.lhs(SymbolicOps, v), side(SymbolicOps, v)
    return sp.expand(sp.block_collapse(left - right).doit()).doit()


def prove(statement: Statement) -> Verdict:
    """Prove a true claim for all sizes, or refute a false one by its witness."""
    start = time.perf_counter()
    if statement.claim == "false":
        v = {name: sp.Matrix(rows) for name, rows in (statement.witness or {}).items()}
        gap = statement.lhs(ExplicitOps, v) - statement.rhs(ExplicitOps, v)
        refuted = gap != sp.zeros(*gap.shape)
        status = "refuted(witness)" if refuted else "undecided"
        detail = f"lhs - rhs = {gap.tolist()} at the witness"
    else:
        gap = difference(statement, statement.rhs)
        proved = isinstance(gap, sp.ZeroMatrix)
        status = "proved(all sizes)" if proved else "undecided"
        detail = "lhs - rhs expands to 0" if proved else f"lhs - rhs = {gap}"
    seconds = time.perf_counter() - start
    return Verdict(id=statement.id, status=status, detail=detail, seconds=seconds)
