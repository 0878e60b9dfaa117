"""Gradients of scalar trees by the adjoint (reverse) rules of matrix calculus.

Every rule is one line of d<loss> = <G, dU>: for a product, d<C, A B> = <C B^T, dA> + <A^T C, dB>.
`proofs.symbolic` derives each gradient a second time by SymPy, and both must agree.
"""

from proofs.terms import ShapeError, Term, TermOps, contains, substitute

_OPS = TermOps()


def gradient(node: Term) -> Term:
    """The gradient that a "gradient" node stands for, written at its point.

    Raises:
        ShapeError: when targets depend on the variable, or a node has no rule.
    """
    bound, body, at = node.args
    parts = _scalar(body, bound)
    if not parts:
        return _OPS.zeros_like(at)
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return substitute(total, bound, at)


def _mentions(term: Term, bound: Term) -> bool:
    return contains(term, lambda t: t == bound)


def _scalar(body: Term, bound: Term) -> list[Term]:
    """Contributions to the gradient of a scalar.

    Raises:
        ShapeError: for targets that depend on the weights, or a scalar of another kind.
    """
    if not _mentions(body, bound):
        return []
    if body.kind == "sum":
        return [part for a in body.args for part in _scalar(a, bound)]
    if body.kind == "negative":
        return [-part for part in _scalar(body.args[0], bound)]
    if body.kind == "scale" and not _mentions(body.args[0], bound):
        return [_OPS.scale(body.args[0], part) for part in _scalar(body.args[1], bound)]
    if body.kind == "weighted_square" and not _mentions(body.args[1], bound):
        return _matrix(body.args[0], body.args[0] @ _OPS.diag(body.args[1]), bound)
    if body.kind == "half_square":
        return _matrix(body.args[0], body.args[0], bound)
    if body.kind == "inner":
        a, b = body.args
        return [*_matrix(a, b, bound), *_matrix(b, a, bound)]
    if body.kind == "loss":
        outputs, targets = body.args
        if _mentions(targets, bound):
            raise ShapeError("expected targets that do not depend on the weights")
        return _matrix(outputs, _OPS.output_gradient(outputs, targets), bound)
    raise ShapeError(f"expected a scalar of the vocabulary, got {body.kind}")


def _matrix(a: Term, cotangent: Term, bound: Term) -> list[Term]:
    """Contributions to the gradient of <C, A> with C held fixed.

    Raises:
        ShapeError: for a matrix of a kind that no adjoint rule is known for.
    """
    if not _mentions(a, bound):
        return []
    if a == bound:
        return [cotangent]
    if a.kind == "sum":
        return [part for x in a.args for part in _matrix(x, cotangent, bound)]
    if a.kind == "negative":
        return [-part for part in _matrix(a.args[0], cotangent, bound)]
    if a.kind == "transpose":
        return _matrix(a.args[0], cotangent.T, bound)
    if a.kind == "product":
        left, right = a.args
        return [
            *_matrix(left, cotangent @ right.T if _mentions(left, bound) else cotangent, bound),
            *_matrix(right, left.T @ cotangent if _mentions(right, bound) else cotangent, bound),
        ]
    if a.kind == "scale" and not _mentions(a.args[0], bound):
        return [_OPS.scale(a.args[0], part) for part in _matrix(a.args[1], cotangent, bound)]
    raise ShapeError(f"expected a matrix with an adjoint rule, got {a.kind}")
