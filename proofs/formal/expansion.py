"""A scalar tree at U + t H, by powers of t: what says that a matrix is its gradient."""

from __future__ import annotations

from dataclasses import dataclass, field

from proofs.formal.coq import ATOM, NotFormal, Printer
from proofs.terms import Term, TermOps, contains

_OPS = TermOps()
Pieces = dict[int, Term]


def _plus(a: Pieces, b: Pieces) -> Pieces:
    made = dict(a)
    for k, term in b.items():
        made[k] = made[k] + term if k in made else term
    return made


def pieces(term: Term, bound: Term, direction: Term) -> Pieces:
    """The tree at U + t H as coefficients of the powers of t.

    Raises:
        NotFormal: for an operation that is not linear in one argument at a time.
    """
    if term == bound:
        return {0: bound, 1: direction}
    if not contains(term, lambda a: a == bound):
        return {0: term}
    kind, args = term.kind, term.args
    inner = [pieces(a, bound, direction) for a in args]
    if kind == "sum":
        return _plus(inner[0], inner[1])
    if kind == "negative":
        return {k: -a for k, a in inner[0].items()}
    if kind == "transpose":
        return {k: a.T for k, a in inner[0].items()}
    if kind == "scale" and list(inner[0]) == [0]:
        return {k: _OPS.scale(args[0], a) for k, a in inner[1].items()}
    if kind == "product":
        made: Pieces = {}
        for j, a in inner[0].items():
            for k, b in inner[1].items():
                made = _plus(made, {j + k: a @ b})
        return made
    raise NotFormal(f"{kind} of the variable has no exact expansion")


@dataclass(slots=True)
class Remainder:
    """What a scalar leaves beyond its linear term: multiples of t^k, and the losses' own."""

    powers: dict[int, list[str]] = field(default_factory=dict)
    own: list[str] = field(default_factory=list)
    losses: list[tuple[Term, Term, Term, Term]] = field(default_factory=list)

    def text(self) -> str:
        """The expression, with its powers of t."""
        made = [
            " * ".join([*["t'"] * k, f"({' + '.join(texts)})"])
            for k, texts in sorted(self.powers.items())
        ]
        return " + ".join([*made, *self.own]) or "0"

    def add(self, k: int, text: str) -> None:
        """One more multiple of t^k."""
        self.powers.setdefault(k, []).append(text)


def remainder(
    body: Term, bound: Term, direction: Term, printer: Printer, doubled: bool
) -> Remainder:
    """The remainder of a scalar tree at U + t H.

    Raises:
        NotFormal: see `pieces`.
    """
    made = Remainder()
    _collect(body, bound, direction, printer, doubled, "", made)
    return made


def _collect(
    body: Term,
    bound: Term,
    direction: Term,
    printer: Printer,
    doubled: bool,
    factor: str,
    made: Remainder,
) -> None:
    kind, args = body.kind, body.args
    twice = " *+ 2" if doubled else ""

    def text(a: Term) -> str:
        return printer.at(a, ATOM)

    if not contains(body, lambda a: a == bound):
        return
    if kind == "sum":
        for a in args:
            _collect(a, bound, direction, printer, doubled, factor, made)
    elif kind == "negative":
        _collect(args[0], bound, direction, printer, doubled, f"{factor}- 1 * ", made)
    elif kind == "scale" and not contains(args[0], lambda a: a == bound):
        again = f"{factor}sc {text(args[0])} * "
        _collect(args[1], bound, direction, printer, doubled, again, made)
    elif kind in ("inner", "half_square", "weighted_square"):
        left = pieces(args[0], bound, direction)
        right = pieces(args[1], bound, direction) if kind == "inner" else left
        if kind == "weighted_square":
            right = {k: a @ _OPS.diag(args[1]) for k, a in left.items()}
        for j, a in left.items():
            for k, b in right.items():
                if j + k >= 2:
                    own = twice if kind == "inner" else ""
                    made.add(j + k, f"({factor}(inner {text(a)} {text(b)}{own}))")
    elif kind == "loss" and not contains(args[1], lambda a: a == bound):
        outputs = pieces(args[0], bound, direction)
        if set(outputs) != {0, 1}:
            raise NotFormal("a loss of outputs that are not affine in the weights")
        y, d, t = outputs[0], outputs[1], args[1]
        made.losses.append((args[0], y, d, t))
        rest = f"remainder loss G {text(y)} (t' *: {text(d)}) {text(t)}"
        made.own.append(f"({factor}({rest}{twice}))")
    else:
        raise NotFormal(f"{kind} has no exact expansion")
