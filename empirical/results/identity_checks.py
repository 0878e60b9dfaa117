"""Checks of the identities as a file `checks-MODEL-TASK.json`, and their summaries (no torch).

The same command gives the same bytes on the same machine. Numbers that are not finite
are stored with that reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from empirical.core import json_reading
from empirical.core.errors import UserError
from empirical.core.json_files import dumps, file_name, plain, write_text
from empirical.core.undefined import Number
from empirical.results.identity_summaries import (
    Extremes,
    Softmax,
    extremes,
    number,
    softmax,
    statements,
)
from empirical.results.layer_check import LayerCheck, NotApplicable, SoftmaxShare
from empirical.results.reuse import differences

SCHEMA: Final = 2
INPUTS = (
    "model", "weights_sha256", "source", "source_sha256", "rule", "seed", "k_asked", "k", "limit",
    "context_length", "queries", "rate", "steps", "states", "arithmetic", "device", "threads",
    "statements", "versions",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CheckProvenance:
    """Everything that checks depend on.

    `states` is the dtype of the forward pass, `arithmetic` that in which both sides were formed
    from its states; `rate` and `steps` are of the finetuning; `statements` those checked.
    """

    model: str
    weights_sha256: str
    source: str
    source_sha256: str
    rule: str
    seed: int
    k_asked: int | None
    k: int
    limit: int
    context_length: int
    queries: int
    rate: float
    steps: int
    states: str
    arithmetic: str
    device: str
    threads: int
    statements: tuple[str, ...]
    versions: Mapping[str, str]
    commit: str | None
    command: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class HeadCheck:
    """One statement on one head; `near_miss_is_true` says why its near miss holds there."""

    head: int | None
    worst_ratio: Number
    near_miss_ratio: Number
    near_miss_is_true: str | None
    nontrivial: bool
    finite: bool


@dataclass(frozen=True, kw_only=True)
class HeadMeans:
    """The metrics of one head, each the mean over the queries where it is defined."""

    head: int
    demonstrations: Number
    relaxation: Number
    cosine: Number


@dataclass(frozen=True, kw_only=True)
class LayerDocument:
    """One layer: checks by statement, reasons by statement, and the metrics of its heads."""

    layer: int
    statements: Mapping[str, tuple[HeadCheck, ...]]
    not_applicable: Mapping[str, str]
    softmax: Softmax
    heads: tuple[HeadMeans, ...]


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A statement that does not apply to some layers, with one reason."""

    statement: str
    reason: str
    layers: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Over all layers: every check, every statement, and the metrics."""

    all: Extremes
    statements: Mapping[str, Extremes]
    softmax: Softmax


@dataclass(frozen=True, kw_only=True)
class Document:
    """The file. `no_site`: why a statement has no place in a decoder."""

    task: str
    provenance: CheckProvenance
    counts: Mapping[str, int]
    refusal: str | None
    summary: Summary
    layers: tuple[LayerDocument, ...]
    not_applicable: tuple[LeftOut, ...]
    no_site: Mapping[str, str]
    schema: Literal[2] = SCHEMA


def _layer(found: "Checks", layer: int) -> LayerDocument:
    here = [c for c in found.checks if c.layer == layer]
    shares = [s for s in found.shares if s.layer == layer]
    return LayerDocument(
        layer=layer,
        statements={
            name: tuple(_head(c) for c in here if c.statement == name) for name in statements(here)
        },
        not_applicable={x.statement: x.reason for x in found.not_applicable if x.layer == layer},
        softmax=softmax(shares),
        heads=tuple(
            _means(head, [s for s in shares if s.head == head])
            for head in sorted({s.head for s in shares})
        ),
    )


def _head(check: LayerCheck) -> HeadCheck:
    return HeadCheck(
        head=check.head,
        worst_ratio=number(check.worst_ratio),
        near_miss_ratio=number(check.near_miss_ratio),
        near_miss_is_true=check.coincides,
        nontrivial=check.nontrivial,
        finite=check.finite,
    )


def _means(head: int, shares: Sequence[SoftmaxShare]) -> HeadMeans:
    found = softmax(shares)
    return HeadMeans(
        head=head,
        demonstrations=found.demonstrations.mean,
        relaxation=found.relaxation.mean,
        cosine=found.cosine.mean,
    )


def _without(found: Sequence[NotApplicable]) -> tuple[LeftOut, ...]:
    """Statements and reasons, each pair once with its layers."""
    layers: dict[tuple[str, str], list[int]] = {}
    for x in found:
        layers.setdefault((x.statement, x.reason), []).append(x.layer)
    return tuple(
        LeftOut(statement=statement, reason=reason, layers=tuple(sorted(at)))
        for (statement, reason), at in layers.items()
    )


def document(
    found: "Checks", task: str, provenance: CheckProvenance, no_site: Mapping[str, str]
) -> dict[str, Any]:
    """The file's content, a `Document` as JSON values."""
    layers = sorted({c.layer for c in found.checks})
    heads = {c.head for c in found.checks} - {None}
    value = Document(
        task=task,
        provenance=provenance,
        counts={"layers": len(layers), "heads": len(heads), "checks": len(found.checks)},
        refusal=found.refusal,
        summary=_summary(found),
        layers=tuple(_layer(found, layer) for layer in layers),
        not_applicable=_without(found.not_applicable),
        no_site=no_site,
    )
    done: dict[str, Any] = plain(value)
    return done


