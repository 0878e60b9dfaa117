"""The house, counted from its imports alone: `python -m tests.rooms`.

A room is `dualform`, `proofs`, a package of `empirical`, or `empirical` itself (its public names).
An arrow goes from a room to one that it imports, under `TYPE_CHECKING` or inside a function as
well. Floors are the longest chain of arrows. An arrow is upward when it does not go to a lower
floor of the plan (pyproject.toml, [tool.importlinter]; `dualform` and `proofs` are below all). A
circle is a set of rooms, or of files, that reach each other.
"""

import ast
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from pathlib import Path

from tests.support.paths import ROOT

PACKAGES = ("proofs", "dualform", "empirical")
NOT_COUNTED = ("__init__.py", "__main__.py", "conftest.py")
Graph = Mapping[str, Set[str]]


def modules(root: Path) -> dict[str, Path]:
    """Dotted name -> file, of all modules of the packages; a package has the name of its folder."""
    paths = (p for package in PACKAGES for p in (root / package).rglob("*.py"))
    return {
        ".".join(p.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): p
        for p in sorted(paths)
    }


def imported(path: Path) -> Iterator[tuple[str, str]]:
    """(module, name) of every import of a file; the name is empty for `import module`.

    Raises:
        ValueError: for a relative import, which the house does not use.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level or node.module is None:
                raise ValueError(f"expected absolute imports in {path}, got one with dots")
            yield from ((node.module, alias.name) for alias in node.names)


def files_graph(known: Mapping[str, Path]) -> dict[str, set[str]]:
    """Each module with the modules of the house that it imports; `from a import b` is of a.b."""
    graph: dict[str, set[str]] = {}
    for name, path in known.items():
        pairs = list(imported(path))
        whole = {f"{module}.{x}" if f"{module}.{x}" in known else module for module, x in pairs}
        graph[name] = (whole & set(known)) - {name}
    return graph


def room(module: str) -> str:
    """`empirical.study.cell` -> `study`; everything of another package is its one room."""
    parts = module.split(".")
    return parts[1] if parts[0] == "empirical" and len(parts) > 1 else parts[0]


def rooms_graph(files: Graph) -> dict[str, set[str]]:
    """Each room with the rooms that it imports."""
    graph: dict[str, set[str]] = {room(name): set() for name in files}
    for name, others in files.items():
        graph[room(name)] |= {room(x) for x in others} - {room(name)}
    return graph


def reached(graph: Graph, start: str) -> set[str]:
    """Everything that arrows lead to; `start` itself only through a circle."""
    seen: set[str] = set()
    todo = list(graph[start])
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo += graph[node]
    return seen


def circles(graph: Graph) -> list[tuple[str, ...]]:
    """Sets of nodes that reach each other, sorted."""
    reach = {node: reached(graph, node) for node in graph}
    knots = {tuple(sorted(x for x in reach[n] if n in reach[x])) for n in graph if n in reach[n]}
    return sorted(knots)


def floors(graph: Graph) -> dict[str, int]:
    """Node -> nodes of the longest chain of arrows that begins there.

    Raises:
        ValueError: where there is a circle.
    """
    if found := circles(graph):
        raise ValueError(f"expected no circles, got {found}")
    height: dict[str, int] = {}

    def measure(node: str) -> int:
        if node not in height:
            height[node] = 1 + max((measure(x) for x in graph[node]), default=0)
        return height[node]

    return {node: measure(node) for node in graph}


def plan(root: Path) -> dict[str, int]:
    """Room -> its floor in pyproject.toml, counted from below; `empirical` is above all."""
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    contracts = tomllib.loads(text)["tool"]["importlinter"]["contracts"]
    layers = next(c["layers"] for c in contracts if c["type"] == "layers")
    found = {x.strip(): len(layers) - i for i, layer in enumerate(layers) for x in layer.split("|")}
    return {**found, "dualform": 0, "proofs": 0, "empirical": len(layers) + 1}


def upward(graph: Graph, at: Mapping[str, int]) -> list[tuple[str, str]]:
    """Arrows that do not go to a lower floor of the plan."""
    return sorted((a, b) for a in graph for b in graph[a] if at[b] >= at[a])


def folders(root: Path) -> Counter[str]:
    """Folder of the packages or tests -> its modules, those in folders inside it not counted."""
    paths = (p for place in (*PACKAGES, "tests") for p in (root / place).rglob("*.py"))
    counted = (p.parent for p in paths if p.name not in NOT_COUNTED)
    return Counter(folder.relative_to(root).as_posix() for folder in counted)


def lines(root: Path) -> dict[str, int]:
    """Module of the packages, as a path -> its lines."""
    return {
        path.relative_to(root).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in modules(root).values()
    }


def report(root: Path) -> Iterator[str]:
    """What is printed."""
    files = files_graph(modules(root))
    graph, at = rooms_graph(files), plan(root)
    size = Counter(room(name) for name in files)
    arrows = sum(len(x) for x in graph.values())
    knots = circles(graph)
    high = "circles" if knots else str(max(floors(graph).values()))
    yield f"{len(graph)} rooms, {high} floors, {arrows} arrows, {len(upward(graph, at))} upward"
    yield f"circles: {len(knots)} of rooms, {len(circles(files))} of files"
    yield from (f"  upward: {a} -> {b}" for a, b in upward(graph, at))
    yield from (f"  circle: {', '.join(x)}" for x in (*knots, *circles(files)))
    yield ""
    for name in sorted(graph, key=lambda x: (-at[x], x)):
        yield f"{at[name]}  {name:14}{size[name]:4} modules -> {', '.join(sorted(graph[name]))}"
    yield ""
    for folder, count in sorted(folders(root).items()):
        yield f"{count:4}  {folder}"


if __name__ == "__main__":
    print(*report(ROOT), sep="\n")
