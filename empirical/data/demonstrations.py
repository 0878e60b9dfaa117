"""Which training rows are shown, by which rule, and which are held out to choose a rate.

The rule is the shuffle of the released code, `default_rng(seed).permutation(n)`. Where the folder
at hand holds only a part of the training rows, a list of the `idx` that this rule draws from the
full set (`Source.published_draw`) takes its place.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from empirical.core.errors import UserError
from empirical.data.paper_tasks import Row, Source, Task


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """`offered` demonstrations in order, the training rows `left`, shuffled, and the rule.

    `short_list` says why a published list was not taken; it is empty otherwise.
    """

    offered: tuple[Row, ...]
    left: tuple[Row, ...]
    rule: str
    short_list: str = ""


def draw(
    source: Source,
    task: Task,
    train: Sequence[Row],
    seed: int,
    k: int,
    *,
    published: bool = True,
) -> Drawn:
    """k demonstrations: the published ones of this seed where known (and asked), or the shuffle.

    Raises:
        UserError: when the seed is negative, k is not in 1..n, or a published row is not there.
    """
    if seed < 0:
        raise UserError(f"expected a seed of at least 0, got {seed}; choose another seed")
    if not 1 <= k <= len(train):
        raise UserError(
            f"expected k in 1..{len(train)} (training rows of {task.name}), got k = {k}; "
            "choose another k"
        )
    order = [int(i) for i in np.random.default_rng(seed).permutation(len(train))]
    known = source.published_draw(task, seed) if published else None
    short = ""
    if known is not None and k > len(known):
        short = f"the folder lists {len(known)} published rows of seed {seed}, {k} were asked for: "
        short += "the training rows at hand are shuffled instead"
    if known is None or k > len(known):
        rule = f"numpy default_rng({seed}).permutation({len(train)})"
        pool = source.pool(task)
        rule += f" of {pool}" if pool else ""
        chosen = order[:k]
    else:
        rule = f"published idx of seed {seed}"
        chosen = _places(task, train, known[:k])
    shown = set(chosen)
    return Drawn(
        offered=tuple(train[i] for i in chosen),
        left=tuple(train[i] for i in order if i not in shown),
        rule=rule,
        short_list=short,
    )


def _places(task: Task, train: Sequence[Row], wanted: Sequence[int]) -> list[int]:
    """Positions in `train` of the rows with these `idx`.

    Raises:
        UserError: naming the first that is not there.
    """
    if len(set(wanted)) < len(wanted):
        raise UserError(
            f"expected published training rows of {task.name} without repeats, got {list(wanted)}; "
            "copy meta.json again, or pass --draw shuffled"
        )
    places = {row.idx: i for i, row in enumerate(train)}
    for idx in wanted:
        if idx not in places:
            raise UserError(
                f"expected the published training row idx {idx} of {task.name}, got "
                f"{len(train)} rows without it; copy the file again, or pass --draw shuffled"
            )
    return [places[idx] for idx in wanted]


def rows_sha256(*parts: Sequence[Row]) -> str:
    """SHA-256 over fields, label, idx and own answers of every row, part by part, in order."""
    digest = hashlib.sha256()
    for part in parts:
        for row in part:
            line: list[object] = [dict(sorted(row.fields.items())), row.label, row.idx]
            if row.choices:
                line.append(list(row.choices))
            digest.update(json.dumps(line).encode() + b"\n")
        digest.update(b"\0")
    return digest.hexdigest()
