"""The LaTeX document: notation, rules, the table of variants, and every statement."""

from __future__ import annotations

from collections.abc import Sequence

from proofs.rules import RULES
from proofs.statements import EVERYTHING, FACTS, FAMILIES, Fact
from proofs.tex.statements import fact_theorem, theorem
from proofs.tex.variants_table import variants_table
from proofs.verdict import Verdict

EQUATIONS = {
    "regroup": r"products and sums are associative, and sums commute.",
    "signs": r"$-(A+B) = -A-B$, $(-A)B = -(AB)$, $(-A)^\top = -A^\top$, $-(-A) = A$.",
    "scalars": r"$(c A) B = c (A B) = A (c B)$, $(c A)^\top = c A^\top$; signs move likewise.",
    "one by one": r"for a $1 \times 1$ matrix $c$: $c\,(a b^\top) = a\,c\,b^\top$, $c^\top = c$, "
    r"$c d = d c$.",
    "distribute": r"$(A+B)C = AC + BC$, $A(B+C) = AB + AC$, $c(A+B) = cA + cB$.",
    "transpose": r"$(AB)^\top = B^\top A^\top$, $(A+B)^\top = A^\top + B^\top$, "
    r"$\operatorname{diag}(a)^\top = \operatorname{diag}(a)$.",
    "expand": r"multiply out: distribute, transpose, scalars, signs and cancel together.",
    "blocks": r"$A[B\;C] = [AB\;\,AC]$, $[A\;B]\,[C;\,D] = A C + B D$, $[A\;B]^\top = [A^\top;\,"
    r"B^\top]$, and entry-wise functions and the causal mask by blocks: the mask of "
    r"$[A\;C;\,B\;D]$ with square $A$, $D$ is $[\operatorname{causal}A\;\,C;\,0\;\,"
    r"\operatorname{causal}D]$.",
    "multiply blocks": r"expand and blocks together, with $I A = A = A I$.",
    "cancel": r"$A - A = 0$, $A + 0 = A$, $0A = 0$; a product over no columns is $0$.",
    "identity": r"$I A = A = A I$, $\operatorname{diag}(1,\dots,1) = I$.",
    "inverse": r"$A A^{-1} = I = A^{-1} A$, where the inverse exists.",
    "Khatri-Rao": r"$(A * B)^\top (C * D) = (A^\top C) \odot (B^\top D)$.",
    "trace": r"$\operatorname{tr}(AB) = \operatorname{tr}(BA)$, $\operatorname{tr}(A^\top) = "
    r"\operatorname{tr}(A)$.",
    "exponential": r"$\exp(c\,\mathbf 1 + a) = \exp(c)\exp(a)$ for a number $c$ and a row $a$; "
    r"$(cd)^{-1} = d^{-1}c^{-1}$.",
    "differentiate": r"the gradient is the matrix $D$ in $\mathrm{d}f = \langle D, "
    r"\mathrm{d}U\rangle$, found with $\langle C, \mathrm{d}(AB)\rangle = \langle C B^\top, "
    r"\mathrm{d}A\rangle + \langle A^\top C, \mathrm{d}B\rangle$, "
    r"$\mathrm{d}\tfrac12\|A\|_F^2 = \langle A, \mathrm{d}A\rangle$ and "
    r"$\mathrm{d}\ell(Y;T) = \langle G(Y;T), \mathrm{d}Y\rangle$; SymPy differentiates a second "
    r"time, by itself, and has to agree.",
}
_HEAD = r"""\documentclass[11pt,a4paper]{article}
\usepackage[utf8]{inputenc}
\usepackage{amsmath,amssymb,graphicx,array,booktabs}
\usepackage[margin=25mm]{geometry}
\newsavebox{\fitbox}
% A formula, made smaller where it is wider than the text beside its rule.
\newcommand{\fit}[1]{\sbox{\fitbox}{$\displaystyle #1$}%
  \ifdim\wd\fitbox>.70\linewidth\resizebox{.70\linewidth}{!}{\usebox{\fitbox}}%
  \else\usebox{\fitbox}\fi}
% The same beside the start of a recurrence.
\newcommand{\fitstep}[1]{\sbox{\fitbox}{$\displaystyle #1$}%
  \ifdim\wd\fitbox>.64\linewidth\resizebox{.64\linewidth}{!}{\usebox{\fitbox}}%
  \else\usebox{\fitbox}\fi}
\raggedright
\setlength{\parindent}{0pt}
\begin{document}
"""
_NOTATION = r"""\section*{Notation}
Tokens are columns. $\langle A, B\rangle = \operatorname{tr}(A^\top B)$,
$\|A\|_F^2 = \langle A, A\rangle$ and $\|A\|_w^2 = \operatorname{tr}(A \operatorname{diag}(w)
A^\top)$. $\ell(Y; T)$ is any loss of outputs $Y$ and targets $T$ that is differentiable in $Y$, and
$G(Y; T)$ the matrix of its partial derivatives there; $\sigma$ is any function applied entry by
entry, $\mathbf 1$ a row of ones, $A \odot B$ the entry-wise and $A * B$ the column-wise Kronecker
product; $\operatorname{causal}(A)$ keeps the entries $(s, t)$ with $s \le t$ of a square matrix.
$c\,A$ with a $1 \times 1$ matrix $c$ is a scalar times a matrix. $X'$ and the like belong to the
demonstrations. $S_n$ is a state after all $n$ examples: a recurrence starts as given and takes
columns, or blocks of columns of any sizes, from left to right; $[\;]$ is a matrix without columns,
to which each step adds. In an induction $S_n$ is the state after the first $n$ examples, and
small letters are the next block of $b$ examples.
"""


def document(verdicts: Sequence[Verdict]) -> str:
    """A LaTeX document of the statements behind `verdicts`, with the rules that they use."""
    rules = "\n".join(rf"\item[{r.name}] {EQUATIONS[r.name]}" for r in RULES)
    by_name = {v.id: v for v in verdicts}
    parts = [
        _HEAD,
        r"\section*{In-context learning and gradient descent: the identities}",
        _NOTATION,
        "\\section*{Rules}\nEach line of a derivation follows from the one before it by the rule "
        "beside it. It was checked by that rule alone, by exact values at random integers, and by "
        "SymPy for matrices of symbolic size; lines marked $\\circ$ hold masks, entry-wise "
        "functions or inverses that SymPy's matrices do not open, and rest on the first two. Every "
        "rule may also regroup sums and products.\n"
        f"\\begin{{description}}\n{rules}\n\\end{{description}}\n",
        variants_table(),
    ]
    for title, family in FAMILIES:
        true = [s for s in family if s.claim == "true" and s.id in by_name]
        if true:
            parts.append(rf"\section*{{{title}}}")
            parts += [theorem(s, by_name[s.id]) for s in true]
    facts = [f for f in FACTS if f.claim == "true" and f.id in by_name]
    if facts:
        parts.append(r"\section*{Bounds, an expectation and a closed form}")
        parts += [fact_theorem(f, by_name[f.id]) for f in facts]
    false = [s for s in EVERYTHING if s.claim == "false" and s.id in by_name]
    if false:
        parts.append(r"\section*{Refuted}")
    for s in false:
        v = by_name[s.id]
        parts.append(fact_theorem(s, v) if isinstance(s, Fact) else theorem(s, v))
    return "\n".join([*parts, r"\end{document}", ""])
