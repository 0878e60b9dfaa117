"""What contributors, machines and citations read names only what is there."""

import ast
import re
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import rooms
from tests.lowest import lowest
from tests.support.paths import ROOT


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


PROJECT: dict[str, Any] = tomllib.loads(read("pyproject.toml"))["project"]
WORKFLOW: dict[Any, Any] = yaml.safe_load(read(".github/workflows/ci.yml"))
CITATION: dict[str, Any] = yaml.safe_load(read("CITATION.cff"))
HOOKS: dict[str, Any] = yaml.safe_load(read(".pre-commit-config.yaml"))


def recipes() -> dict[str, str]:
    """Target of the Makefile -> its recipe, lines that go on joined."""
    text = read("Makefile").replace("\\\n", " ")
    found = re.findall(r"^([a-z-]+):.*\n((?:\t.*\n)*)", text, re.M)
    return {name: body for name, body in found}


def steps() -> list[dict[str, str]]:
    return [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]


def test_the_workflow_runs_targets_of_the_makefile_and_nothing_else() -> None:
    commands = [step["run"] for step in steps() if "run" in step]
    named = [re.fullmatch(r"make ([a-z-]+)( PYTHON=python)?", command) for command in commands]
    assert all(named), commands
    targets = {match[1] for match in named if match}
    assert targets == {"system", "lint", "test", "lowest"} and targets <= set(recipes())


def test_the_workflow_begins_with_the_lowest_python() -> None:
    versions = WORKFLOW["jobs"]["locked"]["strategy"]["matrix"]["python"]
    assert versions == ["3.11", "3.12", "3.13"]
    assert PROJECT["requires-python"] == f">={versions[0]}"
    assert WORKFLOW["jobs"]["lowest"]["container"] == f"python:{versions[0]}-bookworm"
    assert WORKFLOW[True] == ["push", "pull_request"]  # YAML 1.1 reads `on` as a truth value


def test_hooks_are_those_of_make_lint_from_the_own_environment() -> None:
    assert [repo["repo"] for repo in HOOKS["repos"]] == ["local"]
    entries = [hook["entry"] for repo in HOOKS["repos"] for hook in repo["hooks"]]
    tools = [re.sub(r"^\.venv/bin/| --force-exclude$", "", entry) for entry in entries]
    assert all(entry.startswith(".venv/bin/") for entry in entries)
    called = re.findall(r"^\t\$\(BIN\)/(.*)$", recipes()["lint"], re.M)
    assert tools == [re.sub(r"( --check)? \$\(CODE\)$", "", command) for command in called]


def test_the_citation_is_of_this_version() -> None:
    required = {"cff-version", "message", "title", "authors"}
    known = {"type", "abstract", "version", "license", "references"}
    assert required <= set(CITATION) <= required | known
    assert CITATION["cff-version"] == "1.2.0"
    assert CITATION["title"] == PROJECT["name"] and CITATION["version"] == PROJECT["version"]
    licence = PROJECT["license"]
    assert CITATION["license"] == (licence if isinstance(licence, str) else licence["text"])
    (paper,) = CITATION["references"]
    assert {"type", "title", "authors"} <= set(paper)
    assert paper["identifiers"][0]["value"] == "arXiv:2212.10559" and "2212.10559" in read(
        "README.md"
    )


def test_the_changelog_begins_with_what_is_not_released() -> None:
    headings = re.findall(r"^## \[(.+?)\]", read("CHANGELOG.md"), re.M)
    assert headings[0] == "Unreleased"
    assert ("dev" in PROJECT["version"]) != (PROJECT["version"] in headings)


def rows(heading: str) -> list[list[str]]:
    """The rows of a table of the changelog, code without its backticks."""
    part = read("CHANGELOG.md").split(f"### {heading}\n")[1].split("\n### ")[0]
    lines = [line for line in part.splitlines() if line.startswith("| `")]
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]


def there(module: str) -> Path | None:
    """The file of a module of the checkout, or of its package; None where there is neither."""
    path = ROOT.joinpath(*module.split("."))
    both = (path.with_suffix(".py"), path / "__init__.py")
    return next((p for p in both if p.exists()), None)


def test_modules_of_the_changelog_are_where_it_says() -> None:
    moved = rows("Where modules are now")
    assert len(moved) > 130
    assert [new for _, new in moved if there(new) is None] == []
    left = {old for old, _ in moved if there(old)}  # their names are those of packages now
    assert all((path := there(old)) and path.name == "__init__.py" for old in left), left


def command_named(text: str) -> list[str]:
    """Modules of ours that a text runs by `-m`."""
    return re.findall(r"-m ((?:empirical|dualform|proofs|tests)[\w.]*)", text)


