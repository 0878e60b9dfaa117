"""Derivations of A2: one induction for the weights, one for the velocity."""

from typing import Any

from proofs.rules import BLOCKS, CANCEL, DIFFERENTIATE, EXPAND, IDENTITY
from proofs.steps import Derivation, Induction, Invariant, Step
from proofs.terms import Term


def _at(ops: Any, v: Any) -> Any:
    """-gamma G at the weights S_n: the new error."""
    return -ops.scale(v["gamma"], ops.output_gradient(v["S_n"] @ v["x"], v["t"]))


def _ahead(ops: Any, v: Any) -> Any:
    """-gamma G at S_n + eta M_n."""
    S = v["S_n"] + ops.scale(v["eta"], v["M_n"])
    return -ops.scale(v["gamma"], ops.output_gradient(S @ v["x"], v["t"]))


def _gradient(ops: Any, v: Any, error: Any) -> Any:
    """gamma G x^T, the gradient carried out, where -gamma G is `error`."""
    return ops.scale(v["gamma"], error(ops, v).args[0].args[1] @ v["x"].T)


def _decayed(ops: Any, v: Any, a: Any) -> Any:
    return ops.scale(v["gamma"], ops.scale(v["lam"], a))


def _penalised(ops: Any, v: Any) -> Any:
    """gamma (G x^T + lambda S_n)."""
    G = ops.output_gradient(v["S_n"] @ v["x"], v["t"])
    return ops.scale(v["gamma"], G @ v["x"].T + ops.scale(v["lam"], v["S_n"]))


def _joined(ops: Any, v: Any, E: Any, e: Any) -> Any:
    """[E e][X_n x]^T."""
    return ops.hcat(E, e) @ ops.hcat(v["X_n"], v["x"]).T


def _invariant(first: Any, E: Any, error: Any, start: str, errors: str) -> Invariant:
    """From `first` (gradients carried out) to the start's share + [E' e][X_n x]^T.

    `start` is W, a share of it (c of the weights, d of the velocity), or nothing.
    """

    def nothing(ops: Any, v: Any) -> Any:
        shares = {"c": ops.identity(v["gamma"]), "d": ops.zeros_like(v["gamma"])}
        return _closed(ops, v, {**shares, errors: ops.empty(v["T"])}, start, errors)

    whole = Step(IDENTITY, lambda ops, v: ops.scale(ops.identity(v["gamma"]), v["W"]))
    return Invariant(
        closed=lambda ops, v, s: _closed(ops, v, s, start, errors),
        base=(*((whole,) if start == "c" else ()), Step(CANCEL, nothing)),
        step=_chain(first, E, error, start),
    )


def _state(first: Any, E: Any, error: Any, start: str) -> Invariant:
    """The weights."""
    return _invariant(first, E, error, start, "E")


def _velocity(first: Any, F: Any, error: Any, start: str) -> Invariant:
    """The velocity."""
    return _invariant(first, F, error, start, "F")


def _closed(ops: Any, v: Any, s: Any, start: Any, errors: str) -> Any:
    """[c W or W or d W or nothing] + E X^T."""
    tail = s[errors] @ v["X"].T
    if start == "":
        return tail
    return (v["W"] if start == "W" else ops.scale(s[start], v["W"])) + tail


def _chain(first: Any, E: Any, error: Any, start: str) -> tuple[Step, ...]:
    """Differentiate, put in the hypotheses, collect the errors, join the blocks."""

    def collected(ops: Any, v: Any, joined: bool) -> Any:
        made, e = E(ops, v), error(ops, v)
        tail = _joined(ops, v, made["E"], e) if joined else made["E"] @ v["X_n"].T + e @ v["x"].T
        if start == "":
            return tail
        W = v["W"] if start == "W" else ops.scale(made["c"], v["W"])
        return W + tail

    return (
        Step(DIFFERENTIATE, first),
        Step("hypothesis", lambda ops, v: _put(ops, v, first(ops, v))),
        Step(EXPAND, lambda ops, v: collected(ops, v, False)),
        Step(BLOCKS, lambda ops, v: collected(ops, v, True)),
    )


def _put(ops: Any, v: Any, term: Any) -> Any:
    """`term` with S_n and M_n outside of output gradients replaced by their closed forms."""

    def walk(t: Any) -> Any:
        if t == v["S_n"]:
            c = v.get("c_n")
            return (v["W"] if c is None else ops.scale(c, v["W"])) + v["E_n"] @ v["X_n"].T
        if "M_n" in v and t == v["M_n"]:
            d, F = v.get("d_n"), v["F_n"] @ v["X_n"].T
            return F if d is None else ops.scale(d, v["W"]) + F
        if t.kind == "output_gradient":
            return t
        return Term(t.kind, tuple(map(walk, t.args)), t.shape, t.name)

    return walk(term)


