"""Linear-attention variants as optimisers: a fast and a slow form each, with rounding bounds."""

from dualform.variants._checks import VariantInputError
from dualform.variants.bounds import bounded
from dualform.variants.forms import Gate
from dualform.variants.mesa import MesaState
from dualform.variants.momentum import MomentumState
from dualform.variants.registry import VARIANTS, Variant
from dualform.variants.softmax import Partial, attend, merge, softmax_attention
from dualform.variants.titans import TitansState
from dualform.variants.ttt import TTTState

__all__ = [
    "VARIANTS",
    "Gate",
    "MesaState",
    "MomentumState",
    "Partial",
    "TTTState",
    "TitansState",
    "Variant",
    "VariantInputError",
    "attend",
    "bounded",
    "merge",
    "softmax_attention",
]
