"""Section C: attention variants as optimisers of an objective in the state S, read as o = S q.

Gradients are derived; implicit steps and the Mesa layer by first-order conditions.
"""

from typing import Any

from proofs.statements.model import Statement

_PAIR = {"S": ("o", "h"), "k": ("h", "1"), "v": ("o", "1")}
_A, _B = {"a": ("1", "1")}, {"b": ("1", "1")}
_CHANNELS = {"a": ("h", "1")}
_TOKENS = {"W": ("o", "h"), "V": ("o", "n"), "K": ("h", "n")}


def erase(ops: Any, v: Any) -> Any:
    """I - b k k^T."""
    return ops.identity(v["k"]) - ops.scale(v["b"], v["k"] @ v["k"].T)


def write(ops: Any, v: Any) -> Any:
    """b v k^T."""
    return ops.scale(v["b"], v["v"] @ v["k"].T)


def recall(ops: Any, v: Any) -> Any:
    """The objective |U k - v|^2 / 2 as a function of U."""
    return lambda U: ops.half_square(U @ v["k"] - v["v"])


def _delta_step(ops: Any, v: Any, start: Any) -> Any:
    """One step of rate b on |U k - v|^2 / 2 from `start`."""
    return start - ops.scale(v["b"], ops.grad(recall(ops, v), start))


def _decayed_linear(ops: Any, v: Any) -> Any:
    """One step of rate 1 on -<U k, v> + (1 - a) |U|^2 / 2."""
    rest = ops.identity(v["a"]) - v["a"]

    def objective(U: Any) -> Any:
        return ops.scale(rest, ops.half_square(U)) - ops.inner(U @ v["k"], v["v"])

    return v["S"] - ops.grad(objective, v["S"])


def _channel_linear(ops: Any, v: Any) -> Any:
    """The same with a decay of its own for every key channel."""
    rest = ops.ones(v["S"]).T - v["a"]

    def objective(U: Any) -> Any:
        return ops.half_square(U, rest) - ops.inner(U @ v["k"], v["v"])

    return v["S"] - ops.grad(objective, v["S"])


def _penalised_delta(ops: Any, v: Any) -> Any:
    """One step of rate b on |U k - v|^2 / 2 + (1 - a)/b |U|^2 / 2."""
    weight = (ops.identity(v["a"]) - v["a"]) @ ops.inverse(v["b"])

    def objective(U: Any) -> Any:
        return recall(ops, v)(U) + ops.scale(weight, ops.half_square(U))

    return v["S"] - ops.scale(v["b"], ops.grad(objective, v["S"]))


def epsilon(ops: Any, v: Any) -> Any:
    """b / (1 + b k^T k)."""
    return v["b"] @ ops.inverse(ops.identity(v["b"]) + (v["k"].T @ v["k"]) @ v["b"])


def longhorn(ops: Any, v: Any) -> Any:
    """S (I - e k k^T) + e v k^T."""
    kk, vk = v["k"] @ epsilon(ops, v) @ v["k"].T, v["v"] @ epsilon(ops, v) @ v["k"].T
    return v["S"] @ (ops.identity(v["k"]) - kk) + vk


def _proximal(ops: Any, v: Any, sign: int) -> Any:
    """The gradient of |U - S|^2 / 2 + sign b |U k - v|^2 / 2 at Longhorn's update."""

    def objective(U: Any) -> Any:
        near, fit = ops.half_square(U - v["S"]), ops.scale(v["b"], recall(ops, v)(U))
        return near + fit if sign > 0 else near - fit

    return ops.grad(objective, longhorn(ops, v))


def _mesa_state(ops: Any, v: Any) -> Any:
    """G (H + Lambda)^(-1) with G = V B K^T, H = K B K^T."""
    B = ops.diag(v["b"])
    return v["V"] @ B @ v["K"].T @ ops.inverse(v["K"] @ B @ v["K"].T + ops.diag(v["lam"]))


