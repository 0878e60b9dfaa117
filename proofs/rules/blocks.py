"""Block matrices: products, sums, entry-wise functions and the causal mask, block by block."""

from __future__ import annotations

from proofs.rules.trees import Flat, around, regroup, shape_of, zeros
from proofs.terms import ONE


def _fits(left: Flat, right: Flat) -> bool:
    """Whether blocks side by side meet blocks over each other of the same sizes."""
    return len(left) == len(right) and all(
        shape_of(a)[1] == shape_of(b)[0] for a, b in zip(left[1:], right[1:], strict=True)
    )


def _alike(nodes: tuple[Flat, ...], kind: str) -> bool:
    """Whether all nodes are block matrices of `kind` with the same sizes."""
    if any(n[0] != kind or len(n) != len(nodes[0]) for n in nodes):
        return False
    return all([shape_of(b) for b in n[1:]] == [shape_of(b) for b in nodes[0][1:]] for n in nodes)


def join_blocks(node: Flat) -> Flat | None:
    """Operations on block matrices, carried out block by block."""
    kind = node[0]
    if kind == "T" and node[1][0] in ("hcat", "vcat"):
        turned = "vcat" if node[1][0] == "hcat" else "hcat"
        return (turned, *(("T", b) for b in node[1][1:]))
    if kind in ("neg", "exp", "activation") and node[1][0] in ("hcat", "vcat"):
        return (node[1][0], *((kind, b) for b in node[1][1:]))
    if kind == "scale" and node[2][0] in ("hcat", "vcat"):
        return (node[2][0], *((kind, node[1], b) for b in node[2][1:]))
    if kind in ("sum", "times"):
        for side in ("hcat", "vcat"):
            if len(node) > 2 and _alike(node[1:], side):
                columns = zip(*(n[1:] for n in node[1:]), strict=True)
                return (side, *(regroup((kind, *parts)) for parts in columns))
    if kind == "vcat" and _alike(node[1:], "hcat"):
        columns = zip(*(n[1:] for n in node[1:]), strict=True)
        return ("hcat", *(("vcat", *parts) for parts in columns))
    if kind == "causal":
        return _causal(node)
    return _block_product(node) if kind == "product" else None


def _causal(node: Flat) -> Flat | None:
    """The mask of 2 x 2 blocks with square ones on the diagonal; that of a 1 x 1 matrix."""
    grid = node[1]
    if shape_of(grid) == (ONE, ONE):
        return grid  # type: ignore[no-any-return] # a Flat
    if grid[0] != "hcat" or len(grid) != 3 or any(b[0] != "vcat" or len(b) != 3 for b in grid[1:]):
        return None
    (_, a, b), (_, c, d) = grid[1:]
    if any(shape_of(x)[0] != shape_of(x)[1] for x in (a, d)):
        return None
    return ("hcat", ("vcat", ("causal", a), zeros(shape_of(b))), ("vcat", c, ("causal", d)))


def _block_product(node: Flat) -> Flat | None:
    for i, (a, b) in enumerate(zip(node[1:], node[2:], strict=False), 1):
        if a[0] == "hcat" and b[0] == "vcat" and _fits(a, b):
            pairs = zip(a[1:], b[1:], strict=True)
            return around(node, i, regroup(("sum", *(("product", *p) for p in pairs))), 2)
        if a[0] == "hcat" and b[0] == "diag" and b[1][0] == "vcat" and _fits(a, b[1]):
            pairs = zip(a[1:], b[1][1:], strict=True)
            made = ("hcat", *(regroup(("product", x, ("diag", w))) for x, w in pairs))
            return around(node, i, made, 2)
        if a[0] == "diag" and b[0] == "vcat" and a[1][0] == "vcat" and _fits(_rows(a[1]), b):
            pairs = zip(a[1][1:], b[1:], strict=True)
            made = ("vcat", *(regroup(("product", ("diag", w), x)) for w, x in pairs))
            return around(node, i, made, 2)
        if b[0] == "hcat":
            made = ("hcat", *(regroup(("product", a, block)) for block in b[1:]))
            return around(node, i, made, 2)
        if a[0] == "vcat":
            made = ("vcat", *(regroup(("product", block, b)) for block in a[1:]))
            return around(node, i, made, 2)
    return None


def _rows(column: Flat) -> Flat:
    """The blocks of a column, laid side by side."""
    return ("hcat", *(("T", x) for x in column[1:]))
