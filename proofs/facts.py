"""Lemmas behind the facts of analysis, each checked by SymPy with symbols for every size.

A lemma whose reason names a theorem (Lagrange's remainder, Fubini) uses it; what is computed is
checked. `simplify` judges nothing: an identity of rational functions holds when its numerator
expands to 0, and integrals and derivatives are SymPy's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sympy as sp

Check = Callable[[], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lemma:
    """One step of a proof: what holds (TeX), why, and what SymPy checks of it."""

    holds: str
    why: str
    check: Check


def vanishes(expression: Any) -> bool:
    """Whether a rational function is zero: its numerator expands to 0."""
    return bool(sp.expand(sp.numer(sp.together(sp.powsimp(sp.expand(expression))))) == 0)


# The exponential and its Taylor polynomials.

_s = sp.Symbol("s", positive=True)
_p = sp.Symbol("p", integer=True, nonnegative=True)


def _term_falls() -> bool:
    """d/ds s^(p+1)/(p+1)! = s^p/p!."""
    term = _s ** (_p + 1) / sp.factorial(_p + 1)
    ratio = sp.diff(term, _s) / (_s**_p / sp.factorial(_p))
    return bool(sp.gammasimp(sp.powsimp(sp.combsimp(ratio.rewrite(sp.gamma)))) == 1)


def _below_for_negative() -> bool:
    """e^(-s) < 1 = e^(max(-s, 0)) for s > 0: e^(-s) falls from one."""
    falls = sp.diff(sp.exp(-_s), _s) / sp.exp(-_s)
    return bool(falls == -1 and sp.limit(sp.exp(-_s), _s, 0) == 1)


def _remainders_start_at_zero() -> bool:
    """R_p(0) = 0 and R_p' = R_(p-1), for the first eight p."""
    s = sp.Symbol("s", real=True)
    sums = [sum(s**j / sp.factorial(j) for j in range(p + 1)) for p in range(8)]
    starts = all(sp.exp(0) - sp.sympify(t).subs(s, 0) == 0 for t in sums)
    return starts and all(
        sp.expand(sp.diff(b, s) - a) == 0 for a, b in zip(sums, sums[1:], strict=False)
    )


def remainder_integral(constant: Any) -> bool:
    """The integral of u^p/p! from 0 to s is s^(p+1) / `constant`."""
    u = sp.Symbol("u", positive=True)
    found = sp.integrate(u**_p / sp.factorial(_p), (u, 0, _s))
    ratio = found * constant / _s ** (_p + 1)
    return bool(sp.gammasimp(sp.powsimp(sp.expand_func(ratio.rewrite(sp.gamma)))) == 1)


def _remainder_is_sharp() -> bool:
    """(e^s - sum to p)/(s^(p+1)/(p+1)!) tends to 1 at 0, for the first eight p."""

    def ratio(p: int) -> Any:
        remainder = sp.exp(_s) - sum(_s**j / sp.factorial(j) for j in range(p + 1))
        return remainder * sp.factorial(p + 1) / _s ** (p + 1)

    return all(sp.limit(ratio(p), _s, 0) == 1 for p in range(8))


def taylor(value: Any) -> tuple[Lemma, ...]:
    """The remainder over (p + value)!."""
    return (
        Lemma(
            holds=r"R_p(s) = e^s - \sum_{j\le p} s^j/j!, \quad R_{-1}(s) = e^s \le e^{\max(s,0)}",
            why="the empty sum; exp is increasing",
            check=lambda: bool(sp.exp(sp.Max(_s, 0)) - sp.exp(_s) == 0) and _below_for_negative(),
        ),
        Lemma(
            holds=r"R_p' = R_{p-1}, \quad R_p(0) = 0 \text{ for } p \ge 0",
            why="derivative term by term",
            check=lambda: _term_falls() and _remainders_start_at_zero(),
        ),
        Lemma(
            holds=r"|R_p(s)| \le \int_0^{|s|} \frac{u^{p}}{p!}\,\mathrm{d}u \; e^{\max(s,0)} = "
            r"\frac{|s|^{p+1}}{(p+1)!}\, e^{\max(s,0)}",
            why="induction on p: the bound for p - 1 under the integral from 0 to s, "
            "e^(max(u,0)) being at most e^(max(s,0)) there",
            check=lambda: remainder_integral(sp.factorial(_p + value)),
        ),
        Lemma(
            holds=r"\lim_{s\to 0} R_p(s) \Big/ \frac{s^{p+1}}{(p+1)!} = 1",
            why="sharpness, computed for p up to 7",
            check=_remainder_is_sharp,
        ),
    )


