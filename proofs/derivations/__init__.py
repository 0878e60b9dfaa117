"""One derivation for every true statement, by id; `tests` compare the table with the catalogue."""

from proofs.derivations.architecture import ARCHITECTURE
from proofs.derivations.attention import ATTENTION
from proofs.derivations.causal import CAUSAL
from proofs.derivations.construction import CONSTRUCTION
from proofs.derivations.finetuning import FINETUNING
from proofs.derivations.linear_layer import LINEAR_LAYER
from proofs.derivations.momentum import MOMENTUM
from proofs.derivations.optimisers import OPTIMISERS
from proofs.derivations.softmax import SOFTMAX
from proofs.derivations.variants import VARIANTS
from proofs.steps import Derivation

DERIVATIONS: dict[str, Derivation] = {
    **LINEAR_LAYER,
    **OPTIMISERS,
    **ATTENTION,
    **FINETUNING,
    **CAUSAL,
    **MOMENTUM,
    **SOFTMAX,
    **ARCHITECTURE,
    **VARIANTS,
    **CONSTRUCTION,
}

__all__ = ["DERIVATIONS"]
