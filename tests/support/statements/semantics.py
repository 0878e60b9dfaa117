"""Which comparisons a statement allows beside those of the packages, and why one does not apply."""

from proofs.semantics import kinds
from proofs.statements import Statement
from proofs.symbolic import OPAQUE


def not_bounded_exactly(statement: Statement) -> str | None:
    """Why a rounded side has no rational twin, or None where it has one."""
    found = kinds(statement)
    if "exp" in found:
        return "the exponential is irrational; fractions use powers of two in its place"
    if found & {"loss", "output_gradient"}:
        return "the output gradient of a generic loss is data to the bound"
    return None


def not_by_sympy_alone(statement: Statement) -> str | None:
    """Why SymPy cannot compare both sides in one go, or None where it can."""
    found = kinds(statement) & (OPAQUE - {"identity", "vcat"})
    return f"SymPy's matrices do not open {', '.join(sorted(found))}" if found else None
