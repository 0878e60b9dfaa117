"""The catalogue as Coq lemmas: accepted by the kernel, without axioms; what is wrong is refused."""

import dataclasses
import re
import shutil
from pathlib import Path

import pytest

from proofs.derivations import DERIVATIONS
from proofs.formal.check import (
    CoqMissing,
    FormalVerdict,
    all_lemmas,
    check_lemmas,
    formal_check,
)
from proofs.formal.coq import Lemmas, NotFormal, Printer, identifier
from proofs.formal.expansion import pieces
from proofs.formal.lemmas import lemmas
from proofs.formal.refutations import refutation
from proofs.statements import STATEMENTS, Statement, by_id
from proofs.terms import Term, TermOps, dim, symbol, variables

OPS = TermOps()
NOT_FORMAL: dict[str, str] = {}  # statement: a word of the reason

with_coq = pytest.mark.skipif(
    shutil.which("coqc") is None,
    reason="coqc is not installed: apt install coq libcoq-mathcomp-algebra",
)


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FormalVerdict]:
    """The catalogue's verdicts."""
    found = formal_check(STATEMENTS, tmp_path_factory.mktemp("coq"))
    return {v.id: v for v in found}


@with_coq
def test_every_statement_is_checked_or_has_its_reason(verdicts: dict[str, FormalVerdict]) -> None:
    assert list(verdicts) == [s.id for s in STATEMENTS]
    unlike = {n: v.detail for n, v in verdicts.items() if v.status != "checked"}
    assert set(unlike) == set(NOT_FORMAL), unlike
    assert all(NOT_FORMAL[n] in detail for n, detail in unlike.items())
    assert sum(len(v.lemmas) for v in verdicts.values()) > 2 * len(STATEMENTS)


@with_coq
@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda s: s.id)
def test_its_lemmas_are_the_ones_it_needs(
    statement: Statement, verdicts: dict[str, FormalVerdict]
) -> None:
    if statement.id in NOT_FORMAL:
        pytest.skip(f"not formal: {NOT_FORMAL[statement.id]}")
    kinds = {re.sub(r"^.*\.", "", name) for name in verdicts[statement.id].lemmas}
    wanted = {"differs"} if statement.claim == "false" else {"differs", "equality"}
    assert wanted <= kinds


def planted(*names: str, text: str) -> Lemmas:
    """A text as if it were a statement's."""
    return Lemmas(text=text, names=names)


@with_coq
def test_what_is_wrong_is_refused_by_itself(tmp_path: Path) -> None:
    """Near misses as lemmas, an axiom, an admitted lemma, a lemma that is missing."""
    texts = {"good": planted("good", text="Lemma good : true. Proof. by []. Qed.")}
    near = [
        "linear-attention-dual",
        "squared-loss-gradient",
        "outer-product-sum",
        "causal-chunks",
        "weights-split",
    ]
    for name in near:
        statement = by_id(name)
        texts[name] = lemmas(statement, DERIVATIONS[name], statement.near_miss)
    texts["admitted"] = planted("hole", text="Lemma hole : 0 = 1 :> int. Admitted.")
    texts["axiom"] = planted(
        "used",
        text="Axiom false_one : 0 = 1 :> int.\nLemma used : 0 = 1 :> int. exact: false_one. Qed.",
    )
    texts["absent"] = planted("nowhere", text="")
    texts["last"] = planted("last_one", text="Lemma last_one : true. Proof. by []. Qed.")
    outcomes = check_lemmas(texts, tmp_path)
    assert [n for n, o in outcomes.items() if not o.refusal] == ["good", "last"]
    assert outcomes["good"].accepted == ["good"] and outcomes["last"].accepted == ["last_one"]
    assert "hole" in outcomes["admitted"].refusal and "not proved" in outcomes["admitted"].refusal
    assert "false_one" in outcomes["axiom"].refusal
    assert "nowhere" in outcomes["absent"].refusal
    assert all(not outcomes[n].accepted for n in near)


@with_coq
def test_a_gradient_that_is_not_one_and_sides_that_agree_are_refused(tmp_path: Path) -> None:
    wrong = all_lemmas(by_id("squared-loss-gradient"))
    forged = wrong.text.replace("+ t' * (inner", "- t' * (inner", 1)
    assert forged != wrong.text
    statement = by_id("linear-attention-dual")
    assert statement.near_miss is not None
    agreeing = refutation(statement, statement.near_miss)
    same = re.sub(r"(Lemma differs : )(.*)\n  <> .*\.", r"\1\2\n  <> \2.", agreeing.text)
    assert same != agreeing.text
    texts = {
        "slope": planted(*wrong.names, text=forged),
        "same": planted(*agreeing.names, text=same),
    }
    assert all(o.refusal for o in check_lemmas(texts, tmp_path).values())


def test_without_coq_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CoqMissing, match="no `coqc` on PATH; install it.*libcoq-mathcomp-algebra"):
        formal_check(STATEMENTS[:1], tmp_path)


def test_a_kind_without_a_printed_form_says_so() -> None:
    strange = Term("rotary", (), (dim("m"), dim("n")))  # type: ignore[arg-type] # no such kind
    printer = Printer(symbol=lambda t: t.name, size=lambda d: "n", fold=lambda t: t.name)
    with pytest.raises(NotFormal, match="rotary has no printed form"):
        printer.term(strange)


def test_a_recurrence_without_invariants_says_so() -> None:
    with pytest.raises(NotFormal, match="without invariants"):
        lemmas(by_id("many-steps-dual"), None)


def test_equal_sides_have_no_integers_at_which_they_differ() -> None:
    statement = by_id("context-split")
    with pytest.raises(NotFormal, match="no integers found"):
        refutation(statement, statement.rhs)


def test_a_printed_lemma_reads_as_the_statement() -> None:
    text = lemmas(by_id("linear-attention-dual")).text
    assert "(W + E *m X^T) *m q\n  = W *m q + E *m (X^T *m q)." in text
    assert "Variable R : comRingType." in text


def test_names_that_coq_or_the_package_uses_are_changed() -> None:
    assert [identifier(n) for n in ("W", "exp", ".S", "at")] == ["W", "exp_", "S'", "at_"]
    statement = dataclasses.replace(
        by_id("linear-attention-dual"),
        variables={"W": ("o", "i"), "E": ("o", "q"), "X": ("i", "q"), "q": ("i", "1")},
    )
    assert "(o i q' : nat)" in lemmas(statement).text


def test_the_expansion_of_a_product_has_all_its_powers() -> None:
    U, H = (symbol(n, dim("m"), dim("m")) for n in "UH")
    found = pieces(U @ U.T - U, U, H)
    assert sorted(found) == [0, 1, 2] and found[2] == H @ H.T
    with pytest.raises(NotFormal, match="no exact expansion"):
        pieces(OPS.inverse(U), U, H)


def test_every_statement_prints() -> None:
    for statement in STATEMENTS:
        if statement.id in NOT_FORMAL:
            with pytest.raises(NotFormal, match=NOT_FORMAL[statement.id]):
                all_lemmas(statement)
        else:
            assert all_lemmas(statement).names
        assert variables(statement)
