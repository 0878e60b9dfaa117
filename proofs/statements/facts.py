"""B2, B3 and the noise floor: bounds, an expectation, a closed form; no matrix algebra.

Each formula is made from one `value`, which `proofs.facts` puts into the lemmas that SymPy checks,
so that formula and lemmas cannot say two things; `dualform.relaxation` has the facts on tensors.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

_COSINE = (
    r"\cos\Bigl(\tfrac{h+a}{\|h+a\|} - \tfrac{h}{\|h\|},\; "
    r"\tfrac{h+b}{\|h+b\|} - \tfrac{h}{\|h\|}\Bigr)"
)


def _taylor(value: str) -> str:
    return (
        r"\Bigl| e^{s} - \sum_{j \le p} \frac{s^j}{j!} \Bigr| \;\le\; "
        rf"\frac{{|s|^{{p+1}}}}{{(p+{value})!}}\, e^{{\max(s, 0)}}"
    )


def _features(value: str) -> str:
    """With the norms taken off, or not."""
    a, b = (r" - \|a\|^2/2", r" - \|b\|^2/2") if value == "1" else ("", "")
    return (
        rf"\mathbb{{E}}_{{\omega \sim N(0, I)}}\, e^{{\omega^\top a{a}}}\, "
        rf"e^{{\omega^\top b{b}}} \;=\; e^{{a^\top b}}"
    )


def _relaxation(value: str) -> str:
    above, below = value.split("/")
    return (
        r"\Bigl| \sum_i p_i v_i - \bar v - \frac1n \sum_i (v_i - \bar v)\, s_i \Bigr| \;\le\; "
        rf"\tfrac{{{above}}}{{{below}}}\, (\max v - \min v)\, (\max s - \min s)^2"
    )


def _floor(value: str) -> str:
    inner = r"\sqrt{(1-s_a)(1-s_b)}" if value == "1/2" else r"(1-s_a)(1-s_b)"
    return (
        rf"\begin{{aligned}}{_COSINE} &= \tfrac12 {inner}, \\ "
        r"s_x &= \bigl(1 + \|x\|^2/\|h\|^2\bigr)^{-1/2}\end{aligned}"
    )


def _unrelated(value: str) -> str:
    return rf"{_COSINE} = {value}"


FORMULAS: dict[str, Callable[[str], str]] = {
    "taylor-remainder": _taylor,
    "positive-random-features": _features,
    "relaxation-bound": _relaxation,
    "noise-floor": _floor,
    "unrelated-updates-score-zero": _unrelated,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A statement of analysis: its formula holds with `value`, and not with `near_value`."""

    id: str
    title: str
    source: str
    value: str
    near_value: str
    claim: Literal["true", "false"] = "true"
    assumes: str = ""
    remark: str = ""

    @property
    def formula(self) -> str:
        """TeX of the statement."""
        return FORMULAS[self.id](self.value)

    @property
    def near_miss(self) -> str:
        """TeX of the near miss; a false claim has none."""
        return FORMULAS[self.id](self.near_value) if self.near_value else ""


FACTS: tuple[Fact, ...] = (
    Fact(
        id="taylor-remainder",
        title="What Taylor features leave out of the exponential kernel",
        source="Taylor's theorem; the features of Katharopoulos et al. 2006.16236 at degree p",
        value="1",
        near_value="2",
        remark="The quotient of both sides tends to one as s goes to 0, so no smaller constant "
        "would do. A matrix of values V turns it into |V| times the remainders.",
    ),
    Fact(
        id="positive-random-features",
        title="Positive random features estimate the exponential kernel without bias",
        source="Choromanski et al. 2009.14794, lemma 1",
        value="1",
        near_value="0",
        remark="The near miss forgets the norms.",
    ),
    Fact(
        id="relaxation-bound",
        title="Softmax attention is the mean value plus centred relaxed attention, to second order",
        source="derived here, for the relaxation of Dai section 3.1",
        value="1/8",
        near_value="1/24",
        remark="In every channel, p being the softmax of the scores s. It is exact to first order. "
        "Relaxed attention itself, the sum of the v_i s_i, lacks the mean, the centring and the "
        "factor 1/n: it does not tend to softmax attention as the scores go to 0. With one token "
        "in five at the top of both ranges the left side is 0.38 of the right one in the limit.",
    ),
    Fact(
        id="noise-floor",
        title="Two unrelated updates have a similarity above zero once outputs are normalised",
        source="the metric SimAOU of Dai section 4, for updates orthogonal to all else",
        value="1/2",
        near_value="1",
        assumes="h, a and b are orthogonal to each other and not zero",
        remark="Normalising before subtracting moves both differences along -h. At updates as long "
        "as the output itself the floor is 0.146.",
    ),
    Fact(
        id="unrelated-updates-score-zero",
        title="False: the normalised similarity of unrelated updates is zero",
        source="how SimAOU is read in Dai section 4 and its repetitions",
        value="0",
        near_value="",
        claim="false",
        assumes="h, a and b are orthogonal to each other and not zero",
        remark="At h = (1,0,0,0,0,0,0), a = (0,1,1,1,0,0,0), b = (0,0,0,0,1,1,1) it is exactly "
        "1/4, as noise-floor says.",
    ),
)
"""Bounds, an expectation and closed forms: what is no matrix algebra, in their order."""
