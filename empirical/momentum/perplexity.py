"""The mean loss of every window, in natural logarithms per token."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from empirical.momentum.in_context import reading

BATCH = 8192  # tokens


def losses(model: Any, windows: NDArray[np.int64]) -> tuple[float, ...]:
    """Mean negative log-likelihood of the tokens after BOS, for windows [n, length + 1]; float32.

    The model is left in the mode that it was in.
    """
    device, rows = next(model.parameters()).device, max(1, BATCH // windows.shape[1])
    out: list[float] = []
    with reading(model), torch.no_grad():
        for start in range(0, len(windows), rows):
            ids = torch.from_numpy(windows[start : start + rows]).to(device)
            logits = model(input_ids=ids[:, :-1], use_cache=False).logits.float()
            each = F.cross_entropy(logits.mT, ids[:, 1:], reduction="none")
            out += each.mean(1).tolist()
    return tuple(out)
