"""The report of a results folder: one HTML page, tables and figures, from records (no torch)."""

from empirical.report.write import write_report

__all__ = ["write_report"]
