"""One statement or fact as LaTeX: its claim, its derivation or its refutation."""

from __future__ import annotations

from collections.abc import Callable

from proofs.statements import Fact, Integers, Side, Statement
from proofs.steps import Part
from proofs.terms import Term, TermOps, contains, internal, substitute, variables
from proofs.tex.prose import prose
from proofs.tex.recurrences import Walks, walks
from proofs.tex.terms import symbol_name, tex
from proofs.verdict import Verdict

LONG = 250  # characters of TeX from which a side has its exponentials abbreviated


def shapes(statement: Statement) -> str:
    """The shape of every variable, in words of TeX."""
    listed = [
        rf"${symbol_name(name)} \in \mathbb{{R}}^{{{rows} \times {columns}}}$"
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
            [
                r"\begin{align*}",
                rf"& \fit{{{left}}} \\",
                rf"{relation}\;& \fit{{{right}}}",
                r"\end{align*}",
            ]
        )
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
        [
            "",
            rf"\noindent where, over {found.over()},",
            r"\begin{flalign*}",
            found.rows(),
            r"\end{flalign*}",
        ]
    )


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
            f"${symbol_name(n)} = {_matrix(m)}$" for n, m in (statement.witness or {}).items()
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
            r"\noindent\emph{Derivation.} \begin{enumerate}",
            *rows,
            r"\end{enumerate}",
            r"\noindent\emph{Near miss,} which the check refuses:",
            rf"\[ \fit{{{fact.near_miss}}} \]",
        ]
    return "\n".join([*head, *body, rf"\noindent {prose(fact.remark)}", ""])


def _matrix(rows: Integers) -> str:
    inner = r" \\ ".join(" & ".join(map(str, row)) for row in rows)
    return rf"\begin{{pmatrix}} {inner} \end{{pmatrix}}"
