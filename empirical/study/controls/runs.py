"""How every control of the catalogue is run on a cell.

Each function takes a cell whose settings are recorded and gives one `ConditionResult`. What cannot
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
from empirical.study.preparation import Prepared

ORDERS = 10
ORDER_ROWS = 100  # first examples on which orders are compared
FACTORS = (0.1, 0.3, 1.0, 3.0, 10.0)  # of the chosen rate
HEAD_QUERIES = 8  # on which weight changes are compared head by head
OTHER_TOKENS = Undefined("finetuning read other tokens than the context holds")


def _needs_other(cell: RecordedCell) -> Prepared:
    return need(cell.other, "two tasks", "name a second --task")


def ft_random(cell: RecordedCell) -> ConditionResult:
    """A normal draw of the norm of the true change, parameter by parameter."""
    norms = update_norms(cell.model, cell.examples, cell.rate)
    generator = torch.Generator().manual_seed(int(cell.generator(1).integers(2**62)))
    with randomly_updated(cell.model, norms, generator):
        log = read_queries(cell.model, cell.examples)
        return cell.compared(ft=cell.parts(), queries=log.stacked().numpy())


def _by_examples(
    cell: RecordedCell, shown: Sequence[Sequence[int]], same: bool, note: str
) -> ConditionResult:
    """Finetuned on other examples; `same`: their tokens are those of the context."""
    log = QueryLog(layers=cell.model.n_layers)
    change = finetuned(cell.model, shown, cell.rate, watch=log)
    return cell.finetuned_by(change, log if same else OTHER_TOKENS, note)


def ft_other_task(cell: RecordedCell) -> ConditionResult:
    """Finetuned on the demonstrations of another task of the run."""
    other = _needs_other(cell)
    shown = training_examples(cell.model, other.shown, other.labels)
    return _by_examples(cell, shown, False, f"other task: {other.task.name}")


def ft_other_seed(cell: RecordedCell) -> ConditionResult:
    """Finetuned on other demonstrations of the task."""
    other = need(cell.sibling, "other demonstrations", "add training rows")
    shown = training_examples(cell.model, other.shown, other.labels)
    return _by_examples(cell, shown, False, f"demonstrations of seed {other.seed}")


def _same_lengths(cell: RecordedCell, changed: Sequence[Query]) -> bool:
    prepared = cell.prepared
    return all(
        len(answers(a, prepared.labels)[a.label]) == len(answers(b, prepared.labels)[b.label])
        for a, b in zip(prepared.shown, changed, strict=True)
    )


def ft_shuffled_labels(cell: RecordedCell) -> ConditionResult:
    """Finetuned on the same texts, their labels exchanged among them."""
    changed = shuffled_labels(cell.prepared.shown, cell.generator(2))
    shown = training_examples(cell.model, changed, cell.prepared.labels)
    moved = sum(a.label != b.label for a, b in zip(changed, cell.prepared.shown, strict=True))
    return _by_examples(
        cell, shown, _same_lengths(cell, changed), f"{moved} of {len(changed)} labels moved"
    )


def layer_causal(cell: RecordedCell) -> ConditionResult:
    """Finetuned layer by layer, each on its own early exit (LCGD)."""
    log = QueryLog(layers=cell.model.n_layers)
    change = layer_causally_finetuned(cell.model, cell.examples, cell.rate, watch=log)
    found = cell.finetuned_by(change, log)
    answered = found.predictions["ft"]
    most = np.unique(answered, return_counts=True)[1].max() / len(answered)
    return replace(found, numbers={**found.numbers, "ft_most_frequent_answer": 100 * float(most)})


def icl_random_tokens(cell: RecordedCell) -> ConditionResult:
    """Behind random tokens, BOS and EOS in their places."""
    encoder = cell.model.encoder
    size = cell.model.model.config.vocab_size
    context = random_tokens_like(cell.prepared.context, encoder, cell.generator(3), size)
    return cell.compared(icl=cell.parts(context))


def icl_wrong_labels(cell: RecordedCell) -> ConditionResult:
    """Behind the same texts, each with a wrong label."""
    prepared = cell.prepared
    changed = wrong_labels(prepared.shown, len(prepared.labels), cell.generator(4))
    context = context_of(changed, prepared.labels, cell.model.encoder)
    same = _same_lengths(cell, changed)
    return cell.compared(icl=cell.parts(context), same_tokens=same)


def icl_other_task(cell: RecordedCell) -> ConditionResult:
    """Behind the demonstrations of another task."""
    other = _needs_other(cell)
    found = cell.parts(other.context)
    return cell.compared(icl=found, same_tokens=False, note=f"other task: {other.task.name}")


def _shift(cell: RecordedCell) -> int:
    """Where BOS stands, so that a query's first token is where it is in context.

    Raises:
        UserError: where the class takes no positions.
    """
    if not takes_positions(cell.model):
        raise UserError(
            f"{NO_POSITIONS}, got {cell.model.name}, whose "
            "attention sees distances only; leave this control away"
        )
    return len(cell.prepared.context) - 1


def position_shift(cell: RecordedCell) -> ConditionResult:
    """Zero-shot read at the positions of in-context, as the base of both updates."""
    return cell.compared(zsl=cell.parts(shift=_shift(cell)))


def position_only(cell: RecordedCell) -> ConditionResult:
    """Zero-shot read at the positions of in-context, in the place of in-context."""
    return cell.compared(icl=cell.parts(shift=_shift(cell)), same_tokens=False)


def position_prompt(cell: RecordedCell) -> ConditionResult:
    """All three recorded at the other token: that which predicts, or the label behind it."""
    other: Position = "prompt" if cell.prepared.settings.position == "label" else "label"
    with TemporaryDirectory() as folder:
        found = cell.recorded_at(other, Path(folder)).measured()
    return replace(found, note=f"recorded at position {other}")


def _torch(cell: RecordedCell, stream: int) -> torch.Generator:
    return torch.Generator().manual_seed(int(cell.generator(stream).integers(2**62)))


def untrained(cell: RecordedCell) -> ConditionResult:
    """The settings of a fully random model of the same architecture."""
    with TemporaryDirectory() as folder:
        return cell.on(fully_random(cell.model, _torch(cell, 5)), Path(folder)).measured()


def random_between(cell: RecordedCell) -> ConditionResult:
    """The settings of random blocks between the trained embeddings and norms."""
    with TemporaryDirectory() as folder:
        return cell.on(random_blocks(cell.model, _torch(cell, 6)), Path(folder)).measured()


def kendall_unfinetuned(cell: RecordedCell) -> ConditionResult:
    """Q'q of the model before any update."""
    log = read_queries(cell.model, cell.examples)
    asked = {i: x for part in cell.stores.zsl.read_all() for i, x in part.asked.items()}
    return _ranks_only(cell, log.stacked().numpy(), asked)