def _mesa_gradient(ops: Any, v: Any, at: Any) -> Any:
    """The gradient of tr((U K - V) B (U K - V)^T)/2 + tr(U Lambda U^T)/2."""

    def objective(U: Any) -> Any:
        return ops.half_square(U @ v["K"] - v["V"], v["b"]) + ops.half_square(U, v["lam"])

    return ops.grad(objective, at)


def _square(ops: Any, at: Any, k: Any, x: Any) -> Any:
    """The gradient of |U k - x|^2, without one half."""
    return ops.grad(lambda U: ops.inner(U @ k - x, U @ k - x), at)


def _mini_batches(ops: Any, v: Any, errors: bool) -> Any:
    def step(s: Any, k: Any, x: Any) -> dict[str, Any]:
        residual = s["S"] @ k - x
        made = {"S": s["S"] - ops.scale(v["eta"], _square(ops, s["S"], k, x))}
        if errors:
            made["E"] = ops.hcat(s["E"], -ops.scale(v["eta"], residual + residual))
        return made

    start = {"S": v["W"]} | ({"E": ops.empty(v["V"])} if errors else {})
    return ops.fold(step, start, v["K"], v["V"])


def _titans(ops: Any, v: Any, errors: bool) -> Any:
    """M = (1 - alpha) M + P, P = eta P - theta grad |M k - v|^2."""

    def step(s: Any, k: Any, x: Any, alpha: Any, eta: Any, theta: Any) -> dict[str, Any]:
        P = ops.scale(eta, s["P"]) - ops.scale(theta, _square(ops, s["M"], k, x))
        made = {"M": s["M"] - ops.scale(alpha, s["M"]) + P, "P": P}
        if errors:
            residual, F = s["M"] @ k - x, ops.scale(eta, s["F"])
            e = -ops.scale(theta, residual + residual)
            made["c"] = s["c"] - ops.scale(alpha, s["c"])
            made["E"] = ops.hcat(s["E"] - ops.scale(alpha, s["E"]) + F, e)
            made["F"] = ops.hcat(F, e)
        return made

    start = {"M": v["W"], "P": ops.zeros_like(v["W"])}
    if errors:
        start |= {"c": _one(ops, v), "E": ops.empty(v["V"]), "F": ops.empty(v["V"])}
    return ops.scan(step, start, v["K"], v["V"], v["alpha"], v["eta"], v["theta"])


def _one(ops: Any, v: Any) -> Any:
    """The number one, as a 1 x 1 matrix."""
    return ops.identity(ops.ones(v["W"]))


def _gated_delta(ops: Any, v: Any, errors: bool) -> Any:
    """S = a S + b (v - a S k) k^T, with its errors."""

    def step(s: Any, k: Any, x: Any, a: Any, b: Any) -> dict[str, Any]:
        S = ops.scale(a, s["S"])
        made = {"S": S - ops.scale(b, ops.grad(lambda U: ops.half_square(U @ k - x), S))}
        if errors:
            made["c"] = ops.scale(a, s["c"])
            made["E"] = ops.hcat(ops.scale(a, s["E"]), -ops.scale(b, S @ k - x))
        return made

    start = {"S": v["W"]}
    if errors:
        start |= {"c": _one(ops, v), "E": ops.empty(v["V"])}
    return ops.scan(step, start, v["K"], v["V"], v["alpha"], v["beta"])


def _decayed(ops: Any, v: Any) -> Any:
    """S = a S + b v k^T, token by token."""
    return ops.scan(
        lambda s, x, k, a, b: {"S": ops.scale(a, s["S"]) + ops.scale(b, x @ k.T)},
        {"S": v["W"]},
        v["V"],
        v["K"],
        v["alpha"],
        v["beta"],
    )["S"]


def _decay_weights(ops: Any, v: Any) -> Any:
    """The products of later decays, and each write's strength times them."""
    return ops.scan(
        lambda s, x, k, a, b: {
            "c": ops.scale(a, s["c"]),
            "A": ops.hcat(ops.scale(a, s["A"]), b),
        },
        {"c": _one(ops, v), "A": ops.empty(_one(ops, v))},
        v["V"],
        v["K"],
        v["alpha"],
        v["beta"],
    )


