"""The data sets of the paper on the hub, read with `datasets`."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from empirical.core.errors import UserError
from empirical.data.task import Hub, Row, Split, Task, hold_out, kept, pool_rule, to_row


@dataclass(frozen=True, kw_only=True)
class HubSource:
    """Data sets of the hub; those that have only a script through their parquet revision."""

    def rows(self, task: Task, split: Split) -> list[Row]:
        """Rows of one split.

        Raises:
            UserError: when the data set cannot be read, lacks columns or has bad labels.
        """
        hub = _hub_of(task)
        name = hub.train if split == "train" else hub.evaluation
        where = f"{hub.path} {name or hub.evaluation}"
        rows = []
        for i, record in enumerate(_load(hub, name or hub.evaluation)):
            try:
                shaped = record if hub.reshape is None else hub.reshape(record)
            except (KeyError, TypeError, ValueError) as error:
                raise UserError(
                    f"expected the columns of {task.name} in {where} row {i}, got "
                    f"{sorted(record)} ({type(error).__name__}: {error}); the data set has "
                    "changed, use a folder of JSON Lines files"
                ) from error
            rows.append(to_row(task, shaped, f"{where} row {i}", hub.layout))
        found = kept(task, rows, where)
        return found if hub.train is not None else hold_out(task, found, split, where)

    def published_draw(self, task: Task, seed: int) -> None:
        """None: the full training split is there, and the shuffle draws what the paper drew."""

    def pool(self, task: Task) -> str:
        """What the training rows are where the data set has no split of them."""
        return pool_rule(task, _hub_of(task).train is None)

    def revision(self, task: Task) -> str | None:
        """The commit of the data set: `datasets` keeps it as a folder of its cache, else None.

        Raises:
            UserError: when the data set cannot be read.
        """
        hub = _hub_of(task)
        for file in _load(hub, hub.evaluation).cache_files:
            for part in Path(file["filename"]).parts:
                if re.fullmatch("[0-9a-f]{40}", part):
                    return part
        return None


def _hub_of(task: Task) -> Hub:
    if task.hub is None:
        raise UserError(
            f"expected a hub data set of task {task.name}, got none; name its files with --data DIR"
        )
    return task.hub


def _load(hub: Hub, split: str) -> Any:
    """A split as `datasets` reads it.

    Raises:
        UserError: when neither the data set nor its parquet revision can be read.
    """
    from datasets import load_dataset

    failures: list[Exception] = []
    for revision in (None, "refs/convert/parquet"):
        try:
            return load_dataset(hub.path, hub.config, split=split, revision=revision)
        except Exception as error:  # noqa: BLE001 - the hub client raises many kinds
            failures.append(error)
    # Where a script alone is there, what became of the parquet revision says more.
    shown = failures["script" in str(failures[0])]
    reason = (str(shown).splitlines() or [""])[0]
    raise UserError(
        f"expected to read {hub.path} ({split}) from the hub, got {type(shown).__name__}: "
        f"{reason}; check the network or use a folder of JSON Lines files"
    ) from shown
