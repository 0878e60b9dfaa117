"""Tables from records: numbers kept, characters escaped, nothing undefined shown as 0."""

import csv
import dataclasses
import io
import re
import shutil
import subprocess
import sys

import pytest
from rich.console import Console

from empirical.analysis.published import TASKS
from empirical.core.errors import UserError
from empirical.core.undefined import Undefined
from empirical.report.tables import records as tables
from empirical.results.record import Measurement
from tests.support.results.records import record


@pytest.fixture(scope="module")
def records():
    odd = record("cb", seed=2)
    odd = dataclasses.replace(odd, metrics={
        **odd.metrics,
        "rec2ftp": Measurement(value=Undefined("finetuning corrects no zero-shot error")),
        "sim_aou": dataclasses.replace(odd.metrics["sim_aou"], excluded=7),
    })  # fmt: skip
    return (odd, record("grammar & 100%_$#{~^", seed=3), record("sst2"))


def test_rows_come_in_the_order_of_the_paper(records):
    for table in tables.build(records):
        assert [r[1] for r in table.rows][:2] == ["sst2", "cb"]
        assert all(len(r) == len(table.headings) for r in table.rows)


def test_the_tables_hold_ours_beside_the_published(records):
    found = {t.id: t for t in tables.build(records)}
    assert list(found) == [
        "accuracy", "rec2ftp", "sim_aou", "sim_am", "kendall", "kendall_examples",
    ]  # fmt: skip
    kendall = dict(zip(found["kendall"].headings, found["kendall"].rows[0], strict=True))
    tau = records[2].metrics["kendall"]
    assert kendall["tokens"] == f"{tau.value:.3f} [{tau.low:.3f}, {tau.high:.3f}]"
    assert (kendall["tokens, 1.3B"], kendall["U[0,1), 1.3B"]) == ("0.192", "0.000")
    row = dict(zip(found["rec2ftp"].headings, found["rec2ftp"].rows[0], strict=True))
    ours = records[2].metrics["rec2ftp"]
    assert row["Rec2FTP, 1.3B"] == "91.84"
    assert row["Rec2FTP"] == (
        f"{ours.value:.1f} [{ours.low:.1f}, {ours.high:.1f}] {ours.numerator}/{ours.denominator}"
    )
    accuracy = dict(zip(found["accuracy"].headings, found["accuracy"].rows[0], strict=True))
    assert accuracy["ICL, 1.3B"] == "92.7"
    assert found["accuracy"].rows[2][-1] == "not published"


def test_seeds_of_one_task_are_rows_of_their_own():
    one = record("sst2")
    two = dataclasses.replace(one, provenance=dataclasses.replace(one.provenance, seed=2))
    rows = tables.build([two, one, record("cb")])[0].rows
    assert [r[1] for r in rows] == ["sst2, seed 1", "sst2, seed 2", "cb", "mean"]


def test_means_over_the_six_tasks_are_the_printed_averages_and_gaps_are_named(records):
    six = [record(task, seed=i) for i, task in enumerate(TASKS)]
    found = {t.id: dict(zip(t.headings, t.rows[-1], strict=True)) for t in tables.build(six)}
    assert found["rec2ftp"]["task"] == "mean"
    assert found["rec2ftp"]["Rec2FTP, 1.3B"] == "85.56"  # the paper's own average
    ours = [r.metrics["sim_aou"].value for r in six]
    assert found["sim_aou"]["SimAOU"] == f"{sum(ours) / 6:.3f}"
    assert all(t.rows[-1][1] == "sst2" for t in tables.build(six[:1]))  # one task has no mean
    gaps = {t.id: dict(zip(t.headings, t.rows[-1], strict=True)) for t in tables.build(records)}
    assert gaps["rec2ftp"]["Rec2FTP"] == "of 2 rows only"


def test_a_single_model_stands_in_the_title_and_the_shared_note_comes_once(records, tmp_path):
    console = Console(width=80, record=True, file=io.StringIO())
    for shown in tables.write_all(records, tmp_path):
        console.print(shown)
    text = " ".join(console.export_text().split())
    assert text.count("another, larger model") == 1 and "…" not in text
    assert text.count(": tiny_model|1 ┏") == len(tables.LAYOUTS)


def test_undefined_is_shown_with_its_reason_and_never_as_zero(records):
    table = {t.id: t for t in tables.build(records)}["rec2ftp"]
    assert table.rows[1][2] == "undefined (finetuning corrects no zero-shot error)"