def kendall_inputs(cell: RecordedCell) -> ConditionResult:
    """Layer inputs in the place of queries: what the dual form pairs."""
    model, prepared = cell.model, cell.prepared
    how = prepared.read_options
    first = prepared.queries[:EXAMPLES]
    rows = [
        (model.encoder.bos, *q.prompt, *(answers(q, prepared.labels)[0] if how.append else ()))
        for q in first
    ]
    with logging_inputs(model.blocks) as log, finetuned(model, cell.examples, cell.rate):
        queries = log.stacked().numpy()
        found = last_inputs(model, rows).numpy()
    return _ranks_only(cell, queries, dict(enumerate(found)))


def _ranks_only(
    cell: RecordedCell, queries: np.ndarray, asked: dict[int, np.ndarray]
) -> ConditionResult:
    """A finding with the series of Kendall alone."""
    found = cell.ranks(cell.scores(), queries, asked)
    draws = cell.generator(7)
    return ConditionResult(series={name: to_series(x, draws) for name, x in found.items()})


def _some(cell: RecordedCell) -> tuple[Query, ...]:
    return cell.prepared.queries[:ORDER_ROWS]


def order(cell: RecordedCell) -> ConditionResult:
    """Spread of the answers' distribution over orders, in context and finetuned."""
    model, prepared = cell.model, cell.prepared
    some = _some(cell)
    how = replace(prepared.read_options, record=False, wide=0)
    tables: dict[str, list[np.ndarray]] = {"icl": [], "ft": []}
    right: dict[str, list[float]] = {"icl": [], "ft": []}
    for places in permutations(len(prepared.shown), ORDERS, cell.generator(8)):
        shown = tuple(prepared.shown[i] for i in places)
        context = context_of(shown, prepared.labels, model.encoder)
        examples = training_examples(model, shown, prepared.labels)
        found = {"icl": gather(model, list(parts(model, some, how, context)))}
        with finetuned(model, examples, cell.rate):
            found["ft"] = gather(model, list(parts(model, some, how, ())))
        for name, out in found.items():
            tables[name].append(distributions(out.scores))
            right[name].append(100 * float((out.predictions == out.labels).mean()))
    series = {}
    for i, name in enumerate(tables):
        per_query = spread(np.stack(tables[name]))
        series[f"order_{name}"] = to_series(_flat(per_query), cell.generator(9, i))
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


