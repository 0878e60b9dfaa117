"""SymPy as the judge of a step: matrices of symbolic size, or explicit matrices of numbers.

Gradients are differentiated here by SymPy, term by term (its derivative of a sum of traces
silently returns 0, SymPy issues 26561 and 26585) or at a generic entry, and must agree with the
adjoint rules of `proofs.calculus`; a disagreement is an error, never a proof.
"""

from collections.abc import Callable
from typing import Any

import sympy as sp

from proofs.calculus import gradient
from proofs.rules import flat
from proofs.terms import Dim, Term, TermOps, contains


class GradientDisagreement(AssertionError):
    """SymPy's derivative differs from the one by the adjoint rules."""


def size(dims: Dim) -> Any:
    """A size as a sum of positive integer symbols; "1" is the number 1."""
    return sp.Add(*(1 if d == "1" else sp.Symbol(d, integer=True, positive=True) for d in dims))


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
    if kind == "output_gradient":
        # Opaque: all that is known is that equal arguments give equal gradients.
        return matrix_symbol("G" + repr(tuple(map(flat, args))), term)
    if kind == "gradient":
        return _gradient(term)
    if kind in ("fold", "collect", "loss"):
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
        "scale": lambda: made[0][0, 0] * made[1],
        "inner": lambda: sp.Trace(made[0].T * made[1]),
        "half_square": lambda: sp.Trace(made[0].T * made[0]) / 2,
    }
    return plain[kind]()


def expanded(expression: Any) -> Any:
    """Multiplied out, blocks joined."""
    if expression.has(sp.BlockMatrix):
        expression = sp.block_collapse(expression.doit())
    return sp.expand(expression.doit()).doit()


def is_zero(expression: Any) -> bool:
    """Whether a matrix expression of symbolic size expands to the zero matrix."""
    done = expanded(expression)
    if isinstance(done, sp.BlockMatrix):
        return all(map(is_zero, done.blocks))
    return bool(isinstance(done, sp.ZeroMatrix) or done == 0)


def equal(left: Term, right: Term) -> bool:
    """Whether two trees are equal for all sizes, by SymPy."""
    return left.shape == right.shape and is_zero(to_sympy(left) - to_sympy(right))


def _gradient(term: Term) -> Any:
    """SymPy's derivative of a gradient node at its point, guarded by the adjoint rules."""
    bound, body, at = term.args
    adjoint = gradient(Term("gradient", (bound, body, bound), term.shape))
    if contains(body, lambda t: t.kind == "loss"):
        if not _entry_agrees(body, bound, adjoint):
            raise GradientDisagreement(f"expected the derivative of {body.kind} at every entry")
        return to_sympy(gradient(term))
    found = derivative(to_sympy(body), to_sympy(bound))
    if not is_zero(found - to_sympy(adjoint)):
        raise GradientDisagreement(f"expected {to_sympy(adjoint)}, got {found} from SymPy")
    return found.xreplace({to_sympy(bound): to_sympy(at)})


def derivative(scalar: Any, at: Any) -> Any:
    """SymPy's derivative of a sum of traces, one trace at a time."""
    total = sp.ZeroMatrix(*at.shape)
    for part in sp.Add.make_args(sp.expand(scalar.doit()).doit()):
        total = total + part.diff(at)
    return total


def _entry_agrees(body: Term, bound: Term, adjoint: Term) -> bool:
    """The chain rule for l(Y(U); T) at the generic entry (i, j) of U, as SymPy derives it.

    dl/dU_ij = sum_ab G_ab dY_ab/dU_ij, with SymPy differentiating the entry Y_ab.
    """
    sign = 1
    while body.kind == "negative":
        sign, body = -sign, body.args[0]
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
    number, rest = expression.as_coeff_Mul()
    return sp.Sum(number * rest.function, *rest.limits) if isinstance(rest, sp.Sum) else expression


class ExplicitOps:
    """SymPy matrices of numbers, for witnesses: gradients entry by entry."""

    def hcat(self, *blocks: Any) -> Any:
        """Blocks side by side."""
        return sp.Matrix.hstack(*blocks)

    def scale(self, c: Any, a: Any) -> Any:
        """c A."""
        return c[0, 0] * a

    def zeros_like(self, a: Any) -> Any:
        """Zeros of A's shape."""
        return sp.zeros(*a.shape)

    def inner(self, a: Any, b: Any) -> Any:
        """tr(A^T B)."""
        return (a.T * b).trace()

    def half_square(self, a: Any) -> Any:
        """tr(A^T A) / 2."""
        return (a.T * a).trace() / 2

    def grad(self, f: Callable[[Any], Any], at: Any) -> Any:
        """Partial derivatives at every entry."""
        symbols = sp.Matrix(*at.shape, lambda i, j: sp.Symbol(f"u_{i}_{j}"))
        body = f(symbols)
        point = dict(zip(symbols, at, strict=True))
        return sp.Matrix(*at.shape, lambda i, j: sp.diff(body, symbols[i, j]).subs(point))
