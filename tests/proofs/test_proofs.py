"""Proofs for all sizes, step by step; wrong steps, wrong rules and silent zeros are refused."""

import dataclasses
from typing import Any

import pytest
import sympy as sp

from proofs import symbolic
from proofs.calculus import gradient
from proofs.derivations import DERIVATIONS
from proofs.induction import check
from proofs.prove import as_claimed, prove
from proofs.rules import (
    BLOCKS,
    CANCEL,
    DIFFERENTIATE,
    DISTRIBUTE,
    EXPAND,
    EXPONENTIAL,
    IDENTITY,
    INVERSE,
    KHATRI_RAO,
    MULTIPLY_BLOCKS,
    REGROUP,
    RULES,
    SCALARS,
    SIGNS,
    TRACE,
    TRANSPOSE,
    UNITS,
    Rule,
)
from proofs.statements import STATEMENTS, Side, Statement, by_id
from proofs.steps import Closed, Derivation, Direct, Induction, Invariant, Step, WrongStep
from proofs.symbolic import GradientDisagreement, equal, is_zero, judge, to_sympy
from proofs.terms import ShapeError, Term, TermOps, components, dim, symbol, variables
from tests.support.statements.semantics import not_by_sympy_alone

pytestmark = pytest.mark.dual_form

TRUE = [s for s in STATEMENTS if s.claim == "true"]
FALSE = [s for s in STATEMENTS if s.claim == "false"]
OPS = TermOps()
named = pytest.mark.parametrize("statement", TRUE, ids=lambda s: s.id)

A, B = (symbol(n, dim("m"), dim("k")) for n in "AB")
C, D = (symbol(n, dim("k"), dim("n")) for n in "CD")
F = symbol("F", dim("m"), dim("n"))
P, Q = (symbol(n, dim("n"), dim("k")) for n in "PQ")
Z = OPS.zeros_like(F)
c, d = (symbol(n, dim("1"), dim("1")) for n in "cd")
x, z, one = (symbol(n, dim(r), dim("1")) for n, r in (("x", "m"), ("z", "m"), ("w", "n")))
k, n1 = symbol("k", dim("k"), dim("1")), symbol("l", dim("n"), dim("1"))
N, M = (symbol(n, dim("k"), dim("k")) for n in "NM")
H, z2 = symbol("H", dim("n"), dim("n")), symbol("Z", dim("n"), dim("n"))


@named
def test_the_statement_is_proved_for_all_sizes(statement: Statement) -> None:
    verdict = prove(statement)
    assert verdict.status == "proved(all sizes)", verdict.detail
    assert as_claimed(statement, verdict)
    assert all(len(part.lines) >= 2 for part in verdict.parts)


def test_every_true_statement_has_a_derivation_and_no_other_has() -> None:
    assert set(DERIVATIONS) == {s.id for s in TRUE}


def test_every_statement_has_a_near_miss_or_a_witness() -> None:
    assert all((s.near_miss is None) == (s.witness is not None) for s in STATEMENTS)
    assert len({s.id for s in STATEMENTS}) == len(STATEMENTS)


def with_last_step(steps: tuple[Step, ...], side: Side) -> tuple[Step, ...]:
    return (*steps[:-1], dataclasses.replace(steps[-1], after=side))


@named
def test_the_near_miss_is_refused_even_as_the_last_step_of_the_proof(statement: Statement) -> None:
    near = statement.near_miss
    assert near is not None
    assert prove(statement, near).status == "undecided"
    good = DERIVATIONS[statement.id]
    if isinstance(good, Direct):
        forged: Derivation = Direct(with_last_step(good.steps, near))
        with pytest.raises(WrongStep, match=rf"step \d+ of {statement.id}.*follow by the rule"):
            check(statement, forged, near)
        return
    with pytest.raises(WrongStep, match=f"the induction of {statement.id}"):
        check(statement, good, near)
    for name, invariant in good.invariants.items():
        wrong = dataclasses.replace(
            invariant, closed=twice(invariant.closed), step=with_last_twice(invariant.step)
        )
        rhs = twice_side(statement.rhs) if name == claimed(statement) else statement.rhs
        forged = Induction({**good.invariants, name: wrong})
        with pytest.raises(WrongStep, match=rf"{statement.id}"):
            check(statement, forged, rhs)


def twice(closed: Closed) -> Closed:
    """A closed form counted twice."""
    return lambda ops, v, s: closed(ops, v, s) + closed(ops, v, s)


