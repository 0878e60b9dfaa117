"""Which keys come before a query in its own sequence, read off the attention mask.

Momentum sums run over a sequence's tokens up to the query: padding is not among them, nor is
another sequence packed into the same row. Letters: B rows, T queries (the last tokens), S keys.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import torch
from torch import Tensor

from empirical.core.errors import UserError

NOT_FULL = (
    "expected attention to all earlier tokens of a sequence, got a mask with a window, a gap "
    "or a look ahead; momentum sums have no meaning there: choose a model or settings with "
    "full causal attention"
)


@dataclass(frozen=True, kw_only=True)
class Places:
    """Queries first .. first + T - 1 of S keys. `same` [B, S]: numbers of sequences, or None: one.

    Keys that no query may see have the number -1.
    """

    first: int
    queries: int
    keys: int
    same: Tensor | None

    def apart(self, device: torch.device) -> Tensor:
        """How many tokens a key lies before a query, [T, S]; below 0 behind it."""
        asked = torch.arange(self.first, self.first + self.queries, device=device)
        return asked[:, None] - torch.arange(self.keys, device=device)

    def visible(self, device: torch.device) -> Tensor:
        """Whether a query may see a key, [T, S] or [B, 1, T, S]."""
        before = self.apart(device) >= 0
        if self.same is None:
            return before
        asked = self.same[:, self.first : self.first + self.queries]
        return (before & (asked[:, :, None] == self.same[:, None, :]))[:, None]


_known: list[tuple[weakref.ref[Tensor], int, Places]] = []  # of the last mask: all layers share it


def places_of(mask: Tensor | None, queries: int, keys: int) -> Places:
    """Places from a mask [B, 1, T, S], boolean or added to scores, or None: causal without padding.

    Raises:
        UserError: for a mask that is not causal within sequences that follow one another.
    """
    if mask is None:
        # Without a mask the queries are the last tokens, or the first of an empty static cache.
        first = 0 if queries > 1 else keys - 1
        return Places(first=first, queries=queries, keys=queries if first == 0 else keys, same=None)
    if mask.is_inference():  # such a tensor does not say whether it was changed
        return _read(_seen(mask, queries, keys))
    if _known and _known[0][0]() is mask and _known[0][1] == mask._version:
        return _known[0][2]
    found = _read(_seen(mask, queries, keys))
    _known[:] = [(weakref.ref(mask), mask._version, found)]
    return found


def _seen(mask: Tensor, queries: int, keys: int) -> Tensor:
    """The mask as booleans [B, T, S].

    Raises:
        UserError: for another shape, or one that differs between heads.
    """
    if mask.dim() != 4 or mask.shape[1] != 1 or mask.shape[2:] != (queries, keys):
        raise UserError(
            f"expected an attention mask [batch, 1, {queries}, {keys}], the same for all heads, "
            f"got {list(mask.shape)}; pass a mask of two axes, or none"
        )
    if mask.dtype == torch.bool:
        return mask[:, 0]
    return mask[:, 0] > torch.finfo(mask.dtype).min / 2


def _read(seen: Tensor) -> Places:
    batch, queries, keys = seen.shape
    some = seen.any(-1)
    first_key = seen.to(torch.uint8).argmax(-1)  # of the keys that a query sees, the first
    last_key = keys - 1 - seen.flip(-1).to(torch.uint8).argmax(-1)
    counts = seen.sum(-1) == last_key - first_key + 1
    if not bool((counts | ~some).all()) or not bool(some.any()):
        raise UserError(NOT_FULL)
    # A query is its own last key, but for padding behind a text, which sees the text alone.
    offsets = last_key - torch.arange(queries, device=seen.device)
    first = int(offsets[some].max())
    if first < 0 or first + queries > keys:
        raise UserError(NOT_FULL)
    behind = some & (offsets < first)
    if bool((behind & seen[:, :, first : first + queries].any(1)).any()):
        raise UserError(NOT_FULL)
    some = some & ~behind
    whole = torch.full((batch, keys), -1, device=seen.device)
    asked = torch.where(some, first_key, -1)
    whole[:, first : first + queries] = asked
    if first:
        whole[:, :first] = _cached(seen, some, first_key, first)
    elif bool(_slides(asked).any()):
        raise UserError(NOT_FULL)
    return Places(first=first, queries=queries, keys=keys, same=whole)


def _slides(asked: Tensor) -> Tensor:
    """Where a sequence [B, T] neither goes on nor begins at the query itself."""
    goes_on = asked[:, 1:] == asked[:, :-1]
    begins = asked[:, 1:] == torch.arange(1, asked.shape[1], device=asked.device)
    padded = (asked[:, 1:] < 0) | (asked[:, :-1] < 0)
    return ~(goes_on | begins | padded)


def _cached(seen: Tensor, some: Tensor, first_key: Tensor, first: int) -> Tensor:
    """Numbers of the cached keys [B, first]: all queries of a row go on one sequence.

    Raises:
        UserError: when they go on several.
    """
    start = torch.where(some, first_key, seen.shape[-1]).amin(1, keepdim=True)
    if not bool(((first_key == start) | ~some).all()):
        raise UserError(NOT_FULL)
    places = torch.arange(first, device=seen.device)
    return torch.where(places >= start, start, -1)
