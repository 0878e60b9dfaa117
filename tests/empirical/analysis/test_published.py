"""The printed numbers against the reference file, where that file is at hand."""

import json
import os
from pathlib import Path

import pytest

from empirical.analysis.published import (
    METRICS,
    MOMENTUM_ACCURACY,
    MOMENTUM_PERPLEXITY,
    MOMENTUM_TASKS,
    PUBLISHED,
    TASKS,
)
from empirical.study.protocols import get_protocol
from tests.support.paths import ROOT

SHARED = Path(os.environ.get("DUALFORM_SHARED", ROOT.parent / "shared"))
REFERENCE = SHARED / "reference" / "published.json"


def test_the_tables_are_complete():
    assert set(PUBLISHED) == {"1.3B", "2.7B"}
    for rows in PUBLISHED.values():
        assert tuple(rows) == METRICS
        assert all(tuple(row) == TASKS for row in rows.values())


def test_averages_are_the_ones_the_paper_states():
    means = {m: sum(PUBLISHED[m]["Rec2FTP"].values()) / len(TASKS) for m in PUBLISHED}
    assert means["1.3B"] == pytest.approx(85.56, abs=0.005)
    assert means["2.7B"] == pytest.approx(89.39, abs=0.005)


absent = pytest.mark.skipif(
    not REFERENCE.is_file(),
    reason="reference/published.json is not here; set DUALFORM_SHARED to the folder above it",
)


@absent
def test_every_number_equals_the_reference_file():
    reference = json.loads(REFERENCE.read_text(encoding="utf-8"))["paper_dai2023"]
    for model, rows in PUBLISHED.items():
        for metric, row in rows.items():
            assert dict(row) == reference[model][metric], (model, metric)


@absent
def test_tables_6_and_7_equal_the_reference_file() -> None:
    found = json.loads(REFERENCE.read_text(encoding="utf-8"))["paper_dai2023"]["moattn"]
    short = {"training-": "train", "validation-": "valid"}
    for kind, title in (("plain", "Transformer"), ("momentum", "MoAttn")):
        told = {
            short[k[: k.index("-") + 1]] + k.split("-")[1]: x
            for k, x in MOMENTUM_PERPLEXITY[kind].items()
        }
        assert told == found["ppl"][title]
        accuracy = {t.replace("arc_easy", "arce"): x for t, x in MOMENTUM_ACCURACY[kind].items()}
        assert accuracy == found["icl"][title] and tuple(MOMENTUM_ACCURACY[kind]) == MOMENTUM_TASKS


@absent
def test_the_printed_seeds_and_rates_are_those_of_the_reference() -> None:
    reference = json.loads(REFERENCE.read_text(encoding="utf-8"))["paper_dai2023"]
    for size in ("1.3B", "2.7B"):
        protocol = get_protocol(f"published-{size}")
        for task in TASKS:
            assert protocol.seeds_of(task) == (reference[size]["seed"][task],)
            assert protocol.rates_of(task) == (reference[size]["lr"][task],)
