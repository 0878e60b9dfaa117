"""B1, B2 and B5: what is exact for softmax attention, its kernel form, and whole blocks."""

from typing import Any

from proofs.statements.model import Side, Statement

_CONTEXT = {
    "V_demo": ("o", "n"),
    "K_demo": ("h", "n"),
    "V": ("o", "m"),
    "K": ("h", "m"),
    "q": ("h", "1"),
}
_WEIGHTS = {"V_demo": ("o", "n"), "w_demo": ("1", "n"), "V": ("o", "m"), "w": ("1", "m")}


def mass(ops: Any, w: Any) -> Any:
    """The sum of a row of weights, 1 x 1."""
    return ops.ones(w) @ w.T


def average(ops: Any, V: Any, w: Any) -> Any:
    """The values averaged with a row of weights."""
    return (V @ w.T) @ ops.inverse(mass(ops, w))


def softmax(ops: Any, V: Any, K: Any, q: Any) -> Any:
    """Softmax attention; the scores q^T K carry whatever scale q does."""
    return average(ops, V, ops.exp(q.T @ K))


def mixture(ops: Any, V_demo: Any, w_demo: Any, V: Any, w: Any) -> Any:
    """(1 - l) F_ZSL + l F_demo with l = Z_demo / (Z_demo + Z_query)."""
    Z_demo = mass(ops, w_demo)
    share = Z_demo @ ops.inverse(Z_demo + mass(ops, w))
    rest = ops.identity(Z_demo) - share
    return average(ops, V, w) @ rest + average(ops, V_demo, w_demo) @ share


def added(ops: Any, V_demo: Any, w_demo: Any, V: Any, w: Any) -> Any:
    """F_ZSL + l F_demo: the zero-shot term not shrunk."""
    Z_demo = mass(ops, w_demo)
    share = Z_demo @ ops.inverse(Z_demo + mass(ops, w))
    return average(ops, V, w) + average(ops, V_demo, w_demo) @ share


def _over_context(form: Any) -> Side:
    """A mixture of attention to the demonstrations and to the query's own tokens."""
    return lambda ops, v: form(
        ops, v["V_demo"], ops.exp(v["q"].T @ v["K_demo"]), v["V"], ops.exp(v["q"].T @ v["K"])
    )


def _all_tokens(ops: Any, v: Any) -> Any:
    V, K = ops.hcat(v["V_demo"], v["V"]), ops.hcat(v["K_demo"], v["K"])
    return softmax(ops, V, K, v["q"])


def _shifted(ops: Any, v: Any) -> Any:
    """Softmax attention with a number added to every score."""
    scores = v["q"].T @ v["K"]
    return average(ops, v["V"], ops.exp(v["c"] @ ops.ones(v["K"]) + scores))


def _kernel_step(ops: Any, v: Any) -> Any:
    """One step on -(1/L) <U Phi, V>, read at phi(q)."""
    L = mass(ops, v["phi"].T @ v["Phi"])

    def loss(U: Any) -> Any:
        return -ops.scale(ops.inverse(L), ops.inner(U @ v["Phi"], v["V"]))

    return (v["W"] - ops.grad(loss, v["W"])) @ v["phi"]


def _kernel_attention(ops: Any, v: Any) -> Any:
    """W phi(q) + kernel attention."""
    return v["W"] @ v["phi"] + average(ops, v["V"], v["phi"].T @ v["Phi"])


def _polynomial(ops: Any, v: Any) -> Any:
    """Scores through a polynomial of degree two."""
    s = v["K"].T @ v["Q"]
    constant = ops.scale(v["a_0"], ops.ones(v["K"]).T @ ops.ones(v["Q"]))
    return v["V"] @ (constant + ops.scale(v["a_1"], s) + ops.scale(v["a_2"], ops.times(s, s)))


def _features(ops: Any, v: Any, *, degree_two: bool = True) -> Any:
    """Linear attention in the features [1; k; k (x) k], keys weighted."""
    K, Q = v["K"], v["Q"]
    keys = [ops.scale(v["a_0"], ops.ones(K)), ops.scale(v["a_1"], K)]
    queries = [ops.ones(Q), Q]
    if degree_two:
        keys.append(ops.scale(v["a_2"], ops.khatri_rao(K, K)))
        queries.append(ops.khatri_rao(Q, Q))
    return v["V"] @ (ops.vcat(*keys).T @ ops.vcat(*queries))


def _block(ops: Any, v: Any, a: Any, W: Any, b: Any) -> Any:
    """a + W_2 sigma(W a + b_1) + b: a block after its attention."""
    return a + v["W_2"] @ ops.activation(W @ a + v["b_1"]) + b


def _moved_weights(ops: Any, v: Any) -> Any:
    """W_1 + W_1 (a_C - a) a^T / (a^T a): a change of rank one."""
    move = v["W_1"] @ (v["a_C"] - v["a"])
    return v["W_1"] + move @ ops.inverse(v["a"].T @ v["a"]) @ v["a"].T


