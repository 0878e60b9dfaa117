"""What readers see for the names that files hold."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from empirical.results.attention_kinds import KINDS, Layer
from empirical.results.control_results import BASE

METRICS: Mapping[str, str] = {
    "sim_aou": "SimAOU",
    "sim_aou_unnormalised": "SimAOU, not normalised",
    "sim_aou_floor": "noise floor",
    "sim_aou_matched": "random update of the same size",
    "sim_aou_random": "U[0,1) update",
    "sim_am_before": "SimAM before finetuning",
    "sim_am_after": "SimAM after finetuning",
    "sim_am_delta": "SimAM-delta",
    "sim_am_centred_before": "centred SimAM before finetuning",
    "sim_am_centred_after": "centred SimAM after finetuning",
    "sim_am_softmax_before": "SimAM of softmax weights before finetuning",
    "sim_am_softmax_after": "SimAM of softmax weights after finetuning",
    "kendall": "Kendall’s τ, tokens",
    "kendall_examples": "Kendall’s τ, demonstrations",
    "kendall_random": "U[0,1) ranking",
    "kendall_examples_random": "U[0,1) ranking",
    "kendall_lengths": "lengths of the demonstrations",
    "sim_am_gain": "SimAM, gain by finetuning",
    "sim_am_centred_gain": "centred SimAM, gain by finetuning",
    "sim_am_softmax_gain": "SimAM of softmax weights, gain by finetuning",
    "delta_w_cosine": "cosine of ΔW in context and finetuned",
    "delta_w_cosine_other": "ΔW of finetuning on another task",
    "delta_w_effect_softmax": "cosine of the effects of both ΔW",
    "delta_w_effect_softmax_other": "effect of finetuning on another task",
    "order_spread": "spread over orders",
    "order_icl": "the same, in context",
    "rec2ftp": "Rec2FTP",
    "rec2ftp_excess": "Rec2FTP, excess",
    "base_rate": "base rate",
    "rec2ftp_base_rate": "base rate of Rec2FTP",
    "rec2ftp_reverse": "reverse recall",
    "zsl_accuracy": "accuracy, zero-shot",
    "icl_accuracy": "accuracy, in context",
    "ft_accuracy": "accuracy, finetuned",
    "momentum_language": "perplexity saved by momentum attention, in percent",
}
# Names that are words of the language as well, which `spelled` has to leave alone.
WORDS: Mapping[str, str] = {"momentum": "accuracy in context with momentum attention, in points"}
CONTROLS: Mapping[str, str] = {
    "base": "as measured",
    "ft_random": "FT: random change, same norm",
    "ft_other_task": "FT: another task",
    "ft_shuffled_labels": "FT: shuffled labels",
    "ft_other_seed": "FT: other demonstrations",
    "layer_causal": "FT: layer-causal (LCGD)",
    "icl_random_tokens": "context: random tokens",
    "icl_wrong_labels": "context: wrong labels",
    "icl_other_task": "context: another task",
    "position_shift": "ZSL at the positions of ICL",
    "position_only": "context: positions only",
    "position_prompt": "the other recorded token",
    "untrained": "model: fully random",
    "random_blocks": "model: random blocks",
    "kendall_unfinetuned": "ranks: before finetuning",
    "kendall_inputs": "ranks: layer inputs",
    "plain_attention": "plain attention",
    **{name: kind.title for name, kind in KINDS.items() if "_" in name},
}
SETTINGS: Mapping[str, str] = {"zsl": "zero-shot", "icl": "in context", "ft": "finetuned"}


def metric(name: str) -> str:
    """The metric as readers know it."""
    return METRICS.get(name) or WORDS.get(name, name.replace("_", " "))


def control(name: str) -> str:
    """The control, or the base line of the metric, in a few words."""
    return CONTROLS.get(name) or metric(name)


def spelled(sentence: str) -> str:
    """A sentence with the names of controls and metrics as readers know them, in quotes."""
    known = sorted({*CONTROLS, *METRICS} - {BASE}, key=len, reverse=True)
    pattern = re.compile(rf"\b({'|'.join(known)})\b")
    return pattern.sub(lambda found: f"“{control(found[1])}”", sentence)


def percent(name: str) -> bool:
    """Whether a metric is in percent, its differences in points."""
    return name.startswith("rec2ftp") or name.endswith("_accuracy") or name == "base_rate"


def digits(name: str) -> int:
    """Behind the point, of a metric's values and differences."""
    if name == "momentum_language":
        return 2
    return 1 if percent(name) or name == "momentum" else 3


def layer(one: Layer) -> str:
    """`plain attention`, `momentum attention, η = 0.9`, `momentum attention, η learned`."""
    title = KINDS[one.kind].title
    if one.eta is None:
        return title
    return f"{title}, η learned" if one.learned else f"{title}, η = {one.eta:g}"


def short(one: Layer) -> str:
    """The same for a heading: `plain`, `momentum, η = 0.9`, `heavy ball, η learned`."""
    return layer(one).replace(KINDS[one.kind].title, one.kind.replace("_", " "))


def slug(text: str) -> str:
    """`text` as part of an identifier of the page and of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def place(model: str, task: str, models: Sequence[str]) -> str:
    """The task, with its model where there are several."""
    return task if len(set(models)) < 2 else f"{model}, {task}"


def plural(count: int, one: str) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{count} {one}" if count == 1 else f"{count} {one}s"