# Random features.

_w, _a, _b = sp.symbols("omega a b", real=True)


def _square_completed() -> bool:
    """w (a + b) - w^2/2 = (a + b)^2/2 - (w - a - b)^2/2, and the density's integral is 1."""
    c = _a + _b
    density = sp.exp(-(_w**2) / 2) / sp.sqrt(2 * sp.pi)
    whole = sp.integrate(density, (_w, -sp.oo, sp.oo))
    return vanishes(_w * c - _w**2 / 2 - (c**2 / 2 - (_w - c) ** 2 / 2)) and bool(whole == 1)


def features_agree(norms: Any) -> bool:
    """Whether the exponent left after the integral, norms taken off so many times, is a b."""
    left = (_a + _b) ** 2 / 2 - norms * (_a**2 + _b**2) / 2
    return vanishes(left - _a * _b)


def features(value: Any) -> tuple[Lemma, ...]:
    """The norms taken off `value` times."""
    return (
        Lemma(
            holds=r"\omega^\top a - \tfrac12\|a\|^2 + \omega^\top b - \tfrac12\|b\|^2 = \sum_c "
            r"\bigl( \omega_c (a_c + b_c) - \tfrac12 a_c^2 - \tfrac12 b_c^2 \bigr)",
            why="definition; independent channels: the mean of the product is the product of means",
            check=lambda: vanishes(
                (_w * _a - _a**2 / 2 + _w * _b - _b**2 / 2)
                - (_w * (_a + _b) - _a**2 / 2 - _b**2 / 2)
            ),
        ),
        Lemma(
            holds=r"\mathbb{E}\, e^{\omega_c (a_c + b_c)} = e^{(a_c + b_c)^2/2} "
            r"\int \tfrac{1}{\sqrt{2\pi}}\, e^{-(\omega_c - a_c - b_c)^2/2}\, \mathrm{d}\omega_c = "
            r"e^{(a_c + b_c)^2/2}",
            why="completing the square; the density integrates to one wherever it is centred",
            check=_square_completed,
        ),
        Lemma(
            holds=r"\tfrac12 (a_c + b_c)^2 - \tfrac12 a_c^2 - \tfrac12 b_c^2 = a_c b_c",
            why="the square multiplied out; the product over channels sums the exponents",
            check=lambda: features_agree(value),
        ),
    )


# Softmax along a line of scores.

_r, _tau = sp.symbols("r tau", real=True)
_M = sp.symbols("M0:4", positive=True)  # M_j = sum of w t^j
_N = sp.symbols("N0:4", real=True)  # N_j = sum of w v t^j


def _along(expression: Any) -> Any:
    """d/dtau, with M_j' = M_(j+1) and N_j' = N_(j+1)."""
    rules = [(_M[j], _M[j + 1]) for j in range(3)] + [(_N[j], _N[j + 1]) for j in range(3)]
    return sp.Add(*(sp.diff(expression, x) * dx for x, dx in rules))


