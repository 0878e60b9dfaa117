"""λ per layer, and the two weight changes themselves, head by head."""

from __future__ import annotations

from empirical.report.commands import with_controls
from empirical.report.figures import lambda_by_layer, weight_changes
from empirical.report.render.blocks import Block, Missing, Plot, Prose, Section
from empirical.report.results import Results


def section(results: Results) -> Section:
    """The share of attention first, then ΔW where there is evidence."""
    blocks: list[Block] = []
    found = lambda_by_layer.figure(results)
    if found is None:
        text = "λ comes from the checks of the identities, and from the control “delta_w”."
        blocks.append(Missing(text=text, command=with_controls(results, "delta_w")))
    else:
        blocks.append(Plot(figure=found))
    changes = [weight_changes.summary_figure(results), weight_changes.heads_figure(results)]
    blocks += [Plot(figure=f) for f in changes if f is not None]
    if changes[0] is None:
        text = "ΔW in context against ΔW of finetuning is the control “delta_w”."
        blocks.append(Missing(text=text, command=with_controls(results, "delta_w")))
    blocks += [Prose(text=line) for line in results.absent("delta_w")]
    return Section(id="weights", title="ΔW, and attention to demonstrations", blocks=tuple(blocks))
