"""A check of one layer: an id, what the layer must have for it, and the sides to be compared.

`empirical.identities.applicability` says why a layer lacks a need, and
`empirical.identities.check_layers` compares the sides. Loads no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from dualform.rounding import Tracked
    from empirical.identities.layer_capture import LayerCapture


class Need(Enum):
    """What a layer must have for a comparison to apply; of several that it lacks, the first counts.

    Demonstrations and tokens are those that the last token sees.
    """

    UPDATE = "a finetuning update, which the caller makes"
    DEMONSTRATIONS = "a token of the demonstrations"
    TWO_DEMONSTRATIONS = "two tokens of the demonstrations"
    PROJECTED_KEYS = "keys that meet the queries as W_K makes them"
    PROJECTED_DEMONSTRATIONS = "such keys of demonstrations, to which a right side applies W_K"
    KEYS_LINEAR_IN_W_K = "keys that are linear in a change of W_K"
    PROJECTED_EXAMPLES = "keys without positions, which errors of other tokens have not"
    ROTATION = "keys that are turned by their positions"
    KEY_NORM = "keys that are normalised in the form of the statement"
    POSITION_SCORES = "scores of positions that are added"
    WINDOW = "a window that hides tokens"
    SHARED_KEYS = "query heads that share keys and values"
    HEADS = "another head"
    MLP = "an MLP of two linear maps that reads what attention has added"
    OTHER_TOKENS = "a token beside the last one"


@dataclass(frozen=True, kw_only=True)
class Sides:
    """Left, right and near miss of one step: [H, r, c] by head, or [r, c] of the whole block.

    `coincides` has for every head why the near miss is true of it by what the head is, or None;
    it is empty where no head is such.
    """

    left: Tracked
    right: Tracked
    near: Tracked
    coincides: Sequence[str | None] = ()


class LayerComparison(Protocol):
    """What `check_layers` compares on every head of a layer that has the `needs`."""

    @property
    def id(self) -> str:
        """The statement of the catalogue, or a name of its own."""

    @property
    def needs(self) -> frozenset[Need]:
        """What a layer must have."""

    def sides(self, at: LayerCapture, /) -> Sequence[Sides]:
        """One for each step; of several the worst counts, head by head."""


@dataclass(frozen=True, kw_only=True)
class DirectComparison:
    """A comparison beside the catalogue: a function makes its sides."""

    id: str
    needs: frozenset[Need]
    sides: Callable[[LayerCapture], Sequence[Sides]]
