"""LaTeX of statements and derivations, exactly as they are written.

SymPy's own printer reorders sums and moves transposes, and prints the transpose of `x'` as a
double superscript, which TeX refuses; this one prints the trees of `proofs.terms`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from proofs.prove import Verdict
from proofs.rules import RULES
from proofs.statements import Integers, Side, Statement, by_id
from proofs.steps import Part
from proofs.terms import Term, TermOps, substitute, variables

NAMES = {
    "X_demo": "{X'}",
    "D_V": r"{\Delta W_V}",
    "D_K": r"{\Delta W_K}",
    "gamma": r"\gamma",
}  # fmt: skip
SUM, PRODUCT, ATOM = 1, 2, 3
EQUATIONS = {
    "regroup": r"products and sums are associative, and sums commute.",
    "signs": r"$-(A+B) = -A-B$, $(-A)B = -(AB)$, $(-A)^\top = -A^\top$, $-(-A) = A$.",
    "scalars": r"$(c A) B = c (A B) = A (c B)$, $(c A)^\top = c A^\top$; signs move likewise.",
    "distribute": r"$(A+B)C = AC + BC$, $A(B+C) = AB + AC$, $c(A+B) = cA + cB$.",
    "transpose": r"$(AB)^\top = B^\top A^\top$, $(A+B)^\top = A^\top + B^\top$.",
    "blocks": r"$A[B\;C] = [AB\;\,AC]$, $[A\;B]\,[C\;D]^\top = A C^\top + B D^\top$.",
    "cancel": r"$A - A = 0$, $A + 0 = A$, $0A = 0$; a product over no columns is $0$.",
    "differentiate": r"the gradient is the matrix $D$ in $\mathrm{d}f = \langle D, "
    r"\mathrm{d}U\rangle$, found with $\langle C, \mathrm{d}(AB)\rangle = \langle C B^\top, "
    r"\mathrm{d}A\rangle + \langle A^\top C, \mathrm{d}B\rangle$, "
    r"$\mathrm{d}\tfrac12\|A\|_F^2 = \langle A, \mathrm{d}A\rangle$ and "
    r"$\mathrm{d}\ell(Y;T) = \langle G(Y;T), \mathrm{d}Y\rangle$; SymPy differentiates a second "
    r"time, by itself, and has to agree.",
}


def _wrap(text: str) -> str:
    return rf"\left({text}\right)"


def _at(term: Term, level: int) -> str:
    """The term, in parentheses where it binds weaker than `level`."""
    own = {"sum": SUM, "negative": SUM, "product": PRODUCT, "scale": PRODUCT}.get(term.kind, ATOM)
    text = tex(term)
    return text if own >= level else _wrap(text)


def _factor(term: Term, *, first: bool) -> str:
    """A factor of a product; the left one may itself be a product, as products group leftwards."""
    return _at(term, PRODUCT if first and term.kind == "product" else ATOM)


def _sum(left: Term, right: Term) -> str:
    if right.kind == "negative":
        inner = right.args[0]
        return f"{_at(left, SUM)} - {_at(inner, PRODUCT)}"
    return f"{_at(left, SUM)} + {_at(right, SUM)}"


def _gradient(bound: Term, body: Term, at: Term) -> str:
    if at.kind == "symbol":
        return rf"\nabla_{{{tex(at)}}}\left[{tex(substitute(body, bound, at))}\right]"
    return rf"\left.\nabla_{{{tex(bound)}}}\left[{tex(body)}\right]\right|_{{U={tex(at)}}}"


def _fold(args: Sequence[Term]) -> str:
    state, step, start, *pairs = args
    blocks = ",".join(map(tex, pairs[::2]))
    over = ",".join(map(tex, pairs[1::2]))
    return (
        rf"\Bigl\langle {tex(state)} \leftarrow {tex(step)} \Bigr\rangle"
        rf"_{{{tex(state)}={tex(start)}}}^{{({blocks})\text{{ of }}({over})}}"
    )


def _collect(args: Sequence[Term]) -> str:
    column, state, step, start, *pairs = args
    return rf"\Bigl[\, {tex(column)} \,\Bigr]_{{{tex(state)}={tex(start)},\dots}}"


def _name(name: str) -> str:
    """A symbol's name; one of this package's own stands in braces, for a transpose may follow."""
    own = name.startswith(".")
    base, _, index = name.removeprefix(".").rpartition("_")
    if own:
        return f"{{{NAMES.get(base, base)}_{index}}}" if base else index
    return NAMES.get(name, name)


def tex(term: Term) -> str:
    """Math-mode LaTeX of a tree."""
    args = term.args
    if term.kind == "symbol":
        return _name(term.name)
    if term.kind == "zero":
        return "0"
    if term.kind == "sum":
        return _sum(*args)
    if term.kind == "negative":
        return f"-{_at(args[0], PRODUCT)}"
    if term.kind == "product":
        return f"{_factor(args[0], first=True)} {_factor(args[1], first=False)}"
    if term.kind == "transpose" and args[0].kind == "transpose":
        return rf"{_wrap(tex(args[0]))}^{{\top}}"
    if term.kind == "transpose":
        return rf"{_at(args[0], ATOM)}^{{\top}}"
    if term.kind == "hcat":
        return r"\left[" + r"\;\;".join(map(tex, args)) + r"\right]"
    if term.kind == "scale":
        return f"{tex(args[0])}\\, {_at(args[1], ATOM)}"
    if term.kind == "inner":
        return rf"\left\langle {tex(args[0])},\, {tex(args[1])}\right\rangle"
    if term.kind == "half_square":
        return rf"\tfrac12\bigl\|{tex(args[0])}\bigr\|_F^2"
    if term.kind == "loss":
        return rf"\ell\bigl({tex(args[0])};\, {tex(args[1])}\bigr)"
    if term.kind == "output_gradient":
        return rf"G\bigl({tex(args[0])};\, {tex(args[1])}\bigr)"
    if term.kind == "gradient":
        return _gradient(*args)
    return _fold(args) if term.kind == "fold" else _collect(args)


_ESCAPES = {
    "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
}  # fmt: skip


_MATH = re.compile(r"\b([A-Z](?:_(?:ZSL|[A-Z]))?)((?:\^T)?)(?=[\s,.;:)]|$)")


def prose(text: str) -> str:
    """Plain words with TeX's special characters escaped; `W_V` and `Z^T` become formulas."""
    pieces, end = [], 0
    for found in _MATH.finditer(text):
        if found[0] == "A":  # the article
            continue
        base, _, index = found[1].partition("_")
        pieces.append(_escaped(text[end : found.start()]))
        low = f"_{{{index}}}" if index else ""
        high = r"^{\top}" if found[2] else ""
        pieces.append(f"${base}{low}{high}$")
        end = found.end()
    return "".join([*pieces, _escaped(text[end:])])


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(c, c) for c in text)


