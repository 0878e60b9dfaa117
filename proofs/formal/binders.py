"""What a lemma binds: its ring, its sizes, its matrices and its opaque functions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from proofs.formal.coq import NotFormal, Printer, identifier, symbols
from proofs.terms import Dim, Term, contains

LOSSES = (
    "(loss : forall m n, 'M[R]_(m,n) -> 'M[R]_(m,n) -> R)",
    "(G : forall m n, 'M[R]_(m,n) -> 'M[R]_(m,n) -> 'M[R]_(m,n))",
)


def ring(terms: Iterable[Term]) -> str:
    """The type of the entries' ring, with inverses where a tree has one."""
    inverse = any(contains(t, lambda a: a.kind == "inverse") for t in terms)
    return "comUnitRingType" if inverse else "comRingType"


def _size_names(dims: Dim) -> list[str]:
    return [name for d in dims for name in d.split("*") if name != "1"]


def sizes(terms: Iterable[Term]) -> list[str]:
    """The size names in the shapes of symbols, each once."""
    return list(dict.fromkeys(n for t in terms for d in t.shape for n in _size_names(d)))


@dataclass(frozen=True, slots=True)
class PlainSizes:
    """Names of sizes where none means the examples of a recurrence."""

    taken: frozenset[str]

    def one(self, name: str) -> str:
        """A size; one that a variable is called too has a prime."""
        if name.startswith("."):
            return name.removeprefix(".") + "'"
        return f"{name}'" if identifier(name) in self.taken else identifier(name)

    def __call__(self, dims: Dim) -> str:
        """A sum of products of sizes."""
        made = [" * ".join("1" if p == "1" else self.one(p) for p in d.split("*")) for d in dims]
        return " + ".join(made) or "0"


def _no_fold(term: Term) -> str:
    raise NotFormal(f"a recurrence inside {term.kind}")


def plain_printer(terms: Iterable[Term]) -> tuple[Printer, str]:
    """A printer for trees without recurrences, and the binders of their sizes and symbols."""
    seen = symbols(terms)
    taken = frozenset(identifier(s.name) for s in seen)
    size = PlainSizes(taken)
    printer = Printer(symbol=lambda t: identifier(t.name), size=size, fold=_no_fold)
    names = " ".join(size.one(n) for n in sizes(seen))
    binders = f"({names} : nat) " if names else ""
    binders += " ".join(f"({identifier(s.name)} : {printer.matrix_type(s)})" for s in seen)
    return printer, binders


def opaque_binders(terms: Iterable[Term]) -> str:
    """Binders of the opaque functions in trees."""
    listed = list(terms)

    def has(*kinds: str) -> bool:
        return any(contains(t, lambda a: a.kind in kinds) for t in listed)

    made = [*LOSSES] if has("loss", "output_gradient") else []
    made += [f"({f} : R -> R)" for f in ("exp", "activation") if has(f)]
    return " ".join(made)
