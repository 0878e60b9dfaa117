"""Recorded states, scores and weights -> similarities, rank correlations and their noise floors.

Arrays come in, numbers or `Undefined` with its reason go out; no torch is loaded.
"""
