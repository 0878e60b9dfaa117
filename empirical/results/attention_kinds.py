"""The attention layers that are compared: momentum attention, its relatives, its controls.

Letters: p the softmax weights of a query, v values, k keys, t the query's place, i, j <= t places
of its sequence, eta in [0, 1). With eta = 0 every layer is plain attention, but for the recency
bias, which then sees its own token alone. Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from empirical.core.errors import UserError

PLAIN, MOMENTUM, AVERAGED_VALUES = "plain", "momentum", "averaged_values"
HEAVY_BALL, RECENCY_BIAS, AVERAGED_KEYS = "heavy_ball", "recency_bias", "averaged_keys"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One layer: its formula in LaTeX, where it comes from, and what it is there for."""

    title: str
    formula: str
    source: str
    role: str


KINDS: Mapping[str, Kind] = {
    PLAIN: Kind(
        title="plain attention",
        formula=r"\sum_i p_i v_i",
        source="softmax attention",
        role="what every other layer is set against",
    ),
    MOMENTUM: Kind(
        title="momentum attention",
        formula=r"\sum_i p_i v_i + \sum_{i<t} \eta^{t-i} v_i",
        source="Dai et al., section 5, the formula after equation 14",
        role="the claim",
    ),
    AVERAGED_VALUES: Kind(
        title="averaged values",
        formula=r"\sum_i p_i \sum_{j\le i} \eta^{i-j} v_j",
        source="momentum in the values inside attention",
        role="control: the same sums of values, chosen by attention",
    ),
    HEAVY_BALL: Kind(
        title="heavy ball on the update",
        formula=r"\sum_i p_i v_i \sum_{n\le t-i} \eta^n",
        source="momentum on softmax-weighted updates",
        role="what momentum on the update is",
    ),
    RECENCY_BIAS: Kind(
        title="recency bias",
        formula=r"\sum_i p'_i v_i,\; p'_i \propto \eta^{t-i} e^{q^\top k_i/\sqrt{h}}",
        source="ALiBi (Press et al. 2108.12409), one slope",
        role="control: recency without a sum of values",
    ),
    AVERAGED_KEYS: Kind(
        title="averaged keys",
        formula=r"\sum_i p_i v_i + \sum_{i<t} \eta^{t-i} k_i",
        source="a depthwise causal average that holds no value",
        role="control: any smooth average beside attention",
    ),
}
"""The kinds of attention by name: plain, momentum, its relatives and its controls."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A kind with its eta: one number, learned per head from there or fixed; None for plain.

    Raises:
        UserError: for an unknown kind, an eta outside [0, 1), or one where there is none.
    """

    kind: str = PLAIN
    eta: float | None = None
    learned: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(
                f"expected a kind of attention among {', '.join(KINDS)}, got {self.kind!r}; "
                "choose one of them"
            )
        if self.kind == PLAIN and (self.eta is not None or self.learned):
            raise UserError(
                f"expected no eta for plain attention, got {self.eta}; leave it out, or choose "
                "another kind"
            )
        if self.kind != PLAIN and (self.eta is None or not 0.0 <= self.eta < 1.0):
            raise UserError(
                f"expected eta in [0, 1) for {self.kind}, got {self.eta}; choose a number there"
            )
        if self.learned and self.eta == 0.0:
            raise UserError(
                "expected a learned eta to start above 0, where its logit is finite, got 0; start "
                "it at 0.5, say"
            )

    @property
    def name(self) -> str:
        """`momentum-eta0.9`, `momentum-learned0.5`, `plain`; safe in a file name."""
        if self.eta is None:
            return self.kind
        return f"{self.kind}-{'learned' if self.learned else 'eta'}{self.eta:g}"