def _mean(of_t: Any, times_v: Any) -> Any:
    """E[(A + B v) ...] from polynomials A, B in t: sums become M_j and N_j over M_0."""
    t = sp.Symbol("t")
    plain = sp.Poly(of_t, t).all_coeffs()[::-1]
    valued = sp.Poly(times_v, t).all_coeffs()[::-1]
    total = sum(c * _M[j] for j, c in enumerate(plain))
    return (total + sum(c * _N[j] for j, c in enumerate(valued))) / _M[0]


def second_derivative(third_moment: bool = True) -> bool:
    """f'' = E[(v - E v)(t - E t)^2] for f = N_0/M_0; with the power one it is not."""
    t = sp.Symbol("t")
    mean_t, mean_v = _M[1] / _M[0], _N[0] / _M[0]
    power = (t - mean_t) ** 2 if third_moment else t - mean_t
    moment = _mean(sp.expand(-mean_v * power), sp.expand(power))
    return vanishes(_along(_along(_N[0] / _M[0])) - moment)


def _variance_in_range() -> bool:
    """r^2 - Var t = E[(r - t)(r + t)] + (E t)^2."""
    t = sp.Symbol("t")
    variance = _M[2] / _M[0] - (_M[1] / _M[0]) ** 2
    rest = _mean(sp.expand((_r - t) * (_r + t)), sp.Integer(0)) + (_M[1] / _M[0]) ** 2
    return vanishes(_r**2 - variance - rest)


def _first_derivative() -> bool:
    """f' = E[v t] - E[v] E[t]."""
    covariance = _N[1] / _M[0] - _N[0] * _M[1] / _M[0] ** 2
    return vanishes(_along(_N[0] / _M[0]) - covariance)


def attained(tokens: int) -> Any:
    """The limit of left side / (spread v spread(s)^2), one of `tokens` on top of both ranges."""
    x = sp.Symbol("x", positive=True)  # the spread of the scores
    p = sp.exp(x) / (sp.exp(x) + tokens - 1)
    first = sp.Rational(1, tokens) + x * sp.Rational(tokens - 1, tokens**2)
    return sp.limit((p - first) / x**2, x, 0)


def relaxation(value: Any) -> tuple[Lemma, ...]:
    """The bound with `value` in front."""
    return (
        Lemma(
            holds=r"f(\tau) = N_0/M_0, \quad M_j = \sum_i e^{\tau t_i} t_i^j, \quad "
            r"N_j = \sum_i e^{\tau t_i} v_i t_i^j, \quad M_j' = M_{j+1}, \quad N_j' = N_{j+1}",
            why="scores t = s - c with c the middle of their range, |t| at most r; "
            "derivative term by term",
            check=lambda: vanishes(
                sp.diff(sp.exp(_tau * _a) * _a**3, _tau) - sp.exp(_tau * _a) * _a**4
            ),
        ),
        Lemma(
            holds=r"f(1) = \sum_i p_i v_i, \quad f(0) = \bar v, \quad "
            r"f'(0) = \tfrac1n \textstyle\sum_i (v_i - \bar v)\, s_i",
            why="softmax-shift; the covariance at equal weights, which does not see c",
            check=_first_derivative,
        ),
        Lemma(
            holds=r"f'' = \mathbb{E}_\tau\bigl[ (v - \mathbb{E}_\tau v)"
            r"(t - \mathbb{E}_\tau t)^2 \bigr]",
            why="the quotient rule twice, an identity of rational functions in M and N",
            check=second_derivative,
        ),
        Lemma(
            holds=r"r^2 - \operatorname{Var}_\tau t = \mathbb{E}_\tau[(r-t)(r+t)] + "
            r"(\mathbb{E}_\tau t)^2 \ge 0",
            why="both terms are at least zero as |t| is at most r",
            check=_variance_in_range,
        ),
        Lemma(
            holds=r"|f(1) - f(0) - f'(0)| \le \tfrac12 \sup |f''| \le "
            r"\tfrac12 (\max v - \min v)\, r^2",
            why="Lagrange's remainder; |v - E v| is at most max v - min v; r is half the range",
            check=lambda: vanishes(sp.Rational(1, 2) * (_s / 2) ** 2 - value * _s**2),
        ),
        Lemma(
            holds=r"\tfrac{6}{125} \text{ of } (\max v - \min v)(\max s - \min s)^2 "
            r"\text{ is reached as } s \to 0",
            why="one token in five on top of both ranges: 0.38 of the bound",
            check=lambda: bool(attained(5) == sp.Rational(6, 125) and attained(5) <= value),
        ),
    )


