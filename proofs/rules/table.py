"""The rules by name, each with the equations that it alone may use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from proofs.rules.blocks import join_blocks
from proofs.rules.functions import carry_out, exponential, khatri_rao, trace
from proofs.rules.linear import distribute, scalars, signs, signs_out, transpose, units
from proofs.rules.trees import Flat, Rewrite, flat, rewrite
from proofs.rules.vanishing import cancel, identity, inverse
from proofs.terms import Term, substitute


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: its name in a derivation, what it says, and its equations."""

    name: str
    says: str
    equations: tuple[Rewrite, ...] = ()
    prepare: Callable[[Term], Term] = lambda term: term
    assumes: bool = False  # whether `prepare` uses an assumption that SymPy must be given too

    def normal(self, term: Term) -> Flat:
        """The normal form of `term` under this rule alone."""
        return rewrite(flat(self.prepare(term)), self.equations)

    def allows(self, before: Term, after: Term) -> bool:
        """Whether the rule alone turns one side of a step into the other."""
        return before.shape == after.shape and self.normal(before) == self.normal(after)


REGROUP = Rule("regroup", "products and sums are associative, sums commute")
SIGNS = Rule("signs", "a minus sign moves out of sums, products and transposes", (signs,))
SCALARS = Rule("scalars", "scalars commute with matrices", (scalars, signs))
UNITS = Rule("one by one", "1 x 1 matrices are scalars, and equal their transposes", (units,))
DISTRIBUTE = Rule("distribute", "products distribute over sums", (distribute,))
TRANSPOSE = Rule("transpose", "(AB)^T = B^T A^T and (A+B)^T = A^T + B^T", (transpose,))
EXPAND = Rule(
    "expand",
    "multiply out, move signs, scalars and transposes, cancel",
    (distribute, transpose, scalars, signs_out, cancel),
)
BLOCKS = Rule("blocks", "A[B C] = [AB AC] and [A B][C; D] = AC + BD", (join_blocks,))
CANCEL = Rule("cancel", "A - A = 0, A + 0 = A, 0 A = 0, an empty product is 0", (cancel,))
IDENTITY = Rule("identity", "I A = A = A I", (identity,))
INVERSE = Rule("inverse", "the inverse times the matrix is the identity", (inverse, identity))
MULTIPLY_BLOCKS = Rule(
    "multiply blocks",
    "as expand, entry by entry of block matrices, I A = A",
    (join_blocks, distribute, transpose, scalars, signs_out, cancel, identity),
)
KHATRI_RAO = Rule("Khatri-Rao", "(A * B)^T (C * D) = (A^T C) . (B^T D)", (khatri_rao,))
TRACE = Rule("trace", "tr(AB) = tr(BA) and tr(A^T) = tr(A)", (trace, transpose))
EXPONENTIAL = Rule("exponential", "exp(c + a) = exp(c) exp(a)", (exponential,))
DIFFERENTIATE = Rule("differentiate", "d<C, AB> = <C B^T, dA> + <A^T C, dB>", (), carry_out)
RULES = (
    REGROUP,
    SIGNS,
    SCALARS,
    UNITS,
    DISTRIBUTE,
    TRANSPOSE,
    EXPAND,
    BLOCKS,
    CANCEL,
    IDENTITY,
    INVERSE,
    MULTIPLY_BLOCKS,
    KHATRI_RAO,
    TRACE,
    EXPONENTIAL,
    DIFFERENTIATE,
)


def hypothesis(closed: Mapping[str, tuple[Term, Term]]) -> Rule:
    """The induction hypotheses: each state after n examples equals its closed form."""

    def prepare(term: Term) -> Term:
        for state, form in closed.values():
            term = substitute(term, state, form)
        return term

    return Rule("induction hypothesis", "the claim for the first n examples", (), prepare, True)
