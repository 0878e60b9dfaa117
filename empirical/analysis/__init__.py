"""Control results and records on disk -> intervals, comparisons with controls, and verdicts.

Values of `empirical.results` come in; values that tables and pages show go out.
"""
