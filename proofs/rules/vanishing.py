"""What drops out: zeros, identities, and a matrix beside its inverse."""

from __future__ import annotations

from proofs.rules.trees import Flat, regroup, shape_of, zeros


def cancel(node: Flat) -> Flat | None:
    """Zeros out of a node, and A with -A out of a sum."""

    def is_zero(a: Flat) -> bool:
        return bool(a[0] == "zero")

    kind, shape = node[0], shape_of(node)
    if kind != "zero" and () in shape and shape != ((), ()):
        return zeros(shape)  # it has no entries
    if kind == "sum":
        kept = [a for a in node[1:] if not is_zero(a)]
        nothing = zeros(shape_of(node[1]))
        for a in kept:
            if ("neg", a) in kept:
                kept.remove(a)
                kept.remove(("neg", a))
                return regroup(("sum", *kept)) if kept else nothing
        if len(kept) < len(node) - 1:
            return regroup(("sum", *kept)) if kept else nothing
    if kind in ("neg", "T", "product", "scale", "times", "diag", "causal", "trace") and any(
        map(is_zero, node[1:])
    ):
        return zeros(shape_of(node))
    if kind == "product" and any(shape_of(a)[1] == () for a in node[1:-1]):
        return zeros(shape_of(node))  # the factors meet at a size of zero
    return None


def identity(node: Flat) -> Flat | None:
    """An identity out of a product, a scaling, a transpose or an inverse."""
    kind = node[0]
    if kind == "product":
        for i, a in enumerate(node[1:], 1):
            if a[0] == "identity":
                return regroup(("product", *node[1:i], *node[i + 1 :]))
    if kind == "diag" and node[1][0] == "T" and node[1][1][0] == "ones":
        return ("identity", "", *shape_of(node))
    if kind in ("T", "inverse") and node[1][0] == "identity":
        return node[1]  # type: ignore[no-any-return] # a Flat
    if kind == "scale" and node[1][0] == "identity":
        return node[2]  # type: ignore[no-any-return] # a Flat
    return None


def inverse(node: Flat) -> Flat | None:
    """The identity for a matrix beside its inverse."""
    if node[0] != "product":
        return None
    factors = node[1:]
    for i, a in enumerate(factors):
        if a[0] != "inverse":
            continue
        own = a[1][1:] if a[1][0] == "product" else (a[1],)
        m = len(own)
        for start, stop in ((i - m, i + 1), (i, i + m + 1)):
            other = factors[start:i] if start < i else factors[i + 1 : stop]
            if start >= 0 and other == own:
                rest = (*factors[:start], *factors[stop:])
                one: Flat = ("identity", "", *shape_of(a))
                return regroup(("product", *rest)) if rest else one
    return None
