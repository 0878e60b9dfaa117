"""Momentum attention (Dai et al. 2212.10559, section 5), its relatives and its controls.

A decoder and a `Layer` go in; the same decoder with that attention comes out. Importing the package
registers every kind with transformers, by its name.
"""

from empirical.momentum.adapt import adapt, load, save
from empirical.results.attention_kinds import KINDS, Layer

__all__ = ["KINDS", "Layer", "adapt", "load", "save"]
