"""The lowest versions that pyproject.toml allows, as constraints: `python tests/lowest.py`.

Standard library only: it runs before anything is installed.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def lowest(project: Mapping[str, Any]) -> dict[str, str]:
    """Name -> lowest version, of all dependencies and extras; an extra of our own is passed over.

    Raises:
        ValueError: for a dependency without a lower bound, or with two.
    """
    extras = project.get("optional-dependencies", {}).values()
    asked = [x for listed in (project["dependencies"], *extras) for x in listed]
    found: dict[str, str] = {}
    for requirement in asked:
        name = re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]
        if name == project["name"]:
            continue
        bound = re.search(r">=\s*([\w.]+)", requirement)
        if bound is None:
            raise ValueError(f"expected a lower bound, got {requirement!r}")
        if found.setdefault(name, bound[1]) != bound[1]:
            raise ValueError(f"expected one lower bound of {name}, got {found[name]}, {bound[1]}")
    return found


if __name__ == "__main__":
    given = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    print(*(f"{name}=={version}" for name, version in sorted(lowest(given).items())), sep="\n")
