"""Memory layouts that code has to take alike."""

import torch
from torch import Tensor

LAYOUTS = ("contiguous", "transposed", "strided", "offset")


def laid_out(value: Tensor, layout: str) -> Tensor:
    """The same entries [..., r, c] in another memory layout, one of `LAYOUTS`."""
    if layout == "transposed":
        return value.mT.contiguous().mT
    if layout == "strided":
        wide = value.new_zeros(*value.shape[:-1], 2 * value.shape[-1])
        wide[..., ::2] = value
        return wide[..., ::2]
    if layout == "offset":
        return torch.nn.functional.pad(value, (1, 0))[..., 1:]
    return value.contiguous()
