"""The numbers printed in Tables 1 to 7 of Dai et al., for comparison only.

Accuracies and Rec2FTP are percentages. Models of Tables 1 to 5: fairseq dense 1.3B and 2.7B; of
Tables 6 and 7: two models of 350M parameters, one run each, with and without momentum attention.
"""

from collections.abc import Mapping

CITATION = (
    "Dai, Sun, Dong, Hao, Ma, Sui, Wei: Why Can GPT Learn In-Context? Language Models Implicitly "
    "Perform Gradient Descent as Meta-Optimizers. arXiv 2212.10559 v3, Findings of ACL 2023"
)
TASKS = ("sst2", "sst5", "mr", "subj", "agnews", "cb")
METRICS = (
    "ZSL_acc",
    "FT_acc",
    "ICL_acc",
    "Rec2FTP",
    "SimAOU",
    "SimAOU_random",
    "SimAM_before",
    "SimAM_after",
    "Kendall",
    "Kendall_random",
)


def _row(*values: float) -> Mapping[str, float]:
    return dict(zip(TASKS, values, strict=True))


PUBLISHED: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    "1.3B": {
        "ZSL_acc": _row(70.5, 39.3, 65.9, 72.6, 46.3, 37.5),
        "FT_acc": _row(73.9, 39.5, 73.0, 77.8, 65.3, 55.4),
        "ICL_acc": _row(92.7, 45.0, 89.0, 90.0, 79.2, 57.1),
        "Rec2FTP": _row(91.84, 66.67, 97.08, 87.17, 83.08, 87.5),
        "SimAOU": _row(0.11, 0.08, 0.222, 0.191, 0.281, 0.234),
        "SimAOU_random": _row(0.002, 0.003, 0.001, 0.002, 0.002, 0.003),
        "SimAM_before": _row(0.555, 0.391, 0.398, 0.378, 0.152, 0.152),
        "SimAM_after": _row(0.585, 0.404, 0.498, 0.49, 0.496, 0.177),
        "Kendall": _row(0.192, 0.151, 0.173, 0.181, 0.19, 0.274),
        "Kendall_random": _row(0.0, -0.001, 0.0, 0.001, -0.001, 0.0),
    },
    "2.7B": {
        "ZSL_acc": _row(71.4, 35.9, 60.9, 75.2, 39.8, 42.9),
        "FT_acc": _row(76.9, 39.1, 80.0, 86.1, 65.7, 57.1),
        "ICL_acc": _row(95.0, 46.5, 91.3, 90.3, 80.3, 55.4),
        "Rec2FTP": _row(96.83, 71.6, 95.83, 87.63, 84.44, 100.0),
        "SimAOU": _row(0.195, 0.323, 0.157, 0.212, 0.333, 0.13),
        "SimAOU_random": _row(0.0, -0.002, 0.0, 0.001, -0.002, 0.0),
        "SimAM_before": _row(0.687, 0.38, 0.314, 0.346, 0.172, 0.228),
        "SimAM_after": _row(0.687, 0.492, 0.347, 0.374, 0.485, 0.217),
        "Kendall": _row(0.213, 0.177, 0.264, 0.203, 0.201, 0.225),
        "Kendall_random": _row(-0.001, 0.0, 0.0, 0.0, 0.0, -0.001),
    },
}

# Table 6: perplexity, by place and length of the windows. Length of training: 1024.
PLACES = ("training-1024", "validation-256", "validation-512", "validation-1024")
MOMENTUM_PERPLEXITY: Mapping[str, Mapping[str, float]] = {
    "plain": dict(zip(PLACES, (17.61, 19.5, 16.87, 15.14), strict=True)),
    "momentum": dict(zip(PLACES, (17.55, 19.37, 16.73, 15.02), strict=True)),
}

# Table 7: accuracy in context (percent), with up to 32 demonstrations.
MOMENTUM_TASKS = ("sst5", "imdb", "mr", "cb", "arc_easy", "piqa")
MOMENTUM_ACCURACY: Mapping[str, Mapping[str, float]] = {
    "plain": dict(zip(MOMENTUM_TASKS, (25.3, 64.0, 61.2, 43.9, 48.2, 68.7), strict=True)),
    "momentum": dict(zip(MOMENTUM_TASKS, (27.4, 70.3, 64.8, 46.8, 50.0, 69.0), strict=True)),
}
