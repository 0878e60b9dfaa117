"""Checks of the identities as a file `checks-MODEL-TASK.json`, and their summaries (no torch).

The same command gives the same bytes on the same machine. Numbers that are not finite
are stored with that reason.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from empirical.core.errors import UserError
from empirical.core.json_files import dumps, file_name, plain, read_object, write_text
from empirical.core.undefined import Number, Undefined
from empirical.results.layer_check import LayerCheck, NotApplicable, SoftmaxShare
from empirical.results.reuse import differences

SCHEMA = 2
INPUTS = (
    "model", "weights_sha256", "source", "source_sha256", "rule", "seed", "k_asked", "k", "limit",
    "context_length", "queries", "rate", "steps", "states", "arithmetic", "device", "threads",
    "statements", "versions",
)  # fmt: skip
_KEYS = {
    "schema", "task", "provenance", "counts", "refusal", "summary", "layers", "not_applicable",
    "no_site",
}  # fmt: skip


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
class Spread:
    """Mean and range of the defined values, of `total`; undefined where none is."""

    mean: Number
    low: Number
    high: Number
    defined: int
    total: int


def spread(values: Iterable[Number]) -> Spread:
    """Mean and range of what is defined and finite."""
    found = list(values)
    kept = [x for x in found if not isinstance(x, Undefined) and math.isfinite(x)]
    none = Undefined("no head has a value")
    return Spread(
        mean=math.fsum(kept) / len(kept) if kept else none,
        low=min(kept) if kept else none,
        high=max(kept) if kept else none,
        defined=len(kept),
        total=len(found),
    )


@dataclass(frozen=True, kw_only=True)
class Extremes:
    """The worst gap/bound and the smallest near-miss ratio of some checks.

    Near misses that are true of what they were checked on are left out of the latter.
    """

    worst_ratio: Number
    near_miss_ratio: Number
    checks: int


def _number(value: float) -> Number:
    return value if math.isfinite(value) else Undefined(f"not finite ({value})")


def extremes(checks: Sequence["LayerCheck"]) -> Extremes:
    """Over all of `checks`; a ratio that is not finite makes its extreme undefined."""
    ratios = [c.worst_ratio for c in checks]
    near = [c.near_miss_ratio for c in checks if c.coincides is None]
    bad = [x for x in (*ratios, *near) if math.isnan(x)]
    smallest: Number = Undefined(f"true here: {checks[0].coincides}")
    if near:
        smallest = _number(bad[0] if bad else min(near))
    return Extremes(
        worst_ratio=_number(bad[0] if bad else max(ratios)),
        near_miss_ratio=smallest,
        checks=len(checks),
    )


@dataclass(frozen=True, kw_only=True)
class Softmax:
    """lambda, the share of softmax mass on the demonstrations, and the softmax relaxation."""

    demonstrations: Spread
    relaxation: Spread
    cosine: Spread


def softmax(shares: Sequence["SoftmaxShare"]) -> Softmax:
    """Mean and range over the heads and queries of `shares`."""
    return Softmax(
        demonstrations=spread(s.demonstrations for s in shares),
        relaxation=spread(s.relaxation for s in shares),
        cosine=spread(s.cosine for s in shares),
    )


def statements(checks: Sequence["LayerCheck"]) -> tuple[str, ...]:
    """Ids in the order checked."""
    return tuple(dict.fromkeys(c.statement for c in checks))


def _layer(found: "Checks", layer: int) -> dict[str, Any]:
    here = [c for c in found.checks if c.layer == layer]

    def heads(name: str) -> list[dict[str, Any]]:
        return [
            {
                "head": c.head,
                "worst_ratio": _number(c.worst_ratio),
                "near_miss_ratio": _number(c.near_miss_ratio),
                "near_miss_is_true": c.coincides,
                "nontrivial": c.nontrivial,
                "finite": c.finite,
            }
            for c in here
            if c.statement == name
        ]

    shares = [s for s in found.shares if s.layer == layer]
    return {
        "layer": layer,
        "statements": {name: heads(name) for name in statements(here)},
        "not_applicable": {x.statement: x.reason for x in found.not_applicable if x.layer == layer},
        "softmax": softmax(shares),
        "heads": [
            {"head": head} | _means([s for s in shares if s.head == head])
            for head in sorted({s.head for s in shares})
        ],
    }


def _means(shares: Sequence["SoftmaxShare"]) -> dict[str, Number]:
    """The metrics of one head, each the mean over the queries where it is defined."""
    found = softmax(shares)
    return {name: getattr(found, name).mean for name in ("demonstrations", "relaxation", "cosine")}


def _without(found: Sequence["NotApplicable"]) -> list[dict[str, Any]]:
    """Statements and reasons, each pair once with its layers."""
    layers: dict[tuple[str, str], list[int]] = {}
    for x in found:
        layers.setdefault((x.statement, x.reason), []).append(x.layer)
    return [
        {"statement": statement, "reason": reason, "layers": sorted(at)}
        for (statement, reason), at in layers.items()
    ]


def document(
    found: "Checks", task: str, provenance: CheckProvenance, no_site: Mapping[str, str]
) -> dict[str, Any]:
    """The file's content, as JSON values."""
    layers = sorted({c.layer for c in found.checks})
    heads = {c.head for c in found.checks} - {None}
    value = {
        "schema": SCHEMA,
        "task": task,
        "provenance": provenance,
        "counts": {"layers": len(layers), "heads": len(heads), "checks": len(found.checks)},
        "refusal": found.refusal,
        "summary": {"all": extremes(found.checks), "softmax": softmax(found.shares)}
        | {"statements": {
            name: extremes([c for c in found.checks if c.statement == name])
            for name in statements(found.checks)
        }},
        "layers": [_layer(found, layer) for layer in layers],
        "not_applicable": _without(found.not_applicable),
        "no_site": no_site,
    }  # fmt: skip
    done: dict[str, Any] = plain(value)
    return done


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
    value = read_object(path)
    if value.get("schema") != SCHEMA or set(value) != _KEYS:
        raise UserError(
            f"expected checks of schema {SCHEMA} in {path}, got schema {value.get('schema')} with "
            f"the keys {sorted(value)}; run the command that wrote it again"
        )
    return value


