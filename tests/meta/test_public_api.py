"""The public names: listed once, documented, loaded when asked for, and as docs/api.md has them."""

import ast
import importlib
from pathlib import Path

import pytest

from empirical.verification.api_page import PUBLIC, PublicName, page, public_names
from tests.support.paths import ROOT

NAMES = [(package, public) for package in PUBLIC for public in public_names(package)]
FUNCTIONS = [(p, n) for p, n in NAMES if isinstance(n.node, ast.FunctionDef)]


def label(value: object) -> str:
    """A test id."""
    return value.name if isinstance(value, PublicName) else str(value)


def raises(node: ast.AST) -> bool:
    """Whether a body raises by itself; functions inside it do not count."""
    if isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef):
        return False
    return isinstance(node, ast.Raise) or any(map(raises, ast.iter_child_nodes(node)))


def test_the_page_is_that_of_the_sources() -> None:
    committed = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert committed == page(), "run `make api`"


@pytest.mark.parametrize("package", PUBLIC)
def test_every_public_name_is_there_and_nothing_else_is_listed(package: str) -> None:
    module = importlib.import_module(package)
    for public in public_names(package):
        assert getattr(module, public.name) is getattr(
            importlib.import_module(public.module), public.name
        )
    assert set(module.__all__) <= set(dir(module))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = module.no_such_name


@pytest.mark.parametrize(("package", "public"), NAMES, ids=label)
def test_every_public_name_has_a_docstring(package: str, public: PublicName) -> None:
    assert public.docstring.strip(), f"{package}.{public.name} in {public.module}"


@pytest.mark.parametrize(("package", "public"), FUNCTIONS, ids=label)
def test_a_function_that_raises_says_what(package: str, public: PublicName) -> None:
    if any(map(raises, ast.iter_child_nodes(public.node))):
        assert "Raises:" in public.docstring, f"{package}.{public.name} in {public.module}"


@pytest.mark.parametrize(("package", "public"), FUNCTIONS, ids=label)
def test_a_function_of_tensors_gives_their_shapes(package: str, public: PublicName) -> None:
    assert isinstance(public.node, ast.FunctionDef)
    if "Tensor" in ast.unparse(public.node.args):
        text = public.docstring
        assert "[" in text or " as in `" in text, f"{package}.{public.name} in {public.module}"


PACKAGES = sorted((ROOT / "empirical").glob("**/*/__init__.py"))


@pytest.mark.parametrize("path", PACKAGES, ids=lambda path: path.parent.name)
def test_a_package_says_in_few_lines_what_comes_in_and_what_goes_out(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 20
    assert (ast.get_docstring(ast.parse(text)) or "").count("\n\n") == 1


def test_the_rules_see_what_they_ask_for() -> None:
    guarded = ast.parse("def f(x):\n    if x:\n        raise ValueError")
    inside = ast.parse("def f(x):\n    def g():\n        raise ValueError\n    return g")
    found = [any(map(raises, ast.iter_child_nodes(tree.body[0]))) for tree in (guarded, inside)]
    assert found == [True, False]
