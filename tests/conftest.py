"""Shared fixtures, Hypothesis profiles, and the number of threads.

The profile `ci` (default) draws the same examples every time, `deep` many new ones. Every test
begins with `tests.THREADS` threads, whatever a command that ran before it has set.
"""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from tests import THREADS
from tests.support.study import save_data, save_model

settings.register_profile("ci", max_examples=45, deadline=None, derandomize=True)
settings.register_profile(
    "deep", max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("DUALFORM_PROFILE", "ci"))

torch.set_num_threads(THREADS)  # for what is computed while tests are collected


def pytest_runtest_setup() -> None:
    """Commands that a test runs in this process set their own number."""
    torch.set_num_threads(THREADS)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model, for tests that go through the command line."""
    return save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tiny tasks."""
    return save_data(tmp_path_factory.mktemp("data") / "d")
