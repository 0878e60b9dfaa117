"""A tree as an expression over MathComp's matrices."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from proofs.calculus import gradient
from proofs.terms import Dim, ShapeError, Term

SUM, PRODUCT, ATOM = 1, 2, 3
RESERVED = frozenset(
    "R G loss inner times ones diag trace causal khatri_rao sc cols width exp activation at in as "
    "end fix fun let then else if return with match forall exists where using mod".split()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lemmas:
    """Coq text for one statement, and the names of the lemmas it proves."""

    text: str
    names: tuple[str, ...]


class NotFormal(ValueError):
    """A statement has no Coq lemma; the message says why."""


def identifier(name: str) -> str:
    """A name of the catalogue in Coq; the package's own, with a leading point, end in a prime."""
    if name.startswith("."):
        return name.removeprefix(".") + "'"
    return name + "_" if name in RESERVED else name


def lemma_name(statement_id: str) -> str:
    """A statement's id in Coq."""
    return statement_id.replace("-", "_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Printer:
    """Prints trees; `symbol` and `size` say what symbols and sizes are called where it prints.

    Where `newest_first`, blocks of examples are numbered from the newest to the oldest: what the
    catalogue appends, Coq prepends, as then no two sizes have to be shown equal. `examples` is the
    name of their size. `ring` is the ring of the entries, `structure` its operations.
    """

    symbol: Callable[[Term], str]
    size: Callable[[Dim], str]
    fold: Callable[[Term], str]
    newest_first: bool = False
    examples: Dim = ()
    ring: str = "R"
    structure: str = "R"

    def matrix_type(self, term: Term) -> str:
        """The type of a tree's value."""
        rows, columns = map(self.size, term.shape)
        return f"'M[{self.ring}]_({rows},{columns})"

    def structural(self, term: Term, axis: int) -> str:
        """The size that Coq gives a tree along an axis: blocks add up in their order."""
        kind, args = term.kind, term.args
        if kind in ("sum", "negative", "scale", "times", "causal", "inverse", "exp", "activation"):
            return self.structural(args[-1], axis)
        if kind == "transpose":
            return self.structural(args[0], 1 - axis)
        if kind == "product":
            return self.structural(args[axis], axis)
        if kind in ("hcat", "vcat"):
            along = 1 if kind == "hcat" else 0
            if axis != along:
                return self.structural(args[0], axis)
            *first, last = (self.structural(a, axis) for a in self.blocks(term, axis))
            return "".join(f"({n}) + (" for n in first) + last + ")" * len(first)
        return self.size(term.shape[axis])

    def at(self, term: Term, level: int) -> str:
        """The term, in parentheses where it binds weaker than `level`."""
        own = {"sum": SUM, "product": PRODUCT, "scale": 0, "negative": 0, "zero": ATOM}.get(
            term.kind, ATOM
        )
        text = self.term(term)
        return text if own >= level else f"({text})"

    def term(self, term: Term) -> str:
        """The expression of a matrix.

        Raises:
            NotFormal: for a kind without a printed form.
        """
        kind, args = term.kind, term.args
        if kind == "symbol":
            return self.symbol(term)
        if kind == "fold":
            return self.fold(term)
        if kind == "gradient":
            return f"({self.term(adjoint(term))})"
        if kind in _PLAIN:
            return _PLAIN[kind](self, term)
        if kind in _FUNCTIONS:
            return f"({_FUNCTIONS[kind]} {' '.join(self.at(a, ATOM) for a in args)})"
        raise NotFormal(f"{kind} has no printed form in Coq")

    def blocks(self, term: Term, axis: int) -> tuple[Term, ...]:
        """The blocks of a concatenation in the order of their printing."""
        mixed = self.newest_first and set(self.examples) & set(term.shape[axis])
        return term.args[::-1] if mixed else term.args

    def scalar(self, term: Term, *, doubled: bool) -> str:
        """A number, or twice it, so that no half is needed.

        Raises:
            NotFormal: for a kind without a printed form.
        """
        kind, args = term.kind, term.args
        twice = " *+ 2" if doubled else ""
        if kind == "sum":
            return " + ".join(f"({self.scalar(a, doubled=doubled)})" for a in args)
        if kind == "negative":
            return f"(- ({self.scalar(args[0], doubled=doubled)}))"
        if kind == "scale":
            return f"sc {self.at(args[0], ATOM)} * ({self.scalar(args[1], doubled=doubled)})"
        if kind in ("inner", "loss"):
            return f"{kind} {self.at(args[0], ATOM)} {self.at(args[1], ATOM)}{twice}"
        if kind == "half_square" and doubled:
            return f"inner {self.at(args[0], ATOM)} {self.at(args[0], ATOM)}"
        if kind == "weighted_square" and doubled:
            weighted = f"({self.at(args[0], PRODUCT)} *m diag {self.at(args[1], ATOM)})"
            return f"inner {self.at(args[0], ATOM)} {weighted}"
        raise NotFormal(f"{kind} has no printed form in Coq")


def adjoint(node: Term) -> Term:
    """A gradient node carried out by the adjoint rules.

    Raises:
        NotFormal: when they have no rule for it.
    """
    try:
        return gradient(node)
    except ShapeError as error:
        raise NotFormal(str(error)) from error


def carried_out(term: Term) -> Term:
    """Every gradient in a tree carried out."""
    args = tuple(map(carried_out, term.args))
    made = Term(term.kind, args, term.shape, term.name)
    return carried_out(adjoint(made)) if term.kind == "gradient" else made


def _zero(printer: Printer, term: Term) -> str:
    return f"(0 : {printer.matrix_type(term)})"


def _identity(printer: Printer, term: Term) -> str:
    return f"(1%:M : {printer.matrix_type(term)})"


def _ones(printer: Printer, term: Term) -> str:
    return f"(ones {printer.structure} {_argument(printer.size(term.shape[1]))})"


def _argument(text: str) -> str:
    return f"({text})" if " " in text else text


def _sum(printer: Printer, term: Term) -> str:
    left, right = term.args
    if right.kind == "negative":
        return f"{printer.at(left, SUM)} - {printer.at(right.args[0], PRODUCT)}"
    return f"{printer.at(left, SUM)} + {printer.at(right, PRODUCT)}"


def _product(printer: Printer, term: Term) -> str:
    return f"{printer.at(term.args[0], PRODUCT)} *m {printer.at(term.args[1], ATOM)}"


def _negative(printer: Printer, term: Term) -> str:
    return f"- {printer.at(term.args[0], ATOM)}"


def _transpose(printer: Printer, term: Term) -> str:
    return f"{printer.at(term.args[0], ATOM)}^T"


def _scale(printer: Printer, term: Term) -> str:
    return f"sc {printer.at(term.args[0], ATOM)} *: {printer.at(term.args[1], ATOM)}"


def _joined(head: str, axis: int) -> Callable[[Printer, Term], str]:
    def text(printer: Printer, term: Term) -> str:
        *first, last = (printer.at(a, ATOM) for a in printer.blocks(term, axis))
        made = last
        for block in reversed(first):
            made = f"({head} {block} {made})"
        return made

    return text


def _causal(printer: Printer, term: Term) -> str:
    name = "causal_newest_first" if printer.newest_first else "causal"
    return f"({name} {printer.at(term.args[0], ATOM)})"


_PLAIN: dict[str, Callable[[Printer, Term], str]] = {
    "zero": _zero,
    "identity": _identity,
    "ones": _ones,
    "sum": _sum,
    "product": _product,
    "negative": _negative,
    "transpose": _transpose,
    "scale": _scale,
    "hcat": _joined("row_mx", 1),
    "vcat": _joined("col_mx", 0),
    "causal": _causal,
}
_FUNCTIONS = {
    "times": "times",
    "diag": "diag",
    "khatri_rao": "khatri_rao",
    "inverse": "invmx",
    "trace": "trace",
    "exp": "map_mx exp",
    "activation": "map_mx activation",
    "output_gradient": "G",
}


def symbols(terms: Iterable[Term]) -> list[Term]:
    """The symbols in trees, each once, in order; a gradient's bound symbol is none of them."""
    found: dict[Term, None] = {}

    def visit(term: Term, bound: frozenset[Term]) -> None:
        if term.kind == "symbol" and term not in bound:
            found[term] = None
        hidden = bound | {term.args[0]} if term.kind == "gradient" else bound
        for a in term.args:
            visit(a, hidden)

    for term in terms:
        visit(term, frozenset())
    return list(found)


def parts(term: Term, kind: str) -> list[Term]:
    """The nodes of a kind in a tree, outermost first, each once."""
    found: dict[Term, None] = {term: None} if term.kind == kind else {}
    for a in term.args:
        found |= dict.fromkeys(parts(a, kind))
    return list(found)
