"""How every control of the catalogue is run on a bench.

Each function takes a bench whose settings are recorded and gives one `ConditionResult`. What cannot
be run is a finding with a reason in `absent`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from empirical.core.errors import UserError
from empirical.core.undefined import Number, Undefined
from empirical.data.prompts import Query, answers
from empirical.inference.batches import parts
from empirical.inference.finetune import DivergedError, finetuned
from empirical.inference.forward import takes_positions
from empirical.inference.layer_causal import layer_causally_finetuned
from empirical.inference.layer_inputs import last_inputs, logging_inputs
from empirical.inference.random_update import randomly_updated, update_norms
from empirical.inference.read_options import Position
from empirical.inference.recorder import QueryLog
from empirical.inference.settings import gather, training_examples
from empirical.metrics.dose import Captures, dose
from empirical.metrics.kendall import EXAMPLES, demonstration_tokens
from empirical.metrics.order_sensitivity import distributions, permutations, spread
from empirical.metrics.series import SIMILARITIES, to_series
from empirical.metrics.similarity import Similarity, similarity
from empirical.models.rerandomised import fully_random, random_blocks
from empirical.results.control_catalogue import NO_POSITIONS
from empirical.results.control_results import ConditionResult
from empirical.study.controls.contexts import (
    context_of,
    random_tokens_like,
    shuffled_labels,
    wrong_labels,
)
from empirical.study.controls.recorded_cell import RecordedCell, need, read_queries
from empirical.study.controls.weight_changes import attention_maps, delta_w
from empirical.study.preparation import Prepared, demonstration_lengths, reading_of

ORDERS = 10
ORDER_ROWS = 100  # first examples on which orders are compared
FACTORS = (0.1, 0.3, 1.0, 3.0, 10.0)  # of the chosen rate
HEAD_QUERIES = 8  # on which weight changes are compared head by head
OTHER_TOKENS = Undefined("finetuning read other tokens than the context holds")


def _needs_other(bench: RecordedCell) -> Prepared:
    return need(bench.other, "two tasks", "name a second --task")


def ft_random(bench: RecordedCell) -> ConditionResult:
    """A normal draw of the norm of the true change, parameter by parameter."""
    norms = update_norms(bench.model, bench.examples, bench.rate)
    generator = torch.Generator().manual_seed(int(bench.generator(1).integers(2**62)))
    with randomly_updated(bench.model, norms, generator):
        log = read_queries(bench.model, bench.examples)
        return bench.compared(ft=bench.parts(), queries=log.stacked().numpy())


def _by_examples(
    bench: RecordedCell, shown: Sequence[Sequence[int]], same: bool, note: str
) -> ConditionResult:
    """Finetuned on other examples; `same`: their tokens are those of the context."""
    log = QueryLog(layers=bench.model.n_layers)
    change = finetuned(bench.model, shown, bench.rate, watch=log)
    return bench.finetuned_by(change, log if same else OTHER_TOKENS, note)


def ft_other_task(bench: RecordedCell) -> ConditionResult:
    """Finetuned on the demonstrations of another task of the run."""
    other = _needs_other(bench)
    shown = training_examples(bench.model, other.shown, other.labels)
    return _by_examples(bench, shown, False, f"other task: {other.task.name}")


def ft_other_seed(bench: RecordedCell) -> ConditionResult:
    """Finetuned on other demonstrations of the task."""
    other = need(bench.sibling, "other demonstrations", "add training rows")
    shown = training_examples(bench.model, other.shown, other.labels)
    return _by_examples(bench, shown, False, f"demonstrations of seed {other.seed}")


def _same_lengths(bench: RecordedCell, changed: Sequence[Query]) -> bool:
    ready = bench.ready
    return all(
        len(answers(a, ready.labels)[a.label]) == len(answers(b, ready.labels)[b.label])
        for a, b in zip(ready.shown, changed, strict=True)
    )


def ft_shuffled_labels(bench: RecordedCell) -> ConditionResult:
    """Finetuned on the same texts, their labels exchanged among them."""
    changed = shuffled_labels(bench.ready.shown, bench.generator(2))
    shown = training_examples(bench.model, changed, bench.ready.labels)
    moved = sum(a.label != b.label for a, b in zip(changed, bench.ready.shown, strict=True))
    return _by_examples(
        bench, shown, _same_lengths(bench, changed), f"{moved} of {len(changed)} labels moved"
    )


def layer_causal(bench: RecordedCell) -> ConditionResult:
    """Finetuned layer by layer, each on its own early exit (LCGD)."""
    log = QueryLog(layers=bench.model.n_layers)
    change = layer_causally_finetuned(bench.model, bench.examples, bench.rate, watch=log)
    found = bench.finetuned_by(change, log)
    answered = found.predictions["ft"]
    most = np.unique(answered, return_counts=True)[1].max() / len(answered)
    return replace(found, numbers={**found.numbers, "ft_most_frequent_answer": 100 * float(most)})


def icl_random_tokens(bench: RecordedCell) -> ConditionResult:
    """Behind random tokens, BOS and EOS in their places."""
    encoder = bench.model.encoder
    size = bench.model.model.config.vocab_size
    context = random_tokens_like(bench.ready.context, encoder, bench.generator(3), size)
    return bench.compared(icl=bench.parts(context))


def icl_wrong_labels(bench: RecordedCell) -> ConditionResult:
    """Behind the same texts, each with a wrong label."""
    ready = bench.ready
    changed = wrong_labels(ready.shown, len(ready.labels), bench.generator(4))
    context = context_of(changed, ready.labels, bench.model.encoder)
    same = _same_lengths(bench, changed)
    return bench.compared(icl=bench.parts(context), same_tokens=same)


def icl_other_task(bench: RecordedCell) -> ConditionResult:
    """Behind the demonstrations of another task."""
    other = _needs_other(bench)
    found = bench.parts(other.context)
    return bench.compared(icl=found, same_tokens=False, note=f"other task: {other.task.name}")


def _shift(bench: RecordedCell) -> int:
    """Where BOS stands, so that a query's first token is where it is in context.

    Raises:
        UserError: where the class takes no positions.
    """
    if not takes_positions(bench.model):
        raise UserError(
            f"{NO_POSITIONS}, got {bench.model.name}, whose "
            "attention sees distances only; leave this control away"
        )
    return len(bench.ready.context) - 1


def position_shift(bench: RecordedCell) -> ConditionResult:
    """Zero-shot read at the positions of in-context, as the base of both updates."""
    return bench.compared(zsl=bench.parts(shift=_shift(bench)))


def position_only(bench: RecordedCell) -> ConditionResult:
    """Zero-shot read at the positions of in-context, in the place of in-context."""
    return bench.compared(icl=bench.parts(shift=_shift(bench)), same_tokens=False)


def position_prompt(bench: RecordedCell) -> ConditionResult:
    """All three recorded at the other token: that which predicts, or the label behind it."""
    other: Position = "prompt" if bench.settings.position == "label" else "label"
    with TemporaryDirectory() as folder:
        found = bench.recorded_at(other, Path(folder)).measured()
    return replace(found, note=f"recorded at position {other}")


def _torch(bench: RecordedCell, stream: int) -> torch.Generator:
    return torch.Generator().manual_seed(int(bench.generator(stream).integers(2**62)))


def untrained(bench: RecordedCell) -> ConditionResult:
    """The settings of a fully random model of the same architecture."""
    with TemporaryDirectory() as folder:
        return bench.on(fully_random(bench.model, _torch(bench, 5)), Path(folder)).measured()


def random_between(bench: RecordedCell) -> ConditionResult:
    """The settings of random blocks between the trained embeddings and norms."""
    with TemporaryDirectory() as folder:
        return bench.on(random_blocks(bench.model, _torch(bench, 6)), Path(folder)).measured()


def kendall_unfinetuned(bench: RecordedCell) -> ConditionResult:
    """Q'q of the model before any update."""
    log = read_queries(bench.model, bench.examples)
    asked = {i: x for part in bench.stores.zsl.read_all() for i, x in part.asked.items()}
    return _ranks_only(bench, log.stacked().numpy(), asked)