def twice_side(side: Side) -> Side:
    return lambda ops, v: side(ops, v) + side(ops, v)


def with_last_twice(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    return with_last_step(steps, twice_side(steps[-1].after))


def claimed(statement: Statement) -> str:
    """The state that the left side of an induction stands for."""
    index, parts = components(statement.lhs(OPS, variables(statement)))
    return parts[index].name


SYMPY_SEES = [
    s for s in TRUE if isinstance(DERIVATIONS.get(s.id), Direct) and not_by_sympy_alone(s) is None
]


@pytest.mark.parametrize("statement", SYMPY_SEES, ids=lambda s: s.id)
def test_sympy_alone_finds_the_sides_equal_and_the_near_miss_not(statement: Statement) -> None:
    assert statement.near_miss is not None
    v = variables(statement)
    left = to_sympy(statement.lhs(OPS, v))
    assert is_zero(left - to_sympy(statement.rhs(OPS, v)))
    assert not is_zero(left - to_sympy(statement.near_miss(OPS, v)))


@pytest.mark.parametrize("statement", FALSE, ids=lambda s: s.id)
def test_a_false_claim_is_refuted_by_its_witness(statement: Statement) -> None:
    verdict = prove(statement)
    assert verdict.status == "refuted(witness)" and as_claimed(statement, verdict)


def test_a_witness_that_refutes_nothing_is_undecided_and_fails() -> None:
    false = by_id("squared-loss-step-from-zsl")
    idle = dataclasses.replace(false, witness={n: ((0,),) for n in "WVK"})
    verdict = prove(idle)
    assert verdict.status == "undecided" and not as_claimed(idle, verdict)


# rule, a step it allows, and a planted wrong one of the same kind
PLANTED: list[tuple[Rule, Term, Term, Term]] = [
    (REGROUP, (A @ C) + F, F + A @ C, F + F + A @ C),
    (SIGNS, -(F + F), -F - F, -F + F),
    (SIGNS, (-F).T, -(F.T), F.T),
    (SIGNS, OPS.scale(c, -F), -OPS.scale(c, F), OPS.scale(c, F)),
    (SIGNS, A @ (-C), -(A @ C), A @ C),
    (SIGNS, (-F).__neg__(), F, -F),
    (SIGNS, F - (A @ C - F) @ P @ C, F + (F - A @ C) @ P @ C, F + (A @ C - F) @ P @ C),
    (SCALARS, OPS.scale(c, A) @ C, OPS.scale(c, A @ C), A @ C),
    (SCALARS, OPS.scale(c, F).T, OPS.scale(c, F.T), F.T),
    (SCALARS, A @ OPS.scale(c, C), OPS.scale(c, A) @ C, A @ C),
    (DISTRIBUTE, OPS.scale(c, F + A @ C), OPS.scale(c, F) + OPS.scale(c, A @ C), F + A @ C),
    (TRANSPOSE, (F + A @ C).T.T, F + A @ C, F + B @ C),
    (BLOCKS, A @ OPS.hcat(C, D), OPS.hcat(A @ C, A @ D), OPS.hcat(A @ D, A @ C)),
    (CANCEL, OPS.zeros_like(A) @ C + F, F, A @ C + F),
    (CANCEL, F + symbol("E", dim("m"), ()) @ symbol("X", dim("n"), ()).T, F, F - F),
    (CANCEL, OPS.scale(c, Z) - Z.T.T, Z, F),
    (DIFFERENTIATE, OPS.grad(lambda U: -OPS.inner(U @ C, F), A), -(F @ C.T), F @ C.T),
    (DIFFERENTIATE, OPS.grad(lambda U: OPS.inner(F, A @ U), C), A.T @ F, A.T @ (F + F)),
    (
        DIFFERENTIATE,
        OPS.grad(lambda U: OPS.inner(F.T, U.T @ A.T), C),
        (F.T @ A.T.T).T,
        (F.T @ (-A).T.T).T,
    ),
    (
        DIFFERENTIATE,
        OPS.grad(lambda U: OPS.loss(U @ C, F), A),
        OPS.output_gradient(A @ C, F) @ C.T,
        OPS.output_gradient(F, F) @ C.T,
    ),
    (DISTRIBUTE, (A + B) @ C, A @ C + B @ C, A @ C + A @ C),
    (TRANSPOSE, (A @ C).T, C.T @ A.T, C.T @ B.T),
    (
        BLOCKS,
        OPS.hcat(A, B) @ OPS.hcat(P, Q).T,
        A @ P.T + B @ Q.T,
        A @ Q.T + B @ P.T,
    ),
    (CANCEL, F + (F - F), F, F + F),
    (UNITS, OPS.scale(c, x @ z.T @ F), x @ c @ z.T @ F, x @ z.T @ F),
    (UNITS, x @ (z.T @ x) @ c @ z.T, x @ c @ (x.T @ z) @ z.T, x @ c @ (x.T @ x) @ z.T),
    (UNITS, OPS.scale(c, OPS.scale(d, F)), OPS.scale(d @ c, F), OPS.scale(d @ d, F)),
    (
        EXPAND,
        OPS.scale(c, (A - B) @ C),
        OPS.scale(c, A @ C) - OPS.scale(c, B @ C),
        OPS.scale(c, A @ C),
    ),
    (EXPAND, ((A + B) @ C).T - C.T @ A.T, C.T @ B.T, C.T @ A.T),
    (SCALARS, OPS.scale(c, OPS.scale(d, F)), OPS.scale(d, OPS.scale(c, F)), OPS.scale(d, F)),
    (DISTRIBUTE, OPS.scale(c + d, F), OPS.scale(c, F) + OPS.scale(d, F), OPS.scale(c, F)),
    (TRANSPOSE, (A @ OPS.diag(k)).T, OPS.diag(k) @ A.T, A.T),
    (IDENTITY, OPS.identity(F) @ F, F, F + F),
    (IDENTITY, OPS.diag(OPS.ones(A).T), OPS.identity(k), OPS.identity(k) + OPS.identity(k)),
    (INVERSE, A @ OPS.inverse(N) @ N @ C, A @ C, A @ N @ C),
    (
        INVERSE,
        N @ C @ z2 + (N + M) @ OPS.inverse(N + M) @ C @ z2,
        N @ C @ z2 + C @ z2,
        N @ C @ z2 + N @ C @ z2,
    ),
    (BLOCKS, OPS.hcat(A, F) @ OPS.vcat(C, H), A @ C + F @ H, A @ C + A @ C),
    (BLOCKS, OPS.vcat(C, H) @ H, OPS.vcat(C @ H, H @ H), OPS.vcat(C @ H, C @ H)),
    (
        BLOCKS,
        OPS.causal(OPS.hcat(P, one).T @ OPS.hcat(P, one)),
        OPS.hcat(
            OPS.vcat(OPS.causal(P.T @ P), OPS.zeros_like(one.T @ P)),
            OPS.vcat(P.T @ one, OPS.causal(one.T @ one)),
        ),
        OPS.hcat(
            OPS.vcat(OPS.causal(P.T @ P), one.T @ P),
            OPS.vcat(P.T @ one, OPS.causal(one.T @ one)),
        ),
    ),
    (BLOCKS, OPS.exp(OPS.hcat(A, B)), OPS.hcat(OPS.exp(A), OPS.exp(B)), OPS.hcat(OPS.exp(A), B)),
    (
        BLOCKS,
        OPS.hcat(A, F) @ OPS.diag(OPS.vcat(k, n1)),
        OPS.hcat(A @ OPS.diag(k), F @ OPS.diag(n1)),
        OPS.hcat(A, F),
    ),
    (
        MULTIPLY_BLOCKS,
        OPS.vcat(OPS.hcat(N, OPS.zeros_like(C)), OPS.hcat(OPS.zeros_like(P), OPS.identity(H)))
        @ OPS.vcat(C, H),
        OPS.vcat(N @ C, H),
        OPS.vcat(C, H),
    ),
    (
        KHATRI_RAO,
        OPS.khatri_rao(A, A).T @ OPS.khatri_rao(A, B),
        OPS.times(A.T @ A, A.T @ B),
        OPS.times(A.T @ A, A.T @ A),
    ),
    (TRACE, OPS.trace(C @ P), OPS.trace((P @ C).T), OPS.trace(D @ P)),
    (
        EXPONENTIAL,
        OPS.exp(c @ OPS.ones(F) + x.T @ F),
        OPS.exp(c) @ OPS.exp(x.T @ F),
        OPS.exp(x.T @ F),
    ),
    (
        EXPONENTIAL,
        OPS.inverse((x.T @ x) @ c),
        OPS.inverse(c) @ OPS.inverse(x.T @ x),
        OPS.inverse(c) @ OPS.inverse(c),
    ),
    (
        DIFFERENTIATE,
        OPS.grad(lambda U: OPS.half_square(U @ C, n1) + OPS.scale(c, OPS.half_square(U)), A),
        A @ C @ OPS.diag(n1) @ C.T + OPS.scale(c, A),
        A @ C @ C.T + OPS.scale(c, A),
    ),
    (
        DIFFERENTIATE,
        OPS.grad(lambda U: OPS.half_square(U @ C - F), A),
        (A @ C - F) @ C.T,
        (A @ C + F) @ C.T,
    ),
]


@pytest.mark.parametrize(
    ("rule", "before", "right", "wrong"), PLANTED, ids=lambda x: getattr(x, "name", "")
)
def test_a_rule_allows_its_step_and_refuses_a_planted_error(
    rule: Rule, before: Term, right: Term, wrong: Term
) -> None:
    assert rule.allows(before, right) and judge(before, right) is not None
    assert not rule.allows(before, wrong) and judge(before, wrong) is None


# Rules that hold the equations of others, and regroup, which all may do.
MANY_EQUATIONS = (REGROUP, EXPAND, MULTIPLY_BLOCKS, TRACE)


def test_every_rule_has_a_planted_error() -> None:
    assert {rule.name for rule, *_ in PLANTED} == {rule.name for rule in RULES}


@pytest.mark.parametrize(
    ("rule", "before", "right"),
    [p[:3] for p in PLANTED if p[0] not in MANY_EQUATIONS],
    ids=lambda x: getattr(x, "name", ""),
)
def test_a_true_step_under_another_rule_is_refused(rule: Rule, before: Term, right: Term) -> None:
    others = [r for r in (REGROUP, TRANSPOSE, BLOCKS) if r is not rule]
    assert not any(r.allows(before, right) for r in others)


def test_a_wrong_step_in_the_middle_is_named() -> None:
    statement = by_id("context-split")
    good = DERIVATIONS["context-split"]
    assert isinstance(good, Direct)
    bad = Step(
        good.steps[2].rule, lambda ops, v: v["W_V"] @ v["X"] @ (v["X"].T @ v["W_K"].T @ v["q"])
    )
    forged = Direct((*good.steps[:2], bad, *good.steps[3:]))
    with pytest.raises(WrongStep, match="step 3 of context-split"):
        check(statement, forged)


def test_a_step_that_a_broken_rule_lets_pass_is_refused_by_sympy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    statement = by_id("linear-attention-dual")
    assert statement.near_miss is not None
    monkeypatch.setattr(Rule, "allows", lambda *_: True)
    forged = Direct((Step(DISTRIBUTE, statement.near_miss),))
    with pytest.raises(WrongStep, match="SymPy to agree with step 1 of linear-attention-dual"):
        check(statement, forged, statement.near_miss)


MANY = by_id("many-steps-dual")


def _step(ops: Any, v: Any) -> Any:
    return lambda W, x, t: W - ops.scale(v["gamma"], ops.grad(lambda U: ops.loss(U @ x, t), W))


def _error(ops: Any, v: Any) -> Any:
    return lambda W, x, t: -ops.scale(v["gamma"], ops.output_gradient(W @ x, t))


def _summed(walk: Any, start: Any) -> Side:
    """W + E X^T with E collected along another walk, or from another start."""
    return lambda ops, v: v["W"] + _collected(ops, v, walk, start) @ v["X"].T


def _collected(ops: Any, v: Any, walk: Any, start: Any, error: Any = _error) -> Any:
    return ops.fold(
        lambda s, x, t: {
            "S": walk(ops, v)(s["S"], x, t),
            "E": ops.hcat(s["E"], error(ops, v)(s["S"], x, t)),
        },
        {"S": start(ops, v), "E": ops.empty(v["T"])},
        v["X"],
        v["T"],
    )["E"]


def _start(ops: Any, v: Any) -> Any:
    return v["W"]


OTHER_WALKS: dict[str, Side] = {
    "weights that never move": _summed(lambda ops, v: lambda W, x, t: W, _start),
    "a start at zero": _summed(_step, lambda ops, v: ops.zeros_like(v["W"])),
    "the recurrence itself": MANY.lhs,
    "another thing collected under the name": lambda ops, v: (
        _summed(_step, _start)(ops, v)
        + _collected(ops, v, _step, _start, lambda ops, v: lambda W, x, t: W @ x)
        @ ops.zeros_like(v["X"]).T
    ),
}


@pytest.mark.parametrize("name", list(OTHER_WALKS))
def test_what_is_collected_along_another_recurrence_is_refused(name: str) -> None:
    with pytest.raises(WrongStep, match="the induction of many-steps-dual"):
        check(MANY, DERIVATIONS[MANY.id], OTHER_WALKS[name])


def claim(lhs: Side, rhs: Side, **variables_: tuple[str, str]) -> Statement:
    shapes: dict[str, tuple[str, str]] = {"W": ("h", "h"), "X": ("h", "n"), **variables_}
    return Statement(
        id="forged", title="", source="", variables=shapes, lhs=lhs, rhs=rhs, near_miss=None
    )


BASE = (Step(CANCEL, lambda ops, v: v["W"] + v["X"] @ v["X"].T),)
NEXT = (
    Step("hypothesis", lambda ops, v: v["W"] + v["X_n"] @ v["X_n"].T + v["x"] @ v["x"].T),
    Step(BLOCKS, lambda ops, v: v["W"] + ops.hcat(v["X_n"], v["x"]) @ ops.hcat(v["X_n"], v["x"]).T),
)


def walked(ops: Any, v: Any, step: Any, start: Any) -> Any:
    """The last value of one state over X."""
    return ops.fold(lambda s, x: {"S": step(s["S"], x)}, {"S": start}, v["X"])["S"]


def by_induction(rhs: Side, base: tuple[Step, ...]) -> Induction:
    return Induction({"S": Invariant(lambda ops, v, s: rhs(ops, v), base, NEXT)})


def test_the_forgeries_below_have_a_true_neighbour() -> None:
    good = claim(
        lambda ops, v: walked(ops, v, lambda S, x: S + x @ x.T, v["W"]),
        lambda ops, v: v["W"] + v["X"] @ v["X"].T,
    )
    assert len(check(good, by_induction(good.rhs, BASE))) == 2


FORGED = {
    "a function of the recurrence": (
        lambda ops, v: -walked(ops, v, lambda S, x: -S - x @ x.T, v["W"]),
        lambda ops, v: -v["W"] + v["X"] @ v["X"].T,
        {},
        "a recurrence alone",
    ),
    "a start that sees all examples": (
        lambda ops, v: walked(ops, v, lambda S, x: S + x @ x.T, v["X"] @ v["X"].T),
        lambda ops, v: v["X"] @ v["X"].T,
        {},
        "do not see all examples",
    ),
    "a step that sees all examples": (
        lambda ops, v: walked(ops, v, lambda S, x: S + v["X"] @ v["X"].T, v["W"]),
        lambda ops, v: v["W"] + v["X"] @ v["X"].T,
        {},
        "do not see all examples",
    ),
    "examples left out of the induction": (
        lambda ops, v: walked(ops, v, lambda S, x: S + x @ x.T, v["W"]),
        lambda ops, v: v["W"] + v["Y"] @ v["Y"].T,
        {"Y": ("h", "n")},
        "no other matrix of n examples",
    ),
    "a variable named like the block": (
        lambda ops, v: walked(ops, v, lambda S, x: S + v["x"] @ v["x"].T, v["W"]),
        lambda ops, v: v["W"] + v["X"] @ v["X"].T,
        {"x": ("h", "1")},
        "other names than .'x'.",
    ),
    "a variable named like the state": (
        lambda ops, v: walked(ops, v, lambda S, x: v["S_n"] + x @ x.T, v["W"]),
        lambda ops, v: v["W"] + v["X"] @ v["X"].T,
        {"S_n": ("h", "h")},
        "other names than .'S_n'.",
    ),
}


@pytest.mark.parametrize("name", list(FORGED))
def test_a_forged_induction_is_refused(name: str) -> None:
    lhs, rhs, more, words = FORGED[name]
    base = (Step(REGROUP, rhs),) if "start" in name or "function" in name else BASE
    with pytest.raises(WrongStep, match=words):
        check(claim(lhs, rhs, **more), by_induction(rhs, base))


def scanned(ops: Any, v: Any, step: Any, start: Any, *columns: str) -> Any:
    """The last states of a recurrence over single columns."""
    return ops.scan(step, start, *(v[c] for c in columns))


def _one_state(name: str, step: Any, *columns: str) -> Side:
    return lambda ops, v: scanned(
        ops, v, lambda s, *b: {name: step(ops, s[name], *b)}, {name: v["W"]}, *columns
    )[name]


def _two_columns(second: Any) -> Side:
    return lambda ops, v: ops.scan(
        lambda s, a, b: {"S": s["S"] + a @ (a if second else b).T}, {"S": v["W"]},
        ops.hcat(v["X"], v["Y"]), ops.hcat(v["X"], v["Z"]),
    )["S"]  # fmt: skip


CAPTURES: dict[str, tuple[Side, Side, Derivation, dict[str, tuple[str, str]]]] = {
    "a state called like the new block": (
        _one_state("x", lambda ops, s, x: x, "X"),
        lambda ops, v: v["W"],
        Induction({"x": Invariant(lambda ops, v, s: v["W"], (), ())}),
        {"W": ("h", "1")},
    ),
    "a state called like the one so far": (
        _one_state("S_n", lambda ops, s, x: s + x, "X"),
        lambda ops, v: v["W"],
        Direct(()),
        {"W": ("h", "1")},
    ),
    "a state called like the bound variable": (
        _one_state("U", lambda ops, s, x: ops.grad(lambda V: ops.half_square(V - s), s + s), "X"),
        lambda ops, v: ops.zeros_like(v["W"]),
        Direct(()),
        {"W": ("h", "1")},
    ),
    "columns that differ in case": (
        _one_state("S", lambda ops, s, a, b: s + a @ b.T, "X", "x"),
        _one_state("S", lambda ops, s, a, b: s + a @ a.T, "X", "x"),
        Direct(()),
        {"x": ("h", "n")},
    ),
    "joined columns that begin alike": (
        _two_columns(False), _two_columns(True), Direct(()), {"Y": ("h", "m"), "Z": ("h", "m")},
    ),
    "a recurrence inside a recurrence": (
        _one_state("S", lambda ops, s, x: ops.scan(
            lambda t, y: {"S": s + y}, {"S": s}, ops.hcat(x, x))["S"], "X"),
        _one_state("S", lambda ops, s, x: ops.scan(
            lambda t, y: {"S": t["S"] + y}, {"S": s}, ops.hcat(x, x))["S"], "X"),
        Direct(()),
        {"W": ("h", "1")},
    ),
    "a gradient inside a gradient": (
        lambda ops, v: ops.grad(
            lambda U: ops.inner(U, ops.grad(lambda V: ops.inner(V, U), v["W"])), v["W"]
        ),
        lambda ops, v: ops.grad(
            lambda U: ops.inner(U, ops.grad(lambda V: ops.inner(V, V), v["W"])), v["W"]
        ),
        Direct(()),
        {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(CAPTURES))
def test_names_that_could_be_taken_for_each_other_are_refused(name: str) -> None:
    lhs, rhs, derivation, more = CAPTURES[name]
    with pytest.raises((ShapeError, WrongStep)):
        check(claim(lhs, rhs, **more), derivation)


def test_an_induction_over_a_single_example_is_refused() -> None:
    """With one example a state that grows would be one wide before the first step already."""
    one = claim(
        _one_state("S", lambda ops, s, x: s, "Y"), lambda ops, v: v["W"], Y=("h", "1")
    )  # fmt: skip
    with pytest.raises(WrongStep, match="expected any number of examples"):
        check(one, Induction({"S": Invariant(lambda ops, v, s: v["W"], (), ())}))


def test_a_closed_form_that_depends_on_who_asks_is_that_of_the_claim() -> None:
    """A form that reads what only the steps may see is carried over from the claim instead."""

    def sly(ops: Any, v: Any, s: Any) -> Any:
        X = v.get("X_n", v["X"])
        return v["W"] + X @ ops.ones(X).T

    still = claim(
        lambda ops, v: walked(ops, v, lambda S, x: S, v["W"]),
        lambda ops, v: v["W"] + v["X"] @ ops.ones(v["X"]).T,
        W=("h", "1"),
    )
    base = (Step(CANCEL, lambda ops, v: v["W"] + v["X"] @ ops.ones(v["X"]).T),)
    step = (Step("hypothesis", lambda ops, v: v["W"] + v["X_n"] @ ops.ones(v["X_n"]).T),)
    with pytest.raises(WrongStep, match="ends elsewhere"):
        check(still, Induction({"S": Invariant(sly, base, step)}))


def test_a_variable_named_like_the_bound_one_is_not_captured() -> None:
    v = {"U": symbol("U", dim("m"), dim("k"))}
    node = OPS.grad(lambda Z: OPS.inner(Z, v["U"]), A)
    assert equal(node, v["U"]) and not equal(node, A + A)
    assert DIFFERENTIATE.allows(node, v["U"]) and not DIFFERENTIATE.allows(node, A + A)


def test_names_of_the_package_itself_are_not_for_variables() -> None:
    statement = claim(lambda ops, v: v["W"], lambda ops, v: v["W"], **{".S_n": ("h", "h")})
    with pytest.raises(ShapeError, match="without a leading point"):
        variables(statement)


def test_signs_come_to_an_end_on_a_sum_that_vanishes() -> None:
    Y = symbol("Y", dim("m"), dim("k"))
    assert SIGNS.allows((Y - Y) @ C, -((Y - Y) @ C)) is False  # cancelling is another rule
    assert SIGNS.allows((A - Y) @ C, -((Y - A) @ C))


def test_a_rule_that_does_not_end_is_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(*_: object) -> bool:
        raise RecursionError

    monkeypatch.setattr(Rule, "allows", endless)
    verdict = prove(TRUE[0])
    assert verdict.status == "undecided" and "did not come to an end" in verdict.detail


def test_blocks_of_unequal_widths_are_not_joined() -> None:
    wide = symbol("V", dim("m"), dim("w"))
    left = OPS.hcat(A, wide) @ OPS.hcat(symbol("R", dim("n"), dim("w")), Q).T
    other = OPS.hcat(wide, A) @ OPS.hcat(Q, symbol("R", dim("n"), dim("w"))).T
    assert not BLOCKS.allows(left, other) and not equal(left, other)


def test_a_missing_derivation_is_undecided() -> None:
    unknown = dataclasses.replace(TRUE[0], id="no-such-identity")
    assert prove(unknown).status == "undecided"


def test_sympy_derives_the_sum_of_traces_wrongly_and_the_guard_sees_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The trap itself: SymPy's derivative of a sum of traces is 0 (its issues 26561, 26585)."""
    node = OPS.grad(lambda U: OPS.half_square(U @ C - F), A)
    assert not is_zero(to_sympy(node))
    monkeypatch.setattr(symbolic, "derivative", lambda f, at: sp.ZeroMatrix(*at.shape))
    with pytest.raises(GradientDisagreement):
        to_sympy(node)
    assert prove(by_id("squared-loss-gradient")).status == "undecided"


def test_a_wrong_adjoint_rule_is_seen_by_sympy(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [
        OPS.grad(lambda U: OPS.half_square(U @ C - F), A),
        OPS.grad(lambda U: OPS.loss(U @ C, F), A),
        OPS.grad(lambda U: -OPS.loss(U @ C, F), A),
    ]
    for node in nodes:
        monkeypatch.undo()
        assert not is_zero(to_sympy(node))
        monkeypatch.setattr(symbolic, "gradient", lambda node: gradient(node) + gradient(node))
        with pytest.raises(GradientDisagreement):
            to_sympy(node)
        monkeypatch.setattr(symbolic, "gradient", lambda node: -gradient(node))
        with pytest.raises(GradientDisagreement):
            to_sympy(node)


def test_equation_8_as_printed_is_ill_typed() -> None:
    """Dai eq. 8 sets a transpose beside an outer-product sign: sum of e_i (x) x_i^T."""
    e, x = symbol("e", dim("o"), dim("1")), symbol("x", dim("i"), dim("1"))
    assert (e @ x.T).shape == (dim("o"), dim("i"))
    with pytest.raises(ShapeError, match=r"o x 1 and i x 1"):
        e @ x.T.T


def test_shapes_are_checked_in_every_operation() -> None:
    for wrong in (
        lambda: A + C,
        lambda: OPS.hcat(A, C),
        lambda: OPS.inner(A, C),
        lambda: OPS.scale(A, C),
        lambda: OPS.loss(A, C),
        lambda: OPS.output_gradient(A, C),
        lambda: OPS.grad(lambda U: U, A),
        lambda: A @ OPS.inner(A, A),
        lambda: OPS.inner(A, A).T,
    ):
        with pytest.raises(ShapeError):
            wrong()
