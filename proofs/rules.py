"""The rules that a step of a derivation may name, each with its own check.

A rule rewrites both sides of a step, by its own equations alone, to a normal form; the step holds
when the forms are the same. Every rule may also regroup: products and sums are flattened, sums
are sorted. Nothing here expands beyond its own equations, so a step that names the wrong rule is
refused although the equation may be true.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from proofs.calculus import gradient
from proofs.terms import ONE, Dim, Shape, Term, substitute

Flat = tuple[Any, ...]  # (kind, *flat arguments); leaves are (kind, name, rows, columns, ...)
Rewrite = Callable[[Flat], Flat | None]
LEAVES = ("symbol", "zero", "identity", "ones", "gradient", "fold")


def flat(term: Term) -> Flat:
    """A tree with n-ary sums and products, each leaf with its shape."""
    if term.kind in LEAVES:
        return _freeze(term)
    names = {"transpose": "T", "negative": "neg"}
    return _regroup((names.get(term.kind, term.kind), *map(flat, term.args)))


def _freeze(term: Term) -> Flat:
    return (term.kind, term.name, *term.shape, *map(_freeze, term.args))


def _regroup(node: Flat) -> Flat:
    kind, args = node[0], node[1:]
    if kind in ("sum", "product", "hcat", "vcat"):
        parts = tuple(x for a in args for x in (a[1:] if a[0] == kind else (a,)))
        if len(parts) == 1:
            return parts[0]  # type: ignore[no-any-return] # a Flat, as every part is
        return (kind, *(sorted(parts, key=repr) if kind == "sum" else parts))
    return node


def _is_leaf(node: Flat) -> bool:
    return node[0] in LEAVES


def rewrite(node: Flat, rules: tuple[Rewrite, ...]) -> Flat:
    """Apply `rules` everywhere, innermost first, until none applies."""
    if not _is_leaf(node):
        node = _regroup((node[0], *(rewrite(a, rules) for a in node[1:])))
    for rule in rules:
        changed = rule(node)
        if changed is not None and changed != node:
            return rewrite(_regroup(changed), rules)
    return node


def _around(node: Flat, i: int, middle: Flat, width: int = 1) -> Flat:
    """The product `node` with the factors i .. i+width-1 replaced by `middle`."""
    return _regroup(("product", *node[1:i], middle, *node[i + width :]))


def shape_of(node: Flat) -> Shape:
    """Rows and columns of a flat node; scalars have none."""
    kind = node[0]
    if _is_leaf(node):
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


def _zeros(shape: Shape) -> Flat:
    return ("zero", "", *shape)


def _signs(node: Flat) -> Flat | None:
    if node[0] == "product":
        for i, a in enumerate(node[1:], 1):
            if a[0] == "sum" and _leads_negative(a):
                return ("neg", _around(node, i, _regroup(("sum", *map(_flipped, a[1:])))))
    return _signs_out(node)


def _signs_out(node: Flat) -> Flat | None:
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
                return ("neg", _around(node, i, a[1]))
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


def _scalars(node: Flat) -> Flat | None:
    kind = node[0]
    if kind == "product":
        for i, a in enumerate(node[1:], 1):
            if a[0] == "scale":
                return ("scale", a[1], _around(node, i, a[2]))
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


def _units(node: Flat) -> Flat | None:
    """1 x 1 matrices: scalars are put where a product has a size of one, and sorted there."""
    if node[0] in ("T", "diag", "trace") and shape_of(node[1]) == (ONE, ONE):
        return node[1]  # type: ignore[no-any-return] # a Flat
    if node[0] == "scale" and node[2][0] == "scale":
        return ("scale", _regroup(("product", node[1], node[2][1])), node[2][2])
    if node[0] == "scale" and node[2][0] != "sum":
        factors = node[2][1:] if node[2][0] == "product" else (node[2],)
        ones = _ones_in(factors)
        if ones and not any(shape_of(f) == ((), ()) for f in factors):
            at = ones[0]
            return _regroup(("product", *factors[:at], node[1], *factors[at:]))
    if node[0] == "product":
        factors = node[1:]
        ones = _ones_in(factors)
        if len(ones) > 1:
            middle = [_facing(factors[a:b]) for a, b in zip(ones, ones[1:], strict=False)]
            made = [f for segment in sorted(middle, key=repr) for f in segment]
            return ("product", *factors[: ones[0]], *made, *factors[ones[-1] :])
    return None


def _ones_in(factors: tuple[Flat, ...]) -> list[int]:
    """The places in a product at which a size of one stands."""
    places = [i for i, f in enumerate(factors) if shape_of(f)[0] == ONE]
    return [*places, len(factors)] if shape_of(factors[-1])[1] == ONE else places


def _facing(segment: tuple[Flat, ...]) -> tuple[Flat, ...]:
    """Factors of a 1 x 1 matrix, or those of its transpose, whichever comes first."""
    turned = tuple(_turned(f) for f in reversed(segment))
    return min(segment, turned, key=repr)


def _turned(node: Flat) -> Flat:
    if node[0] == "T":
        return node[1]  # type: ignore[no-any-return] # a Flat
    return node if shape_of(node) == (ONE, ONE) or node[0] == "diag" else ("T", node)


def _distribute(node: Flat) -> Flat | None:
    kind = node[0]
    if kind == "product":
        for i, a in enumerate(node[1:], 1):
            if a[0] == "sum":
                return ("sum", *(_around(node, i, b) for b in a[1:]))
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


def _transpose(node: Flat) -> Flat | None:
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


def _blocks(node: Flat) -> Flat | None:
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
                return (side, *(_regroup((kind, *parts)) for parts in columns))
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
    return ("hcat", ("vcat", ("causal", a), _zeros(shape_of(b))), ("vcat", c, ("causal", d)))


def _block_product(node: Flat) -> Flat | None:
    for i, (a, b) in enumerate(zip(node[1:], node[2:], strict=False), 1):
        if a[0] == "hcat" and b[0] == "vcat" and _fits(a, b):
            pairs = zip(a[1:], b[1:], strict=True)
            return _around(node, i, _regroup(("sum", *(("product", *p) for p in pairs))), 2)
        if a[0] == "hcat" and b[0] == "diag" and b[1][0] == "vcat" and _fits(a, b[1]):
            pairs = zip(a[1:], b[1][1:], strict=True)
            made = ("hcat", *(_regroup(("product", x, ("diag", w))) for x, w in pairs))
            return _around(node, i, made, 2)
        if a[0] == "diag" and b[0] == "vcat" and a[1][0] == "vcat" and _fits(_rows(a[1]), b):
            pairs = zip(a[1][1:], b[1:], strict=True)
            made = ("vcat", *(_regroup(("product", ("diag", w), x)) for w, x in pairs))
            return _around(node, i, made, 2)
        if b[0] == "hcat":
            made = ("hcat", *(_regroup(("product", a, block)) for block in b[1:]))
            return _around(node, i, made, 2)
        if a[0] == "vcat":
            made = ("vcat", *(_regroup(("product", block, b)) for block in a[1:]))
            return _around(node, i, made, 2)
    return None


def _rows(column: Flat) -> Flat:
    """The blocks of a column, laid side by side."""
    return ("hcat", *(("T", x) for x in column[1:]))


def _zero(node: Flat) -> Flat | None:
    def is_zero(a: Flat) -> bool:
        return bool(a[0] == "zero")

    kind, shape = node[0], shape_of(node)
    if kind != "zero" and () in shape and shape != ((), ()):
        return _zeros(shape)  # it has no entries
    if kind == "sum":
        kept = [a for a in node[1:] if not is_zero(a)]
        nothing = _zeros(shape_of(node[1]))
        for a in kept:
            if ("neg", a) in kept:
                kept.remove(a)
                kept.remove(("neg", a))
                return _regroup(("sum", *kept)) if kept else nothing
        if len(kept) < len(node) - 1:
            return _regroup(("sum", *kept)) if kept else nothing
    if kind in ("neg", "T", "product", "scale", "times", "diag", "causal", "trace") and any(
        map(is_zero, node[1:])
    ):
        return _zeros(shape_of(node))
    if kind == "product" and any(shape_of(a)[1] == () for a in node[1:-1]):
        return _zeros(shape_of(node))  # the factors meet at a size of zero
    return None


def _identity(node: Flat) -> Flat | None:
    kind = node[0]
    if kind == "product":
        for i, a in enumerate(node[1:], 1):
            if a[0] == "identity":
                return _regroup(("product", *node[1:i], *node[i + 1 :]))
    if kind == "diag" and node[1][0] == "T" and node[1][1][0] == "ones":
        return ("identity", "", *shape_of(node))
    if kind in ("T", "inverse") and node[1][0] == "identity":
        return node[1]  # type: ignore[no-any-return] # a Flat
    if kind == "scale" and node[1][0] == "identity":
        return node[2]  # type: ignore[no-any-return] # a Flat
    return None


def _inverse(node: Flat) -> Flat | None:
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
                return _regroup(("product", *rest)) if rest else one
    return None


def _khatri_rao(node: Flat) -> Flat | None:
    if node[0] != "product":
        return None
    for i, (a, b) in enumerate(zip(node[1:], node[2:], strict=False), 1):
        if a[0] == "T" and a[1][0] == "khatri_rao" and b[0] == "khatri_rao":
            pairs = list(zip(a[1][1:], b[1:], strict=True))
            if any(shape_of(x)[0] != shape_of(y)[0] for x, y in pairs):
                continue
            made = ("times", *(_regroup(("product", ("T", x), y)) for x, y in pairs))
            return _around(node, i, made, 2)
    return None


def _trace(node: Flat) -> Flat | None:
    """The first of all cyclic orders of the factors, and of those of the transpose."""
    if node[0] != "trace":
        return None
    if node[1][0] == "T":
        return ("trace", node[1][1])
    if node[1][0] != "product":
        return None
    factors = node[1][1:]
    turned = tuple(_turned(f) for f in reversed(factors))
    orders = [f[i:] + f[:i] for f in (factors, turned) for i in range(len(factors))]
    return ("trace", ("product", *min(orders, key=repr)))


def _exponential(node: Flat) -> Flat | None:
    """exp of a row plus a number: the row's exponentials times that of the number."""
    if node[0] == "exp" and node[1][0] == "sum" and len(node[1]) == 3:
        for shift, row in (node[1][1:], node[1][:0:-1]):
            number = shift[0] == "product" and shape_of(shift[1]) == (ONE, ONE)
            if number and len(shift) == 3 and shift[2][0] == "ones":
                return _regroup(("product", ("exp", shift[1]), ("exp", row)))
    if node[0] == "inverse" and node[1][0] == "product":
        factors = node[1][1:]
        ones = _ones_in(factors)
        if len(ones) > 2 and ones[0] == 0 and ones[-1] == len(factors):
            cuts = zip(ones, ones[1:], strict=False)
            parts = [_regroup(("product", *factors[a:b])) for a, b in cuts]
            return ("product", *(("inverse", p) for p in reversed(parts)))
    return None


