"""A8: momentum attention (Dai eq. 14 and the formula after it), and momentum on the update.

Relaxed attention stands for softmax attention: the sum that momentum adds does not depend on it.
"""

from typing import Any

from proofs.statements.model import Side, Statement

_ETA = {"eta": ("1", "1")}
_PAIRS = {"W": ("o", "h"), "V": ("o", "n"), "K": ("h", "n")} | _ETA


def _grown(ops: Any, v: Any) -> Any:
    """The coefficients [eta^n ... eta] of the values, and eta^n of the start."""
    return ops.scan(
        lambda s, x: {
            "c": ops.scale(v["eta"], s["c"]),
            "C": ops.hcat(ops.scale(v["eta"], s["C"]), v["eta"]),
        },
        {"c": ops.identity(v["eta"]), "C": ops.empty(v["eta"])},
        v["V"],
    )


def _momentum_sum(ops: Any, v: Any) -> Any:
    """m_t = eta (m_{t-1} + v_{t-1})."""
    return ops.scan(lambda s, x: {"M": ops.scale(v["eta"], s["M"] + x)}, {"M": v["m"]}, v["V"])["M"]


def _heavy_ball(ops: Any, v: Any) -> Any:
    """S = S + M with M = eta M + v k^T: momentum on the dual update."""
    return ops.scan(
        lambda s, x, k: {
            "S": s["S"] + (ops.scale(v["eta"], s["M"]) + x @ k.T),
            "M": ops.scale(v["eta"], s["M"]) + x @ k.T,
        },
        {"S": v["W"], "M": ops.zeros_like(v["W"])},
        v["V"],
        v["K"],
    )["S"]


def _partial_sums(ops: Any, v: Any) -> Any:
    """The weights a_i = 1 + eta + ... + eta^(n-i) of the pairs, as rows a and f = eta^(n-i)."""
    one = ops.identity(v["eta"])
    return ops.scan(
        lambda s, x, k: {
            "A": ops.hcat(s["A"] + ops.scale(v["eta"], s["F"]), one),
            "F": ops.hcat(ops.scale(v["eta"], s["F"]), one),
        },
        {"A": ops.empty(v["eta"]), "F": ops.empty(v["eta"])},
        v["V"],
        v["K"],
    )


def _ema_inside(ops: Any, v: Any) -> Any:
    """Values replaced by m_t = eta m_{t-1} + v_t, inside attention."""
    return ops.scan(
        lambda s, x, k: {
            "S": s["S"] + (ops.scale(v["eta"], s["m"]) + x) @ k.T,
            "m": ops.scale(v["eta"], s["m"]) + x,
        },
        {"S": v["W"], "m": v["m"]},
        v["V"],
        v["K"],
    )["S"]


def _ema_values(ops: Any, v: Any) -> Any:
    """The same values side by side."""
    return ops.scan(
        lambda s, x, k: {
            "E": ops.hcat(s["E"], ops.scale(v["eta"], s["m"]) + x),
            "m": ops.scale(v["eta"], s["m"]) + x,
        },
        {"E": ops.empty(v["V"]), "m": v["m"]},
        v["V"],
        v["K"],
    )["E"]


def _read(side: Side) -> Side:
    return lambda ops, v: side(ops, v) @ v["q"]


def _with_zero_start(side: Side) -> Side:
    return lambda ops, v: side(ops, {**v, "m": ops.zeros_like(v["W"] @ v["q"])})


_WITNESS = {
    "W": ((0,),),
    "V": ((1, 1),),
    "K": ((1, 2),),
    "eta": ((1,),),
    "q": ((1,),),
}