SOFTMAX: tuple[Statement, ...] = (
    Statement(
        id="weights-split",
        title="Attention with any weights is a mixture of two attentions",
        source="Dai section 3.1 without its relaxation; He et al. 2110.04366, eq. 5",
        variables=_WEIGHTS,
        lhs=lambda ops, v: average(
            ops, ops.hcat(v["V_demo"], v["V"]), ops.hcat(v["w_demo"], v["w"])
        ),
        rhs=lambda ops, v: mixture(ops, v["V_demo"], v["w_demo"], v["V"], v["w"]),
        near_miss=lambda ops, v: added(ops, v["V_demo"], v["w_demo"], v["V"], v["w"]),
        assumes="the weights of either part do not add up to zero, nor do all of them",
        remark="The weights may come from soft-capped scores, ALiBi or a window (w = 0 outside). "
        "It is also how attention over blocks of keys is merged.",
    ),
    Statement(
        id="softmax-mixture",
        title="Softmax attention is a mixture: the zero-shot term shrinks",
        source="Dai section 3.1 without its relaxation; He et al. 2110.04366, eq. 5",
        variables=_CONTEXT,
        lhs=_all_tokens,
        rhs=_over_context(mixture),
        near_miss=_over_context(added),
        assumes="the exponentials of either part do not add up to zero, which real ones cannot",
        remark="The near miss is the false claim softmax-leaves-zero-shot-alone.",
    ),
    Statement(
        id="softmax-shift",
        title="A number added to every score leaves softmax attention alone",
        source="the identity behind every stable softmax",
        variables={"V": ("o", "n"), "K": ("h", "n"), "q": ("h", "1"), "c": ("1", "1")},
        lhs=_shifted,
        rhs=lambda ops, v: softmax(ops, v["V"], v["K"], v["q"]),
        near_miss=lambda ops, v: softmax(ops, v["V"], v["K"], v["q"]) @ ops.exp(v["c"]),
        assumes="the exponentials do not add up to zero, which real ones cannot",
        remark="The near miss forgets that the sum of the weights is shifted too.",
    ),
    Statement(
        id="softmax-leaves-zero-shot-alone",
        title="False: softmax attention adds the demonstrations to an unchanged zero-shot term",
        source="Dai eq. 10-12, read for softmax attention",
        variables=_CONTEXT,
        lhs=_all_tokens,
        rhs=_over_context(added),
        near_miss=None,
        claim="false",
        witness={
            "V_demo": ((1,),),
            "K_demo": ((0,),),
            "V": ((1,),),
            "K": ((0,),),
            "q": ((0,),),
        },
        remark="Scores of zero give every token the same weight.",
    ),
    Statement(
        id="kernel-dual",
        title="Kernel attention is one step on a linear loss in feature space",
        source="Ren and Liu 2310.13220, section 3.1; softmax where phi is its feature map",
        variables={
            "W": ("o", "r"),
            "V": ("o", "n"),
            "Phi": ("r", "n"),
            "phi": ("r", "1"),
        },
        lhs=_kernel_step,
        rhs=_kernel_attention,
        near_miss=lambda ops, v: v["W"] @ v["phi"] + v["V"] @ (v["Phi"].T @ v["phi"]),
        assumes="the kernel's values phi(k)^T phi(q) do not add up to zero",
        remark="The step depends on the query through its normaliser. The near miss forgets it.",
    ),
    Statement(
        id="product-kernel",
        title="A product of two kernels is the kernel of column-wise Kronecker features",
        source="Khatri and Rao 1968; the step from one degree to the next in Taylor features",
        variables={
            "V": ("o", "n"),
            "A": ("h", "n"),
            "B": ("h", "n"),
            "C": ("h", "m"),
            "D": ("h", "m"),
        },
        lhs=lambda ops, v: v["V"] @ ops.times(v["A"].T @ v["C"], v["B"].T @ v["D"]),
        rhs=lambda ops, v: (
            v["V"] @ (ops.khatri_rao(v["A"], v["B"]).T @ ops.khatri_rao(v["C"], v["D"]))
        ),
        near_miss=lambda ops, v: v["V"] @ ((v["A"].T @ v["C"]) + (v["B"].T @ v["D"])),
        remark="The near miss adds the kernels.",
    ),
    Statement(
        id="taylor-features",
        title="Scores through a polynomial of degree two are linear attention in features",
        source="Katharopoulos et al. 2006.16236; with weights 1, 1, 1/2 the Taylor features of exp",
        variables={
            "V": ("o", "n"),
            "K": ("h", "n"),
            "Q": ("h", "m"),
            "a_0": ("1", "1"),
            "a_1": ("1", "1"),
            "a_2": ("1", "1"),
        },
        lhs=_polynomial,
        rhs=_features,
        near_miss=lambda ops, v: _features(ops, v, degree_two=False),
        remark="product-kernel gives every further degree; taylor-remainder says what is left.",
    ),
    Statement(
        id="block-as-weight-change",
        title="In a block without normalisation the context is a rank-one change of its MLP",
        source="Dherin et al. 2507.16003, theorem 2.2 with the residual in the last bias",
        variables={
            "W_1": ("p", "d"),
            "b_1": ("p", "1"),
            "W_2": ("d", "p"),
            "b_2": ("d", "1"),
            "a": ("d", "1"),
            "a_C": ("d", "1"),
        },
        lhs=lambda ops, v: _block(ops, v, v["a_C"], v["W_1"], v["b_2"]),
        rhs=lambda ops, v: _block(
            ops, v, v["a"], _moved_weights(ops, v), v["b_2"] + (v["a_C"] - v["a"])
        ),
        near_miss=lambda ops, v: _block(ops, v, v["a"], _moved_weights(ops, v), v["b_2"]),
        assumes="the attention output a without context is not zero",
        remark="a and a_C are the attention outputs (residual included) without and with context; "
        "the last bias changes too, which the near miss forgets. With a layer norm, a stands for "
        "what the MLP reads and the residual is added by itself.",
    ),
)
