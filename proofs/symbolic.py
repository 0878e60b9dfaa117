"""SymPy as the judge of a step: matrices of symbolic size, or explicit matrices of numbers.

Gradients are differentiated here by SymPy, term by term (its derivative of a sum of traces
silently returns 0, SymPy issues 26561 and 26585) or at a generic entry, and must agree with the
adjoint rules of `proofs.calculus`; a disagreement is an error, never a proof.
"""

from collections.abc import Callable
from typing import Any

import sympy as sp

from proofs.calculus import gradient
from proofs.evaluate import NotEvaluated, agree
from proofs.rules import flat
from proofs.terms import ONE, Dim, Term, TermOps, contains


class GradientDisagreement(AssertionError):
    """SymPy's derivative differs from the one by the adjoint rules."""


# What SymPy's matrix algebra does not open: its "no" about a tree with these says nothing.
OPAQUE = frozenset(
    {
        "identity",
        "ones",
        "vcat",
        "diag",
        "times",
        "khatri_rao",
        "causal",
        "exp",
        "activation",
        "inverse",
        "trace",
    }
)
DIAGONAL = "diagonal of "


def size(dims: Dim) -> Any:
    """A size as a sum of products of positive integer symbols; "1" is the number 1."""
    return sp.Add(*(sp.Mul(*map(_factor, d.split("*"))) for d in dims))


def _factor(name: str) -> Any:
    return 1 if name == "1" else sp.Symbol(name, integer=True, positive=True)


def matrix_symbol(name: str, term: Term) -> Any:
    """A matrix symbol of the term's shape."""
    return sp.MatrixSymbol(name, *map(size, term.shape))


def to_sympy(term: Term) -> Any:
    """The matrix expression of a tree, its gradients carried out.

    Raises:
        GradientDisagreement: see above.
        NotImplementedError: for a recurrence, which only induction can treat.
    """
    kind, args = term.kind, term.args
    if kind == "symbol":
        return (
            sp.ZeroMatrix(*map(size, term.shape))
            if () in term.shape
            else matrix_symbol(term.name, term)
        )
    if kind == "zero":
        return sp.ZeroMatrix(*map(size, term.shape))
    if kind == "identity":
        return sp.Identity(size(term.shape[0]))
    if kind == "diag":
        return matrix_symbol(DIAGONAL + repr(flat(args[0])), term)
    if kind in OPAQUE - {"vcat"} or kind == "output_gradient":
        # All that is known is that equal arguments give equal values.
        return matrix_symbol(kind + repr(tuple(map(flat, args))), term)
    if kind == "gradient":
        return _gradient(term)
    if kind in ("fold", "loss"):
        raise NotImplementedError(f"expected an expression of finite algebra, got {kind}")
    made = [to_sympy(a) for a in args]
    if kind == "product":
        if () in (args[0].shape[1], *term.shape):
            return sp.ZeroMatrix(*map(size, term.shape))
        return made[0] * made[1]
    plain: dict[str, Callable[[], Any]] = {
        "sum": lambda: made[0] + made[1],
        "negative": lambda: -made[0],
        "transpose": lambda: made[0].T,
        "hcat": lambda: sp.BlockMatrix([made]),
        "vcat": lambda: sp.BlockMatrix([[a] for a in made]),
        "scale": lambda: made[0].doit()[0, 0] * made[1],
        "inner": lambda: sp.Trace(made[0].T * made[1]),
        "half_square": lambda: sp.Trace(made[0].T * made[0]) / 2,
        "weighted_square": lambda: (
            sp.Trace(made[0].T * made[0] * to_sympy(TermOps().diag(args[1]))) / 2
        ),
    }
    return plain[kind]()


