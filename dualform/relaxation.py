"""How far softmax attention is from its relaxation, and what feature maps leave out, on tensors.

The facts are `relaxation-bound`, `taylor-remainder`, `positive-random-features` and `noise-floor`
of the catalogue. Letters: n keys, o value channels, h score width, r features; any leading
dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import factorial

import torch
from torch import Tensor

from dualform.elementary import exp, over
from dualform.rounding import Tracked


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundedRelaxation:
    """Two sides with their rounding errors, and how far apart they may be in exact arithmetic."""

    left: Tracked
    right: Tracked
    bound: Tensor

    def ratio(self) -> Tensor:
        """(|left - right| - rounding) / bound, entry by entry; at most 1 where the fact holds.

        0 where the gap is within rounding, whatever the bound.
        """
        gap = (self.left.value.double() - self.right.value.double()).abs()
        rounding = self.left.error + self.right.error
        over_it = (gap - rounding).clamp(min=0)
        return torch.where(over_it == 0, torch.zeros_like(gap), over_it / self.bound)


def _spread(a: Tensor) -> Tensor:
    """max - min along the last dimension [..., r, 1]."""
    return (a.amax(-1, keepdim=True) - a.amin(-1, keepdim=True)).double()


def relaxation(V: Tensor, s: Tensor) -> BoundedRelaxation:
    """Softmax attention beside its relaxation, with the bound on their difference.

    Attention to values V [..., o, n] with scores s [..., 1, n], n at least 1, and its relaxation
    mean + (1/n) sum (v - mean) s, both [..., o, 1]; the bound is
    (max v - min v)(max s - min s)^2 / 8 for every channel.

    Raises:
        ValueError: for no keys.
        UnboundedArithmetic: see `dualform.rounding.unit_roundoff`.
    """
    n = V.shape[-1]
    if n == 0:
        raise ValueError("expected at least one key, got none; attention over nothing is undefined")
    values, scores = Tracked(V), Tracked(s)
    one = Tracked(s.new_ones(n, 1))
    count = Tracked(s.new_full((1, 1), n))
    top = Tracked(s.amax(-1, keepdim=True).expand_as(s))
    masses = exp(scores - top)
    left = over(values @ masses.T, masses @ one)
    mean = over(values @ one, count)
    centred = values - Tracked(mean.value.expand_as(V), mean.error.expand_as(V))
    right = mean + over(centred @ scores.T, count)
    return BoundedRelaxation(left=left, right=right, bound=_spread(V) * _spread(s) ** 2 / 8)


def taylor(s: Tensor, degree: int) -> BoundedRelaxation:
    """exp(s) [...] and its Taylor polynomial, with the bound |s|^(p+1)/(p+1)! exp(max(s, 0)).

    Raises:
        ValueError: for a degree below 0.
        UnboundedArithmetic: see `dualform.rounding.unit_roundoff`.
    """
    if degree < 0:
        raise ValueError(f"expected a degree of at least 0, got {degree}")
    x = Tracked(s)
    total = term = Tracked(torch.ones_like(s))
    for j in range(1, degree + 1):
        term = over(term.times(x), Tracked(torch.full_like(s, j)))
        total = total + term
    size = s.double()
    bound = size.abs() ** (degree + 1) / factorial(degree + 1) * size.clamp(min=0).exp()
    return BoundedRelaxation(left=exp(x), right=total, bound=bound)


def positive_features(x: Tensor, directions: Tensor) -> Tensor:
    """exp(w^T x - |x|^2/2) / sqrt(r) [..., r, n] for x [..., h, n] and directions w [r, h].

    With standard normal directions the mean of phi(a)^T phi(b) is exp(a^T b). Source: Choromanski
    et al. 2009.14794, lemma 1.
    """
    r = directions.shape[0]
    norms = (x * x).sum(-2, keepdim=True) / 2
    made: Tensor = (directions @ x - norms).exp() * r**-0.5
    return made


def noise_floor(rho_a: float, rho_b: float) -> float:
    """The similarity SimAOU of two unrelated updates with squared norms rho relative to the output.

    A cosine; what each was added to has norm one. Source: the metric SimAOU of Dai et al.
    2212.10559, section 4, for updates orthogonal to all else (statement noise-floor).

    Raises:
        ValueError: for a squared norm that is not positive.
    """
    if not (rho_a > 0 and rho_b > 0):
        raise ValueError(f"expected positive squared norms, got {rho_a} and {rho_b}")
    s_a, s_b = (1 + rho_a) ** -0.5, (1 + rho_b) ** -0.5
    made: float = 0.5 * ((1 - s_a) * (1 - s_b)) ** 0.5
    return made