def _summary(found: "Checks") -> Summary:
    return Summary(
        all=extremes(found.checks),
        softmax=softmax(found.shares),
        statements={
            name: extremes([c for c in found.checks if c.statement == name])
            for name in statements(found.checks)
        },
    )


def path_of(folder: Path, model: str, task: str) -> Path:
    """`FOLDER/checks-MODEL-TASK.json`, safe as a file name."""
    return Path(folder) / f"{file_name('checks', model, task)}.json"


def write(value: Mapping[str, Any], folder: Path) -> Path:
    """Write a `document` whole or not at all."""
    path = path_of(folder, value["provenance"]["model"], value["task"])
    write_text(path, dumps(value))
    return path


def read(path: Path) -> dict[str, Any]:
    """A `document` again.

    Raises:
        UserError: for a missing, truncated or foreign file, or another schema version.
    """
    value: dict[str, Any] = plain(json_reading.read(path, Document))
    return value


@dataclass(frozen=True, kw_only=True)
class Found:
    """The document to reuse, or None; `line` says why, and is empty where there was nothing."""

    value: dict[str, Any] | None
    line: str


def find(folder: Path, task: str, wanted: CheckProvenance) -> Found:
    """The checks of this cell in `folder`, if they held and have the inputs of `wanted`."""
    path = path_of(folder, wanted.model, task)
    if not path.exists():
        return Found(value=None, line="")
    try:
        old = read(path)
    except UserError as error:
        return Found(value=None, line=f"{task}: checked again, {path.name} is damaged ({error})")
    changed = differences(old["provenance"], plain(wanted), INPUTS)
    if old["refusal"] is not None:
        changed = (*changed, "a check that was refused")
    if changed:
        line = f"{task}: checked again, {path.name} was made with {'; '.join(changed)}"
        return Found(value=None, line=line)
    return Found(value=old, line=f"{task}: reused {path.name}, made with the same settings")


@dataclass(frozen=True, kw_only=True)
class Checks:
    """Each statement, layer and head once, the worst over the queries; every share measured.

    `refusal` says which check did not hold, was vacuous or could not refuse its near miss.
    `not_applicable`: statements without a check in a layer, each with its reason.
    """

    checks: tuple[LayerCheck, ...]
    shares: tuple[SoftmaxShare, ...]
    queries: int
    refusal: str | None
    not_applicable: tuple[NotApplicable, ...] = ()
