"""The README shows what the committed results hold, and only commands that exist."""

import csv
import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from empirical.analysis.verdicts import CONTRADICTED, OPEN, SUPPORTED, UNTESTED
from empirical.cli import terminal_tables
from empirical.report.analysis import analyse, controls_csv, momentum_csv, verdicts_csv
from empirical.report.results import read_results
from empirical.report.tables import records as tables
from empirical.report.tables.record_columns import LAYOUTS
from empirical.report.tables.record_rows import build
from empirical.results import identity_checks, record as records
from tests.support.paths import ROOT
from tests.support.printed import held_printed, same_printed
from tests.support.study import dualform

README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = ROOT / "docs" / "results"
STATUSES = (SUPPORTED, OPEN, CONTRADICTED, UNTESTED)


def rendered(shown: object) -> str:
    """As on a terminal of 80 columns, without spaces at the ends of lines."""
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(shown)
    return "\n".join(line.rstrip() for line in console.export_text().splitlines())


@pytest.mark.parametrize("index", range(len(LAYOUTS)), ids=lambda i: LAYOUTS[i].id)
def test_each_table_in_the_readme_is_that_of_the_committed_records(index: int) -> None:
    table = build(records.read_all(RESULTS / "embedded"))[index]
    text = rendered(tables.to_rich(table))
    body = text[: text.rindex("┘") + 1]
    held_printed(body, README)


def test_the_overview_of_the_checks_is_that_of_the_committed_files() -> None:
    values = [
        identity_checks.read(RESULTS / "embedded" / f"checks-embedded-{t}.json")
        for t in ("sst2", "sst5", "mr", "subj", "agnews", "cb")
    ]
    held_printed(rendered(terminal_tables.overview_table(values)).strip(), README)


STUDIES = sorted(p.parent.name for p in RESULTS.glob("*/tables.md"))


def test_every_folder_of_records_is_compared() -> None:
    assert {"embedded", "embedded-real", "random-125M"} <= set(STUDIES)


@pytest.mark.parametrize("folder", STUDIES)
def test_committed_tables_are_those_of_the_committed_records(folder: str, tmp_path: Path) -> None:
    tables.write_all(records.read_all(RESULTS / folder), tmp_path)
    for name in ("tables.md", "tables.csv", "tables.tex"):
        same_printed(
            *((f / name).read_text(encoding="utf-8") for f in (tmp_path, RESULTS / folder))
        )


SHOWN = ("embedded-study", "reader-study")  # whose verdicts the README shows, in this order
MODELS = "momentum-nano"
JUDGED = sorted(p.parent.name for p in RESULTS.glob("*/verdicts.csv"))


def test_the_study_with_all_controls_is_compared() -> None:
    assert {*SHOWN, MODELS} <= set(JUDGED)


@pytest.mark.parametrize("folder", JUDGED)
def test_committed_verdicts_are_those_of_the_committed_evidence(folder: str) -> None:
    results = read_results(RESULTS / folder)
    found = analyse(results)
    committed = (RESULTS / folder / "verdicts.csv").read_text(encoding="utf-8")
    same_printed(verdicts_csv(found.verdicts), committed)
    if folder == MODELS:
        whole = (RESULTS / folder / "momentum.csv").read_text(encoding="utf-8")
        same_printed(momentum_csv(found.momentum), whole)
    else:
        whole = (RESULTS / folder / "controls.csv").read_text(encoding="utf-8")
        same_printed(controls_csv(found.compared), whole)


def test_the_verdicts_in_the_readme_are_those_of_the_committed_results() -> None:
    rows = [
        row
        for folder in (*SHOWN, MODELS)
        for row in csv.DictReader(
            io.StringIO((RESULTS / folder / "verdicts.csv").read_text("utf-8"))
        )
    ]
    shown = [
        line
        for line in README.splitlines()
        if line.startswith("| ") and any(f" | {status} | " in line for status in STATUSES)
    ]
    assert len(shown) == len(rows)
    for line, row in zip(shown, rows, strict=True):
        digits = 1 if row["metric"].startswith("rec2ftp") else 3
        expected = [f" | {row['status']} | "]
        if row["difference"]:
            value, low, high = (
                f"{float(row[k]):.{digits}f}"
                for k in ("difference", "difference_low", "difference_high")
            )
            expected += [f"| `{row['control']}` | {value} [{low}, {high}] |"]
        assert all(part in line for part in expected), (line, expected)


RANDOM = {
    "sim_aou_unnormalised": "SimAOU, not normalised",
    "sim_am_gain": "SimAM after − before",
    "sim_am_delta": "SimAM_Δ",
    "kendall": "Kendall, tokens",
    "kendall_examples": "Kendall, demonstrations",
    "sim_aou": "SimAOU",
}


def test_what_random_models_read_is_that_of_the_committed_studies() -> None:
    page = (ROOT / "docs" / "calibration.md").read_text(encoding="utf-8")
    tables = {f: (RESULTS / f / "controls.csv").read_text("utf-8") for f in SHOWN}
    held = 0
    for metric, name in RANDOM.items():
        cells = []
        for control in ("untrained", "random_blocks"):
            for folder in SHOWN:
                rows = [
                    r
                    for r in csv.DictReader(io.StringIO(tables[folder]))
                    if (r["metric"], r["control"]) == (metric, control)
                ]
                read = [float(r["under_control"]) for r in rows]
                inside = sum(
                    float(r["under_control_low"]) <= 0 <= float(r["under_control_high"])
                    for r in rows
                )
                cells.append(f"{inside} of {len(rows)}: {min(read):.2f} to {max(read):.2f}")
                held += inside if name not in ("SimAOU", "Kendall, demonstrations") else 0
        assert f"| {name} | {' | '.join(cells)} |" in page
    assert f"In the first four rows {held} of 96 intervals hold it" in page


def test_commands_in_the_readme_exist() -> None:
    named = set(re.findall(r"^(?:\.venv/bin/)?dualform ([a-z]+)", README, re.M))
    assert {"prove", "check", "reproduce", "report"} <= named
    for name in named:
        assert dualform(name, "--help").exit_code == 0
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make ([a-z]+)", README, re.M):
        assert f"\n{target}:" in makefile
