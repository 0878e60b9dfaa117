"""Hypothesis profiles: `ci` (default, the same examples every time) and `deep` (new ones, many)."""

import os

import torch
from hypothesis import HealthCheck, settings

settings.register_profile("ci", max_examples=60, deadline=None, derandomize=True)
settings.register_profile(
    "deep", max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("DUALFORM_PROFILE", "ci"))

torch.set_num_threads(1)  # two workers on two cores: threads would only contend
