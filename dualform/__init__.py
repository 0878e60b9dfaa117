"""The numeric library: identities on torch tensors under derived rounding bounds.

Names are loaded when they are asked for: `import dualform` and the pytest plugin load no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "Tracked": "dualform.rounding",
    "compare": "dualform.rounding",
    "check": "dualform.rounding",
    "Comparison": "dualform.rounding",
    "unit_roundoff": "dualform.rounding",
    "BoundViolation": "dualform.rounding",
    "NonFinite": "dualform.rounding",
    "UnboundedArithmetic": "dualform.rounding",
    "TensorOps": "dualform.ops",
    "TrackedOps": "dualform.ops",
    "ExactOps": "dualform.exact",
    "VARIANTS": "dualform.variants",
    "Variant": "dualform.variants",
    "VariantInputError": "dualform.variants",
    "bounded": "dualform.variants",
    "softmax_attention": "dualform.variants",
    "attend": "dualform.variants",
    "merge": "dualform.variants",
    "momentum_sum": "dualform.momentum",
    "averaged": "dualform.momentum",
}

if TYPE_CHECKING:
    from dualform.exact import ExactOps
    from dualform.momentum import averaged, momentum_sum
    from dualform.ops import TensorOps, TrackedOps
    from dualform.rounding import (
        BoundViolation,
        Comparison,
        NonFinite,
        Tracked,
        UnboundedArithmetic,
        check,
        compare,
        unit_roundoff,
    )
    from dualform.variants import (
        VARIANTS,
        Variant,
        VariantInputError,
        attend,
        bounded,
        merge,
        softmax_attention,
    )
else:

    def __getattr__(name: str) -> Any:
        """A public name, loaded when it is first asked for."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)


__all__ = [
    "BoundViolation",
    "Comparison",
    "ExactOps",
    "NonFinite",
    "TensorOps",
    "Tracked",
    "TrackedOps",
    "UnboundedArithmetic",
    "VARIANTS",
    "Variant",
    "VariantInputError",
    "attend",
    "averaged",
    "bounded",
    "check",
    "compare",
    "merge",
    "momentum_sum",
    "softmax_attention",
    "unit_roundoff",
]


def __dir__() -> list[str]:
    return __all__
