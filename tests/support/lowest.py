"""`python -m tests.support.lowest`: the lowest version of every direct dependency, as constraints.

Read from pyproject.toml by the standard library alone. torch is left out: not every index has its
lowest version built for a CPU, and the Makefile says which one is taken.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
BOUND = re.compile(r"([A-Za-z0-9_.-]+)>=([0-9.]+)")


def lowest(project: Mapping[str, Any]) -> Iterator[str]:
    """`name==version` of every dependency and extra, each once, in the order of the alphabet.

    Raises:
        ValueError: for a dependency without a lower bound.
    """
    extras = project["optional-dependencies"].values()
    declared = {d for some in (project["dependencies"], *extras) for d in some}
    for line in sorted(declared):
        if line.startswith((f"{project['name']}[", "torch>")):
            continue
        found = BOUND.fullmatch(line)
        if found is None:
            raise ValueError(f"expected NAME>=VERSION in pyproject.toml, got {line!r}")
        yield f"{found[1]}=={found[2]}"


if __name__ == "__main__":
    print("\n".join(lowest(tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"])))