def rate(cell: RecordedCell) -> ConditionResult:
    """Every metric over rates around the chosen one."""
    names = (*SIMILARITIES, "kendall", "kendall_examples")
    rates: list[float] = []
    columns: dict[str, list[Number]] = {name: [] for name in names}
    accuracy: list[Number] = []
    for factor in FACTORS:
        rates.append(cell.rate * factor)
        log = QueryLog(layers=cell.model.n_layers)
        try:
            change = finetuned(cell.model, cell.examples, rates[-1], watch=log)
            found = cell.finetuned_by(change, log)
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


def weight_changes(cell: RecordedCell) -> ConditionResult:
    """Delta W of in-context and of finetuning, head by head."""
    other = cell.other
    shown = None if other is None else training_examples(cell.model, other.shown, other.labels)
    return delta_w(cell.model, cell.prepared, cell.rate, shown, HEAD_QUERIES, cell.generator(10))


def dosed(cell: RecordedCell) -> ConditionResult:
    """The calibration curve of this cell: finetuning mixed from the in-context update and noise."""
    stores = cell.stores
    lengths = cell.prepared.demonstration_lengths
    c, kept = cell.scores(), demonstration_tokens(lengths)
    captures = Captures(
        batches=lambda: zip(
            stores.zsl.read_all(), stores.icl.read_all(), cell.after.read_all(), strict=True
        ),
        c=np.stack([c[i][:, kept] for i in sorted(c)]),
        lengths=lengths,
    )
    return dose(captures, cell.generator(11))


def maps(cell: RecordedCell) -> ConditionResult:
    """Attention of chosen heads, before and after."""
    return attention_maps(cell.model, cell.prepared, cell.rate)


RUNS: Mapping[str, Callable[[RecordedCell], ConditionResult]] = {
    "ft_random": ft_random,
    "ft_other_task": ft_other_task,
    "ft_shuffled_labels": ft_shuffled_labels,
    "ft_other_seed": ft_other_seed,
    "layer_causal": layer_causal,
    "icl_random_tokens": icl_random_tokens,
    "icl_wrong_labels": icl_wrong_labels,
    "icl_other_task": icl_other_task,
    "position_shift": position_shift,
    "position_only": position_only,
    "position_prompt": position_prompt,
    "untrained": untrained,
    "random_blocks": random_between,
    "kendall_unfinetuned": kendall_unfinetuned,
    "kendall_inputs": kendall_inputs,
    "order": order,
    "rate": rate,
    "delta_w": weight_changes,
    "attention_maps": maps,
    "dose": dosed,
}


def run_control(cell: RecordedCell, name: str) -> ConditionResult:
    """One control; what it lacks, or a divergence, becomes the reason of its absence."""
    try:
        return RUNS[name](cell)
    except UserError as error:
        return ConditionResult(absent=str(error))
