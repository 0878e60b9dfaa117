"""LaTeX of statements and derivations, exactly as they are written.

SymPy's own printer reorders sums and moves transposes, and prints the transpose of `x'` as a
double superscript, which TeX refuses; this one prints the trees of `proofs.terms`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from proofs.rules import RULES
from proofs.statements import EVERYTHING, FACTS, FAMILIES, Fact, Integers, Side, Statement
from proofs.steps import Part
from proofs.terms import (
    ONE,
    Component,
    Shape,
    Term,
    TermOps,
    components,
    contains,
    grows,
    internal,
    substitute,
    symbol,
    variables,
)
from proofs.verdict import Verdict

NAMES = {
    "D_V": r"{\Delta W_V}",
    "D_K": r"{\Delta W_K}",
    "gamma": r"\gamma",
    "gammas": r"{\boldsymbol\gamma}",
    "eta": r"\eta",
    "lam": r"\lambda",
    "alpha": r"\alpha",
    "beta": r"\beta",
    "theta": r"\theta",
    "Phi": r"\Phi",
    "phi": r"\varphi",
}
SUM, PRODUCT, ATOM = 1, 2, 3
LONG = 250  # characters of TeX from which a side has its exponentials abbreviated
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


def _wrap(text: str) -> str:
    return rf"\left({text}\right)"


def _at(term: Term, level: int) -> str:
    """The term, in parentheses where it binds weaker than `level`."""
    own = {
        "sum": SUM, "negative": SUM, "product": PRODUCT, "scale": PRODUCT, "times": SUM,
        "khatri_rao": SUM,
    }.get(term.kind, ATOM)  # fmt: skip
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


def _fold(term: Term) -> str:
    """The last value of a state: its letter, and the recurrence in angle brackets below."""
    index, parts = components(term)
    moves = r",\; ".join(rf"{_name('.' + c.name)} \leftarrow {tex(c.step)}" for c in parts)
    pairs = parts[0].pairs
    blocks = ", ".join(tex(b) for b, _ in pairs)
    over = ", ".join(tex(c) for _, c in pairs)
    starts = ", ".join(rf"{_name('.' + c.name)} = {tex(c.start)}" for c in parts)
    kept = "" if len(parts) == 1 else rf"{_name('.' + parts[index].name)}\colon "
    return (
        rf"\Bigl\langle {kept}{moves} \Bigr\rangle"
        rf"_{{{starts}}}^{{({blocks})\text{{ of }}({over})}}"
    )


def _name(name: str) -> str:
    """A symbol's name; one of this package's own stands in braces, for a transpose may follow."""
    own = name.startswith(".")
    if name.startswith(".hat"):
        bare = _name("." + name.removeprefix(".hat")).removeprefix("{").removesuffix("}")
        return rf"{{\hat {bare}}}"
    if name in NAMES:
        return NAMES[name]
    base, _, index = name.removeprefix(".").rpartition("_")
    if index == "demo":
        return f"{{{NAMES.get(base, base)}'}}"
    if not base:
        return NAMES.get(index, index)
    letter, _, low = base.partition("_")
    index = f"{low},{index}" if low else index
    letter = NAMES.get(letter, letter)
    return f"{{{letter}_{{{index}}}}}" if own else f"{letter}_{{{index}}}"


@dataclass(frozen=True, slots=True)
class Walks:
    """The recurrences of a claim: a letter for the last value of every state."""

    letters: dict[Component, Term]
    beside: dict[Component, tuple[Component, ...]]  # all states of its recurrence

    def named(self, term: Term) -> Term:
        """`term` with a letter for every recurrence."""
        if term.kind == "fold":
            index, parts = components(term)
            return self.letters[parts[index]]
        return Term(term.kind, tuple(map(self.named, term.args)), term.shape, term.name)

    def rows(self) -> str:
        """The starts and steps, one row a state, for an aligned display."""
        lines = []
        for c, letter in self.letters.items():
            here = letter.name.removeprefix(".").removesuffix("_n")
            state = _name("." + here)
            step = tex(self._renamed(c))
            lines.append(
                rf"& {state} = {tex(c.start)}, && {state} \leftarrow \fitstep{{{step}}} \\"
            )
        return "\n".join(lines).removesuffix(r" \\")

    def _renamed(self, c: Component) -> Term:
        """A step in the letters of this claim."""
        step = c.step
        for other in self.beside[c]:
            letter = self.letters[other].name.removesuffix("_n")
            state = internal(other.name, *_state_shape(other))
            step = substitute(step, state, symbol(letter, *state.shape))
        return step

    def over(self) -> str:
        """What the recurrences walk over."""
        pairs: dict[str, str] = {}
        for c in self.letters:
            pairs |= {tex(b): tex(column) for b, column in c.pairs}
        single = all(b.shape[1] == ONE for c in self.letters for b, _ in c.pairs)
        kind = "columns" if single else "blocks of columns (of any sizes)"
        return rf"{kind} $({', '.join(pairs)})$ of $({', '.join(pairs.values())})$"


def _state_shape(c: Component) -> Shape:
    return c.start.shape[0], c.pairs[0][1].shape[1] if grows(c.start) else c.start.shape[1]


def walks(*sides: Term) -> Walks:
    """Letters for all states of all recurrences in some sides; a hat where a name means two."""
    letters: dict[Component, Term] = {}
    beside: dict[Component, tuple[Component, ...]] = {}

    def visit(term: Term) -> None:
        if term.kind == "fold":
            for c in components(term)[1]:
                beside[c] = components(term)[1]
                taken = {t.name for t in letters.values()}
                if c not in letters:
                    name = f".{c.name}_n" if f".{c.name}_n" not in taken else f".hat{c.name}_n"
                    letters[c] = symbol(name, *_state_shape(c))
        for a in term.args:
            visit(a)

    for side in sides:
        visit(side)
    return Walks(letters, beside)


_ENTRYWISE = {"exp": r"\exp", "activation": r"\sigma", "causal": r"\operatorname{causal}"}
_UNARY = _ENTRYWISE | {"diag": r"\operatorname{diag}", "trace": r"\operatorname{tr}"}


def tex(term: Term) -> str:
    """Math-mode LaTeX of a tree."""
    args = term.args
    if term.kind in _LEAVES:
        return _LEAVES[term.kind](term)
    if term.kind in _UNARY:
        return rf"{_UNARY[term.kind]}\left({tex(args[0])}\right)"
    if term.kind in _SHAPES:
        return _SHAPES[term.kind](args)
    return _scalar(term.kind, args) if term.kind != "fold" else _fold(term)


_LEAVES: dict[str, Callable[[Term], str]] = {
    "symbol": lambda t: _name(t.name),
    "zero": lambda t: "[\\;]" if t.shape[1] == () else "0",
    "identity": lambda t: "1" if t.shape == (ONE, ONE) else "I",
    "ones": lambda _: r"\mathbf{1}",
}


def _transposed(args: Sequence[Term]) -> str:
    inner = args[0]
    if inner.kind in ("transpose", "inverse"):
        return rf"{_wrap(tex(inner))}^{{\top}}"
    return rf"{_at(inner, ATOM)}^{{\top}}"


def _inverse(args: Sequence[Term]) -> str:
    inner = args[0]
    powered = inner.kind in ("transpose", "inverse")
    return rf"{_wrap(tex(inner)) if powered else _at(inner, ATOM)}^{{-1}}"


_SHAPES: dict[str, Callable[[Sequence[Term]], str]] = {
    "sum": lambda a: _sum(*a),
    "negative": lambda a: f"-{_at(a[0], PRODUCT)}",
    "product": lambda a: f"{_factor(a[0], first=True)} {_factor(a[1], first=False)}",
    "transpose": _transposed,
    "inverse": _inverse,
    "hcat": lambda a: r"\left[" + r"\;\;".join(map(tex, a)) + r"\right]",
    "vcat": lambda a: r"\begin{bmatrix}" + r" \\ ".join(map(tex, a)) + r"\end{bmatrix}",
    "scale": lambda a: f"{_at(a[0], PRODUCT)}\\, {_at(a[1], ATOM)}",
    "times": lambda a: rf"{_at(a[0], PRODUCT)} \odot {_at(a[1], PRODUCT)}",
    "khatri_rao": lambda a: rf"{_at(a[0], ATOM)} * {_at(a[1], ATOM)}",
    "output_gradient": lambda a: rf"G\bigl({tex(a[0])};\, {tex(a[1])}\bigr)",
    "gradient": lambda a: _gradient(*a),
}


def _scalar(kind: str, args: Sequence[Term]) -> str:
    if kind == "inner":
        return rf"\left\langle {tex(args[0])},\, {tex(args[1])}\right\rangle"
    if kind == "half_square":
        return rf"\tfrac12\bigl\|{tex(args[0])}\bigr\|_F^2"
    if kind == "weighted_square":
        return rf"\tfrac12\bigl\|{tex(args[0])}\bigr\|_{{{tex(args[1])}}}^2"
    return rf"\ell\bigl({tex(args[0])};\, {tex(args[1])}\bigr)"


_ESCAPES = {
    "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
}  # fmt: skip


_MATH = re.compile(
    r"\b([A-Za-z]_(?:ZSL|[A-Za-z0-9])|[A-Z]|eta|gamma|alpha|beta|lambda|Lambda|phi)((?:\^T)?)"
    r"(?=[\s,.;:)]|$)"
)


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
        letter = base if len(base) == 1 else rf"\{base}"
        pieces.append(f"${letter}{low}{high}$")
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


def _chain(part: Part, short: Callable[[Term], Term]) -> str:
    first, *rest = part.lines
    rows = [rf"& \fit{{{tex(short(first.term))}}} \\"]
    for line in rest:
        rule = "" if line.rule is None else line.rule.name
        rule += r"\,$\circ$" if line.judge == "exact values" else ""
        rows.append(rf"& = \fit{{{tex(short(line.term))}}} && \text{{({rule})}} \\")
    rows[-1] = rows[-1].removesuffix(r" \\")
    heading = rf"\emph{{{part.heading[0].upper()}{part.heading[1:]}.}} " if part.heading else ""
    return heading + "\n".join([r"\begin{flalign*}", *rows, r"\end{flalign*}"])


def _abbreviated(statement: Statement) -> tuple[dict[Term, Term], Callable[[Term], Term]]:
    """Letters for exponentials and their sums, where sides are long, and what puts them in.

    Those over blocks keep their form, since a step opens them.
    """
    v, ops = variables(statement), TermOps()
    sides = [f(ops, v) for f in (statement.lhs, statement.rhs)]
    found: list[Term] = []

    def visit(term: Term) -> None:
        blocks = contains(term, lambda t: t.kind == "hcat")
        mass = term.kind == "product" and term.args[0].kind == "ones"
        if (term.kind == "exp" or mass) and not blocks and term not in found:
            found.append(term)
        for a in term.args:
            visit(a)

    for side in sides:
        visit(side)
    if max(len(tex(s)) for s in sides) < LONG:
        found = []
    sums = [t for t in found if t.kind == "product"]
    rows = [t for t in found if t.kind == "exp"]
    table = {t: internal(f"Z_{i}", *t.shape) for i, t in enumerate(sums, 1)}
    table |= {t: internal(f"e_{i}", *t.shape) for i, t in enumerate(rows, 1)}

    def short(term: Term) -> Term:
        for old, new in table.items():
            term = substitute(term, old, new)
        return term

    return table, short


def _claim(statement: Statement, side: Side, relation: str) -> str:
    """The left side, the relation and `side`, with recurrences written out below."""
    v, ops = variables(statement), TermOps()
    table, short = _abbreviated(statement)
    sides = short(statement.lhs(ops, v)), short(side(ops, v))
    found = walks(*sides)
    left, right = (tex(found.named(x)) for x in sides)
    if len(left) + len(right) < 140:
        shown = rf"\[ {left} \;{relation}\; {right} \]"
    else:
        shown = "\n".join(
            [r"\begin{align*}", rf"& \fit{{{left}}} \\", rf"{relation}\;& \fit{{{right}}}",
             r"\end{align*}"]
        )  # fmt: skip
    meant = {new: old for old, new in table.items()}
    named = ", ".join(
        rf"${tex(new)} = {tex(Term(old.kind, tuple(map(short, old.args)), old.shape))}$"
        for new, old in meant.items()
    )
    return shown + (f"with {named}.\\par\n" if named else "") + _where(found)


def _where(found: Walks) -> str:
    if not found.letters:
        return ""
    return "\n".join(
        ["", rf"\noindent where, over {found.over()},", r"\begin{flalign*}", found.rows(),
         r"\end{flalign*}"]
    )  # fmt: skip


def theorem(statement: Statement, verdict: Verdict) -> str:
    """One statement with its derivation, or its refutation."""
    head = [
        rf"\subsection*{{{prose(statement.title)}}}",
        rf"\noindent\texttt{{{prose(statement.id)}}} --- {prose(statement.source)}. "
        rf"Verdict: \textbf{{{prose(verdict.status)}}}.\\",
        rf"With {shapes(statement)}"
        + (f", where {prose(statement.assumes)}:" if statement.assumes else ":"),
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
        _, short = _abbreviated(statement)
        body = [
            _claim(statement, statement.rhs, "="),
            r"\noindent\emph{Derivation.} ",
            *(_chain(part, short) for part in verdict.parts),
            r"\noindent\emph{Near miss,} which every check refuses: the right side",
            _right(statement, statement.near_miss),
        ]
    remark = [rf"\noindent {prose(statement.remark)}"] if statement.remark else []
    return "\n".join([*head, *body, *remark, ""])


def _right(statement: Statement, side: Side) -> str:
    term = _abbreviated(statement)[1](side(TermOps(), variables(statement)))
    found = walks(term)
    return rf"\[ \fit{{{tex(found.named(term))}}} \]" + _where(found)


def fact_theorem(fact: Fact, verdict: Verdict) -> str:
    """One fact of analysis with its lemmas, or its refutation."""
    assumed = f" Assumed: {prose(fact.assumes)}." if fact.assumes else ""
    head = [
        rf"\subsection*{{{prose(fact.title)}}}",
        rf"\noindent\texttt{{{prose(fact.id)}}} --- {prose(fact.source)}. "
        rf"Verdict: \textbf{{{prose(verdict.status)}}}.{assumed}",
        rf"\[ \fit{{{fact.formula}}} \]",
    ]
    if fact.claim == "false":
        body = [rf"\noindent {prose(verdict.detail)}."]
    else:
        rows = [rf"\item ${lemma.holds}$ \quad ({prose(lemma.why)})" for lemma in verdict.lemmas]
        body = [
            r"\noindent\emph{Derivation.} \begin{enumerate}", *rows, r"\end{enumerate}",
            r"\noindent\emph{Near miss,} which the check refuses:",
            rf"\[ \fit{{{fact.near_miss}}} \]",
        ]  # fmt: skip
    return "\n".join([*head, *body, rf"\noindent {prose(fact.remark)}", ""])


# Attention variant, update (TeX), objective and optimiser, and the statements that prove it.
TABLE = (
    ("linear attention", r"S + v k^\top", r"SGD, rate 1, on $-\langle S k, v\rangle$",
     ("linear-loss-step", "squared-loss-step-from-zero")),
    ("RetNet, Mamba-2", r"a S + v k^\top", r"the same with $\tfrac12(1-a)\|S\|^2$",
     ("scalar-decay-step", "decayed-recurrence")),
    ("GLA", r"S \operatorname{diag}(a) + v k^\top", "weight decay for every key channel",
     ("channel-decay-step", "channel-decayed-recurrence")),
    ("DeltaNet", r"S(I - b k k^\top) + b v k^\top", r"SGD, rate $b$, on $\tfrac12\|S k - v\|^2$",
     ("delta-rule-step",)),
    ("Gated DeltaNet", r"a S(I - b k k^\top) + b v k^\top",
     r"decoupled decay, then that step at $a S$", ("gated-delta-step", "gated-delta-dual")),
    ("gradient at $S$", r"a S + b(v - S k)k^\top",
     r"SGD on $\tfrac12\|Sk-v\|^2 + \tfrac{1-a}{2b}\|S\|^2$", ("penalised-delta-step",)),
    ("KDA", r"S \operatorname{diag}(a)(I - b k k^\top) + b v k^\top",
     "as Gated DeltaNet, for every channel", ("channel-delta-step",)),
    ("Longhorn", r"S(I - \varepsilon k k^\top) + \varepsilon v k^\top",
     r"implicit step; $\operatorname{argmin} \|X-S\|^2 + b\|Xk-v\|^2$",
     ("longhorn-implicit-step", "longhorn-first-order-condition")),
    ("TTT-Linear", r"W - \eta\nabla\|W k - v\|^2", "mini-batch descent, learned start",
     ("ttt-linear-dual",)),
    ("Titans", r"(1-\alpha)M + P", "SGD with momentum and weight decay", ("titans-dual",)),
    ("Mesa layer", r"G(H + \Lambda)^{-1}", "the exact minimiser (ridge regression)",
     ("mesa-normal-equations", "mesa-rank-one-update")),
    ("MoAttn", r"\text{attention} + \textstyle\sum \eta^{t-i} v_i",
     "no momentum on the update", ("momentum-attention-is-momentum",)),
)  # fmt: skip


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
        [r"\section*{Attention as optimiser}",
         r"\noindent State $S$, read as $o = S q$.\par\medskip",
         r"{\small\begin{tabular}{@{}>{\raggedright}p{19mm}p{42mm}>{\raggedright}p{38mm}"
         r">{\raggedright\arraybackslash}p{44mm}@{}}", r"\toprule",
         r"variant & update & objective and optimiser & proved as \\", r"\midrule",
         *rows, r"\bottomrule", r"\end{tabular}}", ""]
    )  # fmt: skip


def _matrix(rows: Integers) -> str:
    inner = r" \\ ".join(" & ".join(map(str, row)) for row in rows)
    return rf"\begin{{pmatrix}} {inner} \end{{pmatrix}}"


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