@dataclass(frozen=True, kw_only=True)
class Overview:
    """A document in one row, as texts; `refusal` is None where every check held."""

    task: str
    places: str
    checks: int
    worst: str
    near_miss: str
    demonstrations: str
    relaxation: str
    refusal: str | None


def show(value: Any) -> str:
    """A stored number in three digits, or why there is none."""
    if isinstance(value, dict):
        return f"undefined ({value['undefined']})"
    return f"{float(value):.3g}"


def show_spread(value: Mapping[str, Any]) -> str:
    """mean [low, high], and how many are left out where some are."""
    if not value["defined"]:
        return show(value["mean"])
    text = f"{show(value['mean'])} [{show(value['low'])}, {show(value['high'])}]"
    out = value["total"] - value["defined"]
    return f"{text}, {out} undefined" if out else text


def overview(value: Mapping[str, Any]) -> Overview:
    """One row of a document."""
    counts, worst = value["counts"], value["summary"]["all"]
    return Overview(
        task=value["task"],
        places=f"{counts['layers']} x {counts['heads']}",
        checks=int(counts["checks"]),
        worst=show(worst["worst_ratio"]),
        near_miss=show(worst["near_miss_ratio"]),
        demonstrations=show_spread(value["summary"]["softmax"]["demonstrations"]),
        relaxation=show_spread(value["summary"]["softmax"]["relaxation"]),
        refusal=value["refusal"],
    )


def layer_rows(layer: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(statement, worst gap/bound over heads, smallest near-miss ratio) of one stored layer."""

    def extreme(found: Sequence[Any], pick: Any) -> str:
        bad = [x for x in found if isinstance(x, dict)]
        return show(bad[0] if bad else pick(found))

    rows = []
    for name, heads in layer["statements"].items():
        open_near = [h["near_miss_ratio"] for h in heads if h["near_miss_is_true"] is None]
        near = extreme(open_near, min) if open_near else "true here"
        rows.append((name, extreme([h["worst_ratio"] for h in heads], max), near))
    return rows


def coincidences(value: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    """(statement, why its near miss is true, of how many checks) of a document."""
    found: dict[tuple[str, str], int] = {}
    for layer in value["layers"]:
        for name, heads in layer["statements"].items():
            for reason in (h["near_miss_is_true"] for h in heads):
                if reason is not None:
                    found[name, reason] = found.get((name, reason), 0) + 1
    return [(*key, n) for key, n in found.items()]


def left_out(value: Mapping[str, Any]) -> list[tuple[str, list[str], list[int]]]:
    """(reason, statements, layers) of what does not apply, statements of one reason together."""
    found: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for x in value["not_applicable"]:
        found.setdefault((x["reason"], tuple(x["layers"])), []).append(x["statement"])
    return [(reason, names, list(layers)) for (reason, layers), names in found.items()]


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
        overview(old), [layer_rows(layer) for layer in old["layers"]], left_out(old)
        changed = differences(old["provenance"], plain(wanted), INPUTS)
    except (UserError, AttributeError, KeyError, TypeError, ValueError) as error:
        return Found(value=None, line=f"{task}: checked again, {path.name} is damaged ({error})")
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
