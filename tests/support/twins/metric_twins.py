"""Every metric of the study once more, from the definitions in the protocol, with explicit loops.

Slow on purpose and independent: nothing of `empirical`, SciPy or vectorised NumPy is used; arrays
are only indexed. A quotient without a value is None. Letters: n examples, L layers, H heads,
d width, T_i tokens of query i, N demonstration tokens, k demonstrations. The random metrics take
the numbers that were drawn, not a generator.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells [n][L]; their mean over examples, and the mean of that over layers; None: no value."""

    cells: list
    per_layer: list
    mean: float | None
    excluded: int
    total: int


def mean(values):
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None


def tabulate(cells, excluded=None, total=None):
    layers = [mean([row[layer] for row in cells]) for layer in range(len(cells[0]))]
    missing = sum(v is None for row in cells for v in row)
    return Table(
        cells=cells,
        per_layer=layers,
        mean=mean(layers),
        excluded=missing if excluded is None else excluded,
        total=sum(len(row) for row in cells) if total is None else total,
    )


def each(cell, *arrays):
    """Table of cell(vector, vector, ...) over the examples and layers of arrays [n][L][.]."""
    n, layers = len(arrays[0]), len(arrays[0][0])
    return tabulate([[cell(*(a[i][l] for a in arrays)) for l in range(layers)] for i in range(n)])


# Vectors.


def floats(v):
    return [float(x) for x in v]


def minus(a, b):
    return [float(x) - float(y) for x, y in zip(a, b, strict=True)]


def norm(v):
    return math.sqrt(sum(float(x) * float(x) for x in v))


def cosine(a, b):
    size = norm(a) * norm(b)
    if size == 0:
        return None
    return sum(float(x) * float(y) for x, y in zip(a, b, strict=True)) / size


def unit(v):
    size = norm(v)
    return None if size == 0 else [float(x) / size for x in v]


def softmax(v):
    top = max(floats(v))
    raised = [math.exp(float(x) - top) for x in v]
    total = sum(raised)
    return [x / total for x in raised]


# Counts: percentages, or None.


def percent(top, bottom):
    return 100.0 * top / bottom if bottom else None


def accuracy(predictions, labels):
    hits = [int(p) == int(y) for p, y in zip(predictions, labels, strict=True)]
    return percent(sum(hits), len(hits))


def right_or_wrong(zsl, icl, ft, labels):
    """Per example: was ZSL, ICL, FT right?"""
    for z, i, f, y in zip(zsl, icl, ft, labels, strict=True):
        yield int(z) == int(y), int(i) == int(y), int(f) == int(y)


def rec2ftp(zsl, icl, ft, labels):
    rows = list(right_or_wrong(zsl, icl, ft, labels))
    corrected = [(i, f) for z, i, f in rows if not z and f]
    return percent(sum(i for i, _ in corrected), len(corrected))


def rec2ftp_base_rate(zsl, icl, ft, labels):
    wrong = [i for z, i, _ in right_or_wrong(zsl, icl, ft, labels) if not z]
    return percent(sum(wrong), len(wrong))


def rec2ftp_reverse(zsl, icl, ft, labels):
    corrected = [f for z, i, f in right_or_wrong(zsl, icl, ft, labels) if not z and i]
    return percent(sum(corrected), len(corrected))


# Attention outputs h [n][L][d].


def sim_aou(icl, zsl, ft):
    def cell(a, z, f):
        u_a, u_z, u_f = unit(a), unit(z), unit(f)
        if u_a is None or u_z is None or u_f is None:
            return None
        return cosine(minus(u_a, u_z), minus(u_f, u_z))

    return each(cell, icl, zsl, ft)


def sim_aou_unnormalised(icl, zsl, ft):
    return each(lambda a, z, f: cosine(minus(a, z), minus(f, z)), icl, zsl, ft)


def random_sim_aou(icl, zsl, drawn):
    """`drawn` [n][L][d]: U[0,1)."""

    def cell(a, z, r):
        u_a, u_z = unit(a), unit(z)
        return None if u_a is None or u_z is None else cosine(minus(u_a, u_z), r)

    return each(cell, icl, zsl, drawn)


def matched_sim_aou(icl, zsl, ft, drawn):
    """`drawn` [n][L][d]: standard normal; scaled to the norm of the finetuning update."""

    def cell(a, z, f, r):
        size = norm(minus(f, z)) / norm(r)
        moved = [float(x) + size * float(y) for x, y in zip(z, r, strict=True)]
        return sim_aou([[a]], [[z]], [[moved]]).mean

    return each(cell, icl, zsl, ft, drawn)


