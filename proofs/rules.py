"""The rules that a step of a derivation may name, each with its own check.

A rule rewrites both sides of a step, by its own equations alone, to a normal form; the step holds
when the forms are the same. Every rule may also regroup: products and sums are flattened, sums
are sorted. Nothing here expands beyond its own equations, so a step that names the wrong rule is
refused although the equation may be true.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from proofs.calculus import gradient
from proofs.terms import Term, substitute

Flat = tuple[Any, ...]  # (kind, *flat arguments); leaves end in their shape
Rewrite = Callable[[Flat], Flat | None]


def _name(dims: tuple[str, ...]) -> str:
    return "+".join(dims) or "0"


def flat(term: Term) -> Flat:
    """A tree with n-ary sums and products, each leaf with its shape."""
    if term.kind in ("symbol", "zero"):
        return (term.kind, term.name, *map(_name, term.shape))
    if term.kind in ("gradient", "fold", "collect"):
        return (term.kind, *(_freeze(a) for a in term.args))
    names = {"transpose": "T", "negative": "neg"}
    return _regroup((names.get(term.kind, term.kind), *map(flat, term.args)))


def _freeze(term: Term) -> Flat:
    return (term.kind, term.name, *map(_name, term.shape), *map(_freeze, term.args))


def _regroup(node: Flat) -> Flat:
    kind, args = node[0], node[1:]
    if kind in ("sum", "product"):
        parts = tuple(x for a in args for x in (a[1:] if a[0] == kind else (a,)))
        if len(parts) == 1:
            return parts[0]  # type: ignore[no-any-return] # a Flat, as every part is
        return (kind, *(sorted(parts, key=repr) if kind == "sum" else parts))
    return node


def _is_leaf(node: Flat) -> bool:
    return node[0] in ("symbol", "zero", "gradient", "fold", "collect")


def rewrite(node: Flat, rules: tuple[Rewrite, ...]) -> Flat:
    """Apply `rules` everywhere, innermost first, until none applies."""
    if not _is_leaf(node):
        node = _regroup((node[0], *(rewrite(a, rules) for a in node[1:])))
    for rule in rules:
        changed = rule(node)
        if changed is not None and changed != node:
            return rewrite(changed, rules)
    return node


def _around(node: Flat, i: int, middle: Flat, width: int = 1) -> Flat:
    """The product `node` with the factors i .. i+width-1 replaced by `middle`."""
    return _regroup(("product", *node[1:i], middle, *node[i + width :]))


def _signs(node: Flat) -> Flat | None:
    kind = node[0]
    if kind == "neg" and node[1][0] == "neg":
        return node[1][1]  # type: ignore[no-any-return] # a Flat
    if kind == "neg" and node[1][0] == "sum":
        return ("sum", *(("neg", a) for a in node[1][1:]))
    if kind == "T" and node[1][0] == "neg":
        return ("neg", ("T", node[1][1]))
    if kind == "scale" and node[2][0] == "neg":
        return ("neg", ("scale", node[1], node[2][1]))
    if kind == "product":
        for i, a in enumerate(node[1:], 1):
            if a[0] == "neg":
                return ("neg", _around(node, i, a[1]))
            if a[0] == "sum" and _leads_negative(a):
                return ("neg", _around(node, i, _regroup(("sum", *map(_flipped, a[1:])))))
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
    if node[0] == "product":
        for i, a in enumerate(node[1:], 1):
            if a[0] == "scale":
                return ("scale", a[1], _around(node, i, a[2]))
    if node[0] == "T" and node[1][0] == "scale":
        return ("scale", node[1][1], ("T", node[1][2]))
    return None


def _distribute(node: Flat) -> Flat | None:
    if node[0] == "product":
        for i, a in enumerate(node[1:], 1):
            if a[0] == "sum":
                return ("sum", *(_around(node, i, b) for b in a[1:]))
    if node[0] == "scale" and node[2][0] == "sum":
        return ("sum", *(("scale", node[1], b) for b in node[2][1:]))
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
    return None


def _width(node: Flat) -> str | None:
    """The column count of a block, where it is read off without guessing."""
    kind = node[0]
    if kind in ("symbol", "zero"):
        return str(node[3])
    if kind in ("neg", "scale", "sum", "product"):
        return _width(node[-1])
    if kind == "output_gradient":
        return _width(node[1])
    if kind == "T":
        return str(node[1][2]) if node[1][0] in ("symbol", "zero") else None
    return None


def _blocks(node: Flat) -> Flat | None:
    if node[0] == "neg" and node[1][0] == "hcat":
        return ("hcat", *(("neg", b) for b in node[1][1:]))
    if node[0] != "product":
        return None
    for i, (a, b) in enumerate(zip(node[1:], node[2:], strict=False), 1):
        if a[0] == "hcat" and b[0] == "T" and b[1][0] == "hcat" and len(a) == len(b[1]):
            pairs = list(zip(a[1:], b[1][1:], strict=True))
            if any(_width(x) is None or _width(x) != _width(y) for x, y in pairs):
                continue
            terms = (_regroup(("product", x, ("T", y))) for x, y in pairs)
            return _around(node, i, ("sum", *terms), 2)
        if b[0] == "hcat" and a[0] != "hcat":
            made = ("hcat", *(_regroup(("product", a, block)) for block in b[1:]))
            return _around(node, i, made, 2)
    return None


def _zero(node: Flat) -> Flat | None:
    def is_zero(a: Flat) -> bool:
        return bool(a[0] == "zero")

    zero: Flat = ("zero", "", "", "")
    if node[0] == "sum":
        kept = [a for a in node[1:] if not is_zero(a)]
        for a in kept:
            if ("neg", a) in kept:
                kept.remove(a)
                kept.remove(("neg", a))
                return ("sum", *kept) if len(kept) > 1 else (kept or [zero])[0]
        if len(kept) < len(node) - 1:
            return ("sum", *kept) if len(kept) > 1 else (kept or [zero])[0]
    if node[0] in ("neg", "T", "product", "scale") and any(map(is_zero, node[1:])):
        return zero
    if node[0] == "product" and any(_empty(a, b) for a, b in zip(node[1:], node[2:], strict=False)):
        return zero
    if node[0] == "zero" and node != zero:
        return zero
    return None


def _empty(a: Flat, b: Flat) -> bool:
    """Whether two factors meet at a size of zero."""
    rows = b[1][3] if b[0] == "T" and b[1][0] == "symbol" else b[2] if b[0] == "symbol" else None
    return rows == "0" and _width(a) in (None, "0")


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
DISTRIBUTE = Rule("distribute", "products distribute over sums", (_distribute,))
TRANSPOSE = Rule("transpose", "(AB)^T = B^T A^T and (A+B)^T = A^T + B^T", (_transpose,))
BLOCKS = Rule("blocks", "A[B C] = [AB AC] and [A B][C D]^T = A C^T + B D^T", (_blocks,))
CANCEL = Rule("cancel", "A - A = 0, A + 0 = A, 0 A = 0, an empty product is 0", (_zero,))
DIFFERENTIATE = Rule("differentiate", "d<C, AB> = <C B^T, dA> + <A^T C, dB>", (), _gradients)
RULES = (REGROUP, SIGNS, SCALARS, DISTRIBUTE, TRANSPOSE, BLOCKS, CANCEL, DIFFERENTIATE)


def hypothesis(state: Term, closed: Term) -> Rule:
    """The induction hypothesis: the state after n examples equals its closed form."""

    return Rule(
        "induction hypothesis",
        "the claim for the first n examples",
        (),
        lambda term: substitute(term, state, closed),
        assumes=True,
    )
