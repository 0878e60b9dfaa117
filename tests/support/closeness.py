"""Results of one model in batches of other sizes, compared.

Some libraries multiply each row of a matrix alike, however many there are, and some do not. So
the model computes in float64, what it records is rounded to float32 once at the most, and two
records differ by no more than a unit of that rounding, on whatever processor.
"""

import numpy as np

FLOAT32 = 2.0**-23  # between 1 and the next float32


def same_records(found: np.ndarray, expected: np.ndarray) -> None:
    """Refuse arrays that differ by more than a unit of float32 at their largest entry.

    Raises:
        AssertionError: for other shapes, or entries further apart.
    """
    assert found.shape == expected.shape
    gap = np.abs(found.astype(np.float64) - expected.astype(np.float64)).max(initial=0.0)
    assert gap <= 2 * FLOAT32 * np.abs(expected).max(initial=0.0), gap
