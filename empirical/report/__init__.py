"""A results folder -> one HTML page, tables and figures.

Nothing is computed again, and no torch is loaded.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from empirical.report.write import write_report

__all__ = ["write_report"]


def __getattr__(name: str) -> Any:
    """`write_report` when it is asked for: tables alone need no drawing."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from empirical.report.write import write_report

    return write_report