def runs(module: str) -> bool:
    """Whether `python -m` does anything: a guard at the end, or a `__main__` in the package."""
    path = there(module)
    if path is None:
        return False
    if path.name == "__init__.py":
        return (path.parent / "__main__.py").exists()
    return 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")


def test_every_command_that_a_page_names_runs_something() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "Makefile"]
    named = {m for page in pages for m in command_named(page.read_text(encoding="utf-8"))}
    old = set(command_named("\n".join(f"-m {was}" for was, _ in commands())))
    gone = {"empirical.calibration"}  # named by the changelog as removed
    assert len(named) > 10 and {m for m in named - old - gone if not runs(m)} == set()


def commands() -> list[tuple[str, str]]:
    """(was, is) of the commands of the changelog."""
    return [(a.split()[-1], b.split()[-1]) for a, b in rows("Where commands are now")]


def test_old_commands_are_gone_and_new_ones_are_there() -> None:
    assert len(commands()) == 10
    assert all(runs(new) for _, new in commands())
    assert [old for old, _ in commands() if runs(old)] == []


def test_contributing_names_tests_places_and_targets_that_exist() -> None:
    text = read("CONTRIBUTING.md")
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text)
    assert len([1 for _, test in named if test]) >= 9
    for path, test in named:
        tree = ast.parse(read(path))
        assert not test or test in {getattr(node, "name", "") for node in tree.body}, (path, test)
    for place in re.findall(r"`((?:empirical|dualform|proofs|docs)/[\w/.]*)`", text):
        assert (ROOT / place).exists(), place
    for link in re.findall(r"\]\(([\w./-]+\.md)", text):
        assert (ROOT / link).exists(), link
    for target in re.findall(r"`make ([a-z-]+)`|^make ([a-z-]+)", text, re.M):
        assert "".join(target) in recipes(), target


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_floors_are_drawn_as_they_are(page: str) -> None:
    drawn = {
        name: int(floor)
        for floor, names in re.findall(r"^(\d)  +([a-z ]+)$", read(page), re.M)
        for name in names.split()
    }
    expected = rooms.plan(ROOT)
    if page == "CONTRIBUTING.md":
        expected.pop("empirical")
    assert drawn == expected


def test_every_room_is_described_once() -> None:
    text = read("docs/architecture.md")
    named = re.findall(r"^\| `(\w+)` \| (.+) \|$", text, re.M)
    assert len(named) == len(dict(named)) and dict(named).keys() == rooms.plan(ROOT).keys()
    assert text.index("Eighteen rooms") and len(named) == 18
    for link in re.findall(r"\]\(([\w./]+\.md)\)", text):
        assert (ROOT / "docs" / link).exists(), link
    for path in re.findall(r"`(\w+/\w+\.py)`", text):
        assert (ROOT / "empirical" / path).exists(), path
    for path in re.findall(r"`(tests/[\w/]+\.py)`", text):
        assert (ROOT / path).exists(), path


def test_lowest_versions_are_of_every_dependency() -> None:
    found = lowest(PROJECT)
    assert {"torch", "numpy", "pytest"} <= set(found) and PROJECT["name"] not in found
    assert all(re.fullmatch(r"[\d.]+", version) for version in found.values())
    own = {"name": "x", "dependencies": ["a>=1", "x[b]", "c[d]>=2.0,<3 ; python_version<'4'"]}
    assert lowest(own) == {"a": "1", "c": "2.0"}
    with pytest.raises(ValueError, match="expected a lower bound, got 'a'"):
        lowest({"name": "x", "dependencies": ["a"]})
    extras = {"b": ["a>=2"]}
    with pytest.raises(ValueError, match="one lower bound of a, got 1, 2"):
        lowest({"name": "x", "dependencies": ["a>=1"], "optional-dependencies": extras})


def test_lowest_versions_are_tested_with_the_extras_of_the_set_up() -> None:
    asked = re.findall(r"--editable '(.+)'", read("Makefile"))
    assert asked == [".[all,test]", ".[all]"]  # tools of development are tested as they are pinned


def test_system_packages_are_those_of_the_clean_machine() -> None:
    packages = r"\b(?:texlive|coq|libcoq|chromium)[\w-]*"
    made = set(re.findall(packages, recipes()["system"]))
    asked = re.findall(r"apt-get install.*?>/dev/null", read(".ci/run"), re.S)
    assert made == {name for line in asked for name in re.findall(packages, line)} != set()


def test_the_tools_that_these_files_need_are_installed() -> None:
    assert all(find_spec(name) for name in ("ruff", "mypy", "importlinter", "xdist"))
