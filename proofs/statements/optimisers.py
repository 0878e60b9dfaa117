"""A2: the dual form of a linear layer under momentum, Nesterov, weight decay and schedules.

In every case the layer is c W + E X^T; what changes is how the errors E of the examples so far, and
the share c of the initial weights, are rewritten in each step. F holds the errors of the velocity.
"""

from collections.abc import Mapping
from typing import Any

from proofs.statements.model import Side, Statement

_LAYER = {"W": ("o", "i"), "X": ("i", "n"), "T": ("o", "n")}
_RATE = {"gamma": ("1", "1")}
_MOMENTUM = _LAYER | _RATE | {"eta": ("1", "1")}
_DECAY = {"lam": ("1", "1")}


def _descent(ops: Any, v: Any, at: Any, x: Any, t: Any) -> Any:
    """gamma times the gradient of l(U x; t) at some weights."""
    return ops.scale(v["gamma"], ops.grad(lambda U: ops.loss(U @ x, t), at))


def _error(ops: Any, v: Any, at: Any, x: Any, t: Any) -> Any:
    """-gamma times the output gradient at some weights."""
    return -ops.scale(v["gamma"], ops.output_gradient(at @ x, t))


def _start(ops: Any, v: Any, names: str) -> Mapping[str, Any]:
    """S = W, M = 0, shares c = 1 and d = 0, errors E and F of no examples."""
    full = {
        "S": lambda: v["W"],
        "M": lambda: ops.zeros_like(v["W"]),
        "c": lambda: ops.identity(v["gamma"]),
        "d": lambda: ops.zeros_like(v["gamma"]),
        "E": lambda: ops.empty(v["T"]),
        "F": lambda: ops.empty(v["T"]),
    }
    return {name: full[name]() for name in names}


def _trained(step: Any, names: str) -> Side:
    """The layer after all steps; of what `step` gives, only the states `names` are needed."""
    return lambda ops, v: ops.fold(
        lambda s, x, t: {k: made for k, made in step(ops, v, s, x, t).items() if k in names},
        _start(ops, v, names),
        v["X"],
        v["T"],
    )["S"]


def _unrolled(step: Any, names: str) -> Side:
    """c W + E X^T, with W alone where the share c stays one."""

    def side(ops: Any, v: Any) -> Any:
        s = ops.fold(lambda s, x, t: step(ops, v, s, x, t), _start(ops, v, names), v["X"], v["T"])
        W = ops.scale(s["c"], v["W"]) if "c" in names else v["W"]
        return W + s["E"] @ v["X"].T

    return side


def momentum_step(ops: Any, v: Any, s: Any, x: Any, t: Any) -> dict[str, Any]:
    """Heavy ball: M = eta M - gamma g, S = S + M."""
    M = ops.scale(v["eta"], s["M"]) - _descent(ops, v, s["S"], x, t)
    made = {"S": s["S"] + M, "M": M}
    if "E" in s:
        e, F = _error(ops, v, s["S"], x, t), ops.scale(v["eta"], s["F"])
        made |= {"E": ops.hcat(s["E"] + F, e), "F": ops.hcat(F, e)}
    return made


def nesterov_step(ops: Any, v: Any, s: Any, x: Any, t: Any) -> dict[str, Any]:
    """Nesterov: the gradient is taken at S + eta M."""
    ahead = s["S"] + ops.scale(v["eta"], s["M"])
    M = ops.scale(v["eta"], s["M"]) - _descent(ops, v, ahead, x, t)
    made = {"S": s["S"] + M, "M": M}
    if "E" in s:
        e, F = _error(ops, v, ahead, x, t), ops.scale(v["eta"], s["F"])
        made |= {"E": ops.hcat(s["E"] + F, e), "F": ops.hcat(F, e)}
    return made


def _twice(ops: Any, v: Any, a: Any) -> Any:
    """gamma lambda A."""
    return ops.scale(v["gamma"], ops.scale(v["lam"], a))