def shapes(statement: Statement) -> str:
    """The shape of every variable, in words of TeX."""
    listed = [
        rf"${_name(name)} \in \mathbb{{R}}^{{{rows} \times {columns}}}$"
        for name, (rows, columns) in statement.variables.items()
    ]
    return ", ".join(listed)


def _chain(part: Part) -> str:
    first, *rest = part.lines
    rows = [rf"& \fit{{{tex(first.term)}}} \\"]
    for line in rest:
        rule = "" if line.rule is None else line.rule.name
        rows.append(rf"& = \fit{{{tex(line.term)}}} && \text{{({rule})}} \\")
    rows[-1] = rows[-1].removesuffix(r" \\")
    heading = rf"\emph{{{part.heading.capitalize()}.}} " if part.heading else ""
    return heading + "\n".join([r"\begin{flalign*}", *rows, r"\end{flalign*}"])


def _claim(statement: Statement, side: Side, relation: str) -> str:
    """The left side, the relation and `side`: on one line, or on two where that is too wide."""
    v, ops = variables(statement), TermOps()
    left, right = tex(statement.lhs(ops, v)), tex(side(ops, v))
    if len(left) + len(right) < 140:
        return rf"\[ {left} \;{relation}\; {right} \]"
    return "\n".join(
        [r"\begin{align*}", rf"& \fit{{{left}}} \\", rf"{relation}\;& \fit{{{right}}}",
         r"\end{align*}"]
    )  # fmt: skip


