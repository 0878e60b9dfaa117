"""Interpreters of a statement's `ops` on torch tensors."""

import torch
from torch import Tensor

from dualform.rounding import Tracked


class TensorOps:
    """Plain tensors [..., r, c]."""

    @staticmethod
    def hcat(*blocks: Tensor) -> Tensor:
        """Blocks side by side."""
        return torch.cat(blocks, -1)


class TrackedOps:
    """Error-tracking tensors [..., r, c]."""

    @staticmethod
    def hcat(*blocks: Tracked) -> Tracked:
        """Blocks side by side."""
        return Tracked(
            torch.cat([b.value for b in blocks], -1), torch.cat([b.error for b in blocks], -1)
        )