def expanded(expression: Any) -> Any:
    """Multiplied out, blocks joined."""
    if expression.has(sp.BlockMatrix):
        expression = sp.block_collapse(expression.doit())
    done = sp.expand(expression.doit()).doit()
    symmetric = {
        t: t.arg
        for t in done.atoms(sp.Transpose)
        if isinstance(t.arg, sp.MatrixSymbol) and t.arg.name.startswith(DIAGONAL)
    }
    return sp.expand(done.xreplace(symmetric)).doit() if symmetric else done


def is_zero(expression: Any) -> bool:
    """Whether a matrix expression of symbolic size expands to the zero matrix."""
    done = expanded(expression)
    if isinstance(done, sp.BlockMatrix):
        return all(map(is_zero, done.blocks))
    return bool(isinstance(done, sp.ZeroMatrix) or done == 0)


def equal(left: Term, right: Term) -> bool:
    """Whether two trees are equal for all sizes, by SymPy."""
    return left.shape == right.shape and is_zero(to_sympy(left) - to_sympy(right))


def judge(left: Term, right: Term) -> str | None:
    """Who finds two trees equal, or None where they are not.

    "SymPy, all sizes" where SymPy's matrix algebra sees it; else "exact values": both trees have
    one value at random integers (`proofs.evaluate`), which is asked for in every case.

    Raises:
        GradientDisagreement: see above.
    """
    try:
        by_values = left.shape == right.shape and agree(left, right)
    except NotEvaluated:
        return None
    if not by_values:
        return None
    if equal(left, right):
        return "SymPy, all sizes"
    opaque = any(contains(t, lambda a: a.kind in OPAQUE or _unit(a)) for t in (left, right))
    return "exact values" if opaque else None


def _unit(term: Term) -> bool:
    """A product with a 1 x 1 matrix that is no symbol, which SymPy does not take as a number."""
    return term.kind in ("scale", "product") and any(a.shape == (ONE, ONE) for a in term.args)


def _gradient(term: Term) -> Any:
    """SymPy's derivative of a gradient node at its point, guarded by the adjoint rules.

    Every part of a sum is guarded by itself.

    Raises:
        GradientDisagreement: where SymPy's derivative is another one.
    """
    bound, body, at = term.args
    for part in _parts(body):
        adjoint = gradient(Term("gradient", (bound, part, bound), term.shape))
        if contains(part, lambda t: t.kind == "loss"):
            if not _entry_agrees(part, bound, adjoint):
                raise GradientDisagreement(f"expected the derivative of {body.kind} at every entry")
            continue
        found = derivative(to_sympy(part), to_sympy(bound))
        if not is_zero(found - to_sympy(adjoint)):
            raise GradientDisagreement(f"expected {to_sympy(adjoint)}, got {found} from SymPy")
    return to_sympy(gradient(term))


def _parts(body: Term) -> list[Term]:
    """The summands of a scalar."""
    if body.kind == "sum":
        return [part for a in body.args for part in _parts(a)]
    return [body]


def derivative(scalar: Any, at: Any) -> Any:
    """SymPy's derivative of a sum of traces, one trace at a time, its factors set aside."""
    total = sp.ZeroMatrix(*at.shape)
    for part in sp.Add.make_args(sp.expand(sp.expand(scalar.doit()).doit())):
        fixed, moving = part.as_independent(at, as_Add=False)
        total = total + fixed * moving.diff(at)
    return total


def _entry_agrees(body: Term, bound: Term, adjoint: Term) -> bool:
    """The chain rule for l(Y(U); T) at the generic entry (i, j) of U, as SymPy derives it.

    dl/dU_ij = sum_ab G_ab dY_ab/dU_ij, with SymPy differentiating the entry Y_ab.
    """
    sign = 1
    while body.kind in ("negative", "scale"):
        factor = -1 if body.kind == "negative" else to_sympy(body.args[0])[0, 0]
        sign, body = factor * sign, body.args[-1]
    if body.kind != "loss":
        return False
    outputs, targets = body.args
    g = to_sympy(TermOps().output_gradient(outputs, targets))
    i, j, a, b = sp.symbols("i j a b", integer=True, nonnegative=True)
    y, u = to_sympy(outputs), to_sympy(bound)
    inner = y[a, b].diff(u[i, j])
    rows, columns = y.shape
    found = sp.Sum(g[a, b] * inner, (a, 0, rows - 1), (b, 0, columns - 1)).doit()
    return _same_sum(sign * found, to_sympy(adjoint)[i, j])


