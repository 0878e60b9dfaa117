"""Where the captures of a cell's three settings lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from empirical.inference.capture_store import Store


@dataclass(frozen=True, kw_only=True)
class Stores:
    """Where captures of the three settings lie; `ft` is None where it is not kept."""

    zsl: Store
    icl: Store
    ft: Store | None = None


def stores_in(folder: Path) -> Stores:
    """Three stores in a folder."""
    zsl, icl, ft = (Store(folder=folder / name) for name in ("zsl", "icl", "ft"))
    return Stores(zsl=zsl, icl=icl, ft=ft)
