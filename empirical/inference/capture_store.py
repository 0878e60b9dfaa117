"""What a setting left, batch by batch on disk: shared by rates and seeds, resumed after a stop.

A folder `SETTING-KEY` holds one safetensors file for each batch, written whole or not at all. The
key covers everything that the numbers follow from, so that a folder is right or not there.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from empirical.core.json_files import replacing
from empirical.core.progress import Advance, ignore
from empirical.data.prompts import Query
from empirical.inference.batches import Part, batches, parts
from empirical.inference.read_options import ReadOptions
from empirical.models.decoder import LoadedModel

CAPTURES = "captures"  # folder, below that of the results, of what is kept until a cell is done
TRAINING = "training.safetensors"
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Store:
    """A folder of parts."""

    folder: Path

    def path(self, number: int) -> Path:
        """The file of one batch."""
        return self.folder / f"part-{number:05d}.safetensors"

    def write(self, number: int, part: Part) -> None:
        """Write one batch whole or not at all."""
        with replacing(self.path(number), sync=False) as temporary:
            save_file(_arrays(part), temporary)

    def read(self, number: int) -> Part | None:
        """One batch; None where it is not there or damaged, so that it is computed again."""
        try:
            return _part(load_file(str(self.path(number))))
        except (OSError, SafetensorError, KeyError, ValueError):
            return None

    def read_all(self) -> Iterator[Part]:
        """Every batch in order, up to the first that is missing."""
        number = 0
        while (found := self.read(number)) is not None:
            yield found
            number += 1

    def write_training(self, queries: Sequence[NDArray[Any]]) -> None:
        """Q' [L,T,H h] of every training example, BOS first, beside the parts."""
        named = {f"{i:05d}": np.ascontiguousarray(x) for i, x in enumerate(queries)}
        with replacing(self.folder / TRAINING, sync=False) as temporary:
            save_file(named, temporary)

    def read_training(self) -> list[NDArray[Any]] | None:
        """What `write_training` left; None where it is not there or damaged."""
        try:
            found = load_file(str(self.folder / TRAINING))
        except (OSError, SafetensorError):
            return None
        return [found[name] for name in sorted(found)]

    def whole(self, count: int) -> bool:
        """Whether `count` parts lie there that can be read."""
        return all(self.read(number) is not None for number in range(count))

    def remove(self) -> None:
        """Delete the folder, and the folder of captures when it was the last."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.folder.parent.name == CAPTURES:
            with suppress(OSError):
                self.folder.parent.rmdir()


def _arrays(part: Part) -> Arrays:
    """Arrays of a part; the ragged m as one vector with its shapes."""
    found: Arrays = {
        "index": np.array(part.index, dtype=np.int64),
        "labels": part.labels,
        "scores": part.scores,
        "h": part.h,
        "wide": np.array(part.wide, dtype=np.int64),
        "m_shapes": np.array([x.shape for x in part.m], dtype=np.int64).reshape(-1, 3),
        "m": np.concatenate([x.ravel() for x in part.m]) if part.m else part.h.ravel()[:0],
    }
    found |= {k: v for k, v in (("c", part.c), ("q", part.q)) if v is not None}
    return {k: np.ascontiguousarray(v) for k, v in found.items()}


def _part(found: Mapping[str, NDArray[Any]]) -> Part:
    shapes = found["m_shapes"]
    rows = np.split(found["m"], np.cumsum(shapes.prod(1))[:-1]) if len(shapes) else []
    return Part(
        index=tuple(int(i) for i in found["index"]),
        labels=found["labels"],
        scores=found["scores"],
        h=found["h"],
        m=[x.reshape(shape) for x, shape in zip(rows, shapes, strict=True)],
        wide=tuple(int(i) for i in found["wide"]),
        c=found.get("c"),
        q=found.get("q"),
    )


def key_of(**inputs: Any) -> str:
    """Twelve hexadecimal digits of everything that a capture follows from."""
    text = json.dumps(inputs, sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def tokens_sha256(queries: Sequence[Query], reading: ReadOptions, context: Sequence[int]) -> str:
    """Over prompts, classes, answers, context and the division into batches."""
    lines = [[list(q.prompt), q.label, [list(c) for c in q.choices]] for q in queries]
    labels = [list(x) for x in reading.labels]
    value = [lines, labels, list(context), reading.position, reading.record, reading.wide]
    text = json.dumps([*value, [list(b) for b in batches(queries, reading)]])
    return hashlib.sha256(text.encode()).hexdigest()


def stored_parts(
    model: LoadedModel,
    queries: Sequence[Query],
    reading: ReadOptions,
    context: Sequence[int],
    store: Store | None,
    advance: Advance = ignore,
) -> Iterator[Part]:
    """`batches.parts`, from the store as far as it goes; what is computed is written there.

    Raises:
        UserError: as `batches.parts`.
    """
    number = 0
    while store is not None and (found := store.read(number)) is not None:
        yield found
        advance(len(found.index))
        number += 1
    for part in parts(model, queries, reading, context, advance, skip=number):
        if store is not None:
            store.write(number, part)
        yield part
        number += 1
