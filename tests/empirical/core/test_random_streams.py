"""Every random stream has one owner, but for those that are named."""

from collections import defaultdict

import numpy as np

from empirical.core import random_streams
from tests.support.paths import ROOT


def test_a_number_with_two_owners_is_named_as_such() -> None:
    owners = defaultdict(list)
    for name, value in vars(random_streams).items():
        if name.isupper() and isinstance(value, int):
            owners[value].append(name)
    twice = {value: tuple(sorted(names)) for value, names in owners.items() if len(names) > 1}
    assert twice == {k: tuple(sorted(v)) for k, v in random_streams.SHARED.items()}


def test_a_generator_is_that_of_its_key() -> None:
    one = random_streams.generator(random_streams.CONTROLS, 3, 1).random(4)
    assert (one == np.random.default_rng((12, 3, 1)).random(4)).all()
    assert (one != random_streams.generator(random_streams.CONTROLS, 4, 1).random(4)).all()


def test_no_other_module_makes_a_generator_of_a_bare_stream() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{i}"
        for path in (ROOT / "empirical").rglob("*.py")
        for i, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if "default_rng((" in line
    ]
    assert sorted(x.split(":")[0] for x in found) == [
        "empirical/core/random_streams.py",
        "empirical/training/evaluate.py",  # (seed, task): the seed of the command comes first
    ], found
