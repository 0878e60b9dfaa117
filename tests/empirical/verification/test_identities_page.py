"""The generated page of identities is that of today."""

from pathlib import Path

import pytest

from empirical.core.errors import UserError
from empirical.verification.identities_page import page, rounding
from proofs.statements import EVERYTHING
from tests.support.paths import ROOT

pytestmark = pytest.mark.dual_form

PAGE = ROOT / "docs" / "identities.md"


def test_the_committed_page_is_what_would_be_written_now() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "stale: run `make identities`"


def test_every_statement_has_a_row_and_none_is_undecided() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"| `{s.id}`<br>" in text for s in EVERYTHING)
    assert "undecided" not in text


def test_a_missing_or_damaged_summary_is_one_clear_error(tmp_path: Path) -> None:
    damaged = tmp_path / "cpu.json"
    damaged.write_text('{"cells": [{}]}')
    for path in (tmp_path / "none.json", damaged):
        with pytest.raises(UserError, match=r"fuzz summary .*run `make deep` first"):
            rounding(path)
