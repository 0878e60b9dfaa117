"""The formulas a reader of the report needs: LaTeX -> MathML, each with one sentence."""

from __future__ import annotations

from dataclasses import dataclass

from latex2mathml.converter import convert
from markupsafe import Markup


@dataclass(frozen=True, kw_only=True)
class Formula:
    """`term` is what it defines, `words` how to read it (plain text)."""

    term: str
    latex: tuple[str, ...]
    words: str


FORMULAS = (
    Formula(
        term="ΔW: the claim",
        latex=(
            r"W_V [X';X] \, (W_K [X';X])^{\top} q = (W_{\text{ZSL}} + \Delta W_{\text{ICL}}) \, q",
            r"\Delta W_{\text{ICL}} = \sum_i (W_V x'_i) \, (W_K x'_i)^{\top} = \sum V' X'^{\top}",
        ),
        words="Without softmax, attention to demonstrations X′ adds to the weights of the query "
        "what one step of gradient descent would add, with values V′ in the place of errors and "
        "keys (X′ in short) in the place of inputs. The paper reads in-context learning (ICL) as "
        "this implicit finetuning (FT) of the zero-shot weights (ZSL).",
    ),
    Formula(
        term="λ: what softmax does instead",
        latex=(
            r"F_{\text{ICL}}(q) = (1-\lambda)\,F_{\text{ZSL}}(q) + \lambda\,F_{\text{demo}}(q)",
            r"\lambda = \frac{Z_{\text{demo}}}{Z_{\text{demo}} + Z_{\text{ZSL}}}",
        ),
        words="With softmax the demonstrations also shrink the zero-shot term. λ is their share of "
        "a head’s attention; this holds exactly, in every head.",
    ),
    Formula(
        term="Rec2FTP",
        latex=(
            r"100 \cdot \frac{N(\text{ZSL wrong, FT right, ICL right})}"
            r"{N(\text{ZSL wrong, FT right})}",
        ),
        words="Of the answers that finetuning corrects, the share that the demonstrations correct "
        "too. Read it against the base rate: the share of all zero-shot errors that ICL corrects.",
    ),
    Formula(
        term="SimAOU",
        latex=(
            r"\cos\left(u_{\text{ICL}} - u_{\text{ZSL}},\; u_{\text{FT}} - u_{\text{ZSL}}\right)",
            r"u = h / \lVert h \rVert",
        ),
        words="Do both change the output h of an attention block in the same direction? Mean over "
        "examples, then layers.",
    ),
    Formula(
        term="Noise floor of SimAOU",
        latex=(
            r"\tfrac12 \sqrt{(1-s_1)(1-s_2)}, \quad s_i = (1+\rho_i)^{-1/2}",
            r"\rho = \lVert h_X - h_{\text{ZSL}} \rVert^2 / \lVert h_{\text{ZSL}} \rVert^2",
        ),
        words="What two unrelated updates of relative squared norms ρ score, because states are "
        "normalised before they are subtracted: 0.146 at ρ = 1, 0.25 at ρ = 3.",
    ),
    Formula(
        term="SimAM before, SimAM after, SimAM-delta",
        latex=(
            r"\cos(m_{\text{ICL}}, m_{\text{ZSL}}), \quad \cos(m_{\text{ICL}}, m_{\text{FT}})",
            r"\cos(m_{\text{ICL}} - m_{\text{ZSL}},\; m_{\text{FT}} - m_{\text{ZSL}})",
        ),
        words="m are a head’s scores before softmax, from the recorded token to the query’s own "
        "tokens. A finetuning that does nothing leaves “after” at “before”.",
    ),
    Formula(
        term="Kendall’s τ",
        latex=(r"\tau_b = \frac{P-Q}{\sqrt{(P+Q+T)(P+Q+U)}}",),
        words="Are the demonstrations’ tokens ranked alike by attention in context and by Q′q, "
        "their weight in the finetuning update? P pairs agree, Q disagree; T and U are ties.",
    ),
)


def mathml(latex: str) -> Markup:
    """Block MathML of a formula, which browsers render without any script."""
    return Markup(convert(latex, display="block"))  # noqa: S704 # from the constants above