def _same_sum(left: Any, right: Any) -> bool:
    """Whether two single sums have one range and the same summand."""
    left, right = _inside(left), _inside(right)
    if not (isinstance(left, sp.Sum) and isinstance(right, sp.Sum)):
        return bool(left == right)
    (x, *range_x), (y, *range_y) = left.limits[0], right.limits[0]
    one = len(left.limits) == len(right.limits) == 1
    return one and range_x == range_y and bool(left.function.subs(x, y) == right.function)


def _inside(expression: Any) -> Any:
    """A number times a sum, with the number moved into the sum."""
    rest = next((f for f in sp.Mul.make_args(expression) if isinstance(f, sp.Sum)), expression)
    number = expression / rest if rest is not expression else 1
    return sp.Sum(number * rest.function, *rest.limits) if isinstance(rest, sp.Sum) else expression


class ExplicitOps:
    """SymPy matrices of numbers, for witnesses: gradients entry by entry."""

    def hcat(self, *blocks: Any) -> Any:
        """Blocks side by side."""
        return sp.Matrix.hstack(*blocks)

    def vcat(self, *blocks: Any) -> Any:
        """Blocks over each other."""
        return sp.Matrix.vstack(*blocks)

    def scale(self, c: Any, a: Any) -> Any:
        """c A."""
        return c[0, 0] * a

    def zeros_like(self, a: Any) -> Any:
        """Zeros of A's shape."""
        return sp.zeros(*a.shape)

    def empty(self, a: Any) -> Any:
        """No columns."""
        return sp.zeros(a.shape[0], 0)

    def identity(self, a: Any) -> Any:
        """I."""
        return sp.eye(a.shape[0])

    def ones(self, a: Any) -> Any:
        """A row of ones."""
        return sp.ones(1, a.shape[1])

    def diag(self, a: Any) -> Any:
        """The diagonal matrix of a column."""
        return sp.diag(*a)

    def times(self, a: Any, b: Any) -> Any:
        """Entry-wise."""
        return a.multiply_elementwise(b)

    def causal(self, a: Any) -> Any:
        """Entries (s, t) with s <= t."""
        return sp.Matrix(*a.shape, lambda s, t: a[s, t] if s <= t else 0)

    def exp(self, a: Any) -> Any:
        """exp, entry by entry."""
        return a.applyfunc(sp.exp)

    def inverse(self, a: Any) -> Any:
        """The inverse."""
        return a.inv()

    def trace(self, a: Any) -> Any:
        """The trace."""
        return sp.Matrix([[a.trace()]])

    def inner(self, a: Any, b: Any) -> Any:
        """tr(A^T B)."""
        return (a.T * b).trace()

    def half_square(self, a: Any, weights: Any = None) -> Any:
        """tr(A^T A) / 2, or with weights."""
        return (
            a.T * a * (sp.eye(a.shape[1]) if weights is None else sp.diag(*weights))
        ).trace() / 2

    def fold(self, step: Any, start: Any, *columns: Any) -> Any:
        """One column at a time."""
        states = dict(start)
        for t in range(columns[0].shape[1]):
            states = step(states, *(c[:, t] for c in columns))
        return states

    scan = fold

    def grad(self, f: Callable[[Any], Any], at: Any) -> Any:
        """Partial derivatives at every entry."""
        symbols = sp.Matrix(*at.shape, lambda i, j: sp.Symbol(f"u_{i}_{j}"))
        body = f(symbols)
        point = dict(zip(symbols, at, strict=True))
        return sp.Matrix(*at.shape, lambda i, j: sp.diff(body, symbols[i, j]).subs(point))
