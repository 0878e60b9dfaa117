"""The checks, for anyone's implementation of any of the rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from dualform.testing import bodies
from dualform.testing.gradients import gradients
from dualform.testing.hunting import EXAMPLES, Body, Report, domain_of, generic, hunt
from dualform.testing.implementation import Implementation, as_implementation
from dualform.testing.messages import ConformanceError, Unusable
from dualform.testing.problems import answer, problem
from dualform.testing.reference import expected, mapped
from dualform.variants import VARIANTS, Variant
from dualform.variants.layout import leaves

Check = Callable[..., Report]


def variant_of(name: str) -> Variant:
    """The rule of this name.

    Raises:
        Unusable: for an unknown name.
    """
    if name not in VARIANTS:
        raise Unusable(f"expected a rule out of {', '.join(VARIANTS)}, got {name!r}")
    return VARIANTS[name]


def _check(name: str, body: Body, **changed: Any) -> Check:
    def check(given: Any, variant: str, *, examples: int = EXAMPLES) -> Report:
        kernel, rule = as_implementation(given), variant_of(variant)
        domain = domain_of(kernel, states=_takes_state(kernel, rule), **changed)
        if name == "gradients":
            exact = [d for d in kernel.dtypes if d in (torch.float64, torch.float32)]
            domain = replace(
                domain, dtypes=exact or kernel.dtypes, longest=max(5, kernel.multiple), states=False
            )
        if name in ("state passing", "causality"):
            domain = replace(domain, longest=max(kernel.longest, 2 * kernel.multiple), parts=2)
        return hunt(name, kernel, rule, body, domain=domain, examples=examples)

    check.__name__ = f"check_{name.replace(' ', '_')}"
    check.__doc__ = f"""{body.__doc__}

    given: a function (q, k, v, **gates) or an `Implementation`; variant: the rule it claims.

    Raises:
        ConformanceError: with the smallest failing example.
        Uninformative: when too few examples could tell right from wrong.
        Unusable: for an unknown rule, or something that cannot be called.
    """
    return check


check_output = _check("output", bodies.output)
"""o_t is the rule's, from a given state too, for every chunk size and memory layout."""
check_final_state = _check("final state", bodies.final_state)
"""The state that is returned is the rule's."""
check_state_passing = _check("state passing", bodies.state_passing)
"""T tokens at once are c tokens and then T - c from their state, wherever one cuts."""
check_batch_independence = _check("batch independence", bodies.batch_independence)
"""A batch row does not hear the others, made 1024 times louder."""
check_causality = _check("causality", bodies.causality)
"""Tokens do not hear later ones, made 1024 times louder."""
check_gradients = _check("gradients", gradients)
"""The gradients of a random linear functional of o, for q, k, v and every gate."""

CHECKS: Mapping[str, Check] = {
    "output": check_output,
    "final state": check_final_state,
    "state passing": check_state_passing,
    "batch independence": check_batch_independence,
    "causality": check_causality,
    "gradients": check_gradients,
}
"""The checks by name, in the order in which `check_variant` makes them."""


def checks_of(given: Any, variant: str) -> tuple[str, ...]:
    """The names of the checks that apply: those of states where a state is returned.

    Raises:
        Unusable: for an unknown rule, or something that cannot be called.
    """
    kernel, rule = as_implementation(given), variant_of(variant)
    returns = _returns_state(kernel, rule)
    takes = returns and kernel.their_name("state") is not None
    absent = set() if returns else {"final state"}
    absent |= set() if takes else {"state passing"}
    absent |= set() if _differentiable(kernel, rule) else {"gradients"}
    return tuple(name for name in CHECKS if name not in absent)


def check_variant(given: Any, variant: str, *, examples: int = EXAMPLES) -> tuple[Report, ...]:
    """Every check that applies to an implementation of `variant`.

    given: a function (q, k, v, **gates) or an `Implementation`.

    Raises:
        ConformanceError: at the first identity that does not hold.
        Uninformative: when too few examples could tell right from wrong.
        Unusable: for an unknown rule, or something that cannot be called.
    """
    names = checks_of(given, variant)
    return tuple(CHECKS[name](given, variant, examples=examples) for name in names)


def check_linear_attention(given: Any, *, examples: int = EXAMPLES) -> tuple[Report, ...]:
    """`check_variant` for linear attention, o_t = S_t q_t, S_t = S_(t-1) + v_t k_t^T.

    Raises:
        ConformanceError, Uninformative, Unusable: see `check_variant`.
    """
    return check_variant(given, "linear_attention", examples=examples)


def check_momentum_attention(given: Any, *, examples: int = EXAMPLES) -> tuple[Report, ...]:
    """`check_variant` for softmax attention beside the momentum sum over the values.

    Raises:
        ConformanceError, Uninformative, Unusable: see `check_variant`.
    """
    return check_variant(given, "momentum_attention", examples=examples)


def check_chunks(given: Any, variant: str, *, examples: int = EXAMPLES) -> Report:
    """`check_output` for code in chunks: every chunk size of `Implementation.chunks`.

    Raises:
        Unusable: when it takes no chunk size, or see `check_output`.
        ConformanceError, Uninformative: see `check_output`.
    """
    kernel = as_implementation(given)
    if kernel.their_name("chunk") is None:
        raise Unusable("expected an argument for the chunk size, got none; name it in `names`")
    return check_output(kernel, variant, examples=examples)


def _probe(kernel: Implementation, rule: Variant) -> Any:
    case = generic(kernel, 5)
    try:
        return answer(kernel, problem(rule, kernel, case), case, rule.name)
    except ConformanceError:
        return None


def _returns_state(kernel: Implementation, rule: Variant) -> bool:
    """Whether it returns a state with the rule's leaves."""
    made = _probe(kernel, rule)
    if made is None or made.state is None:
        return False
    return len(leaves(made.state)) == len(rule_leaves(rule, kernel))


def rule_leaves(rule: Variant, kernel: Implementation) -> list[Any]:
    """The leaves of the rule's own state on a generic example."""
    given = problem(rule, kernel, generic(kernel, 5))
    return leaves(expected(rule, given, kernel).state)


def _takes_state(kernel: Implementation, rule: Variant) -> bool:
    return kernel.their_name("state") is not None and _returns_state(kernel, rule)


def _differentiable(kernel: Implementation, rule: Variant) -> bool:
    """Whether its output carries a gradient."""
    if not any(d in (torch.float64, torch.float32) for d in kernel.dtypes):
        return False
    case = generic(kernel, 5)
    given = problem(rule, kernel, case)
    try:
        free = mapped(given, lambda x: x.detach().requires_grad_())
        return bool(answer(kernel, free, case, rule.name).o.requires_grad)
    except ConformanceError:
        return True
