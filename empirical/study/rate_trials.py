"""Accuracies of the rates tried so far, so that a selection that was stopped goes on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from empirical.core.errors import UserError
from empirical.core.json_files import dumps, read_object, write_text
from empirical.core.undefined import Undefined

if TYPE_CHECKING:
    from empirical.study.preparation import Prepared


@dataclass(kw_only=True)
class Trials:
    """A file of (rate, share right) of one cell; gone when its record is written."""

    path: Path
    shares: dict[float, float]

    @staticmethod
    def open(folder: Path, prepared: Prepared, key: str) -> Trials:
        """What lies there of the same inputs; a damaged file is begun anew."""
        path = Path(folder) / f"trials-{prepared.task.name}-s{prepared.seed}-{key}.json"
        try:
            found = {
                float(rate): math.nan if isinstance(share, dict) else float(share)
                for rate, share in read_object(path).items()
            }
        except (UserError, ValueError, TypeError):
            found = {}
        return Trials(path=path, shares=found)

    def known(self) -> tuple[tuple[float, float], ...]:
        """(rate, share right; nan: diverged) of every trial."""
        return tuple(self.shares.items())

    def remember(self, rate: float, share: float) -> None:
        """Add one and write the file."""
        self.shares[rate] = share
        diverged = Undefined("training diverged")
        write_text(
            self.path,
            dumps({repr(k): diverged if math.isnan(v) else v for k, v in self.shares.items()}),
        )

    def remove(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)
