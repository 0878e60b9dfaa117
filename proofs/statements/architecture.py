"""B4 and B6: what GPT-like checkpoints contain beside plain heads, and the two updates compared.

Each states the form of A3 that holds with one more thing in the layer.
"""

from typing import Any

from proofs.statements.model import Statement

_TOKENS = {"X_demo": ("d", "n"), "X": ("d", "m")}
_WEIGHTS = {"W_V": ("h", "d"), "W_K": ("h", "d")}
_HEAD = {
    "V_demo": ("h", "n"),
    "K_demo": ("h", "n"),
    "V": ("h", "m"),
    "K": ("h", "m"),
    "q": ("h", "1"),
}


def _all(ops: Any, v: Any, name: str) -> Any:
    """Demonstrations, then the query's own tokens."""
    return ops.hcat(v[f"{name}_demo"], v[name])


def attend(V: Any, K: Any, q: Any) -> Any:
    """Relaxed attention V (K^T q)."""
    return V @ (K.T @ q)


def affine(ops: Any, W: Any, b: Any, X: Any) -> Any:
    """W X + b 1."""
    return W @ X + b @ ops.ones(X)


def _with_biases(ops: Any, v: Any, X: Any) -> Any:
    return attend(affine(ops, v["W_V"], v["b_V"], X), affine(ops, v["W_K"], v["b_K"], X), v["q"])


def rotated(ops: Any, v: Any, K: Any, which: str) -> Any:
    """Keys under rotary positions: K . cos + (J K) . sin, tables per key."""
    return ops.times(K, v[f"C{which}"]) + ops.times(v["J"] @ K, v[f"S{which}"])


def _rotary(ops: Any, v: Any, which: str) -> Any:
    return attend(v[f"V{which}"], rotated(ops, v, v[f"K{which}"], which), v["q"])


def _rotary_all(ops: Any, v: Any) -> Any:
    joined = {f"{name}": _all(ops, v, name) for name in ("V", "K", "C", "S")}
    return _rotary(ops, {**v, **joined}, "")


def _unrotated(ops: Any, v: Any) -> Any:
    """Rotation forgotten on the demonstrations."""
    return _rotary(ops, v, "") + attend(v["V_demo"], v["K_demo"], v["q"])


def normalised(ops: Any, v: Any, which: str) -> Any:
    """Keys divided by their norms and multiplied by a learned gain."""
    return ops.diag(v["g"]) @ v[f"K{which}"] @ ops.diag(v[f"r{which}"])


def _normalised_all(ops: Any, v: Any) -> Any:
    K = ops.diag(v["g"]) @ _all(ops, v, "K") @ ops.diag(ops.vcat(v["r_demo"], v["r"]))
    return attend(_all(ops, v, "V"), K, v["q"])


def _windowed(ops: Any, v: Any, which: str) -> Any:
    """V diag(w) K^T q with w one inside the window and zero outside."""
    return v[f"V{which}"] @ ops.diag(v[f"w{which}"]) @ (v[f"K{which}"].T @ v["q"])


def _finetuned_values(v: Any) -> Any:
    """Delta W_FT where one step with errors V' moves W_V alone: V' X'^T X (W_K X)^T q."""
    return ((v["V_demo"] @ v["X_demo"].T) @ v["X"]) @ ((v["W_K"] @ v["X"]).T @ v["q"])


