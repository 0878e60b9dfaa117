"""Named scales of the comparison: geometry, optimiser, lengths, what they cost (standard library).

`paper` has the settings of Dai et al., section 5 and appendix, as far as they are printed; eta and
the corpus are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from empirical.core.errors import UserError
from empirical.results.attention_kinds import (
    AVERAGED_KEYS,
    AVERAGED_VALUES,
    HEAVY_BALL,
    MOMENTUM,
    PLAIN,
    RECENCY_BIAS,
    Layer,
)

ETAS = (0.1, 0.3, 0.5, 0.7, 0.9)
SWEPT = (MOMENTUM, AVERAGED_VALUES, RECENCY_BIAS)  # at every eta: the claim and its controls
BESIDE = (HEAVY_BALL, AVERAGED_KEYS)  # at one
MIDDLE = 0.5


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A decoder of the XGLM class (pre-LN, GELU, sinusoidal positions, tied embeddings).

    `length`: tokens that a training window predicts; `rows` windows a step. `rate`: the peak, after
    `warmup` steps from 0, falling as a polynomial of degree 1 to 0. `windows`: at most so many of
    full length to measure a loss on. `context`: tokens that demonstrations and a question may fill;
    beyond the training length positions go on. `every`: steps between lines of the curve, `save`
    between checkpoints.
    """

    name: str
    layers: int
    width: int
    ffn: int
    heads: int
    vocabulary: int
    length: int
    rows: int
    steps: int
    rate: float
    warmup: int
    betas: tuple[float, float] = (0.9, 0.98)
    epsilon: float = 1e-6
    clip: float = 2.0
    decay: float = 0.0
    dtype: str = "float32"
    windows: int = 200
    context: int = 1024
    every: int = 20
    save: int = 100

    @property
    def lengths(self) -> tuple[int, int, int]:
        """A quarter, half and all of the training length."""
        return self.length // 4, self.length // 2, self.length

    @property
    def parameters(self) -> int:
        """Weights and biases of the model; the embedding counts once."""
        d, f = self.width, self.ffn
        layer = 4 * (d * d + d) + 2 * d * f + f + d + 4 * d
        return self.vocabulary * d + self.layers * layer + 2 * d

    @property
    def tokens(self) -> int:
        """Tokens trained on."""
        return self.length * self.rows * self.steps

    @property
    def flops(self) -> float:
        """About 6 operations for each parameter and token, and those of attention."""
        return self.tokens * (6.0 * self.parameters + 6.0 * self.layers * self.width * self.length)

    def settings(self) -> Mapping[str, str]:
        """Every number that has to be equal between models, as text."""
        return {k: str(x) for k, x in asdict(self).items()}


SCALES: Mapping[str, Scale] = {
    "nano": Scale(
        name="nano",
        layers=2,
        width=64,
        ffn=256,
        heads=4,
        vocabulary=1024,
        length=256,
        rows=16,
        steps=300,
        rate=3e-3,
        warmup=30,
    ),
    "small": Scale(
        name="small",
        layers=8,
        width=512,
        ffn=2048,
        heads=8,
        vocabulary=8192,
        length=512,
        rows=64,
        steps=3000,
        rate=6e-4,
        warmup=300,
        dtype="bfloat16",
        windows=400,
        every=50,
        save=250,
    ),
    "paper": Scale(
        name="paper",
        layers=24,
        width=1024,
        ffn=4096,
        heads=16,
        vocabulary=50260,
        length=1024,
        rows=512,
        steps=500_000,
        rate=3e-4,
        warmup=20_000,
        dtype="bfloat16",
        windows=2000,
        every=100,
        save=1000,
    ),
}


def scale(name: str) -> Scale:
    """A scale by its name.

    Raises:
        UserError: for another name.
    """
    if name not in SCALES:
        raise UserError(
            f"expected a scale among {', '.join(SCALES)}, got {name!r}; choose one of them"
        )
    return SCALES[name]


def layers(kinds: tuple[str, ...], etas: tuple[float, ...], learned: bool) -> tuple[Layer, ...]:
    """Plain attention, every kind asked for at every eta, and momentum with learned etas.

    Without kinds those of SWEPT at every eta and those of BESIDE at one in the middle.
    """
    found = [Layer()]
    for kind in kinds or (*SWEPT, *BESIDE):
        if kind == PLAIN:
            continue
        at = etas or ETAS
        if not kinds and kind in BESIDE:
            at = (min(at, key=lambda eta: abs(eta - MIDDLE)),)
        found += [Layer(kind=kind, eta=eta) for eta in at]
    if learned:
        found.append(Layer(kind=MOMENTUM, eta=MIDDLE, learned=True))
    return tuple(dict.fromkeys(found))
