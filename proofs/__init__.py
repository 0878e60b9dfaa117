"""The identities, stated once, and their proofs: a statement in, a verdict or LaTeX out.

Statements need the standard library alone; SymPy is loaded with `prove`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "STATEMENTS": "proofs.statements",
    "FACTS": "proofs.statements",
    "Statement": "proofs.statements",
    "Fact": "proofs.statements",
    "by_id": "proofs.statements",
    "any_by_id": "proofs.statements",
    "UnknownStatement": "proofs.statements",
    "prove": "proofs.verdict",
    "Verdict": "proofs.verdict",
    "as_claimed": "proofs.verdict",
    "document": "proofs.tex",
}

if TYPE_CHECKING:
    from proofs.statements import (
        FACTS,
        STATEMENTS,
        Fact,
        Statement,
        UnknownStatement,
        any_by_id,
        by_id,
    )
    from proofs.tex import document
    from proofs.verdict import Verdict, as_claimed, prove
else:

    def __getattr__(name: str) -> Any:
        """A public name, loaded when it is first asked for."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)


__all__ = [
    "FACTS",
    "Fact",
    "STATEMENTS",
    "Statement",
    "UnknownStatement",
    "Verdict",
    "any_by_id",
    "as_claimed",
    "by_id",
    "document",
    "prove",
]


def __dir__() -> list[str]:
    return __all__
