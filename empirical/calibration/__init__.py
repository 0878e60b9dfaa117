"""Models whose answer is known, read by the instrument that reads real models (no torch here)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from empirical.core.progress import Reporter


def run_calibration(out: Path, seed: int, reporter: Reporter) -> tuple[str, ...]:
    """Write `calibration.json` into `out`; the lines that sum it up.

    Raises:
        Refused: when a known model is read wrong, after the file is written.
    """
    from empirical.calibration.run import run_calibration as run

    return run(out, seed, reporter)