def decay_step(ops: Any, v: Any, s: Any, x: Any, t: Any) -> dict[str, Any]:
    """Gradient descent on l + lambda |U|^2 / 2."""
    penalised = ops.grad(
        lambda U: ops.loss(U @ x, t) + ops.scale(v["lam"], ops.half_square(U)), s["S"]
    )
    made = {"S": s["S"] - ops.scale(v["gamma"], penalised)}
    if "E" in s:
        made["c"] = s["c"] - _twice(ops, v, s["c"])
        made["E"] = ops.hcat(s["E"] - _twice(ops, v, s["E"]), _error(ops, v, s["S"], x, t))
    return made


def coupled_step(ops: Any, v: Any, s: Any, x: Any, t: Any) -> dict[str, Any]:
    """Momentum on the gradient of l + lambda |U|^2 / 2."""
    penalised = ops.grad(
        lambda U: ops.loss(U @ x, t) + ops.scale(v["lam"], ops.half_square(U)), s["S"]
    )
    M = ops.scale(v["eta"], s["M"]) - ops.scale(v["gamma"], penalised)
    made = {"S": s["S"] + M, "M": M}
    if "E" in s:
        d = ops.scale(v["eta"], s["d"]) - _twice(ops, v, s["c"])
        F = ops.scale(v["eta"], s["F"]) - _twice(ops, v, s["E"])
        e = _error(ops, v, s["S"], x, t)
        made |= {"c": s["c"] + d, "d": d, "E": ops.hcat(s["E"] + F, e), "F": ops.hcat(F, e)}
    return made


def decoupled_step(ops: Any, v: Any, s: Any, x: Any, t: Any) -> dict[str, Any]:
    """Momentum on the gradient of l, the weights decayed beside it."""
    M = ops.scale(v["eta"], s["M"]) - _descent(ops, v, s["S"], x, t)
    made = {"S": s["S"] - _twice(ops, v, s["S"]) + M, "M": M}
    if "E" in s:
        e, F = _error(ops, v, s["S"], x, t), ops.scale(v["eta"], s["F"])
        E = s["E"] - _twice(ops, v, s["E"])
        made["c"] = s["c"] - _twice(ops, v, s["c"])
        made |= {"E": ops.hcat(E + F, e), "F": ops.hcat(F, e)}
    return made


def _scheduled(ops: Any, v: Any, s: Any, x: Any, t: Any, g: Any) -> dict[str, Any]:
    """A rate of its own for every example."""
    made = {"S": s["S"] - ops.scale(g, ops.grad(lambda U: ops.loss(U @ x, t), s["S"]))}
    if "E" in s:
        made["E"] = ops.hcat(s["E"], -ops.scale(g, ops.output_gradient(s["S"] @ x, t)))
    return made


def _squared_momentum(coupled: bool) -> Side:
    """Momentum with weight decay on the squared loss, coupled or decoupled."""

    def step(ops: Any, v: Any, s: Any, x: Any, t: Any) -> dict[str, Any]:
        decay = ops.scale(v["gamma"], ops.scale(v["lam"], s["S"]))
        g = ops.scale(v["gamma"], ops.grad(lambda U: ops.half_square(U @ x - t), s["S"]))
        M = ops.scale(v["eta"], s["M"]) - (g + decay if coupled else g)
        return {"S": s["S"] + M if coupled else s["S"] - decay + M, "M": M}

    return lambda ops, v: ops.fold(
        lambda s, x, t: step(ops, v, s, x, t),
        {"S": v["W"], "M": ops.zeros_like(v["W"])},
        v["X"],
        v["T"],
    )["S"]


def _plain(ops: Any, v: Any) -> Any:
    """The near miss of all: plain steps, their errors neither carried on nor decayed."""
    s = ops.fold(
        lambda s, x, t: {
            "S": s["S"] - _descent(ops, v, s["S"], x, t),
            "E": ops.hcat(s["E"], _error(ops, v, s["S"], x, t)),
        },
        {"S": v["W"], "E": ops.empty(v["T"])},
        v["X"],
        v["T"],
    )
    return v["W"] + s["E"] @ v["X"].T


