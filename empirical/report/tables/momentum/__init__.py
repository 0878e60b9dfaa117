"""Comparisons of trained models -> their tables.

What comes in are values of `empirical.analysis.momentum`.
"""
