"""The identities, each on one example: what is called, and what it is compared with.

Letters: o [B, H, T, d_v], S a leaf of the state, T tokens cut at c.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dualform.rounding import Tracked
from dualform.testing.canonical import Inputs, Outputs
from dualform.testing.cases import Case
from dualform.testing.comparing import Agreement, Identity, compare
from dualform.testing.implementation import Implementation
from dualform.testing.problems import answer, problem
from dualform.testing.reference import allowed, bound, cut, expected
from dualform.variants import Variant, arithmetic as A
from dualform.variants.layout import leaves

LOUD = 2.0**10  # what must not be heard is made this loud


def output(kernel: Implementation, variant: Variant, case: Case) -> list[Agreement]:
    """o_t against the slow twin."""
    identity = Identity(name=f"{variant.name}, output", formula=rule(kernel, variant))
    given = problem(variant, kernel, case)
    made = answer(kernel, given, case, identity.name)
    want = expected(variant, given, kernel)
    room = allowed(variant, given, kernel, case.dtype, case.chunk)
    return [
        compare(
            made.o, want.o, room.o.error, place="o", identity=identity, case=case, kernel=kernel
        )
    ]


def final_state(kernel: Implementation, variant: Variant, case: Case) -> list[Agreement]:
    """The returned state against the slow twin's."""
    identity = Identity(name=f"{variant.name}, final state", formula=rule(kernel, variant))
    given = problem(variant, kernel, case)
    made = answer(kernel, given, case, identity.name)
    want = expected(variant, given, kernel)
    room = allowed(variant, given, kernel, case.dtype, case.chunk)
    return _states(made, want, room, identity, case, kernel)


def state_passing(kernel: Implementation, variant: Variant, case: Case) -> list[Agreement]:
    """Tokens 1 ... c, then c + 1 ... T from the state returned there, as all T at once."""
    identity = Identity(
        name=f"{variant.name}, state passing",
        formula="(o, S) of T tokens = those of c tokens, then of T - c from their state",
    )
    given = problem(variant, kernel, case)
    begin, rest = slice(0, case.cut), slice(case.cut, case.tokens)
    first = answer(kernel, cut(given, begin, given.state), case, identity.name)
    second = answer(kernel, cut(given, rest, first.state), case, identity.name)
    want = expected(variant, given, kernel)
    before = allowed(variant, cut(given, begin, given.state), kernel, case.dtype, case.chunk)
    kept = _kept(before.state, first.state)
    after = allowed(variant, cut(given, rest, kept), kernel, case.dtype, case.chunk)
    whole = A.lift(Tracked(want.o.value[..., rest, :], want.o.error[..., rest, :]))
    made = [
        compare(
            second.o,
            whole,
            after.o.error,
            place=f"o after token {case.cut}",
            identity=identity,
            case=case,
            kernel=kernel,
        )
    ]
    return made + _states(second, want, after, identity, case, kernel)


def _kept(state: Any, returned: Any) -> Any:
    """The state with the room it has once it is rounded to the type in which it came back."""
    kinds = [s.dtype for s in leaves(returned)]
    made = []
    for s, kind in zip(leaves(state), kinds, strict=True):
        exact = A.lift(Tracked(s.value.double()))
        made.append(A.lift(Tracked(s.value, bound(exact, s.error, kind))))
    return type(state)(*made) if isinstance(state, tuple) else made[0]


def _states(
    made: Outputs,
    want: Outputs,
    room: Outputs,
    identity: Identity,
    case: Case,
    kernel: Implementation,
) -> list[Agreement]:
    names = getattr(type(want.state), "_fields", ("S",))
    triples = zip(names, leaves(made.state), leaves(want.state), leaves(room.state), strict=True)
    return [
        compare(s, w, r.error, place=f"state {name}", identity=identity, case=case, kernel=kernel)
        for name, s, w, r in triples
    ]


def batch_independence(kernel: Implementation, variant: Variant, case: Case) -> list[Agreement]:
    """Batch row 0 does not hear what the other rows say."""
    identity = Identity(
        name=f"{variant.name}, batch independence",
        formula="o of a batch row depends on that row alone",
    )
    case = replace(case, batch=2)
    given = problem(variant, kernel, case)
    other = problem(variant, kernel, replace(case, seed=case.seed + 7))
    mixed = _joined(given, other, lambda a, b: torch.cat([a[:1], b[1:]]), LOUD)
    return _unheard(kernel, variant, case, given, mixed, identity, lambda o: o[:1])


def causality(kernel: Implementation, variant: Variant, case: Case) -> list[Agreement]:
    """Tokens up to c do not hear what comes later."""
    identity = Identity(
        name=f"{variant.name}, causality", formula=f"o_t for t <= c = {case.cut} ignores t > c"
    )
    given = problem(variant, kernel, case)
    other = problem(variant, kernel, replace(case, seed=case.seed + 7))

    def mix(a: Tensor, b: Tensor) -> Tensor:
        dim = 2
        return torch.cat(
            [a.narrow(dim, 0, case.cut), b.narrow(dim, case.cut, case.tokens - case.cut)], dim
        )

    mixed = _joined(given, other, mix, LOUD)
    return _unheard(kernel, variant, case, given, mixed, identity, lambda o: o[..., : case.cut, :])


def _joined(given: Inputs, other: Inputs, mix: Any, loud: float) -> Inputs:
    """Tokens of both; the values and queries that must not be heard are loud."""
    gates = {name: mix(g, other.gates[name]) for name, g in given.gates.items()}
    q, v = mix(given.q, other.q * loud), mix(given.v, other.v * loud)
    return replace(given, q=q, k=mix(given.k, other.k), v=v, gates=gates)


def _unheard(
    kernel: Implementation,
    variant: Variant,
    case: Case,
    given: Inputs,
    mixed: Inputs,
    identity: Identity,
    part: Any,
) -> list[Agreement]:
    quiet = answer(kernel, given, case, identity.name).o
    loud = answer(kernel, mixed, case, identity.name).o
    one, two = (allowed(variant, x, kernel, case.dtype, case.chunk).o for x in (given, mixed))
    rounded_once = bound(A.lift(one), one.error, quiet.dtype)
    room = part(rounded_once + two.error)
    want = A.lift(Tracked(part(quiet).detach().double()))
    return [compare(part(loud), want, room, place="o", identity=identity, case=case, kernel=kernel)]


def rule(kernel: Implementation, variant: Variant) -> str:
    """The update and the read, with what the convention changes."""
    if "o = " in variant.update:
        return variant.update
    read = "S_(t-1)" if kernel.convention.read == "before write" else "S_t"
    update = variant.update if "=" in variant.update else f"S_t = {variant.update}"
    return f"o_t = {read} q_t, {update}"
