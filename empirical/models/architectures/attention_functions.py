"""What functions share that stand in for classes that do not call transformers' interface.

Each computes queries, keys and values with the module's own parts and hands them to `attend`, with
the meaning of transformers' attention functions: attend(query, key, value, mask, scaling) for
[B,H,T,h] tensors returns [B,T,H,h]. No cache is used while they stand in.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

Functions = dict[str, Callable[..., Any]]


def by_head(x: Tensor, width: int) -> Tensor:
    """[B,T,H h] -> [B,H,T,h]."""
    return x.view(*x.shape[:-1], -1, width).transpose(1, 2)


def check_without_cache(others: dict[str, Any]) -> None:
    """Refuse a cache, which would be passed over.

    Raises:
        ValueError: for one, empty or not.
    """
    for name in ("past_key_values", "layer_past"):
        if others.get(name) is not None:
            raise ValueError(
                f"expected no cache, got {name} of class {type(others[name]).__name__}; call the "
                "model with use_cache=False (a shared context is a Prefix)"
            )
