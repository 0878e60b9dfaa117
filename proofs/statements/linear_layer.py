"""A1: a linear layer trained by gradient descent, and its dual form."""

from typing import Any

from proofs.statements.model import Side, Statement

_LAYER = {"W": ("o", "i"), "X": ("i", "n"), "T": ("o", "n")}
_RATE = {"gamma": ("1", "1")}


def _generic_step(ops: Any, rate: Any) -> Any:
    """One SGD step on l(W x; t) of a block of examples."""
    return lambda W, x, t: W - ops.scale(rate, ops.grad(lambda U: ops.loss(U @ x, t), W))


def _generic_error(ops: Any, rate: Any) -> Any:
    """e = -gamma times the output gradient at the weights of that step."""
    return lambda W, x, t: -ops.scale(rate, ops.output_gradient(W @ x, t))


def _squared_step(ops: Any, rate: Any) -> Any:
    return lambda W, x, t: W - ops.scale(rate, ops.grad(lambda U: ops.half_square(U @ x - t), W))


def _squared_error(ops: Any, rate: Any) -> Any:
    return lambda W, x, t: -ops.scale(rate, W @ x - t)


def _trained(step: Any) -> Side:
    """The layer after all steps."""
    return lambda ops, v: ops.fold(
        lambda s, x, t: {"S": step(ops, v["gamma"])(s["S"], x, t)}, {"S": v["W"]}, v["X"], v["T"]
    )["S"]


def _unrolled(step: Any, error: Any) -> Side:
    """W + E X^T with the errors E collected at the weights of each step."""
    return lambda ops, v: (
        v["W"]
        + ops.fold(
            lambda s, x, t: {
                "S": step(ops, v["gamma"])(s["S"], x, t),
                "E": ops.hcat(s["E"], error(ops, v["gamma"])(s["S"], x, t)),
            },
            {"S": v["W"], "E": ops.empty(v["T"])},
            v["X"],
            v["T"],
        )["E"]
        @ v["X"].T
    )


def _stale(error: Any) -> Side:
    """W + E X^T with all errors at the initial weights."""
    return lambda ops, v: v["W"] + error(ops, v["gamma"])(v["W"], v["X"], v["T"]) @ v["X"].T


LINEAR_LAYER: tuple[Statement, ...] = (
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
        id="squared-loss-gradient",
        title="The gradient of a squared loss is residuals times inputs",
        source="Dai eq. 7, for the squared loss",
        variables=_LAYER,
        lhs=lambda ops, v: ops.grad(lambda U: ops.half_square(U @ v["X"] - v["T"]), v["W"]),
        rhs=lambda ops, v: (v["W"] @ v["X"] - v["T"]) @ v["X"].T,
        near_miss=lambda ops, v: -(v["T"] @ v["X"].T),
        remark="The near miss is the gradient at the zero layer.",
    ),
    Statement(
        id="generic-loss-gradient",
        title="The gradient of any differentiable loss of a linear layer is an outer product",
        source="Dai eq. 7; Irie et al. 2202.05798, section 3",
        variables=_LAYER,
        lhs=lambda ops, v: ops.grad(lambda U: ops.loss(U @ v["X"], v["T"]), v["W"]),
        rhs=lambda ops, v: ops.output_gradient(v["W"] @ v["X"], v["T"]) @ v["X"].T,
        near_miss=lambda ops, v: ops.output_gradient(ops.zeros_like(v["T"]), v["T"]) @ v["X"].T,
        remark="The near miss takes the output gradient at the zero layer.",
    ),
    Statement(
        id="one-step-dual",
        title="A layer after one step is the layer plus linear attention to its examples",
        source="Dai eq. 7-9",
        variables=_LAYER | _RATE | {"q": ("i", "1")},
        lhs=lambda ops, v: _generic_step(ops, v["gamma"])(v["W"], v["X"], v["T"]) @ v["q"],
        rhs=lambda ops, v: (
            v["W"] @ v["q"]
            + _generic_error(ops, v["gamma"])(v["W"], v["X"], v["T"]) @ (v["X"].T @ v["q"])
        ),
        near_miss=lambda ops, v: (
            v["W"] @ v["q"]
            - _generic_error(ops, v["gamma"])(v["W"], v["X"], v["T"]) @ (v["X"].T @ v["q"])
        ),
        remark="The near miss ascends.",
    ),
    Statement(
        id="many-steps-dual",
        title="Any number of steps on any differentiable loss adds errors times inputs",
        source="Dai eq. 7-9; Irie et al. 2202.05798; any mini-batch size",
        variables=_LAYER | _RATE,
        lhs=_trained(_generic_step),
        rhs=_unrolled(_generic_step, _generic_error),
        near_miss=_stale(_generic_error),
        remark="The near miss takes every error at the initial weights, as one full-batch step.",
    ),
    Statement(
        id="many-steps-squared-loss",
        title="Any number of squared-loss steps adds the residuals of those steps times inputs",
        source="Dai eq. 7-9, for the squared loss; any mini-batch size",
        variables=_LAYER | _RATE,
        lhs=_trained(_squared_step),
        rhs=_unrolled(_squared_step, _squared_error),
        near_miss=_stale(_squared_error),
        remark="The near miss takes every residual at the initial weights.",
    ),
)
