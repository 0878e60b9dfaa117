"""Gradients of a linear functional of the outputs, under a bound derived from the forward one.

A gradient entry is a sum over the paths from that input to the functional, each a product of local
derivatives y. Computed with errors f of the y and at most m roundings on a path it errs by at most
(1 + u)^m A(|y| + f) - A(|y|), where A sums the paths' absolute values. The running error bound of
the forward form is built from the same paths: its own derivative in the error of an input is
A(|y| + f), for the bounded forms carry |y| f + |x| e + e f at every product. So A comes from
differentiating the bound, with the errors f of float32 and those of float64. It is a polynomial in
u with no negative coefficient, hence convex: A(u) - A(0) <= u (A(u32) - A(u64)) / (u32 - u64) for
every u up to u32. Doubled for another order of the operations, and doubled again because the values
at hand are rounded: |y| + f <= |y'| + 2 f.

Code that multiplies decays by adding logarithms has more paths: a product exp(c_i - c_j) sends what
arrives to both prefix sums, with opposite signs, and what cancels there is rounded. A path goes
through one q, hence sum |q| A(q) of all paths' values, and through at most T + 1 such products.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dualform.rounding import UNIT_ROUNDOFF, Tracked
from dualform.testing.bodies import rule
from dualform.testing.canonical import Inputs, meant, run
from dualform.testing.cases import Case
from dualform.testing.comparing import Agreement, Identity, compare
from dualform.testing.implementation import Implementation
from dualform.testing.problems import answer, problem
from dualform.testing.reference import CHUNK, computing_type, mapped, roundings
from dualform.variants import Variant, arithmetic as A

FACTORS = ("decay", "gamma", "eta", "alpha")  # gates whose products decay a state


def gradients(kernel: Implementation, variant: Variant, case: Case) -> list[Agreement]:
    """d/dx of sum c o, for q, k, v and every gate x; c normal."""
    identity = Identity(
        name=f"{variant.name}, gradients", formula=f"d (sum c o) / dx where {rule(kernel, variant)}"
    )
    given = problem(variant, kernel, case)
    c = _functional(case)
    made = _theirs(kernel, given, c, case, identity)
    want = _exact(variant, kernel, given, c)
    single, double = UNIT_ROUNDOFF[torch.float32], UNIT_ROUNDOFF[torch.float64]
    exactly = _paths(variant.slow, kernel, given, c, torch.float64, {})
    slow = _paths(variant.slow, kernel, given, c, torch.float32, {})
    fast = _paths(variant.fast, kernel, given, c, torch.float32, {"chunk": case.chunk or CHUNK})
    u, m = UNIT_ROUNDOFF[computing_type(kernel, case.dtype)], roundings(given)
    logs = _through_logarithms(kernel, given, torch.maximum(slow["q"], fast["q"]))
    found = []
    for name, got in made.items():
        paths = torch.maximum(slow[name], fast[name])
        slope = (paths - exactly[name]).clamp(min=0) / (single - double)
        if name in logs:
            paths = paths + logs[name]
        room, own = (4 * (slope * r + math.expm1(m * math.log1p(r)) * paths) for r in (u, double))
        found.append(
            compare(
                got,
                A.lift(Tracked(want[name], own)),
                room,
                place=f"gradient of {name}",
                identity=identity,
                case=case,
                kernel=kernel,
            )
        )
    return found


def _through_logarithms(kernel: Implementation, given: Inputs, A_q: Tensor) -> dict[str, Tensor]:
    """What paths through sums of logarithms add to A, for each gate that is a product's factor."""
    groups, tokens = given.k.shape[1:3]
    each = (given.q.detach().double().abs() * A_q).sum((-2, -1))
    every = 2 * (tokens + 1) * each.reshape(len(each), groups, -1).sum(-1)
    made = {}
    for name, gate in given.gates.items():
        if name not in FACTORS:
            continue
        x = gate.detach().double().requires_grad_()
        factor = meant(x, kernel.convention.gates.get(name, "plain"))
        factor = 1 - factor if name == "alpha" else factor
        (slope,) = torch.autograd.grad(factor.log().sum(), x)
        wide = every.reshape(*every.shape, *[1] * (gate.dim() - 2))
        made[name] = (slope.abs() * wide).nan_to_num(posinf=torch.inf)
    return made


def _functional(case: Case) -> Tensor:
    generator = torch.Generator().manual_seed(case.seed + 3)
    shape = (case.batch, case.heads * case.repeat, case.tokens, case.d_v)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _named(given: Inputs) -> dict[str, Any]:
    return {"q": given.q, "k": given.k, "v": given.v, **given.gates}


def _theirs(
    kernel: Implementation, given: Inputs, c: Tensor, case: Case, identity: Identity
) -> dict[str, Tensor]:
    """The implementation's own gradients, zero where an input did not matter."""
    free = mapped(given, lambda x: x.detach().requires_grad_())
    o = answer(kernel, free, case, identity.name).o
    x = _named(free)
    got = torch.autograd.grad((o.double() * c).sum(), list(x.values()), allow_unused=True)
    pairs = zip(x.items(), got, strict=True)
    return {n: torch.zeros_like(t) if g is None else g for (n, t), g in pairs}


def _exact(variant: Variant, kernel: Implementation, given: Inputs, c: Tensor) -> dict[str, Tensor]:
    """Autograd through the slow twin in float64."""
    free = mapped(given, lambda x: x.detach().double().requires_grad_())
    o = run(variant.slow, free, kernel.convention).o
    x = _named(free)
    got = torch.autograd.grad((o * c).sum(), list(x.values()), allow_unused=True)
    pairs = zip(x.items(), got, strict=True)
    return {n: torch.zeros_like(t) if g is None else g for (n, t), g in pairs}


def _paths(
    form: Any,
    kernel: Implementation,
    given: Inputs,
    c: Tensor,
    kind: torch.dtype,
    more: dict[str, Any],
) -> dict[str, Tensor]:
    """A of every input: the derivative of the forward bound in that input's error."""
    errors: dict[int, Tensor] = {}

    def free(x: Tensor) -> Any:
        value = x.detach().to(kind)
        lost = (value.double() - x.detach().double()).abs()
        error = errors[id(x)] = lost.requires_grad_()
        return A.lift(Tracked(value, error))

    o: Any = run(form, replace(mapped(given, free)), kernel.convention, **more).o
    names = _named(given)
    leaves = [errors[id(x)] for x in names.values()]
    got = torch.autograd.grad((o.error * c.abs()).sum(), leaves, allow_unused=True)
    pairs = zip(names, leaves, got, strict=True)
    return {n: torch.zeros_like(e) if g is None else g for n, e, g in pairs}
