"""How to read the report: the claim, the settings, and every formula with one sentence."""

from __future__ import annotations

from empirical.report.render.blocks import Block, Prose, Section, Term, Terms
from empirical.report.render.formulas import FORMULAS, mathml


def section() -> Section:
    """For who reads about this for the first time."""
    blocks: tuple[Block, ...] = (
        Prose(
            text="A language model that reads demonstrations of a task gets better at it although "
            "no weight changes (in-context learning, ICL). Dai et al. (arXiv 2212.10559) explain "
            "this as implicit finetuning: attention to demonstrations would act as a step of "
            "gradient descent. They support it by comparing three settings on the same questions: "
            "zero-shot (ZSL), in context (ICL), and finetuned on the demonstrations (FT)."
        ),
        Prose(
            text="A similarity between ICL and FT supports the explanation only as far as it "
            "exceeds what something else gives: a random change of the same size, finetuning "
            "on another task, a context of random tokens, a model that was never trained. Such "
            "a replacement is a control, and each control is measured exactly as the original is. "
            "Brackets hold 95 % intervals."
        ),
        Terms(
            terms=tuple(
                Term(term=f.term, formulas=tuple(map(mathml, f.latex)), words=f.words)
                for f in FORMULAS
            )
        ),
    )
    return Section(id="reading", title="How to read this", blocks=blocks)
