"""The identities on every layer and head while the model reads a task's demonstrations.

The finetuning update is a real one: SGD on the first of the same demonstrations, in the arithmetic
of the check. The states are those of the float32 model; they are checked in an arithmetic of
choice. Its default is float64 on exact copies of states and weights, since the float32 bound cannot
see the term of second order in a small update that some near misses lack.
"""

from collections.abc import Iterator, Sequence

import torch

from empirical.core.errors import UserError
from empirical.core.progress import SILENT, Advance, Reporter, ignore
from empirical.data.prompts import Query, answers
from empirical.identities.bindings import TRAINED
from empirical.identities.capture_layers import each_layer
from empirical.identities.check_layers import check_layer, chosen, not_applicable
from empirical.identities.softmax_metrics import shares_of
from empirical.identities.trained_weights import (
    Training,
    check_training,
    in_dtype,
    not_trained,
    train,
)
from empirical.inference.settings import training_examples
from empirical.models.decoder import LoadedModel
from empirical.results.identity_checks import Checks
from empirical.results.layer_check import (
    CheckRefused,
    LayerCheck,
    NotApplicable,
    SoftmaxShare,
    require,
    worse,
)
from empirical.study.preparation import Prepared

MOST_STEPS = 8
ARITHMETICS = {"float32": torch.float32, "float64": torch.float64}


def trained_on(prepared: Prepared) -> Sequence[Query]:
    """The demonstrations that the finetuning of a check takes: the first ones, MOST_STEPS at most.

    Comparing the weights of all layers under their bound costs more than training them.
    """
    return prepared.shown[:MOST_STEPS]


def real_training(
    model: LoadedModel, prepared: Prepared, rate: float, arithmetic: str, advance: Advance = ignore
) -> Training:
    """SGD on the demonstrations of `trained_on`, watched, in the arithmetic of the check.

    `model` is left as it was; in another arithmetic than its own, a copy of it is trained.

    Raises:
        UserError: for a bad rate; `DivergedError` when training diverges.
    """
    examples = training_examples(model, trained_on(prepared), prepared.labels)
    return train(in_dtype(model, ARITHMETICS[arithmetic]), examples, rate, advance)


def all_statements(prepared: Prepared) -> tuple[str, ...]:
    """The ids that `run_checks` checks, or gives a reason for, in every layer."""
    del prepared  # the same for every task
    return (*(c.id for c in chosen(None)), *TRAINED)


def worst(checks: Sequence[LayerCheck]) -> tuple[LayerCheck, ...]:
    """One check for each statement, layer and head: the worst of all; a nan stays a nan."""
    found: dict[tuple[str, int, int | None], LayerCheck] = {}
    for c in checks:
        key = (c.statement, c.layer, c.head)
        found[key] = worse(found[key], c) if key in found else c
    return tuple(found.values())


def left_out(
    found: Sequence[NotApplicable], checks: Sequence[LayerCheck]
) -> tuple[NotApplicable, ...]:
    """Each statement and layer once, without those that another query could check."""
    checked = {(c.statement, c.layer) for c in checks}
    first: dict[tuple[str, int], NotApplicable] = {}
    for x in found:
        first.setdefault((x.statement, x.layer), x)
    return tuple(x for key, x in first.items() if key not in checked)


def _refusal(checks: Sequence[LayerCheck]) -> str | None:
    try:
        require(checks)
    except CheckRefused as refused:
        return str(refused)
    return None


def check_request(prepared: Prepared, queries: int, arithmetic: str) -> None:
    """Refuse what cannot be checked.

    Raises:
        UserError: for an unknown arithmetic, or more queries than rows, or none.
    """
    if arithmetic not in ARITHMETICS:
        raise UserError(
            f"expected an arithmetic among {', '.join(ARITHMETICS)}, got {arithmetic!r}; "
            "choose one of them"
        )
    if not 1 <= queries <= len(prepared.queries):
        raise UserError(
            f"expected queries in 1..{len(prepared.queries)} (evaluation rows of "
            f"{prepared.task.name}), got {queries}; choose another number"
        )


def run_checks(
    model: LoadedModel,
    prepared: Prepared,
    *,
    queries: int,
    rate: float,
    arithmetic: str = "float64",
    reporter: Reporter = SILENT,
) -> Checks:
    """All statements with a site and the exact softmax, for the first `queries` queries.

    Nothing is raised for a check that does not hold: see `Checks.refusal`.

    Raises:
        UserError: for an unknown arithmetic, a bad rate or number of queries; `DivergedError` when
            the finetuning diverges.
    """
    check_request(prepared, queries, arithmetic)
    comparisons, shares = chosen(None), list[SoftmaxShare]()
    kind, steps = ARITHMETICS[arithmetic], len(trained_on(prepared))
    title = f"{prepared.task.name}: identities on {model.n_layers} layers x {model.n_heads} heads"
    with reporter.stage(title, queries * model.n_layers + 2 * steps) as advance:
        training = real_training(model, prepared, rate, arithmetic, advance)
        checks, updates = check_training(training), training.updates()
        without = not_trained(steps, model.n_layers)
        for tokens in _asked(prepared, queries):
            captured = each_layer(model, prepared.context, tokens, updates=updates, dtype=kind)
            for layer, at in enumerate(captured):
                checks += check_layer(at, layer, comparisons)
                without += not_applicable(at, layer, comparisons)
                shares += shares_of(at, layer)
                advance(1)
    worst_of_all = worst(checks)
    return Checks(
        checks=worst_of_all,
        shares=tuple(shares),
        queries=queries,
        refusal=_refusal(worst_of_all),
        not_applicable=left_out(without, worst_of_all),
    )


def _asked(prepared: Prepared, queries: int) -> Iterator[list[int]]:
    """The first queries, each with its first answer (the class-0 label word), as in the study."""
    for query in prepared.queries[:queries]:
        yield [*query.prompt, *answers(query, prepared.labels)[0]]
