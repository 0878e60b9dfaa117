"""What the released analysis scripts compute, written anew from what they define; reads files only.

Each function takes the folder of a task and returns a number per layer (Rec2FTP, accuracy: one
number). Loops and lists on purpose: nothing here is shared with `empirical`. Source:
`compute_sim.py`, `compute_training_example_attn.py` (microsoft/LMOps), `metrics.py`
(GiilDe/ft-vs-icl: `sim_am_delta`).
"""

import json
import math

import numpy as np
from scipy import stats

EPSILON = 1e-20  # added to every norm, and to every product of norms


def records(folder, setting, most=10_000):
    with open(folder / setting / "record_info.jsonl", encoding="utf-8") as file:
        return [json.loads(line) for line, _ in zip(file, range(most), strict=False)]


def right(folder, setting):
    return [r["gold_label"] == r["pred_label"] for r in records(folder, setting)]


def accuracy(folder, setting):
    answers = right(folder, setting)
    return 100 * sum(answers) / len(answers)


def rec2ftp(folder):
    rows = list(zip(*(right(folder, s) for s in ("zs", "icl", "ftzs")), strict=True))
    corrected = [icl for zs, icl, ft in rows if ft and not zs]
    return 100 * sum(corrected) / len(corrected)


def norm(v):
    return math.sqrt(sum(x * x for x in v))


def cosine(v, w):
    return sum(x * y for x, y in zip(v, w, strict=True)) / (norm(v) * norm(w) + EPSILON)


def unit(v):
    size = norm(v) + EPSILON
    return [x / size for x in v]


def minus(v, w):
    return [x - y for x, y in zip(v, w, strict=True)]


def per_layer(rows):
    """[n][L] -> L means."""
    return [sum(column) / len(column) for column in zip(*rows, strict=True)]


def _updates(folder):
    """Per example and layer: the in-context and the finetuning difference of unit vectors."""
    key = "self_attn_out_hiddens"
    files = [[r[key] for r in records(folder, s)] for s in ("zs", "icl", "ftzs")]
    return [
        [
            (minus(unit(i), unit(z)), minus(unit(f), unit(z)))
            for z, i, f in zip(*layers, strict=True)
        ]
        for layers in zip(*files, strict=True)
    ]


def sim_aou(folder):
    return per_layer([[cosine(icl, ft) for icl, ft in row] for row in _updates(folder)])


def random_sim_aou(folder, state):
    """`state`: a RandomState, as the scripts' global one; it draws [n,L,d] at once."""
    rows = _updates(folder)
    drawn = state.random_sample((len(rows), len(rows[0]), len(rows[0][0][0]))).tolist()
    return per_layer(
        [
            [cosine(icl, r) for (icl, _), r in zip(row, layer, strict=True)]
            for row, layer in zip(rows, drawn, strict=True)
        ]
    )


def _over_heads(pairs):
    """Examples of pairs [L][H][T] -> L means of cosines over heads, then examples."""
    return per_layer(
        [
            [
                sum(cosine(v, w) for v, w in zip(p, q, strict=True)) / len(p)
                for p, q in zip(a, b, strict=True)
            ]
            for a, b in pairs
        ]
    )


def sim_am(folder, other):
    """ICL against `other`: "zs" is SimAM before, "ftzs" SimAM after."""
    one, two = ([r["attn_map"] for r in records(folder, s)] for s in ("icl", other))
    return _over_heads(zip(one, two, strict=True))


def sim_am_delta(folder):
    files = [[np.array(r["attn_map"]) for r in records(folder, s)] for s in ("zs", "icl", "ftzs")]
    return _over_heads(
        [((i - z).tolist(), (f - z).tolist()) for z, i, f in zip(*files, strict=True)]
    )


def token_scores(folder):
    """(in-context, finetuning) scores [n][L] of N, and the length of every demonstration.

    Dropped by position: the first of each training sequence; of the context the first, and the one
    behind each demonstration.
    """
    training = [r["attn_q"] for r in records(folder, "ft", 100_000)]
    lengths = [len(queries[0]) - 1 for queries in training]
    kept, position = [], 1
    for length in lengths:
        kept += range(position, position + length)
        position += length + 1
    icl = [[[c[j] for j in kept] for c in r["attn_map_ctx"]] for r in records(folder, "icl", 100)]
    shown = [np.concatenate([q[i][1:] for q in training]) for i in range(len(training[0]))]
    ft = [
        [(shown[i] * np.array(q)).sum(-1).tolist() for i, q in enumerate(r["attn_q"])]
        for r in records(folder, "ftzs", 100)
    ]
    return icl, ft, lengths


def softmax(scores):
    """At most 1 before the division, so the far tail underflows to equal zeros."""
    raised = [math.exp(x - max(scores)) for x in scores]
    return [x / sum(raised) for x in raised]


def masses(shares, lengths):
    ends = np.cumsum(lengths)
    return [sum(shares[end - size : end]) for end, size in zip(ends, lengths, strict=True)]


def _weights(folder, level):
    icl, ft, lengths = token_scores(folder)
    shares = [[[softmax(x) for x in row] for row in side] for side in (icl, ft)]
    if level == "example":
        shares = [[[masses(x, lengths) for x in row] for row in side] for side in shares]
    return [list(zip(a, b, strict=True)) for a, b in zip(*shares, strict=True)]


def kendall(folder, level):
    """tau-b of softmax weights over tokens, or of their sums over demonstrations (`example`)."""
    rows = _weights(folder, level)
    return per_layer([[stats.kendalltau(a, b).statistic for a, b in row] for row in rows])


def recall(folder, level):
    """Share of the 100 tokens (5 demonstrations) of highest in-context weight among those of FT."""
    k = 5 if level == "example" else 100

    def highest(x):
        return set(np.argsort(np.negative(x))[:k].tolist())

    return per_layer(
        [[len(highest(a) & highest(b)) / k for a, b in row] for row in _weights(folder, level)]
    )


def check_layout(folder):
    """The files of a task belong together as the scripts silently assume.

    Raises:
        AssertionError: otherwise.
    """
    zs, icl, ftzs = (records(folder, s) for s in ("zs", "icl", "ftzs"))
    assert len(zs) == len(icl) == len(ftzs) > 0
    for z, i, f in zip(zs, icl, ftzs, strict=True):
        assert z["gold_label"] == i["gold_label"] == f["gold_label"]
        for key in ("self_attn_out_hiddens", "attn_map"):
            assert np.shape(z[key]) == np.shape(i[key]) == np.shape(f[key])
    layers, context = np.shape(icl[0]["attn_map_ctx"])
    shapes = [np.shape(r["attn_q"]) for r in records(folder, "ft")]
    assert {(a, d) for a, _, d in shapes} == {np.shape(ftzs[0]["attn_q"])}
    assert layers == shapes[0][0] and context == 1 + sum(t for _, t, _ in shapes)
