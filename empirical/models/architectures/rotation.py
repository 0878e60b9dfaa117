"""Rotary positions: a class's own tables and its own rotation of unit vectors.

Letters: T tokens, r turned channels of a head (all of them, or the first in part).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor


class RotaryTables(NamedTuple):
    """`cos` and `sin` [T,r]; `turn` takes x [1,1,n,r] to what sin multiplies."""

    cos: Tensor
    sin: Tensor
    turn: Callable[[Tensor], Tensor]


# (attention module, keyword arguments of its call) -> the tables of that call.
Rotation = Callable[[Any, Mapping[str, Any]], RotaryTables]


def rotate_half(attention: Any, kwargs: Mapping[str, Any]) -> RotaryTables:
    """Channels i and i + r/2 are turned together, by tables that the model hands over."""
    code = sys.modules[type(attention).__module__]
    cos, sin = (x[0] for x in kwargs["position_embeddings"])
    return RotaryTables(cos=cos, sin=sin, turn=code.rotate_half)