def noise_floor(icl, zsl, ft):
    def cell(a, z, f):
        if norm(z) == 0:
            return None
        rho = [norm(minus(x, z)) ** 2 / norm(z) ** 2 for x in (a, f)]
        if 0 in rho:
            return None  # no update has no direction
        s = [(1 + r) ** -0.5 for r in rho]
        return 0.5 * math.sqrt((1 - s[0]) * (1 - s[1]))

    return each(cell, icl, zsl, ft)


# Scores m: n arrays [L][H][T_i].


def over_heads(pairs):
    """Mean over heads of the cosines of pairs [n][L][H] of vectors, then `tabulate`."""
    cosines = [[[cosine(*pair) for pair in heads] for heads in layers] for layers in pairs]
    every = [c for layers in cosines for heads in layers for c in heads]
    cells = [[mean(heads) for heads in layers] for layers in cosines]
    return tabulate(cells, excluded=sum(c is None for c in every), total=len(every))


def heads_of(*runs):
    """[n][L][H] of the tuples of the runs' score vectors."""
    return [
        [[tuple(m[l][h] for m in ms) for h in range(len(ms[0][l]))] for l in range(len(ms[0]))]
        for ms in zip(*runs, strict=True)
    ]


def sim_am(m_icl, m_other):
    return over_heads(heads_of(m_icl, m_other))


def sim_am_delta(m_icl, m_zsl, m_ft):
    return over_heads(
        [
            [[(minus(a, z), minus(f, z)) for a, z, f in heads] for heads in layers]
            for layers in heads_of(m_icl, m_zsl, m_ft)
        ]
    )


def sim_am_difference(m_icl, m_zsl, m_ft):
    """After minus before, paired: per example over the layers that have both, then examples."""
    before, after = sim_am(m_icl, m_zsl).cells, sim_am(m_icl, m_ft).cells
    gaps = [
        mean([None if x is None or y is None else y - x for x, y in zip(b, a, strict=True)])
        for b, a in zip(before, after, strict=True)
    ]
    return mean(gaps)


# Attention to demonstration tokens: c and f [n][L][N].


def without_bos_and_eos(context, lengths):
    """The scores [N] of prompt and label tokens among those [T_c] of BOS (demonstration EOS)^k."""
    kept, at = [], 1
    for length in lengths:
        for _ in range(length):
            kept.append(context[at])
            at += 1
        at += 1  # EOS
    assert at == len(context)
    return kept


def attended(queries, q):
    """sum_j Q'[token][j] q_p[j], from [L][N][d] and [n][L][d]."""
    return [
        [
            [sum(float(x) * float(y) for x, y in zip(row, v, strict=True)) for row in queries[l]]
            for l, v in enumerate(example)
        ]
        for example in q
    ]


def pairs_of(x, y):
    """Counts of concordant pairs, discordant pairs, pairs tied in x alone, in y alone, in both."""
    p = q = t = u = both = 0
    for i in range(len(x)):
        for j in range(i):
            dx, dy = float(x[i]) - float(x[j]), float(y[i]) - float(y[j])
            if dx == 0 and dy == 0:
                both += 1
            elif dx == 0:
                t += 1
            elif dy == 0:
                u += 1
            elif (dx > 0) == (dy > 0):
                p += 1
            else:
                q += 1
    return p, q, t, u, both


def tau_b(x, y):
    p, q, t, u, _ = pairs_of(x, y)
    size = (p + q + t) * (p + q + u)
    return (p - q) / math.sqrt(size) if size else None


def kendall(c, f):
    return each(tau_b, c, f)


def masses(scores, lengths):
    """Softmax over all tokens of one [N], summed per demonstration; fsum knows no order."""
    shares, out, at = softmax(scores), [], 0
    for length in lengths:
        out.append(math.fsum(shares[at : at + length]))
        at += length
    assert at == len(scores)
    return out


def example_kendall(c, f, lengths):
    return each(lambda x, y: tau_b(masses(x, lengths), masses(y, lengths)), c, f)


def highest(v, k):
    """Places of the k highest entries; among equal entries the earlier ones are taken."""
    taken = set()
    for _ in range(k):
        best = None
        for place, x in enumerate(v):
            if place not in taken and (best is None or float(x) > float(v[best])):
                best = place
        taken.add(best)
    return taken


def recall(x, y, k):
    if len(x) <= k or len(set(floats(x))) == 1 or len(set(floats(y))) == 1:
        return None
    return sum(place in highest(y, k) for place in highest(x, k)) / k


def top_k_recall(c, f, k):
    return each(lambda x, y: recall(x, y, k), c, f)
