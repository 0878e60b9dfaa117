"""One vocabulary for plain tensors and for tensors that carry their rounding bound.

A form is written once over these functions and the operators @ + - * / and slicing. On tensors it
computes; on `Bounded` pairs the very same code yields the same values and a componentwise bound on
their distance from the exact ones. Masks, cuts and other selections round nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor

from dualform import elementary
from dualform.rounding import INFLATE, Tracked, rounded, unit_roundoff

Array: TypeAlias = Tensor  # or `Bounded`, which answers to the same operators


class Bounded(Tracked):
    """A `Tracked` with the operators of a tensor that the forms use."""

    @property
    def shape(self) -> torch.Size:
        """The shape of its value."""
        return self.value.shape

    @property
    def dtype(self) -> torch.dtype:
        """The type of its value."""
        return self.value.dtype

    @property
    def mT(self) -> Bounded:
        """The transpose of the last two dimensions."""
        return Bounded(self.value.mT, self.error.mT)

    def __getitem__(self, at: Any) -> Bounded:
        return Bounded(self.value[at], self.error[at])

    def __matmul__(self, other: Tracked) -> Bounded:
        return _bounded(Tracked.__matmul__(self, other))

    def __add__(self, other: Tracked) -> Bounded:
        return _bounded(Tracked.__add__(self, other))

    def __sub__(self, other: Tracked) -> Bounded:
        gap = Tracked.__sub__(self, other)
        empty = (self.value == -torch.inf) & (self.error == 0)  # log 0, minus a number: exact
        return Bounded(gap.value, torch.where(empty, 0.0, gap.error))

    def __mul__(self, other: Tracked) -> Bounded:
        return _bounded(self.times(other))

    def __truediv__(self, other: Tracked) -> Bounded:
        return _bounded(elementary.over(self, other))


def _bounded(a: Tracked) -> Bounded:
    return Bounded(a.value, a.error)


def _array(value: Tensor, error: Tensor) -> Array:
    return cast(Array, Bounded(value, error))


def pair(a: object) -> Bounded | None:
    """`a` itself where it carries a bound, None for a plain tensor."""
    return a if isinstance(a, Bounded) else None


def lift(a: Tensor | Tracked) -> Array:
    """`a` with its bound; a plain tensor is data, of error 0."""
    return cast(Array, _bounded(a if isinstance(a, Tracked) else Tracked(a)))


def moved(f: Callable[[Tensor], Tensor], a: Array) -> Array:
    """A selection, cut, mask or change of shape, done to the value and to the error alike."""
    b = pair(a)
    return f(a) if b is None else _array(f(b.value), f(b.error))


def value(a: Array) -> Tensor:
    """The numbers alone, as data."""
    b = pair(a)
    return a.detach() if b is None else b.value


def cat(parts: Sequence[Array], dim: int) -> Array:
    """Arrays joined along `dim` (negative), the other leading sizes broadcast to one shape."""
    pairs = [b for b in map(pair, parts) if b is not None]
    if not pairs:
        return torch.cat(_expanded(parts, dim), dim)
    values, errors = [b.value for b in pairs], [b.error for b in pairs]
    return _array(torch.cat(_expanded(values, dim), dim), torch.cat(_expanded(errors, dim), dim))


def _expanded(parts: Sequence[Tensor], dim: int) -> list[Tensor]:
    lead = broadcast(*(p.shape[: min(dim, -2)] for p in parts))
    return [p.expand(*lead, *p.shape[min(dim, -2) :]) for p in parts]


def broadcast(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The common shape of all."""
    return tuple(torch.broadcast_shapes(*shapes))  # type: ignore[no-untyped-call]  # torch's stub


def full(like: Array, shape: Sequence[int], number: float) -> Array:
    """An array of one number that its type holds exactly."""
    b = pair(like)
    if b is None:
        return like.new_full(tuple(shape), number)
    made = b.value.new_full(tuple(shape), number)
    return cast(Array, Bounded(made))


def constant(like: Array, number: float) -> Array:
    """[1, 1] of a real number known to float64, rounded to the type: off by 4 u of its size."""
    b = pair(like)
    if b is None:
        return like.new_full((1, 1), number)
    made = b.value.new_full((1, 1), number)
    return _array(made, 4 * unit_roundoff(made) * made.double().abs())


def identity(like: Array, n: int) -> Array:
    """The identity [n, n]."""
    b = pair(like)
    source = like if b is None else b.value
    made = torch.eye(n, dtype=source.dtype, device=source.device)
    return made if b is None else cast(Array, Bounded(made))


def to_type(a: Array, dtype: torch.dtype) -> Array:
    """The nearest numbers of another type: one rounding where the type is narrower."""
    b = pair(a)
    if b is None:
        return a.to(dtype)
    made = b.value.to(dtype)
    wider = torch.promote_types(dtype, b.dtype) == dtype
    return _array(made, b.error) if wider else lift(rounded(made, b.error))


def exp(a: Array) -> Array:
    """exp, entry by entry."""
    b = pair(a)
    if b is None:
        return a.exp()
    made = _bounded(elementary.exp(b))
    empty = (b.value == -torch.inf) & (b.error == 0)
    return _array(made.value, torch.where(empty, 0.0, made.error))


def log(a: Array) -> Array:
    """log of positive numbers, entry by entry; log 0 is -inf exactly.

    |log(x + e) - log x| <= -log(1 - |e| / x); torch.log errs by at most 2 ulps, as torch.exp.
    """
    b = pair(a)
    if b is None:
        return a.log()
    made, size = b.value.log(), b.value.double()
    own = 2 * elementary.EXP_ULPS * unit_roundoff(made)
    tiny = torch.finfo(made.dtype).smallest_normal
    error = own * made.double().abs() + tiny - torch.log1p(-(b.read() / size))
    error = torch.where(size > b.read(), error * INFLATE, torch.inf)
    return _array(made, torch.where((size == 0) & (b.error == 0), 0.0, error))


def select(mask: Tensor, a: Array, b: Array) -> Array:
    """a where the mask holds, else b; sizes of one broadcast."""
    p, r = pair(a), pair(b)
    if p is None or r is None:
        return torch.where(mask, a, b)
    return _array(torch.where(mask, p.value, r.value), torch.where(mask, p.error, r.error))
