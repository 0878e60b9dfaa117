"""LaTeX of statements and derivations, exactly as they are written."""

from proofs.tex.documents import EQUATIONS, document
from proofs.tex.prose import prose
from proofs.tex.recurrences import Walks, walks
from proofs.tex.statements import fact_theorem, theorem
from proofs.tex.terms import tex

__all__ = ["EQUATIONS", "Walks", "document", "fact_theorem", "prose", "tex", "theorem", "walks"]