ARCHITECTURE: tuple[Statement, ...] = (
    Statement(
        id="context-split-with-biases",
        title="With biases in the projections attention splits just the same",
        source="Dai eq. 10-12 with the biases of GPT-2, OPT or XGLM",
        variables=_WEIGHTS | {"b_V": ("h", "1"), "b_K": ("h", "1")} | _TOKENS | {"q": ("h", "1")},
        lhs=lambda ops, v: _with_biases(ops, v, _all(ops, v, "X")),
        rhs=lambda ops, v: _with_biases(ops, v, v["X"]) + _with_biases(ops, v, v["X_demo"]),
        near_miss=lambda ops, v: _with_biases(ops, v, v["X"]),
        remark="The near miss forgets the demonstrations.",
    ),
    Statement(
        id="bias-as-weight",
        title="A bias is one more column of the weight, over a row of ones",
        source="elementary; how layers are checked here",
        variables={"W": ("o", "d"), "b": ("o", "1"), "X": ("d", "n")},
        lhs=lambda ops, v: affine(ops, v["W"], v["b"], v["X"]),
        rhs=lambda ops, v: ops.hcat(v["W"], v["b"]) @ ops.vcat(v["X"], ops.ones(v["X"])),
        near_miss=lambda ops, v: v["W"] @ v["X"],
    ),
    Statement(
        id="heads-through-the-output-projection",
        title="Updates of the heads compose through their blocks of the output projection",
        source="Dai eq. 10-12 for several heads; two blocks of heads stand for any number",
        variables={
            "O_1": ("d", "h"),
            "O_2": ("d", "k"),
            "W_1": ("h", "h"),
            "W_2": ("k", "k"),
            "D_1": ("h", "h"),
            "D_2": ("k", "k"),
            "q_1": ("h", "1"),
            "q_2": ("k", "1"),
        },
        lhs=lambda ops, v: (
            ops.hcat(v["O_1"], v["O_2"])
            @ ops.vcat((v["W_1"] + v["D_1"]) @ v["q_1"], (v["W_2"] + v["D_2"]) @ v["q_2"])
        ),
        rhs=lambda ops, v: (
            (v["O_1"] @ (v["W_1"] @ v["q_1"]) + v["O_2"] @ (v["W_2"] @ v["q_2"]))
            + (v["O_1"] @ v["D_1"] @ v["q_1"] + v["O_2"] @ v["D_2"] @ v["q_2"])
        ),
        near_miss=lambda ops, v: (
            (v["O_1"] @ (v["W_1"] @ v["q_1"]) + v["O_2"] @ (v["W_2"] @ v["q_2"]))
            + v["O_1"] @ v["D_1"] @ v["q_1"]
        ),
        remark="The near miss forgets the update of the second block of heads.",
    ),
    Statement(
        id="grouped-queries",
        title="All query heads of a group see one and the same update",
        source="Ainslie et al. 2305.13245; Dai eq. 10-12",
        variables={
            "V_demo": ("h", "n"),
            "K_demo": ("h", "n"),
            "V": ("h", "m"),
            "K": ("h", "m"),
            "q_1": ("h", "1"),
            "q_2": ("h", "1"),
        },
        lhs=lambda ops, v: ops.hcat(
            attend(_all(ops, v, "V"), _all(ops, v, "K"), v["q_1"]),
            attend(_all(ops, v, "V"), _all(ops, v, "K"), v["q_2"]),
        ),
        rhs=lambda ops, v: (
            (v["V"] @ v["K"].T + v["V_demo"] @ v["K_demo"].T) @ ops.hcat(v["q_1"], v["q_2"])
        ),
        near_miss=lambda ops, v: (v["V"] @ v["K"].T) @ ops.hcat(v["q_1"], v["q_2"]),
        remark="The near miss forgets the demonstrations.",
    ),
    Statement(
        id="context-split-rotary",
        title="With rotary positions the update is made of rotated keys",
        source="Su et al. 2104.09864; Dai eq. 10-12",
        variables=_HEAD
        | {
            "J": ("h", "h"),
            "C_demo": ("h", "n"),
            "S_demo": ("h", "n"),
            "C": ("h", "m"),
            "S": ("h", "m"),
        },
        lhs=_rotary_all,
        rhs=lambda ops, v: _rotary(ops, v, "") + _rotary(ops, v, "_demo"),
        near_miss=_unrotated,
        remark="J turns every pair of channels by a quarter; C and S hold cosines and sines. Query "
        "q enters rotated. The near miss forgets to rotate the demonstrations' keys.",
    ),
    Statement(
        id="context-split-alibi",
        title="With additive position scores the split has a term that no query enters",
        source="Press et al. 2108.12409; Dai eq. 10-12, relaxed",
        variables=_HEAD | {"b_demo": ("n", "1"), "b": ("m", "1")},
        lhs=lambda ops, v: (
            _all(ops, v, "V") @ (_all(ops, v, "K").T @ v["q"] + ops.vcat(v["b_demo"], v["b"]))
        ),
        rhs=lambda ops, v: (
            (attend(v["V"], v["K"], v["q"]) + v["V"] @ v["b"])
            + (attend(v["V_demo"], v["K_demo"], v["q"]) + v["V_demo"] @ v["b_demo"])
        ),
        near_miss=lambda ops, v: (
            (attend(v["V"], v["K"], v["q"]) + v["V"] @ v["b"])
            + attend(v["V_demo"], v["K_demo"], v["q"])
        ),
        remark="So the relaxed update is affine in q. The near miss forgets its constant.",
    ),
    Statement(
        id="context-split-window",
        title="A sliding window weights each pair by one or zero",
        source="Beltagy et al. 2004.05150; Dai eq. 10-12",
        variables=_HEAD | {"w_demo": ("n", "1"), "w": ("m", "1")},
        lhs=lambda ops, v: (
            _all(ops, v, "V")
            @ ops.diag(ops.vcat(v["w_demo"], v["w"]))
            @ (_all(ops, v, "K").T @ v["q"])
        ),
        rhs=lambda ops, v: _windowed(ops, v, "") + _windowed(ops, v, "_demo"),
        near_miss=lambda ops, v: _windowed(ops, v, "") + attend(v["V_demo"], v["K_demo"], v["q"]),
        remark="It holds for any weights w, as of decayed or gated attention.",
    ),
    Statement(
        id="context-split-normalised-keys",
        title="With query and key norms the update is made of normalised keys",
        source="Henry et al. 2010.04245; Dai eq. 10-12",
        variables=_HEAD | {"g": ("h", "1"), "r_demo": ("n", "1"), "r": ("m", "1")},
        lhs=_normalised_all,
        rhs=lambda ops, v: (
            attend(v["V"], normalised(ops, v, ""), v["q"])
            + attend(v["V_demo"], normalised(ops, v, "_demo"), v["q"])
        ),
        near_miss=lambda ops, v: (
            attend(v["V"], normalised(ops, v, ""), v["q"])
            + attend(v["V_demo"], v["K_demo"], v["q"])
        ),
        remark="g is the learned gain, r holds one over each key's norm; q enters normalised.",
    ),
    Statement(
        id="update-overlap",
        title="The overlap of two low-rank updates is a trace over examples",
        source="what a direct comparison of the two updates needs; Frobenius inner product",
        variables={"V": ("h", "n"), "K": ("h", "n"), "E": ("h", "m"), "Z": ("h", "m")},
        lhs=lambda ops, v: ops.trace((v["V"] @ v["K"].T).T @ (v["E"] @ v["Z"].T)),
        rhs=lambda ops, v: ops.trace((v["V"].T @ v["E"]) @ (v["Z"].T @ v["K"])),
        near_miss=lambda ops, v: ops.trace((v["V"].T @ v["Z"]) @ (v["E"].T @ v["K"])),
        remark="So cosines of updates need no h x h matrix. The near miss exchanges E and Z.",
    ),
    Statement(
        id="finetuned-values-as-attention",
        title="One step on the values is the in-context update with keys seen through the query",
        source="Dai eq. 12 and 13 side by side",
        variables={
            "V_demo": ("h", "n"),
            "X_demo": ("d", "n"),
            "W_K": ("h", "d"),
            "X": ("d", "m"),
            "q": ("h", "1"),
        },
        lhs=lambda ops, v: _finetuned_values(v),
        rhs=lambda ops, v: attend(
            v["V_demo"], v["W_K"] @ (v["X"] @ v["X"].T) @ v["X_demo"], v["q"]
        ),
        near_miss=lambda ops, v: attend(v["V_demo"], v["W_K"] @ v["X_demo"], v["q"]),
        remark="The near miss is the in-context update itself: the two agree for all values and "
        "queries exactly where W_K (X X^T - I) X' = 0.",
    ),
)
