"""Trees with n-ary sums and products: what the rules rewrite, innermost first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proofs.terms import ONE, Dim, Shape, Term

Flat = tuple[Any, ...]  # (kind, *flat arguments); leaves are (kind, name, rows, columns, ...)
Rewrite = Callable[[Flat], Flat | None]
LEAVES = ("symbol", "zero", "identity", "ones", "gradient", "fold")


def flat(term: Term) -> Flat:
    """A tree with n-ary sums and products, each leaf with its shape."""
    if term.kind in LEAVES:
        return _freeze(term)
    names = {"transpose": "T", "negative": "neg"}
    return regroup((names.get(term.kind, term.kind), *map(flat, term.args)))


def _freeze(term: Term) -> Flat:
    return (term.kind, term.name, *term.shape, *map(_freeze, term.args))


def regroup(node: Flat) -> Flat:
    """A node with nested sums, products and blocks of its own kind opened, and its sum sorted."""
    kind, args = node[0], node[1:]
    if kind in ("sum", "product", "hcat", "vcat"):
        parts = tuple(x for a in args for x in (a[1:] if a[0] == kind else (a,)))
        if len(parts) == 1:
            return parts[0]  # type: ignore[no-any-return] # a Flat, as every part is
        return (kind, *(sorted(parts, key=repr) if kind == "sum" else parts))
    return node


def is_leaf(node: Flat) -> bool:
    """Whether a node has no arguments to rewrite."""
    return node[0] in LEAVES


def rewrite(node: Flat, rules: tuple[Rewrite, ...]) -> Flat:
    """Apply `rules` everywhere, innermost first, until none applies."""
    if not is_leaf(node):
        node = regroup((node[0], *(rewrite(a, rules) for a in node[1:])))
    for rule in rules:
        changed = rule(node)
        if changed is not None and changed != node:
            return rewrite(regroup(changed), rules)
    return node


def around(node: Flat, i: int, middle: Flat, width: int = 1) -> Flat:
    """The product `node` with the factors i .. i+width-1 replaced by `middle`."""
    return regroup(("product", *node[1:i], middle, *node[i + width :]))


def shape_of(node: Flat) -> Shape:
    """Rows and columns of a flat node; scalars have none."""
    kind = node[0]
    if is_leaf(node):
        return node[2], node[3]
    if kind == "product":
        return shape_of(node[1])[0], shape_of(node[-1])[1]
    if kind in ("T", "diag", "trace"):
        rows, columns = shape_of(node[1])
        return {"T": (columns, rows), "diag": (rows, rows), "trace": (ONE, ONE)}[kind]
    if kind in ("hcat", "vcat", "khatri_rao"):
        shapes = [shape_of(a) for a in node[1:]]
        if kind == "khatri_rao":
            (left, columns), (right, _) = shapes
            return tuple(sorted(f"{r}*{s}" for r in left for s in right)), columns
        along = 1 if kind == "hcat" else 0
        joined: Dim = tuple(sorted(d for s in shapes for d in s[along]))
        return (shapes[0][0], joined) if along else (joined, shapes[0][1])
    if kind in ("inner", "half_square", "weighted_square", "loss"):
        return (), ()
    return shape_of(node[2] if kind == "scale" else node[1])


def zeros(shape: Shape) -> Flat:
    """The zero matrix of this shape."""
    return ("zero", "", *shape)
