"""A document of identity checks in rows of text (no torch)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


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
