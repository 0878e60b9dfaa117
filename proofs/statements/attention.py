"""A3 and A4: relaxed attention over demonstrations, and the loss whose gradient step it is."""

from typing import Any

from proofs.statements.model import Statement

_PAIRS = {"W": ("h", "h"), "V": ("h", "n"), "K": ("h", "n")}


def _squared_step(ops: Any, W: Any, V: Any, K: Any) -> Any:
    """One step of rate 1 on |W K - V|^2 / 2."""
    return W - ops.grad(lambda U: ops.half_square(U @ K - V), W)


ATTENTION: tuple[Statement, ...] = (
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
        remark="The near miss forgets the demonstrations.",
    ),
    Statement(
        id="outer-product-sum",
        title="The outer products of the demonstrations add up to one matrix product",
        source="Dai eq. 11-12; Katharopoulos et al. 2006.16236",
        variables=_PAIRS,
        lhs=lambda ops, v: ops.fold(
            lambda s, x, k: {"S": s["S"] + x @ k.T}, {"S": v["W"]}, v["V"], v["K"]
        )["S"],
        rhs=lambda ops, v: v["W"] + v["V"] @ v["K"].T,
        near_miss=lambda ops, v: v["W"] + v["K"] @ v["V"].T,
        remark="The near miss exchanges keys and values.",
    ),
    Statement(
        id="linear-loss-step",
        title="The in-context update is one step of rate one on a linear loss, from any weights",
        source="Dai eq. 11-12; Irie et al. 2202.05798",
        variables=_PAIRS,
        lhs=lambda ops, v: v["W"] - ops.grad(lambda U: -ops.inner(U @ v["K"], v["V"]), v["W"]),
        rhs=lambda ops, v: v["W"] + v["V"] @ v["K"].T,
        near_miss=lambda ops, v: v["W"] - v["V"] @ v["K"].T,
        remark="The near miss ascends.",
    ),
    Statement(
        id="squared-loss-step-from-zero",
        title="From zero weights the squared-loss step adds the in-context update too",
        source="Dai eq. 11-12, with initial weights of zero",
        variables={"V": ("h", "n"), "K": ("h", "n")},
        lhs=lambda ops, v: _squared_step(ops, ops.zeros_like(v["V"] @ v["K"].T), v["V"], v["K"]),
        rhs=lambda ops, v: v["V"] @ v["K"].T,
        near_miss=lambda ops, v: v["V"] @ v["K"].T + v["V"] @ v["K"].T,
        remark="The near miss is the step of a squared loss without its factor one half.",
    ),
    Statement(
        id="squared-loss-step-anywhere",
        title="A squared-loss step of rate one from any weights adds the residuals' outer products",
        source="Dai eq. 7-9, with residuals for values",
        variables=_PAIRS | {"q": ("h", "1")},
        lhs=lambda ops, v: _squared_step(ops, v["W"], v["V"], v["K"]) @ v["q"],
        rhs=lambda ops, v: v["W"] @ v["q"] + (v["V"] - v["W"] @ v["K"]) @ (v["K"].T @ v["q"]),
        near_miss=lambda ops, v: v["W"] @ v["q"] + v["V"] @ (v["K"].T @ v["q"]),
        remark="The near miss is the false claim squared-loss-step-from-zsl.",
    ),
    Statement(
        id="squared-loss-step-from-zsl",
        title="False: a squared-loss step from the zero-shot weights adds the in-context update",
        source="Dai section 3, read as a squared loss at W_ZSL",
        variables=_PAIRS,
        lhs=lambda ops, v: _squared_step(ops, v["W"], v["V"], v["K"]),
        rhs=lambda ops, v: v["W"] + v["V"] @ v["K"].T,
        near_miss=None,
        claim="false",
        witness={"W": ((1,),), "V": ((1,),), "K": ((1,),)},
        remark="It holds where the zero-shot weights send every key to zero, as zero weights do; "
        "elsewhere the step adds residuals in place of values.",
    ),
)
