"""The search for the smallest failing example, and the report of a search that found none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from hypothesis import HealthCheck, Phase, given, settings

from dualform.testing.cases import Case, Domain, cases
from dualform.testing.comparing import Agreement, Identity, compare
from dualform.testing.conventions import Convention
from dualform.testing.hints import diagnose
from dualform.testing.implementation import Implementation
from dualform.testing.messages import ConformanceError, Uninformative
from dualform.testing.problems import answer, problem
from dualform.testing.reference import allowed, expected
from dualform.variants import Variant

EXAMPLES = 40
Body = Callable[[Implementation, Variant, Case], list[Agreement]]


@dataclass(frozen=True, kw_only=True)
class Report:
    """A check that found no violation: how many examples, how many could have told, gap/bound."""

    check: str
    examples: int
    telling: int
    worst_ratio: float


def domain_of(kernel: Implementation, **changed: object) -> Domain:
    """The sizes that the implementation declares."""
    own = Domain(
        dtypes=kernel.dtypes,
        multiple=kernel.multiple,
        longest=max(kernel.longest, kernel.multiple),
        widest=kernel.widest,
        chunks=kernel.chunks if kernel.their_name("chunk") else (),
        square=kernel.square,
        grouped=kernel.grouped,
    )
    return replace(own, **changed)  # type: ignore[arg-type]


def hunt(
    check: str,
    kernel: Implementation,
    variant: Variant,
    body: Body,
    *,
    domain: Domain,
    examples: int = EXAMPLES,
) -> Report:
    """Run `body` on examples; shrink a failing one and say what its answer agrees with.

    Raises:
        ConformanceError: with the smallest failing example.
        Uninformative: when fewer than a fifth of the examples could have told right from wrong.
    """
    try:
        return search_for(
            check, lambda case: body(kernel, variant, case), domain=domain, examples=examples
        )
    except ConformanceError as error:
        found = replace(error.finding, hints=hints_for(kernel, variant, check))
        raise ConformanceError(found) from error.__cause__


def search_for(
    check: str, body: Callable[[Case], list[Agreement]], *, domain: Domain, examples: int
) -> Report:
    """As `hunt`, for anything that compares an answer with an expectation.

    Raises:
        ConformanceError: with the smallest failing example.
        Uninformative: when fewer than a fifth of the examples could have told right from wrong.
    """
    seen: list[Agreement] = []

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(cases(domain))
    def search(case: Case) -> None:
        seen.extend(body(case))

    search()
    telling = sum(a.telling for a in seen)
    if telling < len(seen) / 5 or not seen:
        raise Uninformative(
            f"expected a fifth of the examples of {check!r} to tell right from wrong, got "
            f"{telling} of {len(seen)}; allow more tokens or a more precise type"
        )
    worst = max(a.worst_ratio for a in seen)
    return Report(check=check, examples=len(seen), telling=telling, worst_ratio=worst)


def generic(kernel: Implementation, seed: int) -> Case:
    """An example of several tokens, heads and channels in the most precise type."""
    return Case(
        seed=seed,
        batch=2,
        heads=2,
        repeat=1,
        tokens=kernel.multiple * -(-5 // kernel.multiple),
        d_k=min(3, kernel.widest),
        d_v=min(3 if kernel.square else 2, kernel.widest),
        dtype=kernel.dtypes[0],
        layout="contiguous",
        exponents={"q": 0, "v": 0},
        chunk=kernel.chunks[-1] if kernel.their_name("chunk") else None,
        cut=0,
        from_state=False,
    )


def hints_for(kernel: Implementation, variant: Variant, check: str) -> tuple[str, ...]:
    """What it agrees with on three generic examples, called as another convention would."""
    nothing = Identity(name="", formula="")

    def agrees(rule: Variant, convention: Convention) -> bool:
        other, telling = replace(kernel, convention=convention), False
        for case in (generic(kernel, seed) for seed in (11, 12, 13)):
            try:
                x = problem(rule, other, case)
                made = answer(other, x, case, "")
                want = expected(rule, x, other)
                room = allowed(rule, x, other, case.dtype, case.chunk)
                found = compare(
                    made.o,
                    want.o,
                    room.o.error,
                    place="",
                    identity=nothing,
                    case=case,
                    kernel=other,
                )
            except (ConformanceError, ValueError, TypeError, KeyError):
                return False
            telling = telling or found.telling
        return telling

    if agrees(variant, kernel.convention):
        where = "the sizes or values" if check == "output" else f"what {check!r} asks"
        return (f"outputs agree with the declared rule on generic inputs; the fault is in {where}",)
    return diagnose(variant, kernel.convention, agrees)
