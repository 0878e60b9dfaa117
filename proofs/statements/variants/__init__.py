"""Section C: attention variants as optimisers of an objective in the state S, read as o = S q.

Gradients are derived; implicit steps and the Mesa layer by first-order conditions.
"""

from proofs.statements.model import Statement
from proofs.statements.variants.decay import DECAY_LAYERS, DECAY_STEPS
from proofs.statements.variants.delta import DELTA_LAYERS, DELTA_STEPS
from proofs.statements.variants.longhorn import LONGHORN, epsilon
from proofs.statements.variants.mesa import MESA
from proofs.statements.variants.parts import erase, write
from proofs.statements.variants.titans import TITANS
from proofs.statements.variants.ttt import TTT

STEPS: tuple[Statement, ...] = (*DECAY_STEPS, *DELTA_STEPS, *LONGHORN)
LAYERS: tuple[Statement, ...] = (*MESA, *DECAY_LAYERS, *DELTA_LAYERS, *TTT, *TITANS)
VARIANTS: tuple[Statement, ...] = (*STEPS, *LAYERS)

__all__ = ["LAYERS", "STEPS", "VARIANTS", "epsilon", "erase", "write"]
