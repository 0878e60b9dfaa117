"""A tensor that carries a componentwise bound on its distance from the exact value.

Products: |fl(AB) - AB| <= gamma_k |A||B| + k s (Higham 2002, section 3.1; s bounds the underflow
of one product), for any order of summation. Sums: u |fl(a+b)|/(1-u), without an underflow term,
since sums that underflow are exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

UNIT_ROUNDOFF = {
    torch.float64: 2.0**-53,
    torch.float32: 2.0**-24,
    torch.bfloat16: 2.0**-8,
    torch.float16: 2.0**-11,
}
_INFLATE = 1 + 1e-9  # covers the float64 rounding of the bound itself (thousands of operations)


class BoundViolation(AssertionError):
    """The sides differ by more than rounding can explain."""


class NonFinite(AssertionError):
    """A side overflowed, so the comparison says nothing."""


class Tracked:
    """`value` [..., r, c] and `error` [..., r, c] float64 with |value - exact| <= error."""

    def __init__(self, value: Tensor, error: Tensor | None = None) -> None:
        self.value = value
        self.error = torch.zeros_like(value, dtype=torch.float64) if error is None else error

    @property
    def T(self) -> Tracked:
        """The transpose of the last two dimensions."""
        return Tracked(self.value.mT, self.error.mT)

    def __matmul__(self, other: Tracked) -> Tracked:
        dtype, k = self.value.dtype, self.value.shape[-1]
        u = UNIT_ROUNDOFF[dtype]
        if k * u >= 1:
            raise ValueError(f"expected an inner size under {1 / u:g} in {dtype}, got {k}")
        gamma = k * u / (1 - k * u)
        underflow = 2 * k * torch.finfo(dtype).smallest_normal
        a, b = self.value.double().abs(), other.value.double().abs()
        error = gamma * (a @ b) + underflow + a @ other.error + self.error @ b
        error = error + self.error @ other.error
        return Tracked(self.value @ other.value, error * _INFLATE)

    def __add__(self, other: Tracked) -> Tracked:
        return self._sum(other, self.value + other.value)

    def __sub__(self, other: Tracked) -> Tracked:
        return self._sum(other, self.value - other.value)

    def _sum(self, other: Tracked, value: Tensor) -> Tracked:
        u = UNIT_ROUNDOFF[value.dtype]
        tiny = torch.finfo(value.dtype).smallest_normal
        error = self.error + other.error + u / (1 - u) * value.double().abs() + tiny
        return Tracked(value, error * _INFLATE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Largest gap/bound over all entries; whether any entry of a side is not zero; finiteness."""

    worst_ratio: float
    nontrivial: bool
    finite: bool


def compare(left: Tracked, right: Tracked) -> Comparison:
    """Both sides, entry by entry."""
    bound = left.error + right.error
    gap = (left.value.double() - right.value.double()).abs()
    finite = bool(torch.isfinite(gap).all() and torch.isfinite(bound).all())
    ratio = torch.where(gap == 0, torch.zeros_like(gap), gap / bound)
    worst = float(ratio.max()) if ratio.numel() else 0.0
    return Comparison(worst_ratio=worst, nontrivial=bool((left.value != 0).any()), finite=finite)


def check(left: Tracked, right: Tracked) -> Comparison:
    """As `compare`, refusing.

    Raises:
        NonFinite: a value or bound is not finite.
        BoundViolation: a gap is over its bound.
    """
    seen = compare(left, right)
    if not seen.finite:
        raise NonFinite("expected finite sides, got an overflow; draw smaller magnitudes")
    if seen.worst_ratio > 1:
        raise BoundViolation(f"expected gap/bound of at most 1, got {seen.worst_ratio:.3g}")
    return seen
