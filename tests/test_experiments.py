"""A task made ready: nothing is shown and held out; selection and the three settings."""

from pathlib import Path

import numpy as np
import pytest
import torch

from empirical import experiments
from empirical.errors import UserError
from empirical.experiments import StudySettings, prepare, run_prepared, run_task, select_rate
from empirical.finetune import DivergedError
from empirical.prompts import query
from empirical.tasks import TASKS, FolderSource
from tests._study import save_data
from tests._tiny import tiny

TASK = TASKS["mr"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> FolderSource:
    return FolderSource(path=save_data(tmp_path_factory.mktemp("data") / "d"))


def settings(**more: object) -> StudySettings:
    return StudySettings(**{"seed": 1, "rates": (0.01, 0.1), "k": 4} | more)  # type: ignore[arg-type] # fields by name


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
    assert ready.held == () and select_rate(model, ready, settings(rates=(0.01,))) == (0.01, ())
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
    monkeypatch.setattr(experiments, "fine_tuned", fake)
    rate, shares = select_rate(model, ready, settings(rates=(9.0, 0.1, 0.3, 0.2)))
    assert rate == 0.3 and shares[1:] == ((0.1, 0.5), (0.3, 0.7), (0.2, 0.7))
    assert shares[0][0] == 9.0 and np.isnan(shares[0][1])
    with pytest.raises(UserError, match="expected one rate of 8,9 to stay finite on mr"):
        select_rate(model, ready, settings(rates=(8.0, 9.0)))


@pytest.mark.parametrize("rates", [(), (0.0,), (-1.0,), (float("nan"),), (0.1, 0.1)])
def test_rates_are_checked_before_anything_is_read(rates: tuple[float, ...]) -> None:
    with pytest.raises(UserError, match="learning rate"):
        prepare(tiny(), TASK, FolderSource(path=Path("nowhere")), settings(rates=rates))


def test_a_task_runs_through_all_three_settings_and_repeats(source: FolderSource) -> None:
    model = tiny(torch.float32)
    ready = prepare(model, TASK, source, settings())
    one, two = run_prepared(model, ready, settings()), run_task(model, TASK, source, settings())
    for a, b in ((one.zsl, two.zsl), (one.icl, two.icl), (one.ft, two.ft)):
        assert np.array_equal(a.scores, b.scores) and np.array_equal(a.h, b.h)
    assert not np.array_equal(one.zsl.scores, one.icl.scores)
    assert not np.array_equal(one.zsl.scores, one.ft.scores)
    assert (one.k_used, one.context_length) == (4, len(ready.context))
