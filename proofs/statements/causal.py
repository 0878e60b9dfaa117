"""A6 and A7: causal linear attention three ways, and what the order of demonstrations changes."""

from typing import Any

from proofs.statements.model import Side, Statement

_SEQUENCE = {"W": ("o", "h"), "V": ("o", "n"), "K": ("h", "n"), "Q": ("h", "n")}


def _parallel(ops: Any, v: Any) -> Any:
    """W Q + V (K^T Q under the causal mask)."""
    return v["W"] @ v["Q"] + v["V"] @ ops.causal(v["K"].T @ v["Q"])


def _recurrent(ops: Any, v: Any) -> Any:
    """Token by token: write, then read."""

    def step(s: Any, v_t: Any, k: Any, q: Any) -> dict[str, Any]:
        S = s["S"] + v_t @ k.T
        return {"S": S, "O": ops.hcat(s["O"], S @ q)}

    start = {"S": v["W"], "O": ops.empty(v["V"])}
    return ops.scan(step, start, v["V"], v["K"], v["Q"])["O"]


def _chunked(ops: Any, v: Any) -> Any:
    """Chunk by chunk: the state before it, and the mask inside."""

    def step(s: Any, v_t: Any, k: Any, q: Any) -> dict[str, Any]:
        inside = v_t @ ops.causal(k.T @ q)
        return {"S": s["S"] + v_t @ k.T, "O": ops.hcat(s["O"], s["S"] @ q + inside)}

    start = {"S": v["W"], "O": ops.empty(v["V"])}
    return ops.fold(step, start, v["V"], v["K"], v["Q"])["O"]


def _unmasked(ops: Any, v: Any) -> Any:
    return v["W"] @ v["Q"] + v["V"] @ (v["K"].T @ v["Q"])


def _sgd(order: str) -> Side:
    """Online steps on the squared loss over two blocks of demonstrations, in an order."""

    def side(ops: Any, v: Any) -> Any:
        K = ops.hcat(*(v[f"K_{i}"] for i in order))
        V = ops.hcat(*(v[f"V_{i}"] for i in order))
        return ops.fold(
            lambda s, k, x: {"S": s["S"] - ops.grad(lambda U: ops.half_square(U @ k - x), s["S"])},
            {"S": v["W"]},
            K,
            V,
        )["S"]

    return side


_TWO_BLOCKS = {"V_1": ("o", "n"), "K_1": ("h", "n"), "V_2": ("o", "m"), "K_2": ("h", "m")}

CAUSAL: tuple[Statement, ...] = (
    Statement(
        id="causal-recurrence",
        title="The recurrence of causal linear attention is its masked parallel form",
        source="Katharopoulos et al. 2006.16236, eq. 16-20; Irie et al. 2202.05798",
        variables=_SEQUENCE,
        lhs=_recurrent,
        rhs=_parallel,
        near_miss=_unmasked,
        remark="The near miss forgets the mask.",
    ),
    Statement(
        id="causal-chunks",
        title="The chunkwise form is the parallel form, for chunks of any sizes",
        source="Yang et al. 2312.06635 and 2406.06484, chunkwise form",
        variables=_SEQUENCE,
        lhs=_chunked,
        rhs=_parallel,
        near_miss=_unmasked,
        remark="Chunks of one token are the recurrence.",
    ),
    Statement(
        id="order-of-demonstrations",
        title="Exchanging blocks of demonstrations leaves the in-context update alone",
        source="Dai eq. 11-12; a consequence of the sum",
        variables=_TWO_BLOCKS,
        lhs=lambda ops, v: ops.hcat(v["V_1"], v["V_2"]) @ ops.hcat(v["K_1"], v["K_2"]).T,
        rhs=lambda ops, v: ops.hcat(v["V_2"], v["V_1"]) @ ops.hcat(v["K_2"], v["K_1"]).T,
        near_miss=lambda ops, v: v["V_1"] @ v["K_1"].T - v["V_2"] @ v["K_2"].T,
        remark="Exchanging neighbouring blocks of any sizes gives every order. The near miss "
        "counts the second block against the first.",
    ),
    Statement(
        id="order-of-online-descent",
        title="False: online gradient descent gives the same weights in every order",
        source="read into the order invariance of Dai eq. 11-12; Shen et al. 2310.08540",
        variables={"W": ("o", "h"), **_TWO_BLOCKS},
        lhs=_sgd("12"),
        rhs=_sgd("21"),
        near_miss=None,
        claim="false",
        witness={
            "W": ((0,),),
            "V_1": ((1,),),
            "K_1": ((1,),),
            "V_2": ((0,),),
            "K_2": ((1,),),
        },
        remark="Each residual is taken at weights that the earlier examples have moved.",
    ),
)