def kendall_inputs(bench: RecordedCell) -> ConditionResult:
    """Layer inputs in the place of queries: what the dual form pairs."""
    model, ready = bench.model, bench.ready
    how = reading_of(ready, bench.settings)
    first = ready.queries[:EXAMPLES]
    rows = [
        (model.encoder.bos, *q.prompt, *(answers(q, ready.labels)[0] if how.append else ()))
        for q in first
    ]
    with logging_inputs(model.blocks) as log, finetuned(model, bench.examples, bench.rate):
        queries = log.stacked().numpy()
        found = last_inputs(model, rows).numpy()
    return _ranks_only(bench, queries, dict(enumerate(found)))


def _ranks_only(
    bench: RecordedCell, queries: np.ndarray, asked: dict[int, np.ndarray]
) -> ConditionResult:
    """A finding with the series of Kendall alone."""
    found = bench.ranks(bench.scores(), queries, asked)
    draws = bench.generator(7)
    return ConditionResult(series={name: to_series(x, draws) for name, x in found.items()})


def _some(bench: RecordedCell) -> tuple[Query, ...]:
    return bench.ready.queries[:ORDER_ROWS]


def order(bench: RecordedCell) -> ConditionResult:
    """Spread of the answers' distribution over orders, in context and finetuned."""
    model, ready = bench.model, bench.ready
    some = _some(bench)
    how = replace(reading_of(ready, bench.settings), record=False, wide=0)
    tables: dict[str, list[np.ndarray]] = {"icl": [], "ft": []}
    right: dict[str, list[float]] = {"icl": [], "ft": []}
    for places in permutations(len(ready.shown), ORDERS, bench.generator(8)):
        shown = tuple(ready.shown[i] for i in places)
        context = context_of(shown, ready.labels, model.encoder)
        examples = training_examples(model, shown, ready.labels)
        found = {"icl": gather(model, list(parts(model, some, how, context)))}
        with finetuned(model, examples, bench.rate):
            found["ft"] = gather(model, list(parts(model, some, how, ())))
        for name, out in found.items():
            tables[name].append(distributions(out.scores))
            right[name].append(100 * float((out.predictions == out.labels).mean()))
    series = {}
    for i, name in enumerate(tables):
        per_query = spread(np.stack(tables[name]))
        series[f"order_{name}"] = to_series(_flat(per_query), bench.generator(9, i))
    return ConditionResult(
        series=series,
        tables={f"{name}_accuracy": x for name, x in right.items()},
        numbers={"orders": float(ORDERS), "examples": float(len(some))},
        note="mean total variation distance between the answers of two orders",
    )


