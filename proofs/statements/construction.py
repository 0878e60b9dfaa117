"""von Oswald et al. 2212.07677: weights with which linear self-attention is gradient descent.

Tokens are [x; y]. Keys and queries see x, values see W0 x - y; the output is added to the token.
"""

from typing import Any

from proofs.statements.model import Statement

_DATA = {"X": ("i", "n"), "Y": ("o", "n")}
_ONE = _DATA | {"W": ("o", "i"), "gamma": ("1", "1"), "x": ("i", "m"), "y": ("o", "m")}


def _select(ops: Any, v: Any) -> Any:
    """W_K = W_Q = [[I, 0], [0, 0]]: what a key and a query see of a token."""
    top = ops.hcat(ops.identity(v["X"]), ops.zeros_like(v["X"] @ v["Y"].T))
    low = ops.hcat(ops.zeros_like(v["Y"] @ v["X"].T), ops.zeros_like(v["Y"] @ v["Y"].T))
    return ops.vcat(top, low)


def values(ops: Any, v: Any, W: Any) -> Any:
    """W_V = [[0, 0], [W, -I]]: prediction minus target."""
    top = ops.hcat(ops.zeros_like(v["X"] @ v["X"].T), ops.zeros_like(v["X"] @ v["Y"].T))
    return ops.vcat(top, ops.hcat(W, -ops.identity(v["Y"])))


def layer(ops: Any, v: Any, W_V: Any, rate: Any, tokens: Any, context: Any) -> Any:
    """tokens + rate (W_V context)((W_K context)^T (W_Q tokens))."""
    P = _select(ops, v)
    return tokens + ops.scale(rate, (W_V @ context) @ ((P @ context).T @ (P @ tokens)))


def gd_step(ops: Any, v: Any, W: Any, rate: Any, X: Any) -> Any:
    """One step on |U X - Y|^2 / 2."""
    return W - ops.scale(rate, ops.grad(lambda U: ops.half_square(U @ X - v["Y"]), W))


def _one_layer(ops: Any, v: Any) -> Any:
    context, tokens = ops.vcat(v["X"], v["Y"]), ops.vcat(v["x"], v["y"])
    return layer(ops, v, values(ops, v, v["W"]), v["gamma"], tokens, context)


def _after_step(ops: Any, v: Any, sign: int) -> Any:
    """[x; y -+ (W_1 - W_0) x]."""
    change = (gd_step(ops, v, v["W"], v["gamma"], v["X"]) - v["W"]) @ v["x"]
    return ops.vcat(v["x"], v["y"] - change if sign > 0 else v["y"] + change)


def no_weights(ops: Any, v: Any) -> Any:
    """W_0 = 0, of as many rows as Y and columns as X has rows."""
    return ops.zeros_like(v["Y"] @ v["X"].T)


def _all_layers(ops: Any, v: Any) -> Any:
    """The tokens after one layer for every rate, all with W_0 = 0."""
    W_V = values(ops, v, no_weights(ops, v))
    return ops.scan(
        lambda s, rate: {"Z": layer(ops, v, W_V, rate, s["Z"], s["Z"])},
        {"Z": ops.vcat(v["X"], v["Y"])},
        v["gamma"],
    )["Z"]


def _trained(ops: Any, v: Any) -> Any:
    """Gradient descent from zero, one step for every rate."""
    return ops.scan(
        lambda s, rate: {"W": gd_step(ops, v, s["W"], rate, v["X"])},
        {"W": no_weights(ops, v)},
        v["gamma"],
    )["W"]


def _plus_plus(ops: Any, v: Any) -> Any:
    """One layer whose values also see -x: W_V = [[-beta I, 0], [0, -gamma I]]."""
    top = ops.hcat(-ops.scale(v["beta"], ops.identity(v["X"])), ops.zeros_like(v["X"] @ v["Y"].T))
    low = ops.hcat(ops.zeros_like(v["Y"] @ v["X"].T), -ops.scale(v["gamma"], ops.identity(v["Y"])))
    Z, P = ops.vcat(v["X"], v["Y"]), _select(ops, v)
    return Z + (ops.vcat(top, low) @ Z) @ ((P @ Z).T @ (P @ Z))


def _corrected(ops: Any, v: Any, sign: int) -> Any:
    """[(I - beta X X^T) X; Y - W_1 X] with W_1 one step from zero."""
    step = gd_step(ops, v, no_weights(ops, v), v["gamma"], v["X"])
    curved = ops.scale(v["beta"], v["X"] @ v["X"].T) @ v["X"]
    X = v["X"] - curved if sign > 0 else v["X"] + curved
    return ops.vcat(X, v["Y"] - step @ v["X"])


CONSTRUCTION: tuple[Statement, ...] = (
    Statement(
        id="one-layer-one-step",
        title="One linear self-attention layer moves targets as one gradient step does",
        source="von Oswald et al. 2212.07677, proposition 1",
        variables=_ONE,
        lhs=_one_layer,
        rhs=lambda ops, v: _after_step(ops, v, 1),
        near_miss=lambda ops, v: _after_step(ops, v, -1),
        remark="W_K = W_Q = [[I, 0], [0, 0]], W_V = [[0, 0], [W, -I]], projection gamma I. With "
        "y = -W x in place of a query's target the layer leaves minus its prediction after the "
        "step.",
    ),
    Statement(
        id="layers-are-steps",
        title="Any number of layers are as many gradient steps from zero",
        source="von Oswald et al. 2212.07677, section 3; a rate of its own for every layer",
        variables=_DATA | {"gamma": ("1", "k")},
        lhs=_all_layers,
        rhs=lambda ops, v: ops.vcat(v["X"], v["Y"] - _trained(ops, v) @ v["X"]),
        near_miss=lambda ops, v: ops.vcat(v["X"], v["Y"] + _trained(ops, v) @ v["X"]),
        remark="All layers have one W_V = [[0, 0], [0, -I]]: the targets themselves carry the "
        "residuals from layer to layer.",
    ),
    Statement(
        id="curvature-correction",
        title="With values that also see x, a layer corrects the curvature of the data: GD++",
        source="von Oswald et al. 2212.07677, section 4 and appendix A.10",
        variables=_DATA | {"gamma": ("1", "1"), "beta": ("1", "1")},
        lhs=_plus_plus,
        rhs=lambda ops, v: _corrected(ops, v, 1),
        near_miss=lambda ops, v: _corrected(ops, v, -1),
        remark="The inputs become (I - beta X X^T) X while the targets take their step.",
    ),
)
