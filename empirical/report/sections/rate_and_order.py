"""Dependence on the finetuning rate and on the order of the demonstrations."""

from __future__ import annotations

from empirical.report.commands import with_controls
from empirical.report.figures import orders, rates
from empirical.report.render.blocks import Block, Missing, Plot, Prose, Section
from empirical.report.results import Results


def section(results: Results) -> Section:
    """Both figures, or what would make them."""
    blocks: list[Block] = [Plot(figure=f) for f in rates.figures(results)]
    if not blocks:
        text = "Metrics at several rates are the control “rate”."
        blocks.append(Missing(text=text, command=with_controls(results, "rate")))
    order = orders.figure(results)
    if order is None:
        text = "Answers under several orders are the control “order”."
        blocks.append(Missing(text=text, command=with_controls(results, "order")))
    else:
        blocks.append(Plot(figure=order))
    blocks += [Prose(text=line) for name in ("rate", "order") for line in results.absent(name)]
    return Section(id="dependence", title="Rate and order", blocks=tuple(blocks))
