"""A tensor that carries a componentwise bound on its distance from the exact value.

Products: |fl(AB) - AB| <= gamma_k |A||B| + k s (Higham 2002, section 3.1; s bounds the underflow
of one product and of one partial sum), for any order of summation. Sums and entry-wise products:
u |fl(x)| / (1-u) + s. Hardware may read a subnormal operand as zero (bfloat16 dot instructions do,
and any type where denormals are flushed): an operand's subnormal entries count as errors of their
own size.

What enters as a value with error 0 is data: the bound is on what is done with it.
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
INFLATE = 1 + 1e-9  # covers the float64 rounding of a bound itself (thousands of operations)


class UnboundedArithmetic(ValueError):
    """There is no rounding bound for the arithmetic in use."""


class BoundViolation(AssertionError):
    """The sides differ by more than rounding can explain."""


class NonFinite(AssertionError):
    """A side overflowed, so the comparison says nothing."""


def unit_roundoff(value: Tensor) -> float:
    """u of the arithmetic that products and sums of `value`'s dtype and device use now.

    `value` [...] of any shape; its entries do not matter.

    Reduced-precision accumulation of bfloat16 and float16 rounds to those formats at worst, which
    u covers; TF32 and bfloat16 products of float32 matrices are not covered.

    Raises:
        UnboundedArithmetic: for another dtype, float32 products in reduced precision, or a process
            that flushes subnormal numbers, in which nobody can tell how large they were.
    """
    if float(torch.tensor(5e-39).double()) == 0.0:
        raise UnboundedArithmetic(
            "expected subnormal numbers to be kept, got a process that flushes them; "
            "call torch.set_flush_denormal(False)"
        )
    if value.dtype not in UNIT_ROUNDOFF:
        known = ", ".join(map(str, UNIT_ROUNDOFF))
        raise UnboundedArithmetic(f"expected one of {known}, got {value.dtype}; convert first")
    if value.dtype == torch.float32 and torch.get_float32_matmul_precision() != "highest":
        raise UnboundedArithmetic(
            "expected float32 products in full precision, got "
            f"{torch.get_float32_matmul_precision()!r}; "
            'call torch.set_float32_matmul_precision("highest")'
        )
    return UNIT_ROUNDOFF[value.dtype]


def rounded(value: Tensor, error: Tensor) -> Tracked:
    """`value` of one rounded operation whose exact result was off by `error` already.

    Raises:
        UnboundedArithmetic: see `unit_roundoff`.
    """
    u = unit_roundoff(value)
    tiny = torch.finfo(value.dtype).smallest_normal
    return Tracked(value, (error + u / (1 - u) * value.double().abs() + tiny) * INFLATE)


class Tracked:
    """`value` [..., r, c] and `error` [..., r, c] float64 with |value - exact| <= error."""

    def __init__(self, value: Tensor, error: Tensor | None = None) -> None:
        self.value = value
        self.error = torch.zeros_like(value, dtype=torch.float64) if error is None else error

    @property
    def T(self) -> Tracked:
        """The transpose of the last two dimensions."""
        return Tracked(self.value.mT, self.error.mT)

    def read(self) -> Tensor:
        """The error of the operand that arithmetic sees, which may take subnormal entries as 0."""
        size = self.value.double().abs()
        subnormal = size < torch.finfo(self.value.dtype).smallest_normal
        return self.error + torch.where(subnormal, size, 0.0)

    def elsewhere(self, value: Tensor) -> Tracked:
        """The same operations on the same data done by other code, in another order: its `value`.

        Its error obeys the same recursion with its own intermediate values v' in place of v, and
        |v'| <= |v| + e + e'. Each operation then adds at most u (e + e') / (1 - u) to e' - e, so
        that after m operations e' <= e exp(2 m u), under 2 e for m up to u^(-1) / 3.
        """
        return Tracked(value, 2 * self.error)

    def __matmul__(self, other: Tracked) -> Tracked:
        if not isinstance(other, Tracked):
            return NotImplemented
        _same_kind(self, other)
        dtype, k = self.value.dtype, self.value.shape[-1]
        u = unit_roundoff(self.value)
        if k * u >= 1:
            raise ValueError(f"expected an inner size under {1 / u:g} in {dtype}, got {k}")
        gamma = k * u / (1 - k * u)
        underflow = 2 * k * torch.finfo(dtype).smallest_normal
        a, b = self.value.double().abs(), other.value.double().abs()
        e, f = self.read(), other.read()
        error = gamma * (a @ b) + underflow + a @ f + e @ b
        value = self.value @ other.value
        if value.dtype != dtype:
            raise UnboundedArithmetic(
                f"expected products of {dtype} in {dtype}, got {value.dtype}; leave autocast"
            )
        return Tracked(value, (error + e @ f) * INFLATE)

    def __add__(self, other: Tracked) -> Tracked:
        if not isinstance(other, Tracked):
            return NotImplemented
        _same_kind(self, other)
        return rounded(self.value + other.value, self.read() + other.read())

    def __sub__(self, other: Tracked) -> Tracked:
        if not isinstance(other, Tracked):
            return NotImplemented
        _same_kind(self, other)
        return rounded(self.value - other.value, self.read() + other.read())

    def __neg__(self) -> Tracked:
        return Tracked(-self.value, self.error)

    def times(self, other: Tracked) -> Tracked:
        """The entry-wise product, sizes of one broadcast."""
        _same_kind(self, other)
        x, y = self.value.double().abs(), other.value.double().abs()
        e, f = self.read(), other.read()
        return rounded(self.value * other.value, x * f + y * e + e * f)


def _same_kind(a: Tracked, b: Tracked) -> None:
    """Refuse operands for which torch would choose an arithmetic.

    Raises:
        UnboundedArithmetic: for two dtypes, or scalars without axes.
    """
    if a.value.dtype != b.value.dtype or min(a.value.dim(), b.value.dim()) < 2:
        raise UnboundedArithmetic(
            "expected two matrices of one dtype, got "
            f"{a.value.dtype} {tuple(a.value.shape)} and {b.value.dtype} {tuple(b.value.shape)}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Largest gap/bound over all entries; whether any entry of a side is not zero; finiteness."""

    worst_ratio: float
    nontrivial: bool
    finite: bool


def compare(left: Tracked, right: Tracked) -> Comparison:
    """Both sides [..., r, c], entry by entry.

    Raises:
        ValueError: unless both values and both errors have one shape.
    """
    shapes = {tuple(t.shape) for x in (left, right) for t in (x.value, x.error)}
    if len(shapes) != 1:
        raise ValueError(f"expected sides of one shape, got {sorted(shapes)}")
    bound = left.error + right.error
    gap = (left.value.double() - right.value.double()).abs()
    finite = bool(torch.isfinite(gap).all() and torch.isfinite(bound).all())
    ratio = torch.where(gap == 0, torch.zeros_like(gap), gap / bound)
    worst = float(ratio.max()) if ratio.numel() else 0.0
    nontrivial = bool((left.value != 0).any() or (right.value != 0).any())
    return Comparison(worst_ratio=worst, nontrivial=nontrivial, finite=finite)


def check(left: Tracked, right: Tracked) -> Comparison:
    """As `compare`, refusing.

    Raises:
        ValueError: see `compare`.
        NonFinite: a value or bound is not finite.
        BoundViolation: a gap is over its bound.
    """
    seen = compare(left, right)
    if not seen.finite:
        raise NonFinite("expected finite sides, got an overflow; draw smaller magnitudes")
    if seen.worst_ratio > 1:
        raise BoundViolation(f"expected gap/bound of at most 1, got {seen.worst_ratio:.3g}")
    return seen