def _gradients(term: Term) -> Term:
    """Every gradient node carried out."""
    if term.kind == "gradient":
        bound, body, at = (_gradients(a) for a in term.args)
        return gradient(Term("gradient", (bound, body, at), term.shape))
    return Term(term.kind, tuple(map(_gradients, term.args)), term.shape, term.name)


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
SIGNS = Rule("signs", "a minus sign moves out of sums, products and transposes", (_signs,))
SCALARS = Rule("scalars", "scalars commute with matrices", (_scalars, _signs))
UNITS = Rule("one by one", "1 x 1 matrices are scalars, and equal their transposes", (_units,))
DISTRIBUTE = Rule("distribute", "products distribute over sums", (_distribute,))
TRANSPOSE = Rule("transpose", "(AB)^T = B^T A^T and (A+B)^T = A^T + B^T", (_transpose,))
EXPAND = Rule(
    "expand",
    "multiply out, move signs, scalars and transposes, cancel",
    (_distribute, _transpose, _scalars, _signs_out, _zero),
)
BLOCKS = Rule("blocks", "A[B C] = [AB AC] and [A B][C; D] = AC + BD", (_blocks,))
CANCEL = Rule("cancel", "A - A = 0, A + 0 = A, 0 A = 0, an empty product is 0", (_zero,))
IDENTITY = Rule("identity", "I A = A = A I", (_identity,))
INVERSE = Rule("inverse", "the inverse times the matrix is the identity", (_inverse, _identity))
MULTIPLY_BLOCKS = Rule(
    "multiply blocks",
    "as expand, entry by entry of block matrices, I A = A",
    (_blocks, _distribute, _transpose, _scalars, _signs_out, _zero, _identity),
)
KHATRI_RAO = Rule("Khatri-Rao", "(A * B)^T (C * D) = (A^T C) . (B^T D)", (_khatri_rao,))
TRACE = Rule("trace", "tr(AB) = tr(BA) and tr(A^T) = tr(A)", (_trace, _transpose))
EXPONENTIAL = Rule("exponential", "exp(c + a) = exp(c) exp(a)", (_exponential,))
DIFFERENTIATE = Rule("differentiate", "d<C, AB> = <C B^T, dA> + <A^T C, dB>", (), _gradients)
RULES = (
    REGROUP, SIGNS, SCALARS, UNITS, DISTRIBUTE, TRANSPOSE, EXPAND, BLOCKS, CANCEL, IDENTITY,
    INVERSE, MULTIPLY_BLOCKS, KHATRI_RAO, TRACE, EXPONENTIAL, DIFFERENTIATE,
)  # fmt: skip


def hypothesis(closed: Mapping[str, tuple[Term, Term]]) -> Rule:
    """The induction hypotheses: each state after n examples equals its closed form."""

    def prepare(term: Term) -> Term:
        for state, form in closed.values():
            term = substitute(term, state, form)
        return term

    return Rule("induction hypothesis", "the claim for the first n examples", (), prepare, True)
