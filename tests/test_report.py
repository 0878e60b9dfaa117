"""The report's page and files: what is in them, and that they need nothing else."""

import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from empirical import records, tables
from empirical.errors import UserError
from empirical.jsonfile import dumps, write_text
from empirical.metrics import Undefined
from empirical.records import Measurement
from empirical.report import write_report
from empirical.report.commands import merged
from empirical.report.page import interval_parts
from empirical.report.sections.answers import confusion
from empirical.report.sections.paper import pooled
from tests._report import RESULTS, full_folder

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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = full_folder(tmp_path_factory.mktemp("report"), seeds=(1, 2), tasks=("agnews", "sst2"))
    write_report(made)
    return made


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


def test_the_same_folder_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    one, two = (full_folder(tmp_path / name, tasks=("cb",)) for name in "ab")
    paths = write_report(one)
    assert len(paths) > 20 and paths[0].name == "report.html"
    for first, second in zip(paths, write_report(two), strict=True):
        assert first.read_bytes() == second.read_bytes(), first.name
    other = (folder / "report.html").read_bytes()  # of other records
    assert other != paths[0].read_bytes()


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