def test_notes_name_the_floor_the_base_rate_and_the_before_value(records):
    notes = {t.id: " ".join(t.notes) for t in tables.build(records)}
    beside = [n for name, n in notes.items() if name != "kendall_examples"]  # nothing published
    assert all("another, larger model" in n and "2212.10559" in n for n in beside)
    assert "chance" not in notes["kendall"] and "unrelated" in notes["kendall_examples"]
    assert (
        "base rate" in notes["rec2ftp"]
        and "floor: " in notes["sim_aou"]
        and "matched: " in notes["sim_aou"]
    )
    assert "'after' against 'before'" in notes["sim_am"]
    assert "7 of 90 left out" in notes["sim_aou"]


def test_markdown_has_as_many_bars_in_every_row(records):
    for table in tables.build(records):
        lines = [x for x in tables.to_markdown(table).splitlines() if x.startswith("|")]
        assert len(lines) == 2 + len(records) + 1  # the means
        counts = {len(re.findall(r"(?<!\\)\|", x)) for x in lines}
        assert counts == {len(table.headings) + 1}


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.123456789, "0.123457"), (-1234567.8, "-1.23457e+06"), (3.4e-17, "0"), (-3.4e-17, "0"),
     (2.5e-7, "2.5e-07"), (None, ""), (Undefined("why"), "")],
)  # fmt: skip
def test_a_number_in_csv_has_six_digits_and_no_rounding_noise(value, text):
    assert tables.csv_number(value) == text


def test_csv_holds_every_number(records):
    rows = list(csv.DictReader(io.StringIO(tables.to_csv(records))))
    got = [r for r in rows if r["task"] == "sst2" and r["metric"] == "sim_aou"]
    assert [float(r["value"]) for r in got] == [
        pytest.approx(records[2].metrics["sim_aou"].value, rel=5e-6)
    ]
    (undefined,) = [r for r in rows if r["undefined_because"]]
    assert undefined["value"] == ""
    published = [r for r in rows if r["origin"] == "published" and r["metric"] == "SimAM_after"]
    assert {r["task"]: float(r["value"]) for r in published} == {"sst2": 0.585, "cb": 0.177}


def test_latex_escapes_what_tex_reserves(records):
    text = tables.latex_document(tables.build(records))
    assert r"grammar \& 100\%\_\$\#\{\textasciitilde{}\textasciicircum{}" in text
    assert r"\toprule" in text and text.isascii()


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(records, tmp_path):
    tables.write_all(records, tmp_path)
    subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "tables.tex"],
        cwd=tmp_path, check=True, capture_output=True, timeout=60,
    )  # fmt: skip


def test_terminal_tables_print_brackets_as_text(records, tmp_path):
    console = Console(width=250, file=io.StringIO())
    for item in tables.write_all(records, tmp_path):
        console.print(item)
    ours = records[2].metrics["icl_accuracy"]
    assert f"[{ours.low:.1f}, {ours.high:.1f}]" in console.file.getvalue()
    assert {p.name for p in tmp_path.iterdir()} == {"tables.md", "tables.csv", "tables.tex"}


def test_no_records_are_refused(tmp_path):
    with pytest.raises(UserError, match="expected at least one record, got none"):
        tables.write_all((), tmp_path)


def test_tables_load_no_torch():
    code = "import sys, empirical.report.tables.records; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_rule_behind_seed_and_rate_and_every_departure_are_said_once(records):
    made = dataclasses.replace(
        records[2].provenance, protocol="sound", k_asked=3, limit=9, position="prompt",
        seed_selection=(),
    )  # fmt: skip
    odd = dataclasses.replace(records[2], provenance=made)
    found = {
        t.id: " ".join(t.notes)
        for t in tables.build([odd, record("cb", seed=2), record("mr", seed=3)])
    }
    assert (
        "tiny_model|1: protocol sound, rate chosen on training rows, k = 3 asked for, 9 evaluation "
        "rows at most, recorded at position prompt."
    ) in found["accuracy"]
    assert found["accuracy"].count("protocol quick, rate chosen on training rows, seed chosen") == 1
    assert all("protocol sound" not in n for name, n in found.items() if name != "accuracy")
    rows = list(csv.DictReader(io.StringIO(tables.to_csv([odd]))))
    ours = [r for r in rows if r["origin"] == "measured"]
    assert {(r["protocol"], r["seed"], r["rate"], r["rates_on"]) for r in ours} == {
        ("sound", "1", "0.01", "training")
    }
    assert {r["rates_on"] for r in rows if r["origin"] == "published"} == {""}
