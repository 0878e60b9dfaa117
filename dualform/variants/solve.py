"""Linear systems with a-priori bounds: no residual is looked at, so a wrong solver has no excuse.

Unit lower triangular T x = b. However substitution is ordered, and whether or not diagonal blocks
are inverted first, x_i is a sum over the paths through the off-diagonal entries, and a path meets
at most n (n + 3) / 2 roundings: |fl(x) - x| <= gamma_{n(n+3)/2} M(T)^{-1} |b|, M(T) the comparison
matrix (Higham 2002, chapter 8). Errors E of T and f of b add M^{-1} (E |x| + f).

Positive definite A x = b by Cholesky: (A + dA) fl(x) = b with
|dA| <= gamma_{3n+1} / (1 - gamma_{n+1}) d d^T, d_i = sqrt(a_ii) (Higham 2002, theorem 10.4 and
equation 10.8); an eigenvalue bound of A known in advance turns it into one on x.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from dualform.rounding import INFLATE, unit_roundoff
from dualform.variants.arithmetic import Array, Bounded, broadcast, cat, moved, pair


def solve_unit_lower(system: Array, right: Array) -> Array:
    """x of T x = b; T [..., n, n] is read below its diagonal only, b [..., n, m]."""
    t, b = pair(system), pair(right)
    if t is None or b is None:
        return _substituted(system, right)
    x = _substituted(t.value, b.value)
    n = x.shape[-2]
    e, f = t.read().tril(-1), b.read()
    comparison = -(t.value.double().abs().tril(-1) + e)

    underflow = 2 * n * torch.finfo(x.dtype).smallest_normal
    own = _substituted(comparison, _gamma(n * (n + 3) // 2, x) * b.value.double().abs() + underflow)
    error = own + _substituted(comparison, e @ (x.double().abs() + own) + f)
    return cast(Array, Bounded(x, error * INFLATE))


def _substituted(system: Tensor, right: Tensor) -> Tensor:
    x: Tensor = torch.linalg.solve_triangular(system, right, upper=False, unitriangular=True)
    return x


def solve_positive(matrix: Array, right: Array, smallest: Array) -> Array:
    """x of A x = b by Cholesky; A [..., n, n], b [..., n, m]; NaN where A is not positive definite.

    The symmetric part of the exact A has no eigenvalue below the least entry of `smallest`
    [..., 1, n]; where that may not be positive, the bound is infinite.
    """
    a, b = pair(matrix), pair(right)
    if a is None or b is None:
        return _cholesky(matrix, right)
    x = _cholesky(a.value, b.value)
    n, tiny = x.shape[-2], torch.finfo(x.dtype).smallest_normal
    d = a.value.double().diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt().unsqueeze(-1)
    lower = a.read().tril()  # Cholesky reads the lower half
    uneven = (a.value.double() - a.value.double().mT).abs()  # which Cholesky does not see
    read = lower + lower.tril(-1).mT + uneven
    backward = _gamma(3 * n + 1, x) / (1 - _gamma(n + 1, x)) * (d @ d.mT) + read
    size = x.double().abs()
    reach = (1 + d.sum(-2, keepdim=True)) ** 2 * (1 + size.sum(-2, keepdim=True))
    residual = backward @ size + b.read() + 4 * (n + 1) ** 2 * tiny * reach
    error = torch.linalg.vector_norm(residual, dim=-2, keepdim=True) / _least(smallest)
    return cast(Array, Bounded(x, (error * INFLATE).expand(x.shape)))


def deficiency(matrix: Array) -> Tensor | None:
    """How far below zero an eigenvalue of the symmetric part of A may be, [..., 1, 1].

    A's error is counted; None for plain tensors.
    """
    a = pair(matrix)
    if a is None:
        return None
    value = a.value.double()
    if not value.shape[-1] or not bool(torch.isfinite(value).all()):
        return torch.full((1, 1), 0.0 if not value.shape[-1] else torch.inf, dtype=value.dtype)
    lowest = torch.linalg.eigvalsh((value + value.mT) / 2)[..., :1].unsqueeze(-1)
    size = torch.linalg.matrix_norm(value, keepdim=True)
    slack = 1e-13 * size + torch.linalg.matrix_norm(a.error, keepdim=True)
    return cast(Tensor, (-lowest).clamp(min=0) + slack)


def _least(smallest: Array) -> Tensor:
    """What the entries of [..., 1, n] exceed, [..., 1, 1]; 0, and so no bound, if that is <= 0."""
    s = pair(smallest)
    low = smallest.double() if s is None else s.value.double() - s.error
    if not low.shape[-1]:
        return low.new_ones(1, 1)
    return low.amin(-1, keepdim=True).clamp(min=0)


def _cholesky(matrix: Tensor, right: Tensor) -> Tensor:
    factor, failed = torch.linalg.cholesky_ex(matrix)
    x = torch.cholesky_solve(right, factor)
    return torch.where((failed == 0)[..., None, None], x, torch.full_like(x, torch.nan))


def eliminate(matrix: Array, right: Array) -> Array:
    """x of A x = b by Gauss-Jordan elimination without exchanges, row by row: the slow twin.

    Every operation carries its own bound; A is positive definite, so no pivot is zero.
    """
    n = matrix.shape[-1]
    lead = broadcast(matrix.shape[:-2], right.shape[:-2])
    rows = [_wide(matrix, lead)[..., i : i + 1, :] for i in range(n)]
    sides = [_wide(right, lead)[..., i : i + 1, :] for i in range(n)]
    for j in range(n):
        pivot = rows[j][..., j : j + 1]
        rows[j], sides[j] = rows[j] / pivot, sides[j] / pivot
        for i in range(n):
            if i != j:
                factor = rows[i][..., j : j + 1]
                rows[i], sides[i] = rows[i] - factor * rows[j], sides[i] - factor * sides[j]
    return stacked(sides, right, lead)


def stacked(sides: list[Array], right: Array, lead: tuple[int, ...]) -> Array:
    """Rows [..., 1, m] one under another."""
    return cat([_wide(right, lead)[..., :0, :], *sides], -2)


def _wide(a: Array, lead: tuple[int, ...]) -> Array:
    return moved(lambda t: t.expand(*lead, *t.shape[-2:]), a)


def _gamma(n: int, like: Tensor) -> float:
    nu = n * unit_roundoff(like)
    if nu >= 1:
        raise ValueError(f"expected a system small enough for {like.dtype}, got gamma of {n}")
    return nu / (1 - nu)