def _flat(values: np.ndarray) -> Similarity:
    """Values of examples as a series of one "layer"."""
    column = values[:, None]
    return similarity(column, np.ones(column.shape, dtype=np.bool_), 0, column.size)


def rate(bench: RecordedCell) -> ConditionResult:
    """Every metric over rates around the chosen one."""
    names = (*SIMILARITIES, "kendall", "kendall_examples")
    rates: list[float] = []
    columns: dict[str, list[Number]] = {name: [] for name in names}
    accuracy: list[Number] = []
    for factor in FACTORS:
        rates.append(bench.rate * factor)
        log = QueryLog(layers=bench.model.n_layers)
        try:
            change = finetuned(bench.model, bench.examples, rates[-1], watch=log)
            found = bench.finetuned_by(change, log)
        except DivergedError:
            gone = Undefined("finetuning diverges at this rate")
            for column in columns.values():
                column.append(gone)
            accuracy.append(gone)
            continue
        for name, column in columns.items():
            column.append(found.series[name].mean)
        accuracy.append(found.numbers["ft_accuracy"])
    return ConditionResult(tables={"rate": rates, "ft_accuracy": accuracy, **columns})


def weight_changes(bench: RecordedCell) -> ConditionResult:
    """Delta W of in-context and of finetuning, head by head."""
    other = bench.other
    shown = None if other is None else training_examples(bench.model, other.shown, other.labels)
    return delta_w(
        bench.model,
        bench.ready,
        bench.rate,
        shown,
        HEAD_QUERIES,
        bench.generator(10),
        position=bench.settings.position,
    )


def dosed(bench: RecordedCell) -> ConditionResult:
    """The calibration curve of this cell: finetuning mixed from the in-context update and noise."""
    stores = bench.stores
    lengths = demonstration_lengths(bench.ready)
    c, kept = bench.scores(), demonstration_tokens(lengths)
    captures = Captures(
        batches=lambda: zip(
            stores.zsl.read_all(), stores.icl.read_all(), bench.after.read_all(), strict=True
        ),
        c=np.stack([c[i][:, kept] for i in sorted(c)]),
        lengths=lengths,
    )
    return dose(captures, bench.generator(11))


def maps(bench: RecordedCell) -> ConditionResult:
    """Attention of chosen heads, before and after."""
    return attention_maps(bench.model, bench.ready, bench.rate, position=bench.settings.position)


RUNS: Mapping[str, Callable[[RecordedCell], ConditionResult]] = {
    "ft_random": ft_random, "ft_other_task": ft_other_task,
    "ft_shuffled_labels": ft_shuffled_labels, "ft_other_seed": ft_other_seed,
    "layer_causal": layer_causal, "icl_random_tokens": icl_random_tokens,
    "icl_wrong_labels": icl_wrong_labels, "icl_other_task": icl_other_task,
    "position_shift": position_shift, "position_only": position_only,
    "position_prompt": position_prompt, "untrained": untrained, "random_blocks": random_between,
    "kendall_unfinetuned": kendall_unfinetuned, "kendall_inputs": kendall_inputs, "order": order,
    "rate": rate, "delta_w": weight_changes, "attention_maps": maps,
    "dose": dosed,
}  # fmt: skip


def run_control(bench: RecordedCell, name: str) -> ConditionResult:
    """One control; what it lacks, or a divergence, becomes the reason of its absence."""
    try:
        return RUNS[name](bench)
    except UserError as error:
        return ConditionResult(absent=str(error))
