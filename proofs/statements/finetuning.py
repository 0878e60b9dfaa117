"""A5: finetuned keys and values as an update of the zero-shot weights."""

from typing import Any

from proofs.statements.model import Statement


def _keys_values(v: Any) -> tuple[Any, Any, Any, Any]:
    """V, K of the query's tokens and their changes when the weights move by E Z^T."""
    return (
        v["W_V"] @ v["X"],
        v["W_K"] @ v["X"],
        v["E_V"] @ (v["Z"].T @ v["X"]),
        v["E_K"] @ (v["Z"].T @ v["X"]),
    )


def _finetuned_by_examples(v: Any) -> Any:
    keys, values = v["W_K"] + v["E_K"] @ v["Z"].T, v["W_V"] + v["E_V"] @ v["Z"].T
    return (values @ v["X"]) @ ((keys @ v["X"]).T @ v["q"])


def _four_terms(v: Any) -> Any:
    V, K, dV, dK = _keys_values(v)
    return (V @ K.T + dV @ K.T + V @ dK.T + dV @ dK.T) @ v["q"]


def _three_terms(v: Any) -> Any:
    V, K, dV, dK = _keys_values(v)
    return (V @ K.T + dV @ K.T + V @ dK.T) @ v["q"]


FINETUNING: tuple[Statement, ...] = (
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
        remark="The near miss drops the term of second order in the update.",
    ),
    Statement(
        id="finetuning-dual-by-examples",
        title="The finetuning update written by the finetuning examples",
        source="Dai eq. 9 in eq. 13: W_V and W_K move by E_V Z^T and E_K Z^T",
        variables={
            "W_V": ("h", "d"),
            "W_K": ("h", "d"),
            "E_V": ("h", "n"),
            "E_K": ("h", "n"),
            "Z": ("d", "n"),
            "X": ("d", "m"),
            "q": ("h", "1"),
        },
        lhs=lambda ops, v: _finetuned_by_examples(v),
        rhs=lambda ops, v: _four_terms(v),
        near_miss=lambda ops, v: _three_terms(v),
        remark="Z holds the layer's inputs over the finetuning examples, E_V and E_K the errors.",
    ),
)
