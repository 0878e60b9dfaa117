"""Texts of the command line -> values, refused with one plain line (standard library only)."""

import math
import re
from typing import Literal

from empirical.core.errors import UserError


class Whole:
    """Text (or an integer already) -> integer."""

    __name__ = "INTEGER"  # what `--help` shows

    def __init__(self, name: str, example: int, least: int | None = None) -> None:
        self.name, self.example, self.least = name, example, least

    def __call__(self, text: str | int) -> int:
        """The integer.

        Raises:
            UserError: for anything that is not one, or is less than the least.
        """
        try:
            value = int(text)
        except ValueError:
            raise UserError(
                f"expected a whole number for {self.name}, got {text!r}; for example {self.example}"
            ) from None
        if self.least is not None and value < self.least:
            raise UserError(
                f"expected at least {self.least} for {self.name}, got {value}; "
                f"for example {self.example}"
            )
        return value


def rate(text: str | float) -> float:
    """One learning rate.

    Raises:
        UserError: for anything but a positive finite number.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise UserError(
            f"expected learning rates as positive numbers between commas, got {text!r}; "
            "for example 0.01,0.1"
        )
    return value


def rates(text: str) -> tuple[float, ...]:
    """Learning rates between commas.

    Raises:
        UserError: for anything but positive finite numbers, each once.
    """
    found = tuple(rate(part.strip()) for part in text.split(","))
    if len(set(found)) < len(found):
        raise UserError(f"expected different learning rates, got {text!r}; name each once")
    return found


def etas(text: str) -> tuple[float, ...]:
    """Etas of momentum between commas.

    Raises:
        UserError: for anything but numbers from 0 to below 1, each once.
    """
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = (math.nan,)
    if not all(0 <= eta < 1 for eta in found) or len(set(found)) < len(found):
        raise UserError(
            f"expected different etas from 0 to below 1 between commas, got {text!r}; for example "
            "0.5,0.9"
        )
    return found


def position(text: str) -> Literal["label", "prompt"]:
    """The recorded token.

    Raises:
        UserError: for another word than `label` or `prompt`.
    """
    if text == "label":
        return "label"
    if text == "prompt":
        return "prompt"
    raise UserError(f"expected --position label or prompt, got {text!r}; choose one of them")


def draw(text: str) -> bool:
    """Whether published lists of demonstrations are taken where they are known.

    Raises:
        UserError: for another word than `published` or `shuffled`.
    """
    if text not in ("published", "shuffled"):
        raise UserError(f"expected --draw published or shuffled, got {text!r}; choose one of them")
    return text == "published"


def each_once(seeds: list[int] | None) -> tuple[int, ...] | None:
    """Seeds in the order named, each once; None where none is named."""
    return tuple(dict.fromkeys(seeds)) if seeds else None


def device(text: str) -> str:
    """A device that is there.

    Raises:
        UserError: for another word than `cpu`, `cuda` or `cuda:N`, or where there is no such GPU.
    """
    if text == "cpu":
        return text
    found = re.fullmatch(r"cuda(?::(\d+))?", text)
    if found is None:
        raise UserError(f"expected --device cpu, cuda or cuda:N, got {text!r}; choose one of them")
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(found.group(1) or 0) >= count:
        raise UserError(
            f"expected a GPU for --device {text}, got {count} that torch can use; "
            "pass --device cpu, or install torch for the GPU"
        )
    return text


def export_format(text: str) -> None:
    """Refuse a layout that `export` does not know.

    Raises:
        UserError: for another word than `understand-icl`.
    """
    if text != "understand-icl":
        raise UserError(f"expected --format understand-icl, got {text!r}; choose it")


def shard(text: str | None) -> tuple[int, int]:
    """I/N as (I, N); all of it where nothing is named.

    Raises:
        UserError: unless 1 <= I <= N.
    """
    if text is None:
        return 1, 1
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    place, count = (int(found.group(1)), int(found.group(2))) if found else (0, 0)
    if not 1 <= place <= count:
        raise UserError(f"expected --shard I/N with I in 1..N, got {text!r}; for example 1/2")
    return place, count
