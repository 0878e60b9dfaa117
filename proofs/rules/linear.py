"""Signs, scalars, 1 x 1 matrices, distribution and transposes."""

from __future__ import annotations

from proofs.rules.trees import Flat, around, regroup, shape_of
from proofs.terms import ONE


def signs(node: Flat) -> Flat | None:
    """A minus sign out of a node, and out of a sum that begins with one."""
    if node[0] == "product":
        for i, a in enumerate(node[1:], 1):
            if a[0] == "sum" and _leads_negative(a):
                return ("neg", around(node, i, regroup(("sum", *map(_flipped, a[1:])))))
    return signs_out(node)


def signs_out(node: Flat) -> Flat | None:
    """A minus sign out of a node."""
    kind = node[0]
    if kind == "neg" and node[1][0] == "neg":
        return node[1][1]  # type: ignore[no-any-return] # a Flat
    if kind == "neg" and node[1][0] == "sum":
        return ("sum", *(("neg", a) for a in node[1][1:]))
    if kind == "T" and node[1][0] == "neg":
        return ("neg", ("T", node[1][1]))
    if kind == "scale" and node[2][0] == "neg":
        return ("neg", ("scale", node[1], node[2][1]))
    if kind == "scale" and node[1][0] == "neg":
        return ("neg", ("scale", node[1][1], node[2]))
    if kind in ("diag", "causal", "trace") and node[1][0] == "neg":
        return ("neg", (kind, node[1][1]))
    if kind == "times":
        for i in (1, 2):
            if node[i][0] == "neg":
                return ("neg", (kind, *node[1:i], node[i][1], *node[i + 1 :]))
    if kind == "product":
        for i, a in enumerate(node[1:], 1):
            if a[0] == "neg":
                return ("neg", around(node, i, a[1]))
    return None


def _flipped(node: Flat) -> Flat:
    return node[1] if node[0] == "neg" else ("neg", node)


def _leads_negative(node: Flat) -> bool:
    """Whether the sum's first term, signs ignored, comes with a minus sign alone.

    Of A and -A at most one has; a sum in which that term comes with both signs has not.
    """
    bare = [(repr(a[1]), True) if a[0] == "neg" else (repr(a), False) for a in node[1:]]
    first = min(name for name, _ in bare)
    return all(negative for name, negative in bare if name == first)


def scalars(node: Flat) -> Flat | None:
    """A scalar factor out of a node."""
    kind = node[0]
    if kind == "product":
        for i, a in enumerate(node[1:], 1):
            if a[0] == "scale":
                return ("scale", a[1], around(node, i, a[2]))
    if kind in ("T", "diag", "causal", "trace") and node[1][0] == "scale":
        return ("scale", node[1][1], (kind, node[1][2]))
    if kind == "times":
        for i in (1, 2):
            if node[i][0] == "scale":
                return ("scale", node[i][1], (kind, *node[1:i], node[i][2], *node[i + 1 :]))
    if kind == "scale" and node[1][0] == "scale":
        return ("scale", node[1][1], ("scale", node[1][2], node[2]))
    if kind == "scale" and node[2][0] == "scale" and repr(node[2][1]) < repr(node[1]):
        return ("scale", node[2][1], ("scale", node[1], node[2][2]))
    return None


def units(node: Flat) -> Flat | None:
    """1 x 1 matrices: scalars are put where a product has a size of one, and sorted there."""
    if node[0] in ("T", "diag", "trace") and shape_of(node[1]) == (ONE, ONE):
        return node[1]  # type: ignore[no-any-return] # a Flat
    if node[0] == "scale" and node[2][0] == "scale":
        return ("scale", regroup(("product", node[1], node[2][1])), node[2][2])
    if node[0] == "scale" and node[2][0] != "sum":
        factors = node[2][1:] if node[2][0] == "product" else (node[2],)
        ones = ones_in(factors)
        if ones and not any(shape_of(f) == ((), ()) for f in factors):
            at = ones[0]
            return regroup(("product", *factors[:at], node[1], *factors[at:]))
    if node[0] == "product":
        factors = node[1:]
        ones = ones_in(factors)
        if len(ones) > 1:
            middle = [_facing(factors[a:b]) for a, b in zip(ones, ones[1:], strict=False)]
            made = [f for segment in sorted(middle, key=repr) for f in segment]
            return ("product", *factors[: ones[0]], *made, *factors[ones[-1] :])
    return None


def ones_in(factors: tuple[Flat, ...]) -> list[int]:
    """The places in a product at which a size of one stands."""
    places = [i for i, f in enumerate(factors) if shape_of(f)[0] == ONE]
    return [*places, len(factors)] if shape_of(factors[-1])[1] == ONE else places


def _facing(segment: tuple[Flat, ...]) -> tuple[Flat, ...]:
    """Factors of a 1 x 1 matrix, or those of its transpose, whichever comes first."""
    turned = tuple(transposed(f) for f in reversed(segment))
    return min(segment, turned, key=repr)


def transposed(node: Flat) -> Flat:
    """The transpose of a factor, A for A^T."""
    if node[0] == "T":
        return node[1]  # type: ignore[no-any-return] # a Flat
    return node if shape_of(node) == (ONE, ONE) or node[0] == "diag" else ("T", node)


def distribute(node: Flat) -> Flat | None:
    """A sum out of a product, a scaling, an entry-wise product or a linear function."""
    kind = node[0]
    if kind == "product":
        for i, a in enumerate(node[1:], 1):
            if a[0] == "sum":
                return ("sum", *(around(node, i, b) for b in a[1:]))
    if kind == "scale":
        for i in (1, 2):
            if node[i][0] == "sum":
                return ("sum", *((kind, *node[1:i], b, *node[i + 1 :]) for b in node[i][1:]))
    if kind == "times":
        for i in (1, 2):
            if node[i][0] == "sum":
                return ("sum", *((kind, *node[1:i], b, *node[i + 1 :]) for b in node[i][1:]))
    if kind in ("diag", "causal", "trace", "neg") and node[1][0] == "sum":
        return ("sum", *((kind, b) for b in node[1][1:]))
    return None


def transpose(node: Flat) -> Flat | None:
    """A transpose into a sum, a product or a transpose."""
    if node[0] != "T":
        return None
    inner = node[1]
    if inner[0] == "T":
        return inner[1]  # type: ignore[no-any-return] # a Flat
    if inner[0] == "sum":
        return ("sum", *(("T", a) for a in inner[1:]))
    if inner[0] == "product":
        return ("product", *(("T", a) for a in reversed(inner[1:])))
    if inner[0] == "diag":
        return inner  # type: ignore[no-any-return] # a Flat
    return None