def _channel_decayed(ops: Any, v: Any, keys: bool) -> Any:
    """S = S Diag(a) + v k^T, and the keys that decay with it."""

    def step(s: Any, x: Any, k: Any, a: Any) -> dict[str, Any]:
        D = ops.diag(a)
        made = {"S": s["S"] @ D + x @ k.T}
        if keys:
            made |= {"D": s["D"] @ D, "P": ops.hcat(D @ s["P"], k)}
        return made

    start = {"S": v["W"]}
    if keys:
        start |= {"D": v["W"], "P": ops.empty(v["K"])}
    return ops.scan(step, start, v["V"], v["K"], v["A"])


def _outer(v: Any) -> Any:
    return v["v"] @ v["k"].T


_GATES = _TOKENS | {"alpha": ("1", "n"), "beta": ("1", "n")}
_CAN_DIVIDE = "1 + b k^T k is not zero, which holds for every b of at least zero"

STEPS: tuple[Statement, ...] = (
    Statement(
        id="scalar-decay-step",
        title="RetNet and Mamba-2: a step on the linear loss with weight decay",
        source="Sun et al. 2307.08621; Dao and Gu 2405.21060; the table of C",
        variables=_PAIR | _A,
        lhs=_decayed_linear,
        rhs=lambda ops, v: ops.scale(v["a"], v["S"]) + _outer(v),
        near_miss=lambda ops, v: v["S"] + _outer(v),
        remark="The near miss does not decay.",
    ),
    Statement(
        id="channel-decay-step",
        title="Gated linear attention: weight decay of its own for every key channel",
        source="Yang et al. 2312.06635; the table of C",
        variables=_PAIR | _CHANNELS,
        lhs=_channel_linear,
        rhs=lambda ops, v: v["S"] @ ops.diag(v["a"]) + _outer(v),
        near_miss=lambda ops, v: (v["S"] + _outer(v)) @ ops.diag(v["a"]),
        remark="The near miss decays after the write.",
    ),
    Statement(
        id="delta-rule-step",
        title="DeltaNet: a step of rate b on the squared recall error",
        source="Schlag et al. 2102.11174; Yang et al. 2406.06484",
        variables=_PAIR | _B,
        lhs=lambda ops, v: _delta_step(ops, v, v["S"]),
        rhs=lambda ops, v: v["S"] @ erase(ops, v) + write(ops, v),
        near_miss=lambda ops, v: v["S"] + write(ops, v),
        remark="The near miss writes without erasing.",
    ),
    Statement(
        id="gated-delta-step",
        title="Gated DeltaNet: decoupled decay, then the delta step at the decayed state",
        source="Yang et al. 2412.06464",
        variables=_PAIR | _A | _B,
        lhs=lambda ops, v: _delta_step(ops, v, ops.scale(v["a"], v["S"])),
        rhs=lambda ops, v: ops.scale(v["a"], v["S"]) @ erase(ops, v) + write(ops, v),
        near_miss=lambda ops, v: (
            ops.scale(v["a"], v["S"]) + ops.scale(v["b"], (v["v"] - v["S"] @ v["k"]) @ v["k"].T)
        ),
        remark="The near miss is the next statement's update.",
    ),
    Statement(
        id="penalised-delta-step",
        title="Gradient at the undecayed state: a step on recall error and weight decay together",
        source="the table of C, gradient-at-S order",
        variables=_PAIR | _A | _B,
        lhs=_penalised_delta,
        rhs=lambda ops, v: (
            ops.scale(v["a"], v["S"]) + ops.scale(v["b"], (v["v"] - v["S"] @ v["k"]) @ v["k"].T)
        ),
        near_miss=lambda ops, v: ops.scale(v["a"], v["S"]) @ erase(ops, v) + write(ops, v),
        assumes="b is not zero",
        remark="The near miss is Gated DeltaNet, which takes the gradient after the decay.",
    ),
    Statement(
        id="channel-delta-step",
        title="Kimi delta attention: channel decay, then the delta step at the decayed state",
        source="Kimi Linear, 2510.26692; the table of C",
        variables=_PAIR | _CHANNELS | _B,
        lhs=lambda ops, v: _delta_step(ops, v, v["S"] @ ops.diag(v["a"])),
        rhs=lambda ops, v: v["S"] @ ops.diag(v["a"]) @ erase(ops, v) + write(ops, v),
        near_miss=lambda ops, v: v["S"] @ erase(ops, v) @ ops.diag(v["a"]) + write(ops, v),
        remark="The near miss decays after erasing.",
    ),
    Statement(
        id="longhorn-implicit-step",
        title="Longhorn: the implicit step, its gradient taken at the state it arrives at",
        source="Liu et al. 2407.14207, theorem 3.1",
        variables=_PAIR | _B,
        lhs=longhorn,
        rhs=lambda ops, v: v["S"] - ops.scale(v["b"], ops.grad(recall(ops, v), longhorn(ops, v))),
        near_miss=lambda ops, v: _delta_step(ops, v, v["S"]),
        assumes=_CAN_DIVIDE,
        remark="The near miss is the explicit step, DeltaNet.",
    ),
    Statement(
        id="longhorn-first-order-condition",
        title="Longhorn's update is where its proximal objective has gradient zero",
        source="Liu et al. 2407.14207, eq. 4 and theorem 3.1",
        variables=_PAIR | _B,
        lhs=lambda ops, v: _proximal(ops, v, 1),
        rhs=lambda ops, v: ops.zeros_like(v["S"]),
        near_miss=lambda ops, v: ops.scale(v["b"], (v["S"] @ v["k"] - v["v"]) @ v["k"].T),
        assumes=_CAN_DIVIDE,
        remark="For b of at least zero the objective is strictly convex, so this is its minimum. "
        "The near miss is the gradient before the step.",
    ),
    Statement(
        id="longhorn-printed-sign",
        title="False: Longhorn's update is stationary with the printed minus sign",
        source="the sign printed in the table of objectives of Yang et al. 2412.06464",
        variables=_PAIR | _B,
        lhs=lambda ops, v: _proximal(ops, v, -1),
        rhs=lambda ops, v: ops.zeros_like(v["S"]),
        near_miss=None,
        claim="false",
        witness={"S": ((0,),), "k": ((1,),), "v": ((1,),), "b": ((1,),)},
        remark="With the plus sign it is: longhorn-first-order-condition.",
    ),
)

