"""Khatri-Rao products, traces, exponentials, and gradients carried out."""

from __future__ import annotations

from proofs.calculus import gradient
from proofs.rules.linear import ones_in, transposed
from proofs.rules.trees import Flat, around, regroup, shape_of
from proofs.terms import ONE, Term


def khatri_rao(node: Flat) -> Flat | None:
    """(A * B)^T (C * D) to (A^T C) . (B^T D)."""
    if node[0] != "product":
        return None
    for i, (a, b) in enumerate(zip(node[1:], node[2:], strict=False), 1):
        if a[0] == "T" and a[1][0] == "khatri_rao" and b[0] == "khatri_rao":
            pairs = list(zip(a[1][1:], b[1:], strict=True))
            if any(shape_of(x)[0] != shape_of(y)[0] for x, y in pairs):
                continue
            made = ("times", *(regroup(("product", ("T", x), y)) for x, y in pairs))
            return around(node, i, made, 2)
    return None


def trace(node: Flat) -> Flat | None:
    """The first of all cyclic orders of the factors, and of those of the transpose."""
    if node[0] != "trace":
        return None
    if node[1][0] == "T":
        return ("trace", node[1][1])
    if node[1][0] != "product":
        return None
    factors = node[1][1:]
    turned = tuple(transposed(f) for f in reversed(factors))
    orders = [f[i:] + f[:i] for f in (factors, turned) for i in range(len(factors))]
    return ("trace", ("product", *min(orders, key=repr)))


def exponential(node: Flat) -> Flat | None:
    """exp of a row plus a number: the row's exponentials times that of the number."""
    if node[0] == "exp" and node[1][0] == "sum" and len(node[1]) == 3:
        for shift, row in (node[1][1:], node[1][:0:-1]):
            number = shift[0] == "product" and shape_of(shift[1]) == (ONE, ONE)
            if number and len(shift) == 3 and shift[2][0] == "ones":
                return regroup(("product", ("exp", shift[1]), ("exp", row)))
    if node[0] == "inverse" and node[1][0] == "product":
        factors = node[1][1:]
        ones = ones_in(factors)
        if len(ones) > 2 and ones[0] == 0 and ones[-1] == len(factors):
            cuts = zip(ones, ones[1:], strict=False)
            parts = [regroup(("product", *factors[a:b])) for a, b in cuts]
            return ("product", *(("inverse", p) for p in reversed(parts)))
    return None


def carry_out(term: Term) -> Term:
    """Every gradient node carried out."""
    if term.kind == "gradient":
        bound, body, at = (carry_out(a) for a in term.args)
        return gradient(Term("gradient", (bound, body, at), term.shape))
    return Term(term.kind, tuple(map(carry_out, term.args)), term.shape, term.name)