def _eta(ops: Any, v: Any, name: str) -> Any:
    return ops.scale(v["eta"], v[name])


def _moved(error: Any) -> Any:
    """eta M_n - gamma G x^T."""
    return lambda ops, v: _eta(ops, v, "M_n") - _gradient(ops, v, error)


def _momentum(error: Any) -> Induction:
    return Induction(
        {
            "S": _state(
                lambda ops, v: v["S_n"] + _moved(error)(ops, v),
                lambda ops, v: {"E": v["E_n"] + _eta(ops, v, "F_n")},
                error,
                "W",
            ),
            "M": _velocity(_moved(error), lambda ops, v: {"E": _eta(ops, v, "F_n")}, error, ""),
        }
    )


def _coupled_velocity(ops: Any, v: Any) -> Any:
    return _eta(ops, v, "M_n") - _penalised(ops, v)


def _coupled_shares(ops: Any, v: Any) -> dict[str, Any]:
    return {
        "c": _eta(ops, v, "d_n") - _decayed(ops, v, v["c_n"]),
        "E": _eta(ops, v, "F_n") - _decayed(ops, v, v["E_n"]),
    }


OPTIMISERS: dict[str, Derivation] = {
    "momentum-dual": _momentum(_at),
    "nesterov-dual": _momentum(_ahead),
    "weight-decay-dual": Induction(
        {
            "S": _state(
                lambda ops, v: v["S_n"] - _penalised(ops, v),
                lambda ops, v: {
                    "c": v["c_n"] - _decayed(ops, v, v["c_n"]),
                    "E": v["E_n"] - _decayed(ops, v, v["E_n"]),
                },
                _at,
                "c",
            )
        }
    ),
    "momentum-coupled-decay-dual": Induction(
        {
            "S": _state(
                lambda ops, v: v["S_n"] + _coupled_velocity(ops, v),
                lambda ops, v: {
                    "c": v["c_n"] + _coupled_shares(ops, v)["c"],
                    "E": v["E_n"] + _coupled_shares(ops, v)["E"],
                },
                _at,
                "c",
            ),
            "M": _velocity(_coupled_velocity, _coupled_shares, _at, "d"),
        }
    ),
    "momentum-decoupled-decay-dual": Induction(
        {
            "S": _state(
                lambda ops, v: v["S_n"] - _decayed(ops, v, v["S_n"]) + _moved(_at)(ops, v),
                lambda ops, v: {
                    "c": v["c_n"] - _decayed(ops, v, v["c_n"]),
                    "E": v["E_n"] - _decayed(ops, v, v["E_n"]) + _eta(ops, v, "F_n"),
                },
                _at,
                "c",
            ),
            "M": _velocity(_moved(_at), lambda ops, v: {"E": _eta(ops, v, "F_n")}, _at, ""),
        }
    ),
    "schedule-dual": Induction(
        {
            "S": Invariant(
                closed=lambda ops, v, s: v["W"] + s["E"] @ v["X"].T,
                base=(Step(CANCEL, lambda ops, v: v["W"] + ops.empty(v["T"]) @ v["X"].T),),
                step=(
                    Step(
                        DIFFERENTIATE,
                        lambda ops, v: v["S_n"] - ops.scale(v["gammas_t"], _raw(ops, v) @ v["x"].T),
                    ),
                    Step(
                        "hypothesis",
                        lambda ops, v: (
                            v["W"]
                            + v["E_n"] @ v["X_n"].T
                            - ops.scale(v["gammas_t"], _raw(ops, v) @ v["x"].T)
                        ),
                    ),
                    Step(
                        EXPAND,
                        lambda ops, v: (
                            v["W"]
                            + v["E_n"] @ v["X_n"].T
                            + (-ops.scale(v["gammas_t"], _raw(ops, v))) @ v["x"].T
                        ),
                    ),
                    Step(
                        BLOCKS,
                        lambda ops, v: (
                            v["W"]
                            + _joined(ops, v, v["E_n"], -ops.scale(v["gammas_t"], _raw(ops, v)))
                        ),
                    ),
                ),
            )
        }
    ),
}


def _raw(ops: Any, v: Any) -> Any:
    return ops.output_gradient(v["S_n"] @ v["x"], v["t"])