# The noise floor of SimAOU.

_sa, _sb = sp.symbols("s_a s_b", positive=True)


def _numerator() -> bool:
    """<s_a (h + a) - h, s_b (h + b) - h> from the inner products of orthogonal h, a, b, |h| = 1."""
    return vanishes(_inner(_scaled(_sa, "a"), _scaled(_sb, "b")) - (1 - _sa) * (1 - _sb))


def _scaled(s: Any, x: str) -> dict[str, Any]:
    """s (h + x) - h as coefficients of h and x."""
    return {"h": s - 1, x: s}


def _inner(u: dict[str, Any], w: dict[str, Any]) -> Any:
    """The inner product; h has length one, x the squared length 1/s_x^2 - 1, all orthogonal."""
    squares = {"h": sp.Integer(1), "a": 1 / _sa**2 - 1, "b": 1 / _sb**2 - 1}
    return sum(u[k] * w[k] * squares[k] for k in u if k in w)


def _difference_norm() -> bool:
    """|s (h + a) - h|^2 = 2 - 2 s, with |a|^2 = 1/s^2 - 1."""
    u = _scaled(_sa, "a")
    return vanishes(_inner(u, u) - (2 - 2 * _sa))


def floor_formula(power: Any) -> bool:
    """The square of the cosine is the square of ((1-s_a)(1-s_b))^power / 2."""
    x = (1 - _sa) * (1 - _sb)
    cosine_squared = x**2 / ((2 - 2 * _sa) * (2 - 2 * _sb))
    return vanishes(cosine_squared - (x**power / 2) ** 2)


# A state and its two updates, on seven channels.
_WITNESS = (
    [1, 0, 0, 0, 0, 0, 0],
    [0, 1, 1, 1, 0, 0, 0],
    [0, 0, 0, 0, 1, 1, 1],
)


def witness_cosine() -> Any:
    """The similarity at the witness of the false claim, exactly."""
    h, a, b = map(sp.Matrix, _WITNESS)
    u = [(h + x) / (h + x).norm() - h / h.norm() for x in (a, b)]
    return u[0].dot(u[1]) / (u[0].norm() * u[1].norm())


def floor(value: Any) -> tuple[Lemma, ...]:
    """The floor with the power `value` of (1 - s_a)(1 - s_b)."""
    return (
        Lemma(
            holds=r"\langle u_a - u_0, u_b - u_0\rangle = (1 - s_a)(1 - s_b)",
            why="h, a, b orthogonal, |h| = 1, u = s (h + x)",
            check=_numerator,
        ),
        Lemma(
            holds=r"\|u_x - u_0\|^2 = 2 - 2 s_x",
            why="both vectors have length one",
            check=_difference_norm,
        ),
        Lemma(
            holds=r"\cos^2 = \tfrac14 (1-s_a)(1-s_b), \quad \cos > 0",
            why="the quotient; its numerator is positive as s is below one",
            check=lambda: floor_formula(value),
        ),
    )


LEMMAS: dict[str, Callable[[Any], tuple[Lemma, ...]]] = {
    "taylor-remainder": taylor,
    "positive-random-features": features,
    "relaxation-bound": relaxation,
    "noise-floor": floor,
}

# False facts: the value at a witness, which differs from the one that is claimed.
REFUTED: dict[str, Callable[[], Any]] = {"unrelated-updates-score-zero": witness_cosine}
