"""The catalogue: every identity stated once, with the standard library alone.

A side is a function of an `ops` object and named matrices that uses only `@ + - .T` and the
vocabulary of `proofs.statements.model.Ops`; whatever implements those interprets it. Notation:
Dai et al., arXiv 2212.10559.
"""

from proofs.statements.architecture import ARCHITECTURE
from proofs.statements.attention import ATTENTION
from proofs.statements.causal import CAUSAL
from proofs.statements.construction import CONSTRUCTION
from proofs.statements.facts import FACTS, Fact
from proofs.statements.finetuning import FINETUNING
from proofs.statements.linear_layer import LINEAR_LAYER
from proofs.statements.model import Integers, Ops, Side, Statement, States, Step
from proofs.statements.momentum import MOMENTUM
from proofs.statements.optimisers import OPTIMISERS
from proofs.statements.softmax import SOFTMAX
from proofs.statements.variants import VARIANTS

__all__ = [
    "STATEMENTS",
    "EVERYTHING",
    "FACTS",
    "FAMILIES",
    "Fact",
    "Integers",
    "Ops",
    "Side",
    "Statement",
    "States",
    "Step",
    "UnknownStatement",
    "any_by_id",
    "by_id",
]


class UnknownStatement(KeyError):
    """No statement has this id."""


# Title of each family, in the order of the catalogue.
FAMILIES: tuple[tuple[str, tuple[Statement, ...]], ...] = (
    ("A linear layer trained by gradient descent", LINEAR_LAYER),
    ("Momentum, weight decay and schedules", OPTIMISERS),
    ("Relaxed attention over demonstrations", ATTENTION),
    ("Finetuning", FINETUNING),
    ("Causal attention and order", CAUSAL),
    ("Momentum attention", MOMENTUM),
    ("Softmax attention, kernels and whole blocks", SOFTMAX),
    ("What checkpoints contain, and the two updates compared", ARCHITECTURE),
    ("Attention variants as optimisers", VARIANTS),
    ("Self-attention layers built to descend", CONSTRUCTION),
)
STATEMENTS: tuple[Statement, ...] = tuple(s for _, family in FAMILIES for s in family)
"""The catalogue: every statement of matrix algebra, in the order of the families."""
EVERYTHING: tuple[Statement | Fact, ...] = (*STATEMENTS, *FACTS)


def by_id(name: str) -> Statement:
    """The statement of matrix algebra called `name`.

    Raises:
        UnknownStatement: listing the known ids.
    """
    found = any_by_id(name, STATEMENTS)
    assert isinstance(found, Statement), "the catalogue holds nothing else"
    return found


def any_by_id(name: str, among: tuple[Statement | Fact, ...] = EVERYTHING) -> Statement | Fact:
    """The statement or fact of analysis called `name`.

    Raises:
        UnknownStatement: listing the known ids.
    """
    for statement in among:
        if statement.id == name:
            return statement
    known = ", ".join(s.id for s in among)
    raise UnknownStatement(f"expected one of {known}; got {name!r}; run `dualform prove` for all")
