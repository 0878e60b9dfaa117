"""The catalogue: every identity stated once, with the standard library alone.

A side is a function of an `ops` object and named matrices that uses only `@ + - .T` and
`ops.hcat`; whatever implements those interprets it. Notation: Dai et al., arXiv 2212.10559.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Side = Callable[[Any, Mapping[str, Any]], Any]
Integers = tuple[tuple[int, ...], ...]


class UnknownStatement(KeyError):
    """No statement has this id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """`lhs == rhs` over `variables` (name: (rows, columns)), and a near miss to refuse."""

    id: str
    title: str
    source: str
    variables: Mapping[str, tuple[str, str]]
    lhs: Side
    rhs: Side
    near_miss: Side | None
    claim: Literal["true", "false"] = "true"
    witness: Mapping[str, Integers] | None = None


CATALOGUE: tuple[Statement, ...] = (
    Statement(
        id="linear-attention-dual",
        title="A linear layer plus outer products is the layer plus linear attention",
        source="Dai eq. 7-9; Irie et al. 2202.05798",
        variables={"W": ("o", "i"), "E": ("o", "n"), "X": ("i", "n"), "q": ("i", "1")},
        lhs=lambda ops, v: (v["W"] + v["E"] @ v["X"].T) @ v["q"],
        rhs=lambda ops, v: v["W"] @ v["q"] + v["E"] @ (v["X"].T @ v["q"]),
        near_miss=lambda ops, v: v["W"] @ v["q"] - v["E"] @ (v["X"].T @ v["q"]),
    ),
    Statement(
        id="context-split",
        title="Relaxed attention splits into a zero-shot and an in-context part",
        source="Dai eq. 10-12",
        variables={
            "W_V": ("h", "d"),
            "W_K": ("h", "d"),
            "X_demo": ("d", "n"),
            "X": ("d", "m"),
            "q": ("h", "1"),
        },
        lhs=lambda ops, v: (
            (v["W_V"] @ ops.hcat(v["X_demo"], v["X"]))
            @ ((v["W_K"] @ ops.hcat(v["X_demo"], v["X"])).T @ v["q"])
        ),
        rhs=lambda ops, v: (
            (v["W_V"] @ v["X"]) @ ((v["W_K"] @ v["X"]).T @ v["q"])
            + (v["W_V"] @ v["X_demo"]) @ ((v["W_K"] @ v["X_demo"]).T @ v["q"])
        ),
        near_miss=lambda ops, v: (v["W_V"] @ v["X"]) @ ((v["W_K"] @ v["X"]).T @ v["q"]),
    ),
    Statement(
        id="squared-loss-step-anywhere",
        title="A squared-loss step of rate one from any weights adds the residuals' outer products",
        source="Dai eq. 7-9, with the values v - W0 k",
        variables={"W": ("h", "h"), "V": ("h", "n"), "K": ("h", "n"), "q": ("h", "1")},
        lhs=lambda ops, v: (v["W"] - (v["W"] @ v["K"] - v["V"]) @ v["K"].T) @ v["q"],
        rhs=lambda ops, v: v["W"] @ v["q"] + (v["V"] - v["W"] @ v["K"]) @ (v["K"].T @ v["q"]),
        near_miss=lambda ops, v: v["W"] @ v["q"] + v["V"] @ (v["K"].T @ v["q"]),
    ),
    Statement(
        id="squared-loss-step-from-zsl",
        title="False: a squared-loss step from the zero-shot weights adds the in-context update",
        source="Dai section 3, read as squared loss at W_ZSL",
        variables={"W": ("h", "h"), "V": ("h", "n"), "K": ("h", "n")},
        lhs=lambda ops, v: v["W"] - (v["W"] @ v["K"] - v["V"]) @ v["K"].T,
        rhs=lambda ops, v: v["W"] + v["V"] @ v["K"].T,
        near_miss=None,
        claim="false",
        witness={"W": ((1,),), "V": ((1,),), "K": ((1,),)},
    ),
    Statement(
        id="finetuning-dual",
        title="Finetuned keys and values act as an update of the zero-shot weights",
        source="Dai eq. 13",
        variables={
            "W_V": ("h", "d"),
            "W_K": ("h", "d"),
            "D_V": ("h", "d"),
            "D_K": ("h", "d"),
            "X": ("d", "m"),
            "q": ("h", "1"),
        },
        lhs=lambda ops, v: (
            ((v["W_V"] + v["D_V"]) @ v["X"]) @ (((v["W_K"] + v["D_K"]) @ v["X"]).T @ v["q"])
        ),
        rhs=lambda ops, v: (
            (
                (v["W_V"] @ v["X"]) @ (v["W_K"] @ v["X"]).T
                + (v["D_V"] @ v["X"]) @ (v["W_K"] @ v["X"]).T
                + (v["W_V"] @ v["X"]) @ (v["D_K"] @ v["X"]).T
                + (v["D_V"] @ v["X"]) @ (v["D_K"] @ v["X"]).T
            )
            @ v["q"]
        ),
        near_miss=lambda ops, v: (
            (
                (v["W_V"] @ v["X"]) @ (v["W_K"] @ v["X"]).T
                + (v["D_V"] @ v["X"]) @ (v["W_K"] @ v["X"]).T
                + (v["W_V"] @ v["X"]) @ (v["D_K"] @ v["X"]).T
            )
            @ v["q"]
        ),
    ),
)


def by_id(name: str) -> Statement:
    """The statement called `name`.

    Raises:
        UnknownStatement: listing the known ids.
    """
    for statement in CATALOGUE:
        if statement.id == name:
            return statement
    known = ", ".join(s.id for s in CATALOGUE)
    raise UnknownStatement(f"expected one of {known}; got {name!r}; run `dualform prove` for all")
