"""What a terminal shows: progress bars, plain lines where there is none, tables of checks."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from empirical.results.identity_overview import (
    coincidences,
    layer_rows,
    left_out,
    overview,
    show,
    show_spread,
)


def layers_table(value: Mapping[str, Any]) -> Table:
    """A stored document of checks, layer by layer, the worst over heads."""
    made = value["provenance"]
    title = (
        f"Identities on {made['model']} reading {value['task']}: {made['k']} demonstrations, "
        f"{made['context_length']} tokens; {made['states']} states checked in {made['arithmetic']}"
    )
    out = Table(title=Text(title), title_justify="left")
    for heading, justify in (
        ("layer", "right"),
        ("statement", "left"),
        ("gap/bound", "right"),
        ("near miss", "right"),
    ):
        out.add_column(Text(heading), justify=justify)  # type: ignore[arg-type] # two of its literals
    for layer in value["layers"]:
        number = str(layer["layer"])
        for name, worst, near in layer_rows(layer):
            out.add_row(Text(number), Text(name), Text(worst), Text(near))
            number = ""
        mass = show_spread(layer["softmax"]["demonstrations"])
        size = show_spread(layer["softmax"]["relaxation"])
        out.add_row("", Text(f"lambda {mass}; relaxation {size}", style="dim"), "", "")
        out.add_section()
    return out


NOTES = (
    "gap/bound: largest over the heads, holds up to 1. near miss: smallest over the heads, must be "
    "over 1. Finetuning is real: SGD on the first demonstrations, 8 at most, of keys and values.",
    "lambda: share of softmax mass on the demonstrations, which is what softmax takes away from "
    "the zero-shot term. relaxation: |V K^T q - F| / |F| for softmax attention F. Both mean "
    "[range] over the heads, and metrics, not checks.",
)


def _ranges(layers: Sequence[int], total: int) -> str:
    """Numbers of layers as "0-3, 7", or "all layers"."""
    if len(layers) == total:
        return "all layers"
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    texts = [str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs]
    return f"layer{'s' if len(layers) > 1 else ''} {', '.join(texts)}"


def reasons(value: Mapping[str, Any]) -> list[str]:
    """A line for whatever a document has no check of, or a near miss that is true."""
    total = value["counts"]["layers"]
    lines = [
        f"not applicable, {_ranges(layers, total)}: {', '.join(names)}: {reason}"
        for reason, names, layers in left_out(value)
    ]
    lines += [
        f"near miss true in {n} check{'s' if n > 1 else ''}: {name}: {reason}"
        for name, reason, n in coincidences(value)
    ]
    return [
        *lines,
        f"no place in a decoder: {len(value['no_site'])} further statements of the catalogue; the "
        "file has the reason of each",
    ]


def last_line(value: Mapping[str, Any]) -> str:
    """How many checks, over what, and their extremes."""
    counts, worst = value["counts"], value["summary"]["all"]
    verdict = "held" if value["refusal"] is None else "REFUSED"
    return (
        f"{verdict}: {counts['checks']} checks over {counts['layers']} layers and "
        f"{counts['heads']} heads, worst gap/bound {show(worst['worst_ratio'])}, "
        f"smallest near miss {show(worst['near_miss_ratio'])}"
    )


def overview_table(values: Sequence[Mapping[str, Any]]) -> Table:
    """One row for each document; all are of one model."""
    rows = [overview(value) for value in values]
    places = ", ".join(sorted({row.places for row in rows}))
    title = f"Identities while the model reads each task, layers x heads {places}"
    out = Table(title=Text(title), title_justify="left")
    for heading in ("task", "checks", "gap/bound", "near miss", "lambda", "relaxation"):
        justify = "left" if heading == "task" else "right"
        out.add_column(Text(heading), justify=justify, overflow="fold")  # type: ignore[arg-type] # literals
    for row in rows:
        cells = (row.task, str(row.checks), row.worst, row.near_miss)
        out.add_row(*map(Text, (*cells, row.demonstrations, row.relaxation)))
    return out
