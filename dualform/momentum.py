"""Momentum sums over tokens, by a scan in chunks (Dai et al. 2212.10559, after equation 14).

momentum_sum: m_t = sum_{i < t} eta^(t-i) v_i. averaged: w_t = sum_{i <= t} eta^(t-i) v_i.
Linear in the length: C x C products within chunks, and the same scan over what the chunks leave.
Letters: T tokens, C a chunk's, N chunks, d width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dualform.variants.layout import computing_type

CHUNK = 64
Rate = float | Tensor


def momentum_sum(v: Tensor, eta: Rate, *, same: Tensor | None = None, chunk: int = CHUNK) -> Tensor:
    """m_t = sum over i < t of eta^(t-i) v_i: v [..., T, d] to [..., T, d].

    eta: a number, or a tensor that broadcasts against v without its last two axes, [H] for heads
    [B, H, T, d]. `same` [B, T]: numbers of the sequences that stand one after the other in a row
    of v [B, H, T, d]; no sum crosses from one to the next. bfloat16 and float16 are summed in
    float32 and rounded once. Source: Dai et al. 2212.10559, equation 14.

    Raises:
        ValueError: for fewer than two axes, a chunk below 1, or `same` of another shape.
    """
    return _scan(v, eta, same, chunk, inclusive=False)


def averaged(v: Tensor, eta: Rate, *, same: Tensor | None = None, chunk: int = CHUNK) -> Tensor:
    """w_t = sum over i <= t of eta^(t-i) v_i; everything else as in `momentum_sum`.

    Raises:
        ValueError: see `momentum_sum`.
    """
    return _scan(v, eta, same, chunk, inclusive=True)


def last_momentum(v: Tensor, eta: Rate) -> Tensor:
    """m at the last token alone, [..., 1, d]: a weighted sum over v [..., T, d]."""
    wide = v.to(computing_type(v.dtype))
    rate = _rate(eta, wide)
    places = torch.arange(v.shape[-2] - 1, -1, -1, device=v.device, dtype=wide.dtype)
    weights = rate[..., None] ** places * (places > 0)
    with torch.autocast(v.device.type, enabled=False):
        return (weights[..., None, :] @ wide).to(v.dtype)


def _rate(eta: Rate, v: Tensor) -> Tensor:
    """eta as a tensor in v's type, [...] without v's last two axes."""
    return torch.as_tensor(eta, dtype=v.dtype, device=v.device)


def _check(v: Tensor, same: Tensor | None, chunk: int) -> None:
    if v.dim() < 2:
        raise ValueError(f"expected values [..., T, d], got shape {tuple(v.shape)}")
    if chunk < 1:
        raise ValueError(f"expected a chunk of at least one token, got {chunk}")
    if same is not None and (v.dim() != 4 or same.shape != (v.shape[0], v.shape[2])):
        raise ValueError(
            f"expected sequences [B, T] of values [B, H, T, d], got {tuple(same.shape)} of "
            f"{tuple(v.shape)}"
        )


def _scan(v: Tensor, eta: Rate, same: Tensor | None, chunk: int, *, inclusive: bool) -> Tensor:
    _check(v, same, chunk)
    if v.shape[-2] == 0:
        return v
    wide = v.to(computing_type(v.dtype))
    rate = _rate(eta, wide)
    with torch.autocast(v.device.type, enabled=False):
        if same is None:
            return _chunked(wide, rate, chunk, inclusive=inclusive).to(v.dtype)
        return _apart(wide, rate, same, chunk, inclusive=inclusive).to(v.dtype)


class _Powers(NamedTuple):
    """Powers of eta for one chunk: `within` [..., C, C], `since` [..., C, 1], `until` [..., 1, C].

    within[t, i] = eta^(t-i) where i comes before t; since[t] = eta^(t+1), from the token before the
    chunk; until[i] = eta^(C-1-i), to its last token.
    """

    within: Tensor
    since: Tensor
    until: Tensor


def _powers(rate: Tensor, size: int, *, inclusive: bool) -> _Powers:
    places = torch.arange(size, device=rate.device, dtype=rate.dtype)
    apart = places[:, None] - places
    before = apart >= 0 if inclusive else apart > 0
    base = rate[..., None, None]
    within = torch.where(before, base ** apart.clamp(min=0), 0.0)
    return _Powers(within, base ** (places[:, None] + 1), base ** (size - 1 - places))


def _chunked(v: Tensor, rate: Tensor, chunk: int, *, inclusive: bool) -> Tensor:
    length = v.shape[-2]
    if length <= chunk:
        return _powers(rate, length, inclusive=inclusive).within @ v
    count = -(-length // chunk)
    padded = torch.nn.functional.pad(v, (0, 0, 0, count * chunk - length))
    parts = padded.reshape(*v.shape[:-2], count, chunk, v.shape[-1])  # [..., N, C, d]
    powers = _powers(rate[..., None], chunk, inclusive=inclusive)
    ends = (powers.until @ parts)[..., :-1, 0, :]  # [..., N-1, d]
    carried = _chunked(ends, rate**chunk, max(chunk, 2), inclusive=True)
    carried = torch.nn.functional.pad(carried, (0, 0, 1, 0))[..., None, :]  # [..., N, 1, d]
    found: Tensor = powers.within @ parts + powers.since * carried
    return found.flatten(-3, -2)[..., :length, :]


def _apart(v: Tensor, rate: Tensor, same: Tensor, chunk: int, *, inclusive: bool) -> Tensor:
    """Chunk after chunk, with every product cut where the sequence changes."""
    carried = torch.zeros_like(v[..., :1, :])
    last = same[:, :1]
    out = []
    for start in range(0, v.shape[-2], chunk):
        part, own = v[..., start : start + chunk, :], same[:, start : start + chunk]
        powers = _powers(rate, own.shape[1], inclusive=inclusive)
        meets = (own[:, :, None] == own[:, None, :])[:, None]
        follows = (own == last)[:, None, :, None]
        out.append((powers.within * meets) @ part + powers.since * follows * carried)
        ends = (powers.until * meets[:, :, -1:]) @ part
        carried = ends + powers.since[..., -1:, :] * follows[:, :, -1:] * carried
        last = own[:, -1:]
    return torch.cat(out, -2)
