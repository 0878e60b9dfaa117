"""Derivations of section C, a file for every family of variants."""

from proofs.derivations.variants.decay import DECAY
from proofs.derivations.variants.delta import DELTA
from proofs.derivations.variants.longhorn import LONGHORN
from proofs.derivations.variants.mesa import MESA
from proofs.derivations.variants.titans import TITANS
from proofs.derivations.variants.ttt import TTT
from proofs.steps import Derivation

VARIANTS: dict[str, Derivation] = {**DECAY, **DELTA, **LONGHORN, **MESA, **TTT, **TITANS}

__all__ = ["VARIANTS"]
