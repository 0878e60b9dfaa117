"""Attention maps of chosen heads, before and after finetuning and in context."""

from __future__ import annotations

from empirical.report.commands import with_controls
from empirical.report.figures import attention
from empirical.report.render.blocks import Block, Details, Missing, Plot, Prose, Section
from empirical.report.results import Results


def section(results: Results) -> Section:
    """The first task at once, the others behind a summary each."""
    found = attention.figures(results)
    blocks: list[Block] = []
    if not found:
        text = "Attention maps are the control “attention_maps”."
        blocks.append(Missing(text=text, command=with_controls(results, "attention_maps")))
    for i, figure in enumerate(found):
        plot = Plot(figure=figure)
        blocks.append(plot if i == 0 else Details(summary=figure.title, blocks=(plot,)))
    blocks += [Prose(text=line) for line in results.absent("attention_maps")]
    return Section(id="attention", title="Where attention goes", blocks=tuple(blocks))
