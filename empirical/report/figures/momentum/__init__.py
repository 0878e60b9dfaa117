"""Comparisons of trained models -> their figures.

What comes in are values of `empirical.analysis.momentum`.
"""
