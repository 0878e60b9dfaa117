"""Exponentials, quotients and inverses of error-tracking tensors, each with its derived bound."""

import torch

from dualform.rounding import INFLATE, Tracked, rounded, unit_roundoff

# torch.exp errs by at most 1 ulp on a CPU (SLEEF u10, or MKL in its high-accuracy mode) and 2 ulp
# in float32 on CUDA (CUDA programming guide, table of maximum ulp errors); an ulp is at most 2u.
EXP_ULPS = 2


def exp(a: Tracked) -> Tracked:
    """The exponential, entry by entry: an input's error e scales the result by at most exp e.

    Raises:
        UnboundedArithmetic: see `dualform.rounding.unit_roundoff`.
    """
    value = a.value.exp()
    u = unit_roundoff(value)
    tiny = torch.finfo(value.dtype).smallest_normal
    own = 2 * EXP_ULPS * u
    # |exact exp(fl a)| <= (|value| + tiny) / (1 - own)
    size = (value.double() + tiny) / (1 - own)
    return Tracked(value, (size * (own + torch.expm1(a.error)) + tiny) * INFLATE)


def over(a: Tracked, b: Tracked) -> Tracked:
    """The entry-wise quotient, sizes of one broadcast; an infinite bound where b may be zero.

    Raises:
        UnboundedArithmetic: see `dualform.rounding.unit_roundoff`.
    """
    value = a.value / b.value
    e, f = a.read(), b.read()
    room = b.value.double().abs() - f
    exact = a.value.double().abs() / b.value.double().abs()
    error = (e + exact * f) / room
    return rounded(value, torch.where(room > 0, error, torch.inf))


def inverse(a: Tracked) -> Tracked:
    """The inverse of square matrices [..., n, n], in float32 for the half types, then rounded.

    LU with partial pivoting solves (A + D_j) x_j = e_j with |D_j| <= gamma_3n |L||U| (Higham 2002,
    theorem 9.4), so that A X = I - D with |D| <= B |X|, B = gamma_3n |L||U| + the operand's error
    (and underflow), and |A^(-1) - X| <= |X| (|D| + |D|^2 + ...); infinite where that series may
    diverge or a pivot is zero. The residual that came out is not looked at: a wrong solver is seen.

    Raises:
        UnboundedArithmetic: see `dualform.rounding.unit_roundoff`.
    """
    half = a.value.dtype in (torch.bfloat16, torch.float16)
    matrix = a.value.float() if half else a.value
    n = matrix.shape[-1]
    if n == 1:
        one = Tracked(torch.ones_like(matrix))
        return _narrowed(over(one, Tracked(matrix, a.error)), a.value.dtype)
    u, tiny = unit_roundoff(matrix), torch.finfo(matrix.dtype).smallest_normal
    factors, pivots, info = torch.linalg.lu_factor_ex(matrix)
    P, L, U = torch.lu_unpack(factors, pivots)
    value = torch.linalg.inv_ex(matrix).inverse
    gamma = 3 * n * u / (1 - 3 * n * u)
    size = P.double() @ L.double().abs() @ U.double().abs()
    perturbation = gamma * size + 2 * n * tiny * (1 + size) + a.read()
    X = value.double().abs()
    D = perturbation @ X
    small = (
        (D.sum(-1).amax(-1) < 1)
        if n
        else torch.ones(D.shape[:-2], dtype=torch.bool, device=D.device)
    )
    eye = torch.eye(n, dtype=torch.float64, device=D.device)
    safe = torch.where(small[..., None, None], D, torch.zeros_like(D))
    series = torch.linalg.solve(eye - safe, safe)
    error = X @ series * INFLATE + n * tiny
    good = small & (info == 0)
    bound = torch.where(good[..., None, None], error, torch.inf)
    return _narrowed(Tracked(value, bound), a.value.dtype)


def _narrowed(a: Tracked, dtype: torch.dtype) -> Tracked:
    """Rounded to a half type, where it is wider."""
    if a.value.dtype == dtype:
        return a
    return rounded(a.value.to(dtype), a.error)
