"""Control results and records on disk -> intervals, comparisons with controls, and verdicts.

What comes in are values of `empirical.results`; what goes out are values for tables and pages.
"""
