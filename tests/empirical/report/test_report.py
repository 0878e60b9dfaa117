"""The report's page and files: what is in them, and that they need nothing else."""

import csv
import io
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from empirical.analysis.claims import QUALIFIES
from empirical.analysis.comparisons import compare
from empirical.analysis.published_verdicts import readings
from empirical.analysis.verdicts import verdicts as judge_all
from empirical.core.errors import UserError
from empirical.core.json_files import dumps, write_text
from empirical.core.undefined import Undefined
from empirical.report import names, write_report
from empirical.report.analysis import analyse
from empirical.report.commands import merged
from empirical.report.figures import per_layer, strongest_controls
from empirical.report.render.blocks import Details
from empirical.report.render.page import interval_parts
from empirical.report.results import read_results
from empirical.report.sections import controls, published_numbers
from empirical.report.sections import verdicts as verdict_section
from empirical.report.sections.confusion import confusion
from empirical.report.sections.paper_tables import pooled
from empirical.report.tables import grid as grids
from empirical.report.tables import records as tables
from empirical.results import record as records
from empirical.results.record import Measurement
from tests.support.results.control_results import World, cells
from tests.support.results.report import RESULTS, full_folder

VOID = {"meta", "link", "br", "img", "hr", "input", "mspace"}


class Page(HTMLParser):
    """Elements in order, with attributes and their own text; refuses tags that do not pair."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[int] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.texts.append("")
        if tag not in VOID:
            self.open.append(len(self.elements) - 1)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.elements[self.open.pop()][0] == tag

    def handle_data(self, data: str) -> None:
        for place in self.open:
            self.texts[place] += data

    def all(self, *tags: str) -> list[tuple[dict[str, str | None], str]]:
        return [
            (attributes, " ".join(text.split()))
            for (tag, attributes), text in zip(self.elements, self.texts, strict=True)
            if tag in tags
        ]


OTHER_HASHES = {"PYTHONHASHSEED": "12345"}  # whatever order sets come in


def made(path: Path) -> Path:
    return full_folder(path, seeds=(1, 2), tasks=("sst2",))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = made(tmp_path_factory.mktemp("report"))
    paths = write_report(path)
    assert len(paths) > 40 and paths[0].name == "report.html"
    return path


@pytest.fixture(scope="module")
def text(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bare")
    path = RESULTS / "record-embedded-cb-s1.json"
    (made / path.name).write_bytes(path.read_bytes())
    write_report(made)
    return made


HEAVY = {"torch", "transformers", "datasets", "sympy", "selenium", "pandas"}


@pytest.mark.parametrize(("also", "loaded"), [("sys", set()), ("sympy", {"sympy"})])
def test_a_report_loads_no_model_library(also: str, loaded: set[str]) -> None:
    code = f"import empirical.report, sys, {also}\nprint(sorted({HEAVY!r} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == str(sorted(loaded))


def test_another_process_writes_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    again = made(tmp_path / "x")
    code = f"import pathlib, empirical.report as r; r.write_report(pathlib.Path({str(again)!r}))"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, **OTHER_HASHES})
    first, second = (sorted(p for p in x.rglob("*") if p.is_file()) for x in (folder, again))
    assert len(first) > 40 and [p.name for p in first] == [p.name for p in second]
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes(), one.name


def test_nothing_outside_the_folder_is_named(text: str, page: Page, folder: Path) -> None:
    named = [v for _, a in page.elements for k, v in a.items() if k in ("href", "src", "srcset")]
    inside = [v for v in named if v and not v.startswith(("#", "data:,"))]
    assert inside and all((folder / v).is_file() for v in inside)
    assert not re.search(r"url\((?!#)|@import|<script|<iframe|<object", text)


def test_every_link_inside_the_page_has_its_target_and_no_name_comes_twice(page: Page) -> None:
    names = Counter(a["id"] for _, a in page.elements if "id" in a)
    assert max(names.values()) == 1
    links = [a["href"][1:] for _, a in page.elements if (a.get("href") or "").startswith("#")]
    pointed = [
        x
        for _, a in page.elements
        for k in ("aria-labelledby", "aria-describedby")
        for x in (a.get(k) or "").split()
    ]
    assert len(links) > 7 and set(links) | set(pointed) <= set(names)


def test_headings_descend_one_by_one_and_landmarks_are_there(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b <= a + 1 for a, b in zip(levels, levels[1:], strict=False))
    tags = Counter(tag for tag, _ in page.elements)
    assert tags["main"] == tags["nav"] == tags["header"] == tags["footer"] == 1
    (html,) = page.all("html")
    assert html[0]["lang"] == "en"
    skip = page.all("a")[0]
    assert skip[0]["class"] == "skip" and skip[0]["href"] == "#verdicts"


def test_the_verdicts_come_first(page: Page) -> None:
    sections = [a["id"] for a, _ in page.all("section")]
    assert sections[0] == "verdicts" and sections[-1] == "runs"


def test_every_table_has_a_caption_headings_with_a_scope_and_a_frame_to_scroll(page: Page) -> None:
    tags = Counter(tag for tag, _ in page.elements)
    assert tags["table"] == tags["caption"] == tags["thead"] > 10
    assert all(text for _, text in page.all("caption"))
    assert {a.get("scope") for a, _ in page.all("th")} == {"row", "col"}
    frames = [a for a, _ in page.all("div") if a.get("class") == "scroll"]
    assert len(frames) == tags["table"] and all(a["tabindex"] == "0" for a in frames)


def test_the_tables_of_the_page_hold_the_numbers_of_the_records(bare: Path) -> None:
    cells = Counter(text for _, text in Page((bare / "report.html").read_text()).all("td", "th"))
    built = tables.build(records.read_all(bare))
    wanted = Counter(c for t in built for row in t.rows for c in row[1:])
    assert wanted and not wanted - cells


def test_a_folder_without_evidence_says_what_to_run(bare: Path) -> None:
    page = Page((bare / "report.html").read_text())
    missing = [text for a, text in page.all("div") if a.get("class") == "missing"]
    assert len(missing) >= 5 and all("dualform" in x for x in missing)
    asked = "dualform reproduce --model embedded --task cb --seed 1"
    assert sum(asked in x and "--control" in x for x in missing) >= 4


def test_a_folder_without_records_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected files record-"):
        write_report(tmp_path)


def test_names_are_text_and_never_markup(tmp_path: Path) -> None:
    one = records.read(RESULTS / "record-embedded-cb-s1.json")
    name = "<script>alert(1)</script>&\"'"
    records.write(replace(one, provenance=replace(one.provenance, model=name)), tmp_path)
    text = write_report(tmp_path)[0].read_text()
    assert "<script" not in text and "&lt;script&gt;alert(1)" in text
    Page(text)


def test_a_damaged_file_of_timings_changes_no_number(bare: Path, tmp_path: Path) -> None:
    for path in bare.glob("record-*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "timing.json").write_text("{")
    assert write_report(tmp_path)[0].read_bytes() == (bare / "report.html").read_bytes()


def test_seconds_and_memory_of_a_cell_are_shown(bare: Path, tmp_path: Path) -> None:
    for path in bare.glob("record-*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    spent = {"total": 1234.5, "peak_memory_gib": 6.78}
    write_text(tmp_path / "timing.json", dumps({"record-embedded-cb-s1": spent}))
    text = write_report(tmp_path)[0].read_text()
    assert "1234.5" in text and "6.78" in text
    assert "1234.5" not in (bare / "report.html").read_text()


def test_confusion_counts_what_a_loop_counts() -> None:
    g = np.random.default_rng(0)
    labels, answered = g.integers(0, 4, 300), g.integers(0, 4, 300)
    slow = [[0] * 4 for _ in range(4)]
    for right, said in zip(labels.tolist(), answered.tolist(), strict=True):
        slow[right][said] += 1
    assert confusion(labels, answered, 4).tolist() == slow
    assert confusion(answered, labels, 4).tolist() != slow  # rows are right, columns are said


def test_several_seeds_are_one_row_with_the_outermost_ends() -> None:
    found = pooled(
        [
            Measurement(value=1.0, low=0.5, high=1.5, numerator=1, denominator=4, excluded=1),
            Measurement(value=2.0, low=1.25, high=4.0, numerator=2, denominator=5),
            Measurement(value=Undefined("no"), low=None, high=None, numerator=0, denominator=0),
        ]
    )
    assert (found.value, found.low, found.high) == (1.5, 0.5, 4.0)
    assert (found.numerator, found.denominator, found.excluded) == (3, 9, 1)


def test_all_seeds_undefined_stay_undefined_with_the_reason() -> None:
    gone = Measurement(value=Undefined("nothing to divide"))
    assert pooled([gone, gone]).value == Undefined("nothing to divide")


def test_each_seed_stands_behind_a_summary(page: Page) -> None:
    heads = [text for a, text in page.all("th") if a.get("scope") == "row"]
    assert "sst2" in heads and "sst2, seed 1" in heads and "sst2, seed 2" in heads
    place = [i for i, (tag, a) in enumerate(page.elements) if a.get("id") == "paper-accuracy-seeds"]
    before = [tag for tag, _ in page.elements[: place[0]]]
    assert before.count("details") > 0


@pytest.mark.parametrize(
    ("effect", "word", "status"),
    [(0.2, "Supported", "yes"), (-0.2, "Contradicted", "no"), (0.0, "Not distinguishable", "open")],
)
def test_a_card_says_what_was_judged_in_words_and_with_the_deciding_numbers(
    effect: float, word: str, status: str
) -> None:
    compared = compare(cells(world=World(effect=effect)))
    judged = [v for v in judge_all(compared) if v.claim.id == "representation"]
    card = verdict_section.card(judged[0], 0)
    one = judged[0].deciding
    assert one is not None and card.word.startswith(word) and card.status == status
    (label, number), *_ = card.numbers
    gap = one.difference
    assert number == f"{gap.value:.3f} [{gap.low:.3f}, {gap.high:.3f}]"
    assert names.control(one.control) in label and names.control(one.control) in card.sentence
    assert card.link == "controls-0-sim-aou"


def test_a_claim_that_cannot_be_tested_says_why_and_has_no_numbers() -> None:
    judged = judge_all(compare(cells(seeds=(1,))))
    card = verdict_section.card(judged[0], 0)
    assert card.word == "Not testable here" and card.numbers == () and card.status == "untested"
    assert "2 or more are needed" in card.sentence and not card.sentence.startswith("Not test")


def test_a_misread_metric_decides_no_claim(folder: Path) -> None:
    results = read_results(folder)
    found = {v.claim.id: v for v in analyse(results).verdicts}
    assert found["tokens"].status == "not testable here"
    assert "half of what it has to be" in found["tokens"].sentence
    without = analyse(replace(results, calibration=None)).verdicts
    assert {v.claim.id: v for v in without}["tokens"].status != "not testable here"


def test_every_card_leads_to_the_controls_of_its_metric(page: Page) -> None:
    links = [a["href"] for a, text in page.all("a") if text.startswith("Every control")]
    tables_ = {f"#{a['id']}" for a, _ in page.all("table")}
    assert len(links) == 7 and set(links) <= tables_
    marks = [text for a, text in page.all("span") if a.get("class") == "mark"]
    assert len(marks) == 8 and set(marks) <= set("✓✗≈○")


def test_the_grid_of_a_metric_holds_its_differences_and_says_why_some_are_missing() -> None:
    world = World(left_out=("untrained",))
    compared = compare(cells(world=world))
    grid = controls.grid(compared, "tiny_model|1", "sim_aou", ["sst2", "cb"], "0")
    rows = {row[0]: row[1:] for row in grid.rows}
    for one in compared.of("tiny_model|1", "sim_aou"):
        place = ["sst2", "cb"].index(one.task)
        label = f"less {names.control(one.control)}{'*' * one.required}"
        gap = one.difference
        if one.control == "untrained":
            assert rows[label][place] == "undefined (1)"
        else:
            assert rows[label][place] == f"{gap.value:.3f} [{gap.low:.3f}, {gap.high:.3f}]"
    assert grid.notes == ("(1) the control was not run (--control untrained)",)
    ours = compared.of("tiny_model|1", "sim_aou")[0].ours
    assert rows["measured"][1].startswith(f"{ours.value:.3f} [")  # tasks come by name: cb


def test_a_gain_is_shown_as_a_gain() -> None:
    compared = compare(cells(world=World()))
    own = compared.of("tiny_model|1", "sim_am_gain")
    shown = controls.measured([c for c in own if c.task == "cb"])
    line = next(c for c in own if c.task == "cb" and c.control == "sim_am_before")
    assert shown == line.difference != line.ours


def read_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def test_files_of_controls_and_verdicts_hold_six_digits_of_what_was_computed(folder: Path) -> None:
    analysis = analyse(read_results(folder))
    rows = read_csv(folder / "controls.csv")
    assert len(rows) == len(analysis.compared.comparisons) > 100
    for row, one in zip(rows, analysis.compared.comparisons, strict=True):
        assert (row["task"], row["metric"], row["control"]) == (one.task, one.metric, one.control)
        value = one.difference.value
        if isinstance(value, Undefined):
            assert row["difference"] == ""
        else:
            assert float(row["difference"]) == pytest.approx(value, rel=5e-6, abs=5e-13)
    judged = read_csv(folder / "verdicts.csv")
    assert [r["status"] for r in judged] == [v.status for v in analysis.verdicts]
    assert [r["sentence"] for r in judged] == [v.sentence for v in analysis.verdicts]


def test_markdown_of_controls_and_verdicts_has_as_many_bars_in_every_row(folder: Path) -> None:
    for name in ("controls.md", "verdicts.md"):
        blocks = re.split(r"\n## ", (folder / name).read_text())[1:]
        assert blocks
        for block in blocks:
            lines = [x for x in block.splitlines() if x.startswith("|")]
            assert len({len(re.findall(r"(?<!\\)\|", x)) for x in lines}) == 1 and len(lines) > 2


@pytest.mark.parametrize("name", ["verdicts", "controls"])
def test_latex_of_controls_and_verdicts_compiles(folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "x.tex").write_bytes((folder / f"{name}.tex").read_bytes())
    assert shutil.which("pdflatex"), "expected pdflatex on the PATH; install texlive-latex-base"
    subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "x.tex"],
        cwd=tmp_path, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    assert (tmp_path / "x.pdf").stat().st_size > 10_000
    assert r"\toprule" in (tmp_path / "x.tex").read_text()


def test_tex_gets_what_its_fonts_have() -> None:
    assert grids.tex("ΔW → λ_2 “a” − 漢") == r"$\Delta$W $\rightarrow$ $\lambda$\_2 ``a'' $-$ ?"


def test_readings_of_known_models_are_told_right_from_wrong(page: Page) -> None:
    rows = [text for a, text in page.all("tr")]
    one = next(x for x in rows if "half of what it has to be" in x)
    assert "✗ wrong" in one and "0.500" in one and "highest, within 1.0e-14" in one
    assert any("✓ right" in x and "above 0.500, the highest of 99" in x for x in rows)
    assert any("2 of 2" in x and "in [0.200, 0.400]" in x for x in rows)
    assert any("undefined" in x and "not judged" in x and "no score changes" in x for x in rows)
    said = [text for _, text in page.all("p") if text.startswith("Known models")]
    assert said[0].startswith(
        "Known models: 4 of 5 readings could be judged, wrong: Kendall’s τ, tokens of one_step."
    )


def test_every_metric_and_control_of_the_claims_has_a_name_for_readers() -> None:
    used = set(QUALIFIES)
    for by in QUALIFIES.values():
        used |= {*by.base_lines, *by.required, *by.shown_base_lines, *by.shown}
    assert len(used) > 30 and not used - {*names.METRICS, *names.CONTROLS}
    assert names.spelled("above untrained by 1, untrainedly") == (
        "above “model: fully random” by 1, untrainedly"
    )


def test_several_models_stand_apart(tmp_path: Path) -> None:
    results = read_results(full_folder(tmp_path, seeds=(1, 2), tasks=("cb",)))

    def renamed(x):  # type: ignore[no-untyped-def] # a record or evidence
        return replace(x, provenance=replace(x.provenance, model="other"))

    both = replace(
        results, records=(*results.records, *map(renamed, results.records)),
        evidence=(*results.evidence, *map(renamed, results.evidence)),
    )  # fmt: skip
    analysis = analyse(both)
    first = verdict_section.section(both, analysis.verdicts)
    assert [b.heading for b in first.blocks if b.kind == "cards"] == ["embedded", "other"]
    figures = strongest_controls.figures(both, analysis.compared)
    assert [f.id for f in figures] == ["overview", "overview-2"]
    layers = per_layer.figure(both, per_layer.CURVES[0])
    assert layers is not None
    assert [p.title for p in layers.panels] == ["embedded, cb", "other, cb"]
    found = [g.id for g in controls.every_grid(both, analysis.compared)]
    assert len(found) == len(set(found)) and any(x.startswith("controls-1-") for x in found)


def test_commands_that_differ_in_the_task_alone_become_one() -> None:
    common = ("dualform", "reproduce", "--task")
    found = merged(
        [(*common, "cb", "--seed", "1"), (*common, "sst2", "--seed", "1"), (*common, "cb"),
         (*common, "sst2", "--seed", "1"), ("dualform", "a b")]
    )  # fmt: skip
    assert found == (
        "dualform reproduce --task sst2 --task cb --seed 1",
        "dualform reproduce --task cb",
        "dualform 'a b'",
    )


@pytest.mark.parametrize(
    ("cell", "parts"),
    [
        ("93.6 [91.1, 95.4]", ("93.6", "[91.1, 95.4]", "")),
        ("94.6 [88.8, 97.5] 106/112", ("94.6", "[88.8, 97.5]", "106/112")),
        ("0.5", ("0.5", "", "")),
    ],
)
def test_an_interval_is_set_apart(cell: str, parts: tuple[str, str, str]) -> None:
    assert interval_parts(cell) == parts


def test_every_printed_reading_stands_in_the_report_once_with_its_status() -> None:
    rows = [
        row
        for block in published_numbers.section().blocks
        if isinstance(block, Details)
        for table in block.blocks
        for row in table.grid.rows
    ]
    found = readings()
    assert len(rows) == len(found) == 50
    for row, one in zip(rows, found, strict=True):
        assert row == (one.model, one.task, verdict_section.WORDS[one.status], one.sentence)
    claims = {p.claim for p in found}
    assert claims == set(published_numbers.TITLES)
    # Without the controls no claim of the paper is supported by its tables alone.
    assert not any(
        p.status == "supported" for p in found if p.claim not in ("icl_accuracy", "ft_accuracy")
    )
