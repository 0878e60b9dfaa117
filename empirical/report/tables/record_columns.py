"""What the tables of the paper show: for each, its columns of ours and published, and its notes."""

from __future__ import annotations

from dataclasses import dataclass

from empirical.analysis.published import CITATION

REFERENCE = "1.3B"


@dataclass(frozen=True, kw_only=True)
class MetricColumn:
    """A heading, the metric it shows (of ours, or of the published model), and how.

    `made`: not a metric but a field of the record's provenance.
    """

    heading: str
    metric: str
    digits: int
    published: bool = False
    interval: bool = False
    counts: bool = False
    made: bool = False


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What one table shows."""

    id: str
    title: str
    columns: tuple[MetricColumn, ...]
    notes: tuple[str, ...]


OTHER = (
    f"Columns '{REFERENCE}' are published numbers of another, larger model on the real data sets "
    f"({CITATION}); they are "
    "context, not a target that this model should meet."
)

LAYOUTS = (
    Layout(
        id="accuracy",
        title="Accuracy (%), with 95 % Wilson intervals",
        columns=(
            MetricColumn(heading="k", metric="k", digits=0, made=True),
            MetricColumn(heading="rate", metric="rate", digits=0, made=True),
            MetricColumn(heading="ZSL", metric="zsl_accuracy", digits=1, interval=True),
            MetricColumn(heading="FT", metric="ft_accuracy", digits=1, interval=True),
            MetricColumn(heading="ICL", metric="icl_accuracy", digits=1, interval=True),
            MetricColumn(heading=f"ZSL, {REFERENCE}", metric="ZSL_acc", digits=1, published=True),
            MetricColumn(heading=f"FT, {REFERENCE}", metric="FT_acc", digits=1, published=True),
            MetricColumn(heading=f"ICL, {REFERENCE}", metric="ICL_acc", digits=1, published=True),
        ),
        notes=(
            OTHER,
            "k: demonstrations that were shown. rate: of finetuning; where a run names several, "
            "the one chosen on held-out training rows (with --protocol published-search on the "
            "evaluation rows). The published seed and rate were chosen on the evaluation set.",
        ),
    ),
    Layout(
        id="rec2ftp",
        title="Recall to finetuning predictions (%), with 95 % Wilson intervals",
        columns=(
            MetricColumn(heading="Rec2FTP", metric="rec2ftp", digits=1, interval=True, counts=True),
            MetricColumn(
                heading="base rate",
                metric="rec2ftp_base_rate",
                digits=1,
                interval=True,
                counts=True,
            ),
            MetricColumn(heading="reverse", metric="rec2ftp_reverse", digits=1, counts=True),
            MetricColumn(
                heading=f"Rec2FTP, {REFERENCE}", metric="Rec2FTP", digits=2, published=True
            ),
        ),
        notes=(
            OTHER,
            "Rec2FTP = #{ZSL wrong, FT right, ICL right} / #{ZSL wrong, FT right}. The base rate "
            "P(ICL right | ZSL wrong) is what it would be if the examples that finetuning "
            "corrects were no different: only the excess over it speaks for the claim.",
        ),
    ),
    Layout(
        id="sim_aou",
        title="Similarity of attention output updates (SimAOU), with 95 % bootstrap intervals",
        columns=(
            MetricColumn(heading="SimAOU", metric="sim_aou", digits=3, interval=True),
            MetricColumn(heading="U[0,1)", metric="sim_aou_random", digits=3),
            MetricColumn(heading="matched", metric="sim_aou_matched", digits=3),
            MetricColumn(heading="floor", metric="sim_aou_floor", digits=3),
            MetricColumn(heading="not normal.", metric="sim_aou_unnormalised", digits=3),
            MetricColumn(heading=f"SimAOU, {REFERENCE}", metric="SimAOU", digits=3, published=True),
            MetricColumn(
                heading=f"U[0,1), {REFERENCE}", metric="SimAOU_random", digits=3, published=True
            ),
        ),
        notes=(
            OTHER,
            "States are normalised before they are subtracted, so that two unrelated updates score "
            "over 0. matched: a normal draw of the finetuning update's norm in its place. floor: "
            "sqrt((1-s1)(1-s2))/2 with s = (1+r)^(-1/2), at the measured relative squared norms r, "
            "which holds for updates orthogonal to the state (0.146 at r = 1, 0.25 at r = 3). Read "
            "SimAOU against the larger of the two; the paper's U[0,1) base line cannot show this. "
            "not normal.: the same without normalising.",
        ),
    ),
    Layout(
        id="sim_am",
        title="Similarity of attention maps (SimAM), with 95 % bootstrap intervals",
        columns=(
            MetricColumn(heading="before FT", metric="sim_am_before", digits=3, interval=True),
            MetricColumn(heading="after FT", metric="sim_am_after", digits=3, interval=True),
            MetricColumn(
                heading="after - before", metric="sim_am_difference", digits=3, interval=True
            ),
            MetricColumn(heading="SimAM-delta", metric="sim_am_delta", digits=3),
            MetricColumn(
                heading=f"before, {REFERENCE}", metric="SimAM_before", digits=3, published=True
            ),
            MetricColumn(
                heading=f"after, {REFERENCE}", metric="SimAM_after", digits=3, published=True
            ),
        ),
        notes=(
            OTHER,
            "Read 'after' against 'before': an inert finetuning leaves SimAM at its 'before' "
            "value, so only the difference speaks for the claim. SimAM-delta compares the changes "
            "of the scores and inherits nothing.",
        ),
    ),
    Layout(
        id="kendall",
        title="Attention to training tokens: Kendall's tau-b, with 95 % bootstrap intervals",
        columns=(
            MetricColumn(heading="tokens", metric="kendall", digits=3, interval=True),
            MetricColumn(heading="U[0,1)", metric="kendall_random", digits=3),
            MetricColumn(
                heading=f"tokens, {REFERENCE}", metric="Kendall", digits=3, published=True
            ),
            MetricColumn(
                heading=f"U[0,1), {REFERENCE}", metric="Kendall_random", digits=3, published=True
            ),
        ),
        notes=(
            OTHER,
            "Over the first 100 evaluation rows: in context, the scores of the asking token "
            "towards the demonstrations' tokens, summed over heads; finetuned, Q'q with the "
            "queries Q' of those tokens just before their update.",
        ),
    ),
    Layout(
        id="kendall_examples",
        title="Attention to demonstrations: Kendall's tau-b and the highest that agree",
        columns=(
            MetricColumn(
                heading="demonstrations", metric="kendall_examples", digits=3, interval=True
            ),
            MetricColumn(heading="U[0,1)", metric="kendall_examples_random", digits=3),
            MetricColumn(heading="top 100 tokens", metric="top_tokens", digits=3),
            MetricColumn(heading="top 100: chance", metric="top_tokens_chance", digits=3),
            MetricColumn(heading="top 5 dem.", metric="top_examples", digits=3),
            MetricColumn(heading="top 5: chance", metric="top_examples_chance", digits=3),
        ),
        notes=(
            "demonstrations: tau-b of their softmax masses; longer ones have more on both sides, "
            "so that unrelated scores do not give 0. top: share of the highest tokens or "
            "demonstrations that are the same, and what an unrelated ranking gives.",
        ),
    ),
)
