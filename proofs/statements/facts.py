"""B2, B3 and the noise floor: bounds, an expectation, a closed form; no matrix algebra.

Their formulas are given as TeX; `proofs.facts` holds the lemmas, each checked by SymPy, and
`dualform.relaxation` the same statements on tensors.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A statement of analysis: `formula` holds, `near_miss` (a formula too) does not."""

    id: str
    title: str
    source: str
    formula: str
    near_miss: str
    claim: Literal["true", "false"] = "true"
    assumes: str = ""
    remark: str = ""


FACTS: tuple[Fact, ...] = (
    Fact(
        id="taylor-remainder",
        title="What Taylor features leave out of the exponential kernel",
        source="Taylor's theorem; the features of Katharopoulos et al. 2006.16236 at degree p",
        formula=r"\Bigl| e^{s} - \sum_{j \le p} \frac{s^j}{j!} \Bigr| \;\le\; "
        r"\frac{|s|^{p+1}}{(p+1)!}\, e^{\max(s, 0)}",
        near_miss=r"\Bigl| e^{s} - \sum_{j \le p} \frac{s^j}{j!} \Bigr| \;\le\; "
        r"\frac{|s|^{p+1}}{(p+2)!}\, e^{\max(s, 0)}",
        remark="The quotient of both sides tends to one as s goes to 0, so no smaller constant "
        "would do. A matrix of values V turns it into |V| times the remainders.",
    ),
    Fact(
        id="positive-random-features",
        title="Positive random features estimate the exponential kernel without bias",
        source="Choromanski et al. 2009.14794, lemma 1",
        formula=r"\mathbb{E}_{\omega \sim N(0, I)}\, e^{\omega^\top a - \|a\|^2/2}\, "
        r"e^{\omega^\top b - \|b\|^2/2} \;=\; e^{a^\top b}",
        near_miss=r"\mathbb{E}_{\omega \sim N(0, I)}\, e^{\omega^\top a}\, e^{\omega^\top b} "
        r"\;=\; e^{a^\top b}",
        remark="The near miss forgets the norms.",
    ),
    Fact(
        id="relaxation-bound",
        title="Softmax attention is the mean value plus centred relaxed attention, to second order",
        source="derived here, for the relaxation of Dai section 3.1",
        formula=r"\Bigl| \sum_i p_i v_i - \bar v - \frac1n \sum_i (v_i - \bar v)\, s_i \Bigr| "
        r"\;\le\; \tfrac18\, (\max v - \min v)\, (\max s - \min s)^2",
        near_miss=r"\Bigl| \sum_i p_i v_i - \bar v - \frac1n \sum_i (v_i - \bar v)\, s_i \Bigr| "
        r"\;\le\; \tfrac1{24}\, (\max v - \min v)\, (\max s - \min s)^2",
        remark="In every channel, p being the softmax of the scores s. It is exact to first order. "
        "Relaxed attention itself, the sum of the v_i s_i, lacks the mean, the centring and the "
        "factor 1/n: it does not tend to softmax attention as the scores go to 0. With one token "
        "in five at the top of both ranges the left side is 0.38 of the right one in the limit.",
    ),
    Fact(
        id="noise-floor",
        title="Two unrelated updates have a similarity above zero once outputs are normalised",
        source="the metric SimAOU of Dai section 4, for updates orthogonal to all else",
        formula=r"\begin{aligned}\cos\Bigl(\tfrac{h+a}{\|h+a\|} - \tfrac{h}{\|h\|},\; "
        r"\tfrac{h+b}{\|h+b\|} - \tfrac{h}{\|h\|}\Bigr) &= "
        r"\tfrac12 \sqrt{(1-s_a)(1-s_b)}, \\ "
        r"s_x &= \bigl(1 + \|x\|^2/\|h\|^2\bigr)^{-1/2}\end{aligned}",
        near_miss=r"\cos\Bigl(\tfrac{h+a}{\|h+a\|} - \tfrac{h}{\|h\|},\; "
        r"\tfrac{h+b}{\|h+b\|} - \tfrac{h}{\|h\|}\Bigr) \;=\; \tfrac12 (1-s_a)(1-s_b)",
        assumes="h, a and b are orthogonal to each other and not zero",
        remark="Normalising before subtracting moves both differences along -h. At updates as long "
        "as the output itself the floor is 0.146.",
    ),
    Fact(
        id="unrelated-updates-score-zero",
        title="False: the normalised similarity of unrelated updates is zero",
        source="how SimAOU is read in Dai section 4 and its repetitions",
        formula=r"\cos\Bigl(\tfrac{h+a}{\|h+a\|} - \tfrac{h}{\|h\|},\; "
        r"\tfrac{h+b}{\|h+b\|} - \tfrac{h}{\|h\|}\Bigr) = 0",
        near_miss="",
        claim="false",
        assumes="h, a and b are orthogonal to each other and not zero",
        remark="At h = (1,0,0,0,0,0,0), a = (0,1,1,1,0,0,0), b = (0,0,0,0,1,1,1) it is exactly "
        "1/4, as noise-floor says.",
    ),
)
