"""The table attention to optimiser: a row for every variant, with what proves it."""

from proofs.tex.prose import prose

# Attention variant, update (TeX), objective and optimiser, and the statements that prove it.
TABLE = (
    (
        "linear attention",
        r"S + v k^\top",
        r"SGD, rate 1, on $-\langle S k, v\rangle$",
        ("linear-loss-step", "squared-loss-step-from-zero"),
    ),
    (
        "RetNet, Mamba-2",
        r"a S + v k^\top",
        r"the same with $\tfrac12(1-a)\|S\|^2$",
        ("scalar-decay-step", "decayed-recurrence"),
    ),
    (
        "GLA",
        r"S \operatorname{diag}(a) + v k^\top",
        "weight decay for every key channel",
        ("channel-decay-step", "channel-decayed-recurrence"),
    ),
    (
        "DeltaNet",
        r"S(I - b k k^\top) + b v k^\top",
        r"SGD, rate $b$, on $\tfrac12\|S k - v\|^2$",
        ("delta-rule-step",),
    ),
    (
        "Gated DeltaNet",
        r"a S(I - b k k^\top) + b v k^\top",
        r"decoupled decay, then that step at $a S$",
        ("gated-delta-step", "gated-delta-dual"),
    ),
    (
        "gradient at $S$",
        r"a S + b(v - S k)k^\top",
        r"SGD on $\tfrac12\|Sk-v\|^2 + \tfrac{1-a}{2b}\|S\|^2$",
        ("penalised-delta-step",),
    ),
    (
        "KDA",
        r"S \operatorname{diag}(a)(I - b k k^\top) + b v k^\top",
        "as Gated DeltaNet, for every channel",
        ("channel-delta-step",),
    ),
    (
        "Longhorn",
        r"S(I - \varepsilon k k^\top) + \varepsilon v k^\top",
        r"implicit step; $\operatorname{argmin} \|X-S\|^2 + b\|Xk-v\|^2$",
        ("longhorn-implicit-step", "longhorn-first-order-condition"),
    ),
    (
        "TTT-Linear",
        r"W - \eta\nabla\|W k - v\|^2",
        "mini-batch descent, learned start",
        ("ttt-linear-dual",),
    ),
    ("Titans", r"(1-\alpha)M + P", "SGD with momentum and weight decay", ("titans-dual",)),
    (
        "Mesa layer",
        r"G(H + \Lambda)^{-1}",
        "the exact minimiser (ridge regression)",
        ("mesa-normal-equations", "mesa-rank-one-update"),
    ),
    (
        "MoAttn",
        r"\text{attention} + \textstyle\sum \eta^{t-i} v_i",
        "no momentum on the update",
        ("momentum-attention-is-momentum",),
    ),
)


def _id(name: str) -> str:
    """An id that may be broken at its hyphens."""
    return rf"\texttt{{{prose(name).replace('-', '-' + chr(92) + 'allowbreak{}')}}}"


def variants_table() -> str:
    """The table attention to optimiser."""
    rows = [
        rf"{name} & ${update}$ & {optimiser} & "
        rf"{', '.join(map(_id, ids))} \\"
        for name, update, optimiser, ids in TABLE
    ]
    return "\n".join(
        [
            r"\section*{Attention as optimiser}",
            r"\noindent State $S$, read as $o = S q$.\par\medskip",
            r"{\small\begin{tabular}{@{}>{\raggedright}p{19mm}p{42mm}>{\raggedright}p{38mm}"
            r">{\raggedright\arraybackslash}p{44mm}@{}}",
            r"\toprule",
            r"variant & update & objective and optimiser & proved as \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}}",
            "",
        ]
    )
