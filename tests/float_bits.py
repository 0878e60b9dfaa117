"""Results whose last bits depend on kernels: `python -m tests.float_bits` prints their hashes.

The inputs are made without a library's vector code, so that they are the same bits everywhere.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from tests import THREADS

ROWS, INNER, COLUMNS, LONG = 257, 301, 129, 300_000


def uniform(*shape: int) -> Any:
    """Uniform in [-1/2, 1/2), float64: multiples of 2^-53, which no vector code has rounded."""
    return np.random.default_rng(0).random(shape) - 0.5


A, B, ROW = uniform(ROWS, INNER), uniform(INNER, COLUMNS), uniform(LONG)


def of_numpy(dtype: type) -> Mapping[str, Callable[[], Any]]:
    """What numpy and scipy (OpenBLAS, and numpy's own loops) make of them."""
    a, b, row = (x.astype(dtype) for x in (A, B, ROW))
    return {
        "product": lambda: a @ b,
        "sum": lambda: np.array([row.sum(), a.sum()]),
        "exp": lambda: np.exp(a),
        "tanh": lambda: np.tanh(a),
        "solve": lambda: scipy.linalg.solve(a[:, :ROWS] + np.eye(ROWS, dtype=dtype), a),
    }


def of_torch(dtype: torch.dtype) -> Mapping[str, Callable[[], Tensor]]:
    """What torch (MKL, oneDNN, and its own kernels) makes of them."""
    a, b, row = (torch.from_numpy(x).to(dtype) for x in (A, B, ROW))
    four = a[None, None]  # [1, 1, ROWS, INNER], as attention takes it
    return {
        "product": lambda: a @ b,
        "sum": lambda: row.sum(),
        "exp": lambda: a.exp(),
        "softmax": lambda: a.softmax(-1),
        "attention": lambda: torch.nn.functional.scaled_dot_product_attention(four, four, four),
    }


def digest(value: Any) -> str:
    """The first eight hexadecimal digits of SHA-256 over the bytes."""
    array = value.double().numpy() if isinstance(value, Tensor) else np.asarray(value)
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:8]


def attempted(make: Callable[[], Tensor]) -> str:
    """The digest, or torch's reason: under some settings it has no kernel of bfloat16 attention."""
    try:
        return digest(make())
    except RuntimeError as error:
        return f"not run: {str(error).splitlines()[0]}"


def hashes() -> dict[str, str]:
    """`library what, dtype` -> digest; torch's values are widened to float64 first, exactly."""
    torch.set_num_threads(THREADS)
    found = {
        f"numpy {name}, {np.dtype(dtype).name}": digest(make())
        for dtype in (np.float32, np.float64)
        for name, make in of_numpy(dtype).items()
    }
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        for name, make in of_torch(dtype).items():
            found[f"torch {name}, {str(dtype).removeprefix('torch.')}"] = attempted(make)
    return found


if __name__ == "__main__":
    print(json.dumps(hashes()))
