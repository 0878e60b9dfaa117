"""Exponentials and quotients of error-tracking tensors, each with its derived bound."""

import torch

from dualform.rounding import Tracked, rounded, unit_roundoff

# torch.exp errs by at most 1 ulp on a CPU (SLEEF u10, or MKL in its high-accuracy mode) and 2 ulp
# in float32 on CUDA (CUDA programming guide, table of maximum ulp errors); an ulp is at most 2u.
EXP_ULPS = 2
_INFLATE = 1 + 1e-9  # the float64 rounding of the bounds themselves


def exp(a: Tracked) -> Tracked:
    """exp, entry by entry: the input's error e scales the result by at most exp(e).

    Raises:
        UnboundedArithmetic: see `dualform.rounding.unit_roundoff`.
    """
    value = a.value.exp()
    u = unit_roundoff(value)
    tiny = torch.finfo(value.dtype).smallest_normal
    own = 2 * EXP_ULPS * u
    # |exact exp(fl a)| <= (|value| + tiny) / (1 - own)
    size = (value.double() + tiny) / (1 - own)
    return Tracked(value, (size * (own + torch.expm1(a.error)) + tiny) * _INFLATE)


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
