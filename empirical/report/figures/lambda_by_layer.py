"""λ, the share of attention on the demonstrations, layer by layer, from evidence or checks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from empirical.report import names
from empirical.report.figures.weight_changes import mean_table, origin_of
from empirical.report.render.drawing import Figure, Key, Panel, looks
from empirical.report.render.palette import BAND, STYLES
from empirical.report.results import Results, findings
from empirical.results.control_results import ConditionResult


@dataclass(frozen=True, kw_only=True)
class Shares:
    """λ of a model and task: mean, lowest and highest over the heads of each layer."""

    model: str
    task: str
    layers: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def _number(value: Any) -> float:
    return float("nan") if isinstance(value, dict) else float(value)


def shares(document: Mapping[str, Any]) -> Shares:
    """λ of one document of checks."""
    layers = document["layers"]
    spreads = [x["softmax"]["demonstrations"] for x in layers]
    mean, low, high = (tuple(_number(s[k]) for s in spreads) for k in ("mean", "low", "high"))
    return Shares(
        model=document["provenance"]["model"],
        task=document["task"],
        layers=tuple(int(x["layer"]) for x in layers),
        mean=mean,
        low=low,
        high=high,
    )


def draw(axis: Axes, found: Shares) -> None:
    """The mean over heads as a line, their range as a band."""
    axis.fill_between(found.layers, found.low, found.high, color=BAND, alpha=0.3, linewidth=0)
    axis.vlines(found.layers, found.low, found.high, color=BAND, linewidth=0.8)
    axis.plot(found.layers, found.mean, **looks(STYLES[0]))
    axis.set_ylim(0, 1)
    axis.set_xlabel("layer")
    axis.set_ylabel("λ")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _words(found: Shares) -> str:
    rows = zip(found.layers, found.mean, found.low, found.high, strict=True)
    return "λ by layer, mean and range over heads: " + ", ".join(
        f"layer {layer}: {mean:.2f} ({low:.2f} to {high:.2f})" for layer, mean, low, high in rows
    )


def of_findings(model: str, task: str, found: Sequence[ConditionResult]) -> Shares:
    """λ of the findings "delta_w" of a task's seeds: means over seeds and queries."""
    table = mean_table(found, "lambda")
    known = [[x for x in row if not math.isnan(x)] or [math.nan] for row in table]
    return Shares(
        model=model,
        task=task,
        layers=tuple(range(len(table))),
        mean=tuple(math.fsum(row) / len(row) for row in known),
        low=tuple(map(min, known)),
        high=tuple(map(max, known)),
    )


def _origin(documents: Sequence[Mapping[str, Any]]) -> str:
    made = [d["provenance"] for d in documents]
    models = sorted({m["model"] for m in made})
    sources = sorted({m["source"] for m in made})
    queries = sorted({m["queries"] for m in made})
    seeds = sorted({m["seed"] for m in made})
    return (
        f"Model {', '.join(models)}; data {', '.join(sources)}; "
        f"n = {', '.join(map(str, queries))} query per task; seed {', '.join(map(str, seeds))}."
    )


def _of_checks(results: Results) -> tuple[list[Shares], str]:
    """From the documents of checks, in the order of the records."""
    known = {(d["provenance"]["model"], d["task"]): d for d in results.checks}
    order = [c for c in results.cells() if c in known]
    order += sorted(c for c in known if c not in set(order))
    chosen = [known[c] for c in order]
    return [shares(d) for d in chosen], _origin(chosen)


def _of_evidence(results: Results) -> tuple[list[Shares], str]:
    cells = results.with_finding("delta_w")
    used = [e for _, _, seeds in cells for e in seeds]
    found = [of_findings(m, t, findings(seeds, "delta_w")) for m, t, seeds in cells]
    return found, origin_of(used) if used else ""


def figure(results: Results) -> Figure | None:
    """From evidence, which averages over queries, or else from checks; None without either."""
    found, where = _of_evidence(results)
    if not found:
        found, where = _of_checks(results)
    if not found:
        return None
    models = [x.model for x in found]
    return Figure(
        id="lambda",
        title="λ: the share of attention on the demonstrations",
        caption="What softmax takes away from the zero-shot term. Line: mean over heads; band: "
        f"from the lowest to the highest head. {where}",
        panels=tuple(
            Panel(
                title=names.place(x.model, x.task, models),
                text=_words(x),
                draw=partial(draw, found=x),
            )
            for x in found
        ),
        keys=(
            Key(label="mean over heads", style=STYLES[0]),
            Key(label="range over heads", style=None),
        ),
    )
