"""One file for each trained model: what was trained, how, and what it scores (no torch).

The same command gives the same bytes on the same machine; seconds live in timing.json. Losses
are natural logarithms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from empirical.core import json_reading
from empirical.core.errors import UserError
from empirical.core.json_files import dumps, file_name, write_text
from empirical.core.json_reading import unexpected
from empirical.results.attention_kinds import Layer

SCHEMA: Final = 1
PREFIX = "momentum"


@dataclass(frozen=True, kw_only=True)
class Equal:
    """What has to be equal between the models of one seed for their difference to mean anything.

    `parameters`: without learned etas, which are counted in `Trained.rates`. `initial_sha256`: of
    the first weights, without etas. `order_sha256`: of every token trained on, in its order.
    `settings`: all numbers of geometry and optimiser, as text.
    """

    parameters: int
    steps: int
    tokens: int
    initial_sha256: str
    order_sha256: str
    settings: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """One task: right and chosen classes of every asked row, or `absent`: why there are none.

    `k` demonstrations fit. `rows_sha256`: of the rows asked and shown.
    """

    task: str
    k: int = 0
    classes: int = 0
    gold: tuple[int, ...] = ()
    zero_shot: tuple[int, ...] = ()
    in_context: tuple[int, ...] = ()
    rows_sha256: str = ""
    absent: str | None = None


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What the numbers depend on beside `Equal`. `text_sha256`: of tokenizer and all windows."""

    text: str
    text_sha256: str
    device: str
    dtype: str
    threads: int
    versions: Mapping[str, str]
    code_sha256: str
    commit: str | None
    command: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """One model. `rates`: learned etas, layer by layer, head by head; empty where none is learned.

    `curve`, `held_out_curve`: (step, loss) in training and on the windows that choose eta.
    `losses`: mean loss of every window, by place and length: `training-256`, `choosing-256` (of
    training books, not trained on), `validation-64`, `validation-128`, `validation-256` (of books
    that were never read). `length`: the training length, the longest of them.
    """

    scale: str
    layer: Layer
    seed: int
    length: int
    equal: Equal
    curve: tuple[tuple[int, float], ...]
    held_out_curve: tuple[tuple[int, float], ...]
    losses: Mapping[str, tuple[float, ...]]
    scores: Mapping[str, Scores]
    rates: tuple[tuple[float, ...], ...]
    origin: Origin
    schema: Literal[1] = SCHEMA

    @property
    def name(self) -> str:
        """`momentum-SCALE-LAYER-sSEED`."""
        return run_name(self.scale, self.layer, self.seed)


def run_name(scale: str, layer: Layer, seed: int) -> str:
    """`momentum-SCALE-LAYER-sSEED`, safe as a file name."""
    return file_name(PREFIX, scale, f"{layer.name}-s{seed}")


def write(trained: Trained, folder: Path) -> Path:
    """Write `FOLDER/momentum-SCALE-LAYER-sSEED.json`.

    Raises:
        ValueError: for a number that is not finite.
    """
    path = Path(folder) / f"{trained.name}.json"
    write_text(path, dumps(trained))
    return path


def read(path: Path) -> Trained:
    """Parse and validate one file.

    Raises:
        UserError: for a missing, truncated or foreign file, or another schema version.
    """
    found = json_reading.read(Path(path), Trained)
    for name, scores in found.scores.items():
        if not len(scores.gold) == len(scores.zero_shot) == len(scores.in_context):
            got = len(scores.in_context)
            raise UserError(unexpected(path, f"scores.{name}", "as many answers as rows", got))
    return found


def read_all(folder: Path) -> tuple[Trained, ...]:
    """Every `momentum-*.json` of a folder, in name order; empty where there is none.

    Raises:
        UserError: when one is damaged.
    """
    return tuple(read(path) for path in sorted(Path(folder).glob(f"{PREFIX}-*.json")))


TRAINING, CHOOSING, VALIDATION = "training", "choosing", "validation"
