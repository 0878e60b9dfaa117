"""`python -m empirical.calibration --out DIR [--seed N]`."""

import argparse
import sys
from pathlib import Path

import torch

from empirical.calibration import run_calibration
from empirical.core.errors import Refused, UserError
from empirical.core.progress import SILENT


def main() -> int:
    """Exit status: 0 when all is read right, 1 when not, 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m empirical.calibration")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    try:
        print("\n".join(run_calibration(asked.out, asked.seed, SILENT)))
    except (Refused, UserError) as error:
        print(error, file=sys.stderr)
        return 1 if isinstance(error, Refused) else 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