def _full_rate(ops: Any, v: Any) -> Any:
    """All errors of a schedule at the initial weights."""
    G = -ops.output_gradient(v["W"] @ v["X"], v["T"])
    return v["W"] + G @ ops.diag(v["gammas"].T) @ v["X"].T


OPTIMISERS: tuple[Statement, ...] = (
    Statement(
        id="momentum-dual",
        title="Momentum carries every error on: E gains eta F in each later step",
        source="Dai section 5, made exact for heavy-ball momentum; any mini-batch size",
        variables=_MOMENTUM,
        lhs=_trained(momentum_step, "SM"),
        rhs=_unrolled(momentum_step, "SMEF"),
        near_miss=_plain,
        remark="The near miss trains without momentum.",
    ),
    Statement(
        id="nesterov-dual",
        title="Nesterov momentum has the same dual form with errors taken ahead",
        source="Nesterov 1983, as an accelerated form of Dai eq. 7-9",
        variables=_MOMENTUM,
        lhs=_trained(nesterov_step, "SM"),
        rhs=_unrolled(nesterov_step, "SMEF"),
        near_miss=_unrolled(momentum_step, "SMEF"),
        remark="The near miss takes the errors at the weights themselves, as heavy ball does.",
    ),
    Statement(
        id="weight-decay-dual",
        title="Weight decay shrinks the initial weights and every earlier error alike",
        source="Dai eq. 7-9 with an L2 penalty; any mini-batch size",
        variables=_LAYER | _RATE | _DECAY,
        lhs=_trained(decay_step, "S"),
        rhs=_unrolled(decay_step, "ScE"),
        near_miss=_plain,
        remark="The near miss trains without decay.",
    ),
    Statement(
        id="momentum-coupled-decay-dual",
        title="With decay inside the momentum the velocity decays with the weights",
        source="SGD with momentum and an L2 penalty, as in torch.optim.SGD",
        variables=_MOMENTUM | _DECAY,
        lhs=_trained(coupled_step, "SM"),
        rhs=_unrolled(coupled_step, "SMcdEF"),
        near_miss=_unrolled(decoupled_step, "SMcEF"),
        remark="The near miss is decoupled decay.",
    ),
    Statement(
        id="momentum-decoupled-decay-dual",
        title="With decay beside the momentum the velocity is that of plain momentum",
        source="Loshchilov and Hutter 1711.05101, SGDW",
        variables=_MOMENTUM | _DECAY,
        lhs=_trained(decoupled_step, "SM"),
        rhs=_unrolled(decoupled_step, "SMcEF"),
        near_miss=_unrolled(coupled_step, "SMcdEF"),
        remark="The near miss is coupled decay.",
    ),
    Statement(
        id="schedule-dual",
        title="A learning-rate schedule weights every error by the rate of its step",
        source="Dai eq. 7-9, one example a step",
        variables=_LAYER | {"gammas": ("1", "n")},
        lhs=lambda ops, v: ops.scan(
            lambda s, x, t, g: _scheduled(ops, v, s, x, t, g),
            {"S": v["W"]},
            v["X"],
            v["T"],
            v["gammas"],
        )["S"],
        rhs=lambda ops, v: (
            v["W"]
            + ops.scan(
                lambda s, x, t, g: _scheduled(ops, v, s, x, t, g),
                {"S": v["W"], "E": ops.empty(v["T"])},
                v["X"],
                v["T"],
                v["gammas"],
            )["E"]
            @ v["X"].T
        ),
        near_miss=_full_rate,
        remark="The near miss takes every error at the initial weights.",
    ),
    Statement(
        id="coupled-decay-is-decoupled",
        title="False: with momentum, coupled and decoupled weight decay train alike",
        source="what holds for plain gradient descent, read for momentum",
        variables=_MOMENTUM | _DECAY,
        lhs=_squared_momentum(True),
        rhs=_squared_momentum(False),
        near_miss=None,
        claim="false",
        witness={
            "W": ((1,),),
            "X": ((1, 1),),
            "T": ((0, 0),),
            "gamma": ((1,),),
            "eta": ((1,),),
            "lam": ((1,),),
        },
        remark="Without momentum the two are the same step.",
    ),
)