MOMENTUM: tuple[Statement, ...] = (
    Statement(
        id="momentum-sum",
        title="The momentum recurrence is the sum of values weighted by powers of eta",
        source="Dai section 5, the formula after eq. 14",
        variables={"V": ("o", "n"), "m": ("o", "1")} | _ETA,
        lhs=_momentum_sum,
        rhs=lambda ops, v: ops.scale(_grown(ops, v)["c"], v["m"]) + v["V"] @ _grown(ops, v)["C"].T,
        near_miss=lambda ops, v: v["m"] + v["V"] @ ops.ones(v["V"]).T,
        remark="C holds the powers of eta. The near miss is the sum at eta = 1.",
    ),
    Statement(
        id="momentum-attention-is-a-recency-score",
        title="What momentum attention adds is a score that no query and no key enters",
        source="Dai section 5, with relaxed attention",
        variables={"V": ("o", "n"), "K": ("h", "n"), "q": ("h", "1"), "c": ("n", "1")},
        lhs=lambda ops, v: v["V"] @ (v["K"].T @ v["q"]) + v["V"] @ v["c"],
        rhs=lambda ops, v: v["V"] @ (v["K"].T @ v["q"] + v["c"]),
        near_miss=lambda ops, v: v["V"] @ (v["K"].T @ v["q"] - v["c"]),
        remark="c holds the powers of eta, or any other coefficients.",
    ),
    Statement(
        id="heavy-ball-on-the-update",
        title="Momentum on the update weights each pair by a partial geometric sum",
        source="heavy-ball momentum on Dai eq. 11-12",
        variables=_PAIRS,
        lhs=_heavy_ball,
        rhs=lambda ops, v: v["W"] + v["V"] @ ops.diag(_partial_sums(ops, v)["A"].T) @ v["K"].T,
        near_miss=lambda ops, v: (
            v["W"] + v["V"] @ ops.diag(_partial_sums(ops, v)["F"].T) @ v["K"].T
        ),
        remark="Each value stays with its own key. The near miss weights by powers, as decay does.",
    ),
    Statement(
        id="averaged-values-inside-attention",
        title="Averaged values inside attention are linear attention over the averages",
        source="theory of A8; the sum of (sum over j up to i of eta^(i-j) v_j) k_i^T",
        variables=_PAIRS | {"m": ("o", "1")},
        lhs=_ema_inside,
        rhs=lambda ops, v: v["W"] + _ema_values(ops, v) @ v["K"].T,
        near_miss=lambda ops, v: v["W"] + v["V"] @ v["K"].T,
        remark="Here a value meets the keys of later tokens, unlike in momentum on the update.",
    ),
    Statement(
        id="momentum-attention-difference",
        title="How averaging inside attention and momentum attention differ, exactly",
        source="Dai section 5 against averaged values, for any attention weights p",
        variables={"V": ("o", "n"), "C": ("n", "n"), "p": ("n", "1"), "c": ("n", "1")},
        lhs=lambda ops, v: (v["V"] @ v["C"]) @ v["p"] - (v["V"] @ v["p"] + v["V"] @ v["c"]),
        rhs=lambda ops, v: v["V"] @ ((v["C"] - ops.identity(v["C"])) @ v["p"] - v["c"]),
        near_miss=lambda ops, v: v["V"] @ (v["C"] @ v["p"] - v["c"]),
        remark="C averages the values, c holds what momentum attention adds. They agree for all "
        "values exactly where (C - I)p = c: with averages and weights by powers of eta (not zero), "
        "and p adding up to one, where attention looks at its own token alone.",
    ),
    Statement(
        id="momentum-attention-is-momentum",
        title="False: momentum attention is momentum on the update",
        source="Dai section 5 as motivated there, with relaxed attention",
        variables=_PAIRS | {"q": ("h", "1")},
        lhs=_read(_heavy_ball),
        rhs=lambda ops, v: (
            v["W"] @ v["q"]
            + v["V"] @ (v["K"].T @ v["q"])
            + _momentum_sum(ops, {**v, "m": ops.zeros_like(v["W"] @ v["q"])})
        ),
        near_miss=None,
        claim="false",
        witness=_WITNESS,
        remark="What momentum attention adds does not depend on the query at all.",
    ),
    Statement(
        id="averaged-values-are-momentum",
        title="False: averaged values inside attention are momentum on the update",
        source="a reading of A8 that pairs averaged values with later keys",
        variables=_PAIRS | {"q": ("h", "1")},
        lhs=_read(_heavy_ball),
        rhs=_read(_with_zero_start(_ema_inside)),
        near_miss=None,
        claim="false",
        witness=_WITNESS,
        remark="Momentum on the update leaves each value with its own key.",
    ),
)
