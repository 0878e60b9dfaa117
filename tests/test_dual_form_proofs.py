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
    REGROUP,
    RULES,
    SCALARS,
    SIGNS,
    TRANSPOSE,
    Rule,
)
from proofs.statements import CATALOGUE, Side, Statement, by_id
from proofs.steps import Derivation, Direct, Induction, Step, WrongStep
from proofs.symbolic import GradientDisagreement, equal, is_zero, to_sympy
from proofs.terms import ShapeError, Term, TermOps, dim, symbol, variables

TRUE = [s for s in CATALOGUE if s.claim == "true"]
FALSE = [s for s in CATALOGUE if s.claim == "false"]
OPS = TermOps()
named = pytest.mark.parametrize("statement", TRUE, ids=lambda s: s.id)

A, B = (symbol(n, dim("m"), dim("k")) for n in "AB")
C, D = (symbol(n, dim("k"), dim("n")) for n in "CD")
F = symbol("F", dim("m"), dim("n"))
P, Q = (symbol(n, dim("n"), dim("k")) for n in "PQ")
Z = OPS.zeros_like(F)
c = symbol("c", dim("1"), dim("1"))


@named
def test_the_statement_is_proved_for_all_sizes(statement: Statement) -> None:
    verdict = prove(statement)
    assert verdict.status == "proved(all sizes)", verdict.detail
    assert as_claimed(statement, verdict)
    assert all(len(part.lines) >= 2 for part in verdict.parts)


def test_every_true_statement_has_a_derivation_and_no_other_has() -> None:
    assert set(DERIVATIONS) == {s.id for s in TRUE}


def test_every_statement_has_a_near_miss_or_a_witness() -> None:
    assert all((s.near_miss is None) == (s.witness is not None) for s in CATALOGUE)
    assert len({s.id for s in CATALOGUE}) == len(CATALOGUE)


def with_last_step(steps: tuple[Step, ...], side: Side) -> tuple[Step, ...]:
    return (*steps[:-1], dataclasses.replace(steps[-1], after=side))


@named
def test_the_near_miss_is_refused_even_as_the_last_step_of_the_proof(statement: Statement) -> None:
    near = statement.near_miss
    assert near is not None
    assert prove(statement, near).status == "undecided"
    good = DERIVATIONS[statement.id]
    forged: Derivation
    if isinstance(good, Direct):
        forged = Direct(with_last_step(good.steps, near))
    else:
        base = (dataclasses.replace(good.base[0], after=near),)
        forged = Induction(good.columns, base, with_last_step(good.step, near))
    with pytest.raises(WrongStep, match=rf"step \d+ of {statement.id}.*follow by the rule"):
        check(statement, forged, near)


@pytest.mark.parametrize(
    "statement", [s for s in TRUE if isinstance(DERIVATIONS[s.id], Direct)], ids=lambda s: s.id
)
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
    idle = dataclasses.replace(FALSE[0], witness={n: ((0,),) for n in "WVK"})
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
    assert rule.allows(before, right) and equal(before, right)
    assert not rule.allows(before, wrong) and not equal(before, wrong)


def test_every_rule_has_a_planted_error() -> None:
    assert {rule.name for rule, *_ in PLANTED} == {rule.name for rule in RULES}


@pytest.mark.parametrize(
    ("rule", "before", "right"),
    [p[:3] for p in PLANTED if p[0] is not REGROUP],  # as every rule may regroup
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
    return lambda ops, v: (
        v["W"] + ops.collect(_error(ops, v), walk(ops, v), start(ops, v), v["X"], v["T"]) @ v["X"].T
    )


def _start(ops: Any, v: Any) -> Any:
    return v["W"]


OTHER_WALKS: dict[str, Side] = {
    "weights that never move": _summed(lambda ops, v: lambda W, x, t: W, _start),
    "a start at zero": _summed(_step, lambda ops, v: ops.zeros_like(v["W"])),
    "the recurrence itself": MANY.lhs,
    "two things collected": lambda ops, v: (
        _summed(_step, _start)(ops, v)
        + ops.collect(
            lambda W, x, t: W @ x, _step(ops, v), v["W"], v["X"], v["T"]
        ) @ ops.zeros_like(v["X"]).T
    ),
}  # fmt: skip


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


def test_the_forgeries_below_have_a_true_neighbour() -> None:
    good = claim(
        lambda ops, v: ops.fold(lambda S, x: S + x @ x.T, v["W"], v["X"]),
        lambda ops, v: v["W"] + v["X"] @ v["X"].T,
    )
    assert len(check(good, Induction(("X",), BASE, NEXT))) == 2


FORGED = {
    "a function of the recurrence": (
        lambda ops, v: -ops.fold(lambda S, x: -S - x @ x.T, v["W"], v["X"]),
        lambda ops, v: -v["W"] + v["X"] @ v["X"].T,
        {},
        "a recurrence alone",
    ),
    "a start that sees all examples": (
        lambda ops, v: ops.fold(lambda S, x: S + x @ x.T, v["X"] @ v["X"].T, v["X"]),
        lambda ops, v: v["X"] @ v["X"].T,
        {},
        "do not see all examples",
    ),
    "a step that sees all examples": (
        lambda ops, v: ops.fold(lambda S, x: S + v["X"] @ v["X"].T, v["W"], v["X"]),
        lambda ops, v: v["W"] + v["X"] @ v["X"].T,
        {},
        "do not see all examples",
    ),
    "examples left out of the induction": (
        lambda ops, v: ops.fold(lambda S, x: S + x @ x.T, v["W"], v["X"]),
        lambda ops, v: v["W"] + v["Y"] @ v["Y"].T,
        {"Y": ("h", "n")},
        "no other matrix of n examples",
    ),
    "a variable named like the block": (
        lambda ops, v: ops.fold(lambda S, x: S + v["x"] @ v["x"].T, v["W"], v["X"]),
        lambda ops, v: v["W"] + v["X"] @ v["X"].T,
        {"x": ("h", "1")},
        "other names than .'x'.",
    ),
    "a variable named like the state": (
        lambda ops, v: ops.fold(lambda S, x: v["S_n"] + x @ x.T, v["W"], v["X"]),
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
        check(claim(lhs, rhs, **more), Induction(("X",), base, NEXT))


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