def theorem(statement: Statement, verdict: Verdict) -> str:
    """One statement with its derivation, or its refutation."""
    head = [
        rf"\subsection*{{{prose(statement.title)}}}",
        rf"\noindent\texttt{{{prose(statement.id)}}} --- {prose(statement.source)}. "
        rf"Verdict: \textbf{{{prose(verdict.status)}}}.\\",
        rf"With {shapes(statement)}:",
    ]
    if statement.claim == "false" or statement.near_miss is None:
        witness = ", ".join(
            f"${_name(n)} = {_matrix(m)}$" for n, m in (statement.witness or {}).items()
        )
        body = [
            _claim(statement, statement.rhs, r"\neq"),
            rf"Witness: {witness}; {prose(verdict.detail)}.",
        ]
    else:
        body = [
            _claim(statement, statement.rhs, "="),
            r"\noindent\emph{Derivation.} ",
            *map(_chain, verdict.parts),
            r"\noindent\emph{Near miss,} which every check refuses: the right side",
            _right(statement, statement.near_miss),
        ]
    remark = [rf"\noindent {prose(statement.remark)}"] if statement.remark else []
    return "\n".join([*head, *body, *remark, ""])


def _right(statement: Statement, side: Side) -> str:
    return rf"\[ \fit{{{tex(side(TermOps(), variables(statement)))}}} \]"


def _matrix(rows: Integers) -> str:
    inner = r" \\ ".join(" & ".join(map(str, row)) for row in rows)
    return rf"\begin{{pmatrix}} {inner} \end{{pmatrix}}"


_HEAD = r"""\documentclass[11pt,a4paper]{article}
\usepackage[utf8]{inputenc}
\usepackage{amsmath,amssymb,graphicx}
\usepackage[margin=25mm]{geometry}
\newsavebox{\fitbox}
% A formula, made smaller where it is wider than the text beside its rule.
\newcommand{\fit}[1]{\sbox{\fitbox}{$\displaystyle #1$}%
  \ifdim\wd\fitbox>.76\linewidth\resizebox{.76\linewidth}{!}{\usebox{\fitbox}}%
  \else\usebox{\fitbox}\fi}
\raggedright
\setlength{\parindent}{0pt}
\begin{document}
"""

_NOTATION = r"""\section*{Notation}
Tokens are columns. $\langle A, B\rangle = \operatorname{tr}(A^\top B)$ and
$\|A\|_F^2 = \langle A, A\rangle$. $\ell(Y; T)$ is any loss of outputs $Y$ and targets $T$ that is
differentiable in $Y$, and $G(Y; T)$ the matrix of its partial derivatives there.
$\bigl\langle S \leftarrow f(S, x_t) \bigr\rangle_{S=W}^{(x_t)\text{ of }(X)}$ is the last state of
the recurrence that starts at $W$ and takes the blocks of columns of $X$ from left to right (single
examples, mini-batches or all at once); $\bigl[\,c(S, x_t)\,\bigr]_{S=W,\dots}$ collects, side by
side, what each step of it computes at the state before that step. In an induction $S_n$ is the
state after the first $n$ examples, $E_n$ what was collected so far, and small letters are the next
block of $b$ examples.
"""


def document(verdicts: Sequence[Verdict]) -> str:
    """A LaTeX document of the statements behind `verdicts`, with the rules that they use."""
    rules = "\n".join(rf"\item[{r.name}] {EQUATIONS[r.name]}" for r in RULES)
    true = [v for v in verdicts if by_id(v.id).claim == "true"]
    false = [v for v in verdicts if by_id(v.id).claim == "false"]
    parts = [
        _HEAD,
        r"\section*{In-context learning and gradient descent: the identities}",
        _NOTATION,
    ]
    parts.append(
        "\\section*{Rules}\nEach line of a derivation follows from the one before it by the rule "
        "beside it, and was checked twice: by that rule alone, and by SymPy for matrices of "
        "symbolic size. Every rule may also regroup sums and products.\n"
        f"\\begin{{description}}\n{rules}\n\\end{{description}}\n"
    )
    if true:
        parts += [r"\section*{Proved for all sizes}", *(theorem(by_id(v.id), v) for v in true)]
    if false:
        parts += [r"\section*{Refuted}", *(theorem(by_id(v.id), v) for v in false)]
    return "\n".join([*parts, r"\end{document}", ""])
