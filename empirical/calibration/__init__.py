"""Models whose answer is known, read by the instrument that reads real models.

A folder and a seed come in; `calibration.json` and the lines that sum it up go out.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from empirical.calibration.run import run_calibration

__all__ = ["run_calibration"]


def __getattr__(name: str) -> Any:
    """`run_calibration` when it is asked for: files of results alone need no models."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from empirical.calibration.run import run_calibration

    return run_calibration
