"""`dualform prove`: what it prints, the document it writes, and how it refuses."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from empirical.cli import proofs as cli
from proofs.derivations import DERIVATIONS
from proofs.statements import EVERYTHING, by_id
from proofs.steps import Direct
from tests.support.study import dualform, error_line


def test_every_statement_is_proved_or_refuted_on_a_line_of_its_own() -> None:
    result = dualform("prove")
    assert result.exit_code == 0 and result.stderr == ""
    lines = [x for x in result.stdout.splitlines() if x.startswith("✓")]
    assert [x.split()[1] for x in lines] == [s.id for s in EVERYTHING]
    assert all(
        ("proved(all sizes)" if s.claim == "true" else "refuted(witness)") in x
        for s, x in zip(EVERYTHING, lines, strict=True)
    )


def test_chosen_statements_alone_are_proved_and_written_as_latex(tmp_path: Path) -> None:
    result = dualform("prove", "context-split", "--latex", tmp_path / "made")
    assert result.exit_code == 0 and "one-step-dual" not in result.stdout
    text = (tmp_path / "made/identities.tex").read_text(encoding="utf-8")
    assert "context-split" in text and "one-step-dual" not in text
    assert str(tmp_path / "made/identities.tex") in result.stdout.replace("\n", "")


def test_the_same_command_writes_the_same_document(tmp_path: Path) -> None:
    for name in "ab":
        assert dualform("prove", "--latex", tmp_path / name).exit_code == 0
    a, b = ((tmp_path / n / "identities.tex").read_bytes() for n in "ab")
    assert a == b


def test_an_unknown_id_is_one_line_that_lists_the_known_ones(tmp_path: Path) -> None:
    line = error_line(dualform("prove", "no-such", "--latex", tmp_path / "o"))
    assert line.startswith("error: expected one of linear-attention-dual, ")
    assert "got 'no-such'" in line and line.endswith("run `dualform prove` for all")


def test_a_folder_that_cannot_be_written_is_refused_before_proving(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    line = error_line(dualform("prove", "--latex", tmp_path / "file"))
    assert line.startswith("error: expected a folder that can be written at ")


def test_a_wrong_step_is_named_and_the_status_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    good = DERIVATIONS["context-split"]
    assert isinstance(good, Direct)
    wrong = dataclasses.replace(
        good.steps[0], after=lambda ops, v: v["W_V"] @ v["X"] @ ((v["W_K"] @ v["X"]).T @ v["q"])
    )
    monkeypatch.setitem(DERIVATIONS, "context-split", Direct((wrong, *good.steps[1:])))
    result = dualform("prove", "context-split")
    assert error_line(result, 1).startswith("refused: expected every statement to come out as")
    assert "✗ context-split" in result.stdout and "undecided" in result.stdout
    assert "expected step 1 of context-split to follow by the rule 'blocks'" in " ".join(
        result.stdout.split()
    )


def test_without_coq_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    line = error_line(dualform("prove", "linear-attention-dual", "--formal", tmp_path / "o"))
    assert line.startswith("error: expected Coq with MathComp for formal proofs, got no `coqc`")
    assert "coq libcoq-mathcomp-ssreflect libcoq-mathcomp-algebra" in line


@pytest.mark.skipif(shutil.which("coqc") is None, reason="coqc is not installed")
def test_formal_proofs_are_written_and_checked(tmp_path: Path) -> None:
    result = dualform("prove", "linear-attention-dual", "--formal", tmp_path)
    assert result.exit_code == 0
    assert "✓ linear-attention-dual" in result.stdout and "Coq: checked" in result.stdout
    assert "linear_attention_dual" in (tmp_path / "identities_1.v").read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("coqc") is None, reason="coqc is not installed")
def test_a_statement_that_coq_refuses_gives_status_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = by_id("linear-attention-dual")
    assert true.near_miss is not None
    wrong = dataclasses.replace(true, rhs=true.near_miss)
    monkeypatch.setattr("proofs.statements.STATEMENTS", (wrong,))
    monkeypatch.setattr(cli, "run_proofs", lambda *_: None)
    result = dualform("prove", "linear-attention-dual", "--formal", tmp_path)
    assert error_line(result, 1).startswith("refused: expected every statement to be checked by")
    assert "✗ linear-attention-dual" in result.stdout and "Coq: refused" in result.stdout


def test_a_fact_of_analysis_has_no_coq_lemma_and_says_so(tmp_path: Path) -> None:
    line = error_line(dualform("prove", "noise-floor", "--formal", tmp_path))
    assert line.startswith("error: expected a statement of matrix algebra for Coq, got noise-floor")
