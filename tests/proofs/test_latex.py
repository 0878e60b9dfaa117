"""The derivations as LaTeX: printed as stated, and compiled by a real TeX."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from proofs.rules import RULES
from proofs.statements import STATEMENTS, by_id
from proofs.terms import TermOps, dim, symbol, variables
from proofs.tex import EQUATIONS, document, prose, tex
from proofs.verdict import prove

pytestmark = pytest.mark.dual_form

OPS = TermOps()


def compiled(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """pdflatex on a document, in `folder`."""
    (folder / "identities.tex").write_text(text, encoding="utf-8")
    return subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "identities.tex"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_the_document_compiles_without_a_line_that_sticks_out(tmp_path: Path) -> None:
    run = compiled(document([prove(s) for s in STATEMENTS]), tmp_path)
    assert run.returncode == 0, run.stdout[-2000:]
    assert (tmp_path / "identities.pdf").stat().st_size > 10_000
    log = (tmp_path / "identities.log").read_text(encoding="latin-1")
    assert not re.findall(r"Overfull|Undefined|Missing character|LaTeX Warning: [^L]", log)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_the_compile_check_sees_a_double_superscript(tmp_path: Path) -> None:
    text = document([]).replace(r"\end{document}", r"$x'_i^{\top}$\end{document}")
    assert compiled(text, tmp_path).returncode != 0


def test_every_statement_appears_with_its_id_verdict_and_rules() -> None:
    text = document([prove(s) for s in STATEMENTS])
    for statement in STATEMENTS:
        assert prose(statement.id) in text
    assert text.count(r"\textbf{proved(all sizes)}") == sum(s.claim == "true" for s in STATEMENTS)
    assert text.count(r"\textbf{refuted(witness)}") == sum(s.claim == "false" for s in STATEMENTS)
    assert set(EQUATIONS) == {rule.name for rule in RULES}


def test_a_side_is_printed_as_it_was_written() -> None:
    statement = by_id("linear-attention-dual")
    v = variables(statement)
    assert tex(statement.lhs(OPS, v)) == r"\left(W + E X^{\top}\right) q"
    assert tex(statement.rhs(OPS, v)) == r"W q + E \left(X^{\top} q\right)"
    assert statement.near_miss is not None
    assert tex(statement.near_miss(OPS, v)) == r"W q - E \left(X^{\top} q\right)"


def test_parentheses_stand_where_grouping_differs_and_only_there() -> None:
    a, b = (symbol(n, dim("h"), dim("h")) for n in "AB")
    assert tex(a @ b @ a) == "A B A"
    assert tex(a @ (b @ a)) == r"A \left(B A\right)"
    assert tex(a - (b - a)) == r"A - \left(B - A\right)"
    assert tex((a + b).T) == r"\left(A + B\right)^{\top}"
    assert tex(a.T.T) == r"\left(A^{\top}\right)^{\top}"
    assert tex((-a) @ b) == r"\left(-A\right) B"


def test_words_become_formulas_and_special_characters_are_escaped() -> None:
    assert prose("W_V moves by E_V Z^T & 5 %") == r"$W_{V}$ moves by $E_{V}$ $Z^{\top}$ \& 5 \%"
    assert prose("A layer") == "A layer"
