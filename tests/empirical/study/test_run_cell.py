"""A task made ready: nothing is shown and held out; selection and the three settings."""

import dataclasses
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from empirical.core.errors import UserError
from empirical.data.paper_tasks import TASKS, FolderSource
from empirical.data.prompts import query
from empirical.inference.capture_store import Store
from empirical.inference.finetune import DivergedError, finetuned
from empirical.inference.settings import Outcome, fine_tuned, in_context, zero_shot
from empirical.metrics.accumulate import ALL, MetricAccumulator
from empirical.metrics.kendall import measure_kendall
from empirical.models.decoder import LoadedModel, default_dtype_of
from empirical.results.record import Measurement
from empirical.study import rate_selection
from empirical.study.preparation import Prepared, StudySettings, prepare
from empirical.study.rate_selection import select_rate
from empirical.study.run_cell import run_prepared
from empirical.study.stores import Stores
from tests.support.models.tiny_models import tiny
from tests.support.study import save_data

TASK = TASKS["mr"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> FolderSource:
    return FolderSource(path=save_data(tmp_path_factory.mktemp("data") / "d"))


def settings(**more: object) -> StudySettings:
    return StudySettings(**{"seed": 1, "rates": (0.01, 0.1), "k": 4} | more)  # type: ignore[arg-type] # fields by name


def at_rates(ready: Prepared, *rates: float) -> Prepared:
    """The same rows, to choose among other rates."""
    return replace(ready, settings=replace(ready.settings, rates=rates))


def test_demonstrations_held_rows_and_queries_follow_the_shuffles(source: FolderSource) -> None:
    model = tiny(torch.float32)
    train, rows = source.rows(TASK, "train"), source.rows(TASK, "evaluation")
    order = np.random.default_rng(1).permutation(14)
    ready = prepare(model, TASK, source, settings(selection_rows=6, limit=5))
    tokens = [query(model.encoder, TASK, train[i]) for i in order]
    assert list(ready.shown) == tokens[:4] and list(ready.held) == tokens[4:10]
    assert list(ready.queries) == [query(model.encoder, TASK, rows[i]) for i in order[:5]]
    assert ready.context[0] == model.encoder.bos and ready.wanted == 4


def test_rows_drawn_that_do_not_fit_are_held_out(source: FolderSource) -> None:
    model = tiny(torch.float32, positions=64)
    ready = prepare(model, TASK, source, settings(k=13, selection_rows=20))
    assert 0 < len(ready.shown) < 13
    assert len(ready.shown) + len(ready.held) == 14


def test_one_rate_needs_no_held_rows_and_selects_nothing(source: FolderSource) -> None:
    model = tiny(torch.float32)
    ready = prepare(model, TASK, source, settings(k=14, rates=(0.01,)))
    assert ready.held == () and select_rate(model, ready) == (0.01, ())
    with pytest.raises(UserError, match="beyond the 14 demonstrations to choose a rate"):
        prepare(model, TASK, source, settings(k=14))


def test_the_best_rate_on_held_rows_wins_ties_go_to_the_first_and_divergence_is_kept(
    source: FolderSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny(torch.float32)
    right = {0.1: 5, 0.2: 7, 0.3: 7}

    class Fake:
        labels = np.ones(10, dtype=int)

        def __init__(self, n: int) -> None:
            self.predictions = np.array([1] * n + [0] * (10 - n))

    def fake(_model, queries, _labels, _words, shown, rate, *_args, **_kwargs):
        assert queries == ready.held and shown == ready.shown
        if rate not in right:
            raise DivergedError("expected finite, got nan; smaller")
        return Fake(right[rate])

    ready = prepare(model, TASK, source, settings())
    monkeypatch.setattr(rate_selection, "fine_tuned", fake)
    rate, shares = select_rate(model, at_rates(ready, 9.0, 0.1, 0.3, 0.2))
    assert rate == 0.3 and shares[1:] == ((0.1, 0.5), (0.3, 0.7), (0.2, 0.7))
    assert shares[0][0] == 9.0 and np.isnan(shares[0][1])
    with pytest.raises(UserError, match="expected one rate of 8,9 to stay finite on mr"):
        select_rate(model, at_rates(ready, 8.0, 9.0))


@pytest.mark.parametrize("rates", [(), (0.0,), (-1.0,), (float("nan"),), (0.1, 0.1)])
def test_rates_are_checked_before_anything_is_read(rates: tuple[float, ...]) -> None:
    with pytest.raises(UserError, match="learning rate"):
        prepare(tiny(), TASK, FolderSource(path=Path("nowhere")), settings(rates=rates))


def test_a_task_runs_through_all_three_settings_and_repeats(source: FolderSource) -> None:
    model = tiny(torch.float32)
    ready = prepare(model, TASK, source, settings())
    again = prepare(model, TASK, source, settings())
    one, two = (run_prepared(model, x) for x in (ready, again))
    assert one == two and set(one.metrics) == ALL
    assert len(one.selection) == 2 and one.rate in (0.01, 0.1)


def whole(model: LoadedModel, ready: Prepared, rate: float) -> tuple[Outcome, Outcome, Outcome]:
    """The three settings with everything in memory."""
    common = (model, ready.queries, ready.labels, ready.task.labels)
    icl = in_context(*common, ready.context)
    return zero_shot(*common), icl, fine_tuned(*common, ready.shown, rate)


def same_measurement(found: Measurement, expected: Measurement) -> None:
    """Counts and reasons alike; numbers as far as float32 records of two batchings are."""
    floats = ("value", "low", "high")
    for name in floats:
        one, two = getattr(found, name), getattr(expected, name)
        assert one == (pytest.approx(two, rel=1e-4, abs=1e-5) if isinstance(two, float) else two)
    assert found.per_layer == pytest.approx(expected.per_layer, rel=1e-4, abs=1e-5)
    none = {**dict.fromkeys(floats), "per_layer": ()}
    assert dataclasses.replace(found, **none) == dataclasses.replace(expected, **none)


def test_what_is_measured_batch_by_batch_is_what_whole_outcomes_give(source: FolderSource) -> None:
    model = tiny()
    ready = prepare(model, TASK, source, settings(batch_size=3))
    got = run_prepared(model, ready)
    zsl, icl, ft = whole(model, ready, got.rate)
    tally = MetricAccumulator(1)
    tally.update(range(len(ready.queries)), zsl, icl, ft)
    want = tally.compute()
    assert set(want) <= set(got.metrics)
    for name, expected in want.items():
        same_measurement(got.metrics[name], expected)
    swapped = MetricAccumulator(1)  # near miss: finetuning in place of in-context learning
    swapped.update(range(len(ready.queries)), zsl, ft, icl)
    assert swapped.compute()["sim_am_delta"] == want["sim_am_delta"]  # symmetric
    assert swapped.compute()["sim_am_before"] != want["sim_am_before"]


def test_kendall_compares_context_scores_with_the_queries_just_before_each_update(
    source: FolderSource,
) -> None:
    """Its twin: whole forward passes of the library, one update after the other."""
    model = tiny()
    ready = prepare(model, TASK, source, settings(rates=(0.05,)))
    got = run_prepared(model, ready)
    c, f, stale = twin_scores(model, ready, 0.05)
    lengths = [len(q.prompt) + 1 for q in ready.shown]
    want = measure_kendall(c, f, lengths, np.random.default_rng(0))
    assert got.metrics["kendall"].value == pytest.approx(want.token.mean, abs=1e-9)
    assert got.metrics["kendall_examples"].value == pytest.approx(want.example.mean, abs=1e-9)
    near = measure_kendall(c, stale, lengths, np.random.default_rng(0))  # Q' of unchanged weights
    assert got.metrics["kendall"].value != pytest.approx(near.token.mean, abs=1e-6)


def twin_scores(model: LoadedModel, ready: Prepared, rate: float) -> tuple[np.ndarray, ...]:
    """c and f [n,L,N], and f with the queries of the weights before any update."""
    tokens = [[model.encoder.bos, *q.prompt, *ready.labels[q.label]] for q in ready.shown]
    asked = [[*q.prompt, *ready.labels[0]] for q in ready.queries]
    places = []
    at = 1
    for t in tokens:
        places += list(range(at, at + len(t) - 1))
        at += len(t)  # BOS of the example is absent, EOS is there
    rows = [projected(model, [*ready.context, *a]) for a in asked]
    c = np.stack([(k[:, places] @ q[:, -1, :, None])[..., 0] for q, k in rows])
    stale = np.concatenate([projected(model, t)[0][:, 1:] for t in tokens], 1)
    fresh = []
    with ExitStack() as stack:
        for t in tokens:
            fresh.append(projected(model, t)[0][:, 1:])
            stack.enter_context(finetuned(model, [t], rate))
        q_p = np.stack([projected(model, [model.encoder.bos, *a])[0][:, -1] for a in asked])
    queries = np.concatenate(fresh, 1)
    return c, np.einsum("lnd,xld->xln", queries, q_p), np.einsum("lnd,xld->xln", stale, q_p)


def projected(model: LoadedModel, ids: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Scaled queries and keys [L,T,d] of every token, by hooks on the library's own projections."""
    seen: dict[str, list[torch.Tensor]] = {"q": [], "k": []}
    handles = []
    for layer in model.model.model.layers:
        for name, proj in (("q", layer.self_attn.q_proj), ("k", layer.self_attn.k_proj)):
            keep = seen[name]
            handles.append(proj.register_forward_hook(lambda _m, _i, o, s=keep: s.append(o[0])))
    with torch.no_grad(), default_dtype_of(model):
        model.model(input_ids=torch.tensor([ids]))
    for handle in handles:
        handle.remove()
    return torch.stack(seen["q"]).numpy() * 8**-0.5, torch.stack(seen["k"]).numpy()


def test_captures_in_a_store_are_read_again_and_a_damaged_one_is_made_again(
    source: FolderSource, tmp_path: Path
) -> None:
    model = tiny(torch.float32)
    ready = prepare(model, TASK, source, settings(rates=(0.05,), batch_size=2))
    stores = Stores(zsl=Store(folder=tmp_path / "z"), icl=Store(folder=tmp_path / "i"))
    first = run_prepared(model, ready, stores=stores)
    files = sorted(tmp_path.rglob("*.safetensors"))
    before = {p: p.stat().st_mtime_ns for p in files}
    assert len(files) > 4 and not list(tmp_path.rglob("*.tmp"))
    bad = stores.icl.path(1)
    bad.write_bytes(bad.read_bytes()[:50])
    assert run_prepared(model, ready, stores=stores) == first
    again = [p for p in files if p.stat().st_mtime_ns != before[p]]
    assert bad in again and not any(p.parent.name == "z" for p in again)
    assert stores.icl.path(0) not in again
