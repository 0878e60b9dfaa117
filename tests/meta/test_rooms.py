"""The limits of the house: rooms, floors, circles, modules a folder, lines a module."""

import re
from pathlib import Path

import pytest

from empirical.core import provenance
from tests import rooms
from tests.support.paths import ROOT

MOST_ROOMS, MOST_FLOORS, MOST_MODULES, MOST_LINES = 20, 7, 16, 350
CORE = {"errors", "json_files", "progress", "provenance", "random_streams", "terminal", "undefined"}
CORE_MAY_HAVE = {"command_line"}
FILES = rooms.files_graph(rooms.modules(ROOT))
GRAPH = rooms.rooms_graph(FILES)


def test_the_house_has_few_rooms_and_floors_and_every_arrow_goes_down() -> None:
    assert 10 < len(GRAPH) <= MOST_ROOMS, sorted(GRAPH)
    assert 1 < max(rooms.floors(GRAPH).values()) <= MOST_FLOORS
    assert rooms.upward(GRAPH, rooms.plan(ROOT)) == []


def test_nothing_imports_in_a_circle() -> None:
    assert rooms.circles(GRAPH) == []
    assert rooms.circles(FILES) == []


def test_no_folder_is_crowded() -> None:
    crowded = {f: n for f, n in rooms.folders(ROOT).items() if n > MOST_MODULES}
    assert crowded == {}, "split the folder by what its modules are about"


def reasons() -> dict[str, str]:
    """Path -> reason, of the list of long modules in docs/decisions.md."""
    text = (ROOT / "docs" / "decisions.md").read_text(encoding="utf-8")
    found = re.search(r"^\* \*\*Modules of more than 350 lines\*\*.*\n((?:  .*\n)*)", text, re.M)
    assert found is not None
    return dict(re.findall(r"^  \* `([\w/]+\.py)`: (.+)$", found[1], re.M))


def test_long_modules_are_those_with_a_reason_and_no_others() -> None:
    long = {name for name, count in rooms.lines(ROOT).items() if count > MOST_LINES}
    listed = reasons()
    assert long - set(listed) == set(), "split it, or give the reason in docs/decisions.md"
    assert set(listed) - long == set(), "no longer long: take it off the list in docs/decisions.md"
    assert all(len(reason) > 20 for reason in listed.values())


def test_core_is_a_closed_list() -> None:
    there = {p.stem for p in (ROOT / "empirical" / "core").rglob("*.py")} - {"__init__"}
    assert there - CORE_MAY_HAVE == CORE, "what several rooms need belongs to the room it is about"


def test_what_computes_imports_only_what_counts_as_code_that_computes() -> None:
    computing = {Path(name).name for name in provenance.COMPUTING}
    others = {a: GRAPH[a] - computing - {"proofs"} for a in computing}
    assert {a: b for a, b in others.items() if b} == {}


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """Two floors and the roof; `study` and `report` see each other, and `core` sees `study`."""
    sources = {
        "empirical/core/a.py": "def late():\n    from empirical.study import cell\n",
        "empirical/study/cell.py": "import empirical.core.a\nfrom empirical.report import page\n",
        "empirical/report/page.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
        "    from empirical.study.cell import Cell\n",
        "empirical/cli/app.py": "import numpy\nfrom empirical import study\n",
        "dualform/ops.py": "import torch\n",
        "dualform/exact.py": "from dualform.ops import x\n",
        "dualform/__main__.py": "from empirical.cli import app\n",
        "proofs/rules.py": "x = 1\n",
    }
    for name, text in sources.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(text, encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text(
        '[[tool.importlinter.contracts]]\ntype = "layers"\n'
        'layers = ["cli", "study | report", "core"]\n',
        encoding="utf-8",
    )
    return tmp_path


def test_the_counts_see_what_they_should(house: Path) -> None:
    files = rooms.files_graph(rooms.modules(house))
    graph, at = rooms.rooms_graph(files), rooms.plan(house)
    assert graph == {
        "cli": {"study"}, "study": {"core", "report"}, "report": {"study"}, "core": {"study"},
        "dualform": set(), "proofs": set(),
    }  # fmt: skip
    assert files["dualform.exact"] == {"dualform.ops"}
    assert rooms.upward(graph, at) == [("core", "study"), ("report", "study"), ("study", "report")]
    assert rooms.circles(graph) == [("core", "report", "study")]
    assert rooms.circles(files) == [
        ("empirical.core.a", "empirical.report.page", "empirical.study.cell")
    ]
    with pytest.raises(ValueError, match="expected no circles"):
        rooms.floors(graph)
    assert rooms.floors({"a": {"b", "c"}, "b": {"c"}, "c": set(), "d": set()}) == {
        "a": 3, "b": 2, "c": 1, "d": 1,
    }  # fmt: skip
    assert rooms.folders(house)["dualform"] == 2 and rooms.lines(house)["empirical/core/a.py"] == 2
    assert "circle: core, report, study" in "\n".join(rooms.report(house))


def test_a_relative_import_is_refused(house: Path) -> None:
    (house / "proofs" / "rules.py").write_text("from . import terms\n", encoding="utf-8")
    with pytest.raises(ValueError, match="expected absolute imports"):
        rooms.files_graph(rooms.modules(house))