LAYERS: tuple[Statement, ...] = (
    Statement(
        id="mesa-normal-equations",
        title="The Mesa layer solves the weighted ridge regression of values on keys",
        source="von Oswald et al. 2309.05858 and 2506.05233",
        variables={
            "V": ("o", "n"),
            "K": ("h", "n"),
            "b": ("n", "1"),
            "lam": ("h", "1"),
        },
        lhs=lambda ops, v: _mesa_gradient(ops, v, _mesa_state(ops, v)),
        rhs=lambda ops, v: ops.zeros_like(v["V"] @ v["K"].T),
        near_miss=lambda ops, v: -(v["V"] @ ops.diag(v["b"]) @ v["K"].T),
        assumes="H + Lambda is invertible, as it is for b of at least zero and positive Lambda",
        remark="b holds each pair's strength times its later decays (decayed-recurrence). The near "
        "miss is the gradient at zero.",
    ),
    Statement(
        id="mesa-rank-one-update",
        title="One more pair changes the inverse by a matrix of rank one",
        source="Sherman and Morrison 1950: recursive least squares",
        variables={"A": ("h", "h"), "k": ("h", "1")},
        lhs=lambda ops, v: _sherman_morrison(ops, v) @ (v["A"] + v["k"] @ v["k"].T),
        rhs=lambda ops, v: ops.identity(v["A"]),
        near_miss=lambda ops, v: ops.identity(v["A"]) + ops.inverse(v["A"]) @ v["k"] @ v["k"].T,
        assumes="A is invertible and 1 + k^T A^(-1) k is not zero",
        remark="The near miss leaves the inverse as it was.",
    ),
    Statement(
        id="decayed-recurrence",
        title="A decayed recurrence weights each pair by its strength times all later decays",
        source="Sun et al. 2307.08621; both states of the Mesa layer, 2506.05233",
        variables=_GATES,
        lhs=_decayed,
        rhs=lambda ops, v: (
            ops.scale(_decay_weights(ops, v)["c"], v["W"])
            + v["V"] @ ops.diag(_decay_weights(ops, v)["A"].T) @ v["K"].T
        ),
        near_miss=lambda ops, v: v["W"] + v["V"] @ ops.diag(v["beta"].T) @ v["K"].T,
        remark="The near miss does not decay.",
    ),
    Statement(
        id="channel-decayed-recurrence",
        title="Gated linear attention is linear attention over keys that decay",
        source="Yang et al. 2312.06635, the parallel form",
        variables=_TOKENS | {"A": ("h", "n")},
        lhs=lambda ops, v: _channel_decayed(ops, v, False)["S"],
        rhs=lambda ops, v: (
            _channel_decayed(ops, v, True)["D"] + v["V"] @ _channel_decayed(ops, v, True)["P"].T
        ),
        near_miss=lambda ops, v: v["W"] + v["V"] @ v["K"].T,
        remark="D is the start after all decays, P the keys, each after the later ones.",
    ),
    Statement(
        id="gated-delta-dual",
        title="Gated DeltaNet is a decayed linear layer plus attention to its own errors",
        source="Yang et al. 2412.06464 in the dual form of Irie et al. 2202.05798",
        variables=_GATES,
        lhs=lambda ops, v: _gated_delta(ops, v, False)["S"],
        rhs=lambda ops, v: _share_and_errors(ops, v, _gated_delta(ops, v, True)),
        near_miss=lambda ops, v: v["W"] + _gated_delta(ops, v, True)["E"] @ v["K"].T,
        remark="With alpha of one this is DeltaNet. The near miss does not decay the start.",
    ),
    Statement(
        id="ttt-linear-dual",
        title="TTT-Linear is its learned start plus attention to mini-batch errors",
        source="Sun et al. 2407.04620, dual form; any mini-batch size",
        variables=_TOKENS | {"eta": ("1", "1")},
        lhs=lambda ops, v: _mini_batches(ops, v, False)["S"],
        rhs=lambda ops, v: v["W"] + _mini_batches(ops, v, True)["E"] @ v["K"].T,
        near_miss=lambda ops, v: (
            v["W"] - ops.scale(v["eta"], (v["W"] @ v["K"] - v["V"]) @ v["K"].T)
        ),
        remark="Its loss has no one half, so the errors count twice. The near miss forgets "
        "that, and takes all of them at the start.",
    ),
    Statement(
        id="titans-dual",
        title="Titans is gradient descent with momentum and weight decay, and has its dual form",
        source="Behrouz et al. 2501.00663, eq. 13-14, with a linear memory",
        variables=_TOKENS | {"alpha": ("1", "n"), "eta": ("1", "n"), "theta": ("1", "n")},
        lhs=lambda ops, v: _titans(ops, v, False)["M"],
        rhs=lambda ops, v: _share_and_errors(ops, v, _titans(ops, v, True)),
        near_miss=lambda ops, v: v["W"] + _titans(ops, v, True)["E"] @ v["K"].T,
        remark="The near miss does not decay the start.",
    ),
)


def _share_and_errors(ops: Any, v: Any, s: Any) -> Any:
    """c W + E K^T."""
    return ops.scale(s["c"], v["W"]) + s["E"] @ v["K"].T


def _sherman_morrison(ops: Any, v: Any) -> Any:
    """A^(-1) - A^(-1) k (1 + k^T A^(-1) k)^(-1) k^T A^(-1)."""
    P, k = ops.inverse(v["A"]), v["k"]
    one = ops.identity(k.T @ P @ k)
    return P - P @ k @ ops.inverse(one + k.T @ P @ k) @ k.T @ P


VARIANTS: tuple[Statement, ...] = (*STEPS, *LAYERS)
