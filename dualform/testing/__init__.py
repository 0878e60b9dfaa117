"""A conformance kit: is this code the linear attention that it says it is?

`check_variant(function, "delta_rule")` calls a function on examples that Hypothesis draws and
shrinks, and compares its answers with the slow twin of the rule under a derived rounding bound.
`Convention` says how the function lays out and scales its arguments. docs/conformance.md is the
guide. This package needs torch and hypothesis, and is the only one that imports hypothesis.
"""

from dualform.extras import missing

try:
    import hypothesis as hypothesis  # before the modules that use it, to say what installs it
except ModuleNotFoundError as error:
    raise missing(error) or error from error

from dualform.testing.cases import attention_inputs
from dualform.testing.checks import (
    CHECKS,
    check_batch_independence,
    check_causality,
    check_chunks,
    check_final_state,
    check_gradients,
    check_linear_attention,
    check_momentum_attention,
    check_output,
    check_state_passing,
    check_variant,
    checks_of,
)
from dualform.testing.conventions import Convention, UnknownConvention
from dualform.testing.hunting import Report
from dualform.testing.implementation import Implementation
from dualform.testing.merging import check_block_merging
from dualform.testing.messages import ConformanceError, Finding, Uninformative, Unusable

__all__ = [
    "CHECKS",
    "ConformanceError",
    "Convention",
    "Finding",
    "Implementation",
    "Report",
    "UnknownConvention",
    "Uninformative",
    "Unusable",
    "attention_inputs",
    "check_batch_independence",
    "check_block_merging",
    "check_causality",
    "check_chunks",
    "check_final_state",
    "check_gradients",
    "check_linear_attention",
    "check_momentum_attention",
    "check_output",
    "check_state_passing",
    "check_variant",
    "checks_of",
]
