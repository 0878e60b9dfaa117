"""The claims of the paper, the metric of each, and the controls that each has to beat.

Written before any verdict was computed; `docs/verdict.md` gives the reasons. Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

FINETUNING = ("ft_random", "ft_other_task", "ft_shuffled_labels", "ft_other_seed")
CONTEXTS = ("icl_random_tokens", "icl_wrong_labels", "icl_other_task", "position_only")
MODELS = ("untrained", "random_blocks")
REPLACED = (*FINETUNING, *CONTEXTS, *MODELS)
SHOWN = ("layer_causal", "position_shift", "position_prompt")
BASE_RATE = "base_rate"

# A metric that is one series less another, both of the same finding.
GAINS: Mapping[str, tuple[str, str]] = {
    "sim_am_gain": ("sim_am_after", "sim_am_before"),
    "sim_am_centred_gain": ("sim_am_centred_after", "sim_am_centred_before"),
    "sim_am_softmax_gain": ("sim_am_softmax_after", "sim_am_softmax_before"),
}
RECALLS = ("rec2ftp", "rec2ftp_excess")
MOMENTUM = ("plain_attention", "averaged_values", "recency_bias")


@dataclass(frozen=True, kw_only=True)
class Controls:
    """What a metric is set against.

    `base_lines`: series of the same finding, which is `where`; `required`, `shown`: findings. A
    claim has to beat the base lines and what is required; what is shown is for readers.
    """

    where: str = "base"
    base_lines: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    shown_base_lines: tuple[str, ...] = ()
    shown: tuple[str, ...] = SHOWN


QUALIFIES: Mapping[str, Controls] = {
    "sim_aou": Controls(
        base_lines=("sim_aou_floor", "sim_aou_matched"),
        required=REPLACED,
        shown_base_lines=("sim_aou_random",),
    ),
    "sim_aou_unnormalised": Controls(required=REPLACED),
    "sim_am_gain": Controls(base_lines=("sim_am_before",), required=REPLACED),
    "sim_am_centred_gain": Controls(base_lines=("sim_am_centred_before",), required=REPLACED),
    "sim_am_softmax_gain": Controls(base_lines=("sim_am_softmax_before",), required=REPLACED),
    "sim_am_delta": Controls(required=REPLACED),
    "rec2ftp": Controls(base_lines=(BASE_RATE,), shown=()),
    "rec2ftp_excess": Controls(required=REPLACED),
    "kendall": Controls(
        base_lines=("kendall_random",),
        required=("kendall_unfinetuned", *MODELS),
        shown=("kendall_inputs", "ft_random", "ft_shuffled_labels", *SHOWN),
    ),
    "kendall_examples": Controls(
        base_lines=("kendall_lengths", "kendall_examples_random"),
        required=("kendall_unfinetuned", *MODELS),
        shown=("kendall_inputs", "ft_random", "ft_shuffled_labels", *SHOWN),
    ),
    "icl_accuracy": Controls(base_lines=("zsl_accuracy",), shown=(*CONTEXTS, *MODELS)),
    "ft_accuracy": Controls(
        base_lines=("zsl_accuracy",), shown=(*FINETUNING, "layer_causal", *MODELS)
    ),
    "order_spread": Controls(where="order", shown_base_lines=("order_icl",), shown=()),
    "delta_w_cosine": Controls(
        where="delta_w", shown_base_lines=("delta_w_cosine_other",), shown=()
    ),
    "delta_w_effect_softmax": Controls(
        where="delta_w", shown_base_lines=("delta_w_effect_softmax_other",), shown=()
    ),
}


@dataclass(frozen=True, kw_only=True)
class Claim:
    """`says`: what the paper concludes; `metrics`: all of whose controls are to be beaten.

    `smallest`: a difference below it has no weight, in the metrics' units; `dose`: the same as a
    dose equivalent, where a dose curve of the metric is there, or None. `on`: what is judged where
    that is not a mean of tasks.
    """

    id: str
    title: str
    says: str
    metrics: tuple[str, ...]
    smallest: float
    unit: str = ""
    dose: float | None = None
    on: str = ""


SMALLEST_COSINE = 0.02
SMALLEST_POINTS = 5.0
SMALLEST_ACCURACY = 1.0
SMALLEST_PERPLEXITY = 0.3
SMALLEST_DOSE = 0.1

CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="prediction",
        title="Prediction level (Rec2FTP)",
        says="In-context learning covers most of what finetuning corrects.",
        metrics=RECALLS,
        smallest=SMALLEST_POINTS,
        unit=" points",
    ),
    Claim(
        id="representation",
        title="Representation level (SimAOU)",
        says="In-context learning changes attention outputs in the direction that finetuning does.",
        metrics=("sim_aou",),
        smallest=SMALLEST_COSINE,
        dose=SMALLEST_DOSE,
    ),
    Claim(
        id="representation_unnormalised",
        title="Representation level without normalisation (SimAOU of raw updates)",
        says="The same, without the floor that normalising before subtracting gives.",
        metrics=("sim_aou_unnormalised",),
        smallest=SMALLEST_COSINE,
        dose=SMALLEST_DOSE,
    ),
    Claim(
        id="attention",
        title="Attention level (SimAM after finetuning against before)",
        says="Finetuning brings attention scores closer to those of in-context learning.",
        metrics=("sim_am_gain",),
        smallest=SMALLEST_COSINE,
        dose=SMALLEST_DOSE,
    ),
    Claim(
        id="attention_delta",
        title="Attention level (SimAM of changes)",
        says="In-context learning and finetuning change attention scores in one direction.",
        metrics=("sim_am_delta",),
        smallest=SMALLEST_COSINE,
        dose=SMALLEST_DOSE,
    ),
    Claim(
        id="tokens",
        title="Training-token level (Kendall over tokens)",
        says="Both attend to the same demonstration tokens.",
        metrics=("kendall",),
        smallest=SMALLEST_COSINE,
        dose=SMALLEST_DOSE,
    ),
    Claim(
        id="demonstrations",
        title="Training-example level (Kendall over demonstrations)",
        says="Both attend to the same demonstrations.",
        metrics=("kendall_examples",),
        smallest=SMALLEST_COSINE,
        dose=SMALLEST_DOSE,
    ),
    Claim(
        id="momentum",
        title="Momentum attention",
        says="Attention with momentum, as gradient descent with momentum, predicts better.",
        metrics=("momentum",),
        smallest=SMALLEST_ACCURACY,
        unit=" points",
    ),
)

# Of trained models, not of a study: one verdict each for every scale. The first is that of a study,
# which has no models of this kind.
MOMENTUM_CLAIMS: tuple[Claim, ...] = (
    CLAIMS[-1],
    Claim(
        id="momentum_language",
        title="Momentum attention (perplexity)",
        says="Attention with momentum models language better.",
        metrics=("momentum_language",),
        smallest=SMALLEST_PERPLEXITY,
        unit=" %",
        on="the held-out books at full length",
    ),
)
